# SPDX-License-Identifier: Apache-2.0
"""The whole loop, with a provider over HTTP: what became worse is found and recompiled; what is only away is not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import drifting
import orjson
import pytest

from slipway_server.artifacts import load
from slipway_server.errors import ConfigInvalid, DatasetInvalid, ProviderAuth
from slipway_server.evaluation import metric_named
from slipway_server.improve.anchors import anchors_for
from slipway_server.improve.decide import DAILY
from slipway_server.improve.judging import open_judge
from slipway_server.improve.places import Places, loop_folder
from slipway_server.improve.reevaluate import Setup
from slipway_server.improve.round import run_round
from slipway_server.runtime.session import open_session

Slipway = Callable[..., tuple[int, Any]]

SMALL = replace(DAILY, judged=30, confirm_judged=30, baseline_judged=40, minimum=20, baseline=100, baseline_windows=3)


def round_of(world: Any) -> dict[str, Any]:
    """One round with a preset that needs fewer answers, and a judge that asks the provider."""
    settings = world.settings
    loaded = load(world.store.current(), drifting.Archive)
    with open_session(settings) as session, open_judge(session) as judge:
        now = datetime.fromisoformat(world.now).replace(tzinfo=UTC).timestamp()
        places = Places(loop_folder(settings), loaded.digest, judge.pin.digest)
        anchors = anchors_for(loaded.program, world.bundle.anchors)
        setup = Setup(
            settings.traffic_dir,
            places,
            SMALL,
            judge,
            loaded.program,
            now,
            anchors,
            metric=metric_named("drifting:judged"),
        )
        return run_round(session, setup, loaded.name)


def test_two_at_once_recompile_once(world: Any) -> None:
    world.serve(15, 75)
    world.change_corpus(changed=True)
    world.serve(4, 75)
    world.correct(40)
    bundle = str(world.bundle.folder)
    words = ["reevaluate", "--bundle", bundle, "--until", world.now, "--on-degraded", "run", "--json"]
    both = [world.launch(*words) for _ in range(2)]
    reports = []
    for process in both:
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0, error.decode()
        reports.append(orjson.loads(out))
    assert [report["verdict"] for report in reports] == ["DEGRADED"] * 2
    assert sorted(report["recompile"]["granted"] for report in reports) == [False, True]
    assert len(world.store.list()) == 2
    assert [point["mean"] for point in reports[0]["series"]] == [point["mean"] for point in reports[1]["series"]]


def test_a_shadow_is_judged_on_the_same_items_and_a_canary_freezes(world: Any) -> None:
    world.serving = {"shadow_artifact": world.store.folder, "shadow_weight_bps": 10_000}
    world.serve(1, 12)
    report = round_of(world)
    shadow = report["shadow"]
    assert shadow["n"] == report["series"][0]["recorded"] == 12
    assert (shadow["difference"], shadow["digest"]) == (0.0, world.store.list()[0].manifest.digest)
    world.serving = {"candidate_artifact": world.store.folder, "candidate_weight_bps": 5000}
    world.serve(1, 60)
    frozen = round_of(world)["series"][-1]
    assert (frozen["verdict"], frozen["n"]) == ("INCONCLUSIVE", 0)
    assert "canary" in frozen["reason"]


def test_a_judge_that_moved_blocks_everything(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.serve(4, 40)
    assert round_of(world)["verdict"] == "HEALTHY"
    world.change_corpus(changed=True)
    world.serve(6, 40)
    monkeypatch.setattr(drifting, "YEARS", {place: year + 1 for place, year in drifting.YEARS.items()})
    report = round_of(world)
    assert (report["verdict"], report["judged_now"], len(report["series"])) == ("JUDGE_MOVED", 0, 4)
    assert "changed its mind on 20 of 20" in report["reason"]
    assert not report["recompile"]["wanted"]


def test_an_interrupted_run_goes_on_and_asks_nothing_twice(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.overrides = {"judge_metric": "drifting:judged_by_lm"}
    world.serve(1, 40)
    round_of(world)
    world.serve(1, 40)
    judged, numbers = drifting.judged, itertools.count(1)

    def dying(example: Any, prediction: Any, trace: Any = None) -> float:
        if next(numbers) == 50:  # the anchors come first, 20 of them
            raise ProviderAuth("the key has expired")
        return judged(example, prediction)

    monkeypatch.setattr(drifting, "judged", dying)
    with pytest.raises(ProviderAuth):
        round_of(world)
    before = world.provider.ledger.count(status=200)
    report = round_of(world)
    assert len(report["series"]) == 2
    assert world.provider.ledger.count(status=200) - before < 20 + 40 - 20


def test_a_forgotten_user_leaves_the_reports(world: Any, slipway: Slipway, monkeypatch: pytest.MonkeyPatch) -> None:
    world.serve(1, 45)
    _, report = slipway("reevaluate", "--until", world.now)
    path = Path(report["path"])
    assert len(report["examples"]) == 10
    users = {example["routing"] for example in report["examples"]}
    code, done = slipway("traffic", "forget", "--routing-key", "u3")
    assert (code, done["records"], done["pending"]) == (0, 5, 0)
    left = orjson.loads(path.read_bytes())["examples"]
    assert len(left) == 10 - done["report_examples"]
    assert done["report_examples"] > 0
    assert {example["routing"] for example in left} < users
    questions = [drifting.question(place) for place in drifting.PLACES]
    assert sum(question in path.with_suffix(".html").read_text() for question in questions) == len(left)
    _, shown = slipway("traffic", "show")
    assert sum(row["answers"] for row in shown["days"]) == 40


def test_reports_are_for_the_loops_own_user(world: Any, slipway: Slipway) -> None:
    world.serve(1, 45)
    report = Path(slipway("reevaluate", "--until", world.now)[1]["path"])
    assert report.parent.stat().st_mode & 0o777 == 0o700


def test_reports_quote_nobody_longer_than_traffic_is_kept(world: Any, slipway: Slipway) -> None:
    world.serve(1, 40)
    old = Path(slipway("reevaluate", "--until", world.now)[1]["path"])
    world.day += 31
    world.serve(1, 40)
    new = Path(slipway("reevaluate", "--until", world.now)[1]["path"])
    assert [len(orjson.loads(path.read_bytes())["examples"]) for path in (old, new)] == [0, 10]
    assert drifting.PLACES[70] not in old.with_suffix(".html").read_text()
    assert orjson.loads(old.read_bytes())["series"][0]["n"] == 40


def test_a_recompilation_without_need_fails_the_gate_and_a_spent_budget_ends_it(world: Any, slipway: Slipway) -> None:
    bundle = ("--bundle", str(world.bundle.folder))
    code, message = slipway("recompile", *bundle, "--force", "--max-calls", "5")
    assert code == 2
    assert "the budget of 5 LM calls is spent" in message
    code, result = slipway("recompile", *bundle, "--force")
    assert (code, result["verdict"]) == (1, "FAIL")
    assert result["comparison"]["n"] == 50
    assert len(world.store.list()) == 1
    assert Path(result["file"]).parent == loop_folder(world.settings) / "rejected"
    (world.folder / "bundle" / "heldout.jsonl").write_bytes(b"")
    code, message = slipway("recompile", *bundle, "--force")
    assert code == 2
    assert "is not the file that was packed" in message


def test_groundedness_needs_no_labels_but_the_passages(world: Any) -> None:
    world.overrides = {"judge_metric": "groundedness", "traffic_fields": "question,answer"}
    world.serve(1, 30)
    with pytest.raises(DatasetInvalid, match="lacks what the judge needs: inputs, outputs, context"):
        round_of(world)
    world.anchors_without_judged_answers()
    with pytest.raises(ConfigInvalid, match="SLIPWAY_TRAFFIC_FIELDS"):
        round_of(world)
    world.overrides = {"judge_metric": "groundedness"}
    world.folder.joinpath("traffic").rename(world.folder / "without-context")
    world.day = 0
    world.serve(1, 30)
    report = round_of(world)
    [point] = report["series"]
    assert (point["n"], point["infrastructure_errors"]) == (30, 0)
    assert 0 <= point["mean"] <= 1
    assert report["judge"]["metric"] == "groundedness"
    assert world.provider.ledger.count(status=200) >= 60


def test_other_anchors_need_a_new_baseline(world: Any, slipway: Slipway) -> None:
    bundle = ("--bundle", str(world.bundle.folder))
    world.serve(2, 45)
    assert slipway("reevaluate", *bundle, "--until", world.now)[1]["judged_now"] == 90
    world.anchors_without_judged_answers()
    code, message = slipway("reevaluate", *bundle, "--until", world.now)
    assert code == 2
    assert "the anchors are not those of the baseline" in message
    code, report = slipway("reevaluate", *bundle, "--until", world.now, "--new-baseline")
    assert (code, report["verdict"], report["judged_now"]) == (0, "BASELINING", 90)
    assert report["guard"] is None


def test_scores_name_their_judge_and_another_preset_needs_a_new_baseline(world: Any, slipway: Slipway) -> None:
    world.serve(2, 45)
    _, report = slipway("reevaluate", "--until", world.now)
    [pinned] = loop_folder(world.settings).glob("artifacts/*/judge.json")
    judge = orjson.loads(pinned.read_bytes())["judge"]
    assert judge == {key: value for key, value in report["judge"].items() if key != "digest"}
    assert judge["metric"] == "drifting:judged"
    code, message = slipway("reevaluate", "--until", world.now, "--preset", "weekly")
    assert code == 2
    assert "judged with the preset daily" in message
    code, report = slipway("reevaluate", "--until", world.now, "--preset", "weekly", "--new-baseline")
    assert (code, report["preset"]["name"]) == (0, "weekly")


def test_reevaluation_says_what_it_lacks(world: Any, slipway: Slipway) -> None:
    code, report = slipway("reevaluate", "--until", world.now)
    assert (code, report["verdict"]) == (0, "INCONCLUSIVE")
    assert "no window of recorded answers" in report["reason"]
    for words, hint in (
        (("--on-degraded", "run"), "needs --bundle"),
        (("--on-degraded", "job"), "SLIPWAY_LOOP_JOB_TEMPLATE"),
        (("--on-degraded", "nosuch"), "there are print, run, job"),
        (("--judge", "exact-match"), "is no judge of live answers"),
        (("--bundle", "nosuch"), "is no data bundle"),
        (("--until", "soon"), "write 2026-11-20"),
        (("--until", "9999-01-01"), "has not come yet"),
    ):
        code, message = slipway("reevaluate", *words)
        assert code == 2, words
        assert hint in message, message
        assert message.strip().count("\n") == 0


def test_a_day_is_not_judged_while_some_of_its_answers_cannot_be_read(world: Any, slipway: Slipway) -> None:
    world.serve(1, 45)
    [day] = (world.settings.traffic_dir / "requests").iterdir()
    unreadable = day / "pod-1-000001.jsonl"
    unreadable.mkdir()
    code, message = slipway("reevaluate", "--until", world.now)
    assert (code, "some recorded answers of 2025-10-01 cannot be read (files: 1)" in message) == (2, True)
    unreadable.rmdir()
    assert slipway("reevaluate", "--until", world.now)[1]["judged_now"] == 45
