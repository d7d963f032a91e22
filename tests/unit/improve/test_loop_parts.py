# SPDX-License-Identifier: Apache-2.0
"""The loop's small parts: bundles, labels, claims, the judge's guard, diagnoses, windows, budgets, pages."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import drifting
import dspy
import pytest

from slipway_server.artifacts import Manifest
from slipway_server.artifacts.manifest import Dataset, Optimizer, Versions
from slipway_server.errors import DataCorrupt, DatasetInvalid
from slipway_server.evaluation import Evaluation, Item, Outcome
from slipway_server.evaluation.statistics import compare_scores
from slipway_server.improve.anchors import anchors_for, guard, humans, judged_records
from slipway_server.improve.budget import Budget
from slipway_server.improve.bundle import Bundle, pack
from slipway_server.improve.claims import beating, claim, give_back
from slipway_server.improve.decide import DAILY, WEEKLY
from slipway_server.improve.diagnose import Cause, diagnose
from slipway_server.improve.labels import labelled
from slipway_server.improve.page import page
from slipway_server.improve.places import load, publish
from slipway_server.improve.results import newest_trigger
from slipway_server.improve.svg import Line, chart
from slipway_server.improve.watch import Stopped
from slipway_server.improve.windows import due, result_of, sample, span, start_of
from slipway_server.telemetry import metrics
from slipway_server.traffic import Feedback, Record

ROW = b'{"question": "%b", "answer": "a"}\n'


def packed(folder: Path) -> Bundle:
    for name, question in (("t", b"q1"), ("h", b"q2"), ("a", b"q3")):
        (folder / name).write_bytes(ROW % question)
    return pack(folder / "bundle", train=folder / "t", heldout=folder / "h", anchors=folder / "a")


def manifest(bundle: Bundle, **data: str) -> Manifest:
    files = {"train": "train.jsonl", "dev": "heldout.jsonl", "anchors": "anchors.jsonl"}
    digests = {use: bundle.digests[name] for use, name in files.items()} | data
    return Manifest(
        program="p:P",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        data={use: Dataset(name="n", digest=digest, examples=1) for use, digest in digests.items()},
        optimizer=Optimizer(name="x"),
        versions=Versions(python="3.11", dspy="3.4.1", cloudpickle="3.1", slipway="0.1.0"),
    )


def test_a_bundle_is_named_by_its_content(tmp_path: Path) -> None:
    bundle = packed(tmp_path)
    again = Bundle.open(bundle.folder)
    assert again.digest == bundle.digest
    again.check(manifest(bundle))
    with pytest.raises(DatasetInvalid, match="not the artifact's own 'dev' data"):
        again.check(manifest(bundle, dev="0" * 64))
    again.heldout.write_bytes(ROW % b"changed")
    with pytest.raises(DatasetInvalid, match=r"heldout.jsonl: is not the file that was packed"):
        Bundle.open(bundle.folder)
    again.heldout.unlink()
    with pytest.raises(DatasetInvalid, match="is missing"):
        Bundle.open(bundle.folder)
    with pytest.raises(DatasetInvalid, match="no data bundle"):
        Bundle.open(tmp_path / "nowhere")
    (bundle.folder / "bundle.json").write_text("[]")
    with pytest.raises(DatasetInvalid, match="no data bundle"):
        Bundle.open(bundle.folder)


def test_labels_come_from_corrections_and_praise_and_never_from_the_held_out_set() -> None:
    def feedback(number: int, question: str, **changes: Any) -> Feedback:
        return Feedback(f"f{number}", "r", float(number), inputs={"question": question}, **changes)

    heldout = [dspy.Example(question="What  is HELD out?", answer="x").with_inputs("question")]
    found = labelled(
        [
            feedback(1, "praised?", rating="good", outputs={"answer": "yes", "reasoning": "r"}),
            feedback(2, "corrected?", rating="bad", outputs={"answer": "wrong"}, correct_outputs={"answer": "right"}),
            feedback(3, "corrected?", rating="good", outputs={"answer": "wrong"}),
            feedback(4, "only bad?", rating="bad", outputs={"answer": "wrong"}),
            feedback(5, "what is held out?", correct_outputs={"answer": "leak"}),
            feedback(6, "other field?", correct_outputs={"nosuch": "x"}),
            feedback(8, "nothing?", correct_outputs={"answer": None}),
            Feedback("f7", "r", 7.0, inputs={"nosuch": "q"}, correct_outputs={"answer": "x"}),
        ],
        drifting.Archive(),
        heldout,
    )
    assert [(item.question, item.answer) for item in found] == [("corrected?", "right"), ("praised?", "yes")]
    assert list(found[0].inputs().keys()) == ["question"]


def test_one_alarm_is_claimed_once_and_a_month_twice(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        granted = list(pool.map(lambda _: claim(tmp_path, "d" * 64, "2026-11-20", 0.0).granted, range(24)))
    assert granted.count(True) == 1
    assert claim(tmp_path, "e" * 64, "2026-11-21", 86_400.0).granted
    refused = claim(tmp_path, "f" * 64, "2026-11-22", 2 * 86_400.0)
    assert not refused.granted
    assert "a person must look" in refused.reason
    assert claim(tmp_path, "f" * 64, "2026-12-25", 33 * 86_400.0).granted
    give_back(tmp_path, "f" * 64, "2026-12-25")
    assert claim(tmp_path, "f" * 64, "2026-12-25", 33 * 86_400.0).granted


def test_a_claim_whose_process_died_is_taken_over_after_a_day(tmp_path: Path) -> None:
    day = 86_400.0
    assert claim(tmp_path, "d" * 64, "2026-11-20", 0.0).granted
    assert not claim(tmp_path, "d" * 64, "2026-11-20", 0.9 * day).granted
    with ThreadPoolExecutor(8) as pool:
        granted = list(pool.map(lambda _: claim(tmp_path, "d" * 64, "2026-11-20", 1.1 * day).granted, range(24)))
    assert granted.count(True) == 1
    again = claim(tmp_path, "d" * 64, "2026-11-20", 2.2 * day)
    assert not again.granted, "a recompilation that always dies would run every day"
    assert "2 recompilations in 30 days" in again.reason
    publish(tmp_path / "gates" / f"{'d' * 16}-2026-11-20.json", {"verdict": "FAIL"})
    assert not claim(tmp_path, "d" * 64, "2026-11-20", 5 * day).granted


def test_a_recompilation_that_shows_life_keeps_its_claim_however_long_it_takes(tmp_path: Path) -> None:
    digest, window, hour = "d" * 64, "2026-11-20", 3600.0
    beats, heard = itertools.count(), threading.Semaphore(0)

    def wall() -> float:
        """Of the beats: ten hours apart."""
        heard.release()
        return next(beats) * 10 * hour

    assert claim(tmp_path, digest, window, -1.0).granted
    with beating(tmp_path, digest, window, wall=wall, every_seconds=0):
        for _ in range(5):
            assert heard.acquire(timeout=60)  # four are written when the fifth begins
        assert not claim(tmp_path, digest, window, 30.9 * hour).granted
    last = load(next((tmp_path / "claims").glob("*.beat")))["time"]
    assert not claim(tmp_path, digest, window, last + 0.9 * hour).granted
    assert claim(tmp_path, digest, window, last + 1.1 * hour + 10 * hour).granted, "it is silent"
    assert not claim(tmp_path, digest, window, last + 20 * hour).granted, "the new one has a day to begin"


@pytest.mark.parametrize(
    ("verdict", "stands"),
    [("DEGRADED", True), ("INCONCLUSIVE", True), ("HEALTHY", False), ("JUDGE_MOVED", False), ("BASELINING", False)],
)
def test_an_alarm_stands_until_something_else_is_known(tmp_path: Path, verdict: str, stands: bool) -> None:
    digest = "d" * 64
    assert newest_trigger(tmp_path, digest) is None
    publish(tmp_path / "triggers" / f"{'d' * 16}-2026-11-20.json", {"window": "2026-11-20"})
    publish(tmp_path / "latest.json", {"verdict": verdict, "digest": digest})
    assert (newest_trigger(tmp_path, digest) is not None) == stands
    publish(tmp_path / "triggers" / f"{'e' * 16}-2026-11-20.json", {"window": "2026-11-20"})
    assert newest_trigger(tmp_path, "e" * 64) is not None


def test_what_is_published_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "a" / "value.json"
    assert publish(path, {"n": 1})
    assert not publish(path, {"n": 2})
    assert load(path) == {"n": 1}
    assert load(tmp_path / "none.json") is None
    assert [found.name for found in path.parent.iterdir()] == ["value.json"]


def test_the_guard_tells_noise_from_a_judge_that_moved() -> None:
    first, human = [1.0] * 30 + [0.0] * 20, [1] * 30 + [0] * 20
    assert not guard(first, first, human).moved
    assert not guard(first, [0.0] * 3 + first[3:], human).moved
    moved = guard(first, [0.0] * 8 + first[8:], human)
    assert moved.moved
    assert (moved.flips, moved.first_agreement, moved.agreement) == (8, 1.0, 0.84)
    assert not guard(first, [None] * 50, human).moved
    assert "8 of 50 anchors" in moved.words


def test_anchors_need_a_human_verdict(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_text(
        '{"question": "q1", "answer": "a", "judged": {"answer": "b"}, "context": ["c"], "human": 0}\n'
        '{"question": "q2", "answer": "a"}\n'
    )
    anchors = anchors_for(drifting.Archive(), path)
    [record] = judged_records(anchors)
    assert (record.inputs, record.outputs, record.context) == ({"question": "q1"}, {"answer": "b"}, ["c"])
    assert humans(anchors) == [0]
    path.write_text('{"question": "q1", "answer": "a", "judged": {"answer": "b"}}\n')
    with pytest.raises(DatasetInvalid, match="no 'human'"):
        anchors_for(drifting.Archive(), path)


@pytest.mark.parametrize("context", ['"one passage"', '[["nested"]]', "3"])
def test_the_passages_of_an_anchor_are_a_list_of_texts(tmp_path: Path, context: str) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_text(
        f'{{"question": "q", "answer": "a", "judged": {{"answer": "b"}}, "context": {context}, "human": 0}}'
    )
    with pytest.raises(DatasetInvalid, match="example 1 has a 'context' that is no list of texts"):
        anchors_for(drifting.Archive(), path)


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    path = tmp_path / "2026-11-20.json"
    assert load(path) is None
    path.write_text('{"n": 1')
    with pytest.raises(DataCorrupt, match=r"2026-11-20\.json: is damaged"):
        load(path)


@pytest.mark.parametrize(
    ("fell", "collections", "attempts", "void", "cause"),
    [
        (True, ["c-1", "c-1"], 1.0, "", Cause.MODEL),
        (True, ["c-1", "c-2"], 1.0, "", Cause.RETRIEVAL),
        (False, ["c-1", "c-1"], 1.0, "", Cause.TRAFFIC),
        (None, ["c-1", "c-2"], 1.0, "", Cause.RETRIEVAL),
        (None, ["c-1"], 1.0, "", Cause.UNKNOWN),
        (True, ["c-1"], 2.0, "the run is void", Cause.CAPACITY),
    ],
)
def test_diagnoses(fell: bool | None, collections: list[str], attempts: float, void: str, cause: Cause) -> None:
    now = [0.0] * 20 + [1.0] * 20 if fell else [1.0] * 40
    anchors = None if fell is None else compare_scores([1.0] * 40, now)
    assert diagnose(anchors=anchors, collections=collections, attempts_per_call=attempts, void=void).cause is cause


def test_a_provider_that_is_short_is_mentioned() -> None:
    found = diagnose(anchors=None, collections=[], attempts_per_call=2.5)
    assert "2.5 attempts per LM call" in found.words


def test_windows_are_days_or_weeks_that_have_ended() -> None:
    noon = datetime(2026, 11, 19, 12, tzinfo=UTC).timestamp()
    assert start_of(noon, DAILY) == date(2026, 11, 19)
    assert start_of(noon, WEEKLY) == date(2026, 11, 16)
    begin, end = span(date(2026, 11, 16), WEEKLY)
    assert end - begin == 7 * 86_400
    first = date(2026, 11, 16)
    assert due(first, [], DAILY, noon) == [date(2026, 11, day) for day in (16, 17, 18)]
    assert due(first, ["2026-11-17"], DAILY, noon) == [date(2026, 11, 16), date(2026, 11, 18)]
    assert due(first, [], WEEKLY, end) == []
    assert due(first, [], WEEKLY, end + 600) == [first]


def test_the_sample_of_a_window_is_the_same_in_every_run() -> None:
    records = [Record(f"r{n}", float(n)) for n in range(200)]
    chosen = sample(records, 50, "salt")
    assert chosen == sample(reversed(records), 50, "salt")
    assert {r.request_id for r in sample(records, 20, "salt")} < {r.request_id for r in chosen}
    assert sample(records, 50, "other") != chosen


def test_a_budget_is_measured_at_the_governor() -> None:
    budget = Budget(calls=3, cost_usd=1.0)
    metrics.LM_CALLS.labels("m", "evaluation", "ok").inc(3)
    budget.check()
    metrics.LM_CALLS.labels("m", "evaluation", "failed").inc()
    with pytest.raises(Stopped):
        budget.check()
    assert "3 LM calls" in budget.error().message
    costly = Budget(cost_usd=0.5)
    metrics.LM_COST.labels("m").inc(0.6)
    with pytest.raises(Stopped):
        costly.check()
    assert "$0.50" in costly.error().message
    Budget().check()


def test_a_page_escapes_what_users_wrote_and_loads_nothing() -> None:
    point = {
        "window": "2026-11-20",
        "verdict": "HEALTHY",
        "reason": "<b>fine</b>",
        "act": False,
        "n": 100,
        "recorded": 120,
        "cusum": 0.5,
        "mean": 0.9,
        "low": 0.84,
        "high": 0.95,
    }
    report = {
        "verdict": "HEALTHY",
        "reason": "ok",
        "artifact": "rag",
        "time": "2026-11-21T02:00:00+00:00",
        "digest": "d" * 64,
        "judge": {"metric": "groundedness", "model": "m", "temperature": 0.0, "digest": "j" * 64},
        "preset": {"name": "daily", "promise": "p"},
        "baseline": {"mean": 0.9, "n": 1000, "windows": 14, "error": 0.01, "day_sd": 0.02},
        "series": [point, {**point, "window": "2026-11-21", "n": 0, "mean": None, "low": None, "high": None}],
        "threshold": 6.0,
        "diagnosis": None,
        "guard": None,
        "anchors": None,
        "shadow": None,
        "recompile": {"wanted": False},
        "examples": [
            {
                "request_id": "r1",
                "routing": "x",
                "score": 0.0,
                "inputs": {"question": "<script>alert(1)</script>"},
                "outputs": {"answer": ["<img src=x>"]},
            }
        ],
    }
    text = page(report)
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text
    assert "<b>fine" not in text
    assert text.count("<svg") == 2
    assert "src=" not in text.replace("&lt;img src=x&gt;", "")


def test_a_window_names_the_collection_of_its_newest_answer() -> None:
    ids = {"b": 1.0, "a": 2.0}  # judged in the order of their ids, as they are stored
    judged = [Record(name, ids[name], variant="stable", collection_version=f"docs-{name}") for name in sorted(ids)]
    item = Item(Outcome.SCORED, 1.0, "", 0.1, 0, 0, None, 1)
    found = result_of("2026-11-20", judged, judged, Evaluation("m", [item, item]), frozen=False)
    assert (found.n, found.collection) == (2, "docs-a")


def test_a_chart_of_nothing_says_so() -> None:
    assert "Nothing was measured" in chart(Line([], "#000"), [], {})
    assert "<svg" in chart(Line([0.5], "#000"), ["a"], {})
