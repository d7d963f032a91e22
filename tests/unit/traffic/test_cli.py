# SPDX-License-Identifier: Apache-2.0
"""`slipway traffic`: what is recorded can be shown, and taken elsewhere in a form that pre-warming reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from slipway_server.cli.traffic import command
from slipway_server.errors import ConfigInvalid
from slipway_server.runtime.prewarm import load_questions
from slipway_server.runtime.types import Feedback, Receipt
from slipway_server.traffic import FeedbackStore, Recorder, Redactor, TrafficConfig

NOON = 1_795_262_400.0
"""2026-11-21T12:00Z."""


def output(*words: str) -> str:
    done = CliRunner().invoke(command, list(words), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


@pytest.fixture
def folder(tmp_path: Path, config: Callable[..., TrafficConfig], receipt: Callable[..., Receipt]) -> str:
    """Four answers of two days, one of them a shadow's, and a piece of feedback."""
    clock = [NOON]
    recorder = Recorder(config(rotate_seconds=1e9), wall=lambda: clock[0])
    for number, question in enumerate(("rare?", "often?", "often?")):
        recorder({"question": question}, {"answer": "1868"}, receipt(f"r{number}"), "ann")
    clock[0] += 86_400
    recorder({"question": "shadowed?"}, {"answer": "x"}, receipt("r3", variant="shadow"))
    asyncio.run(recorder.aclose())
    given = Feedback(feedback_id="f1", request_id="r1", rating="bad", inputs={"question": "often?"})
    asyncio.run(FeedbackStore(tmp_path, Redactor(["*"], [])).submit(given))
    return str(tmp_path)


def test_inputs_are_exported_once_each_for_pre_warming(folder: str, tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(output("export", "--inputs", "--dir", folder))
    assert load_questions(path, ["question"], limit=10) == [{"question": "often?"}, {"question": "rare?"}]


def test_a_text_with_line_separators_stays_one_line(
    tmp_path: Path, config: Callable[..., TrafficConfig], receipt: Callable[..., Receipt]
) -> None:
    question = "one\u2028two\u2029three\x85four\nfive ü"
    recorder = Recorder(config())
    recorder({"question": question}, {"answer": "!"}, receipt("r0"))
    asyncio.run(recorder.aclose())
    path = tmp_path / "questions.jsonl"
    path.write_text(output("export", "--inputs", "--dir", str(tmp_path)), encoding="utf-8")
    assert load_questions(path, ["question"], limit=10) == [{"question": question}]
    assert "ü" in path.read_text(encoding="utf-8")


def test_answers_and_feedback_are_exported_whole(folder: str) -> None:
    rows = [orjson.loads(line) for line in output("export", "--dir", folder, "--since", "2026-11-22").splitlines()]
    assert [(row["request_id"], row["variant"], row["outputs"]) for row in rows] == [("r3", "shadow", {"answer": "x"})]
    [feedback] = [orjson.loads(line) for line in output("export", "--feedback", "--dir", folder).splitlines()]
    assert (feedback["feedback_id"], feedback["rating"]) == ("f1", "bad")


def test_show_counts_by_day_and_variant(folder: str) -> None:
    shown = orjson.loads(output("show", "--dir", folder, "--json"))
    assert [(row["day"], row["variant"], row["answers"]) for row in shown["days"]] == [
        ("2026-11-21", "stable", 3),
        ("2026-11-22", "shadow", 1),
    ]
    assert shown["feedback"] == {"good": 0, "bad": 1, "unrated": 0}
    assert "feedback: 0 good, 1 bad" in output("show", "--dir", folder)


def test_forget_says_what_it_removed(folder: str) -> None:
    said = output("forget", "--routing-key", "ann", "--dir", folder)
    assert "removed 3 answers from 1 segments" in said
    assert "not searched: the answer cache" in said


def test_a_moment_that_is_none_is_refused(folder: str) -> None:
    for text in ("yesterday", "9999-12-31T23:00-05:00"):
        with pytest.raises(ConfigInvalid, match="write 2026-11-20"):
            output("show", "--dir", folder, "--until", text)


def test_a_moment_may_say_how_far_it_is_from_utc(folder: str) -> None:
    def answers(since: str) -> int:
        return len(output("export", "--dir", folder, "--since", since).splitlines())

    assert answers("2026-11-21T12:00") == answers("2026-11-21T14:00+02:00") == 4
    assert answers("2026-11-21T12:01") == answers("2026-11-21T14:01+02:00") == 1


def test_between_two_moments_only_their_days_are_read(folder: str) -> None:
    days = ("--since", "2026-11-22", "--until", "9999-12-31")
    assert len(output("export", "--dir", folder, *days).splitlines()) == 1
    assert output("export", "--dir", folder, "--since", "0001-01-01", "--until", "2026-11-21") == ""


def test_the_95th_percentile_of_two_answers_is_the_slower(
    tmp_path: Path, config: Callable[..., TrafficConfig], receipt: Callable[..., Receipt]
) -> None:
    recorder = Recorder(config(), wall=lambda: NOON)
    for number, seconds in enumerate((0.1, 9.0)):
        recorder({"question": "?"}, {"answer": "!"}, receipt(f"r{number}", elapsed_seconds=seconds))
    asyncio.run(recorder.aclose())
    [day] = orjson.loads(output("show", "--dir", str(tmp_path), "--json"))["days"]
    assert day["p95_seconds"] == 9.0


def test_forget_says_what_it_could_not_search(folder: str) -> None:
    [closed] = Path(folder).glob("requests/2026-11-21/*.jsonl")
    closed.with_name("unreadable.jsonl").mkdir()
    feedback = next(Path(folder).glob("feedback/*/*.json"))
    feedback.write_text("{")
    done = CliRunner().invoke(command, ["forget", "--routing-key", "ann", "--dir", folder])
    assert done.exit_code == 1
    assert "removed 3 answers" in done.stdout
    assert "files that could not be read, and may hold more: 2" in done.stdout


def test_feedback_is_taken_between_the_same_moments(folder: str) -> None:
    later = ("--since", "9999-01-01", "--dir", folder)
    assert output("export", "--feedback", *later) == ""
    assert orjson.loads(output("show", "--json", *later))["feedback"] == {"good": 0, "bad": 0, "unrated": 0}
