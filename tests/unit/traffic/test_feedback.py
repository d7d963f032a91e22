# SPDX-License-Identifier: Apache-2.0
"""Feedback: durable before the caller hears of it, once per id through any number of servers."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from slipway_server.errors import ConfigInvalid, FeedbackUnavailable, RequestInvalid
from slipway_server.runtime.types import Feedback
from slipway_server.traffic import FeedbackStore, Redactor, forget, pseudonym, read_feedback
from slipway_server.traffic.feedback import feedback_path
from slipway_server.traffic.redact import patterns
from slipway_server.traffic.retention import drop_old_feedback

GIVEN = Feedback(
    feedback_id="f1",
    request_id="r1",
    rating="bad",
    comment="mail me: a@b.org",
    correct_outputs={"answer": "1899"},
    inputs={"question": "when?"},
    outputs={"answer": "1868"},
    artifact_digest="d" * 64,
    routing_key="ann",
)


def store(folder: Path) -> FeedbackStore:
    return FeedbackStore(folder, Redactor(["*"], [patterns]), wall=lambda: 5.0)


def submit(folder: Path, feedback: Feedback) -> bool:
    return asyncio.run(store(folder).submit(feedback))


def test_it_is_stored_whole_and_redacted(tmp_path: Path) -> None:
    assert submit(tmp_path, GIVEN) is False
    [found] = read_feedback(tmp_path)
    assert (found.feedback_id, found.rating, found.comment) == ("f1", "bad", "mail me: <email>")
    assert (found.correct_outputs, found.inputs) == ({"answer": "1899"}, {"question": "when?"})
    assert (found.routing, found.time, found.digest) == (pseudonym("ann"), 5.0, "d" * 64)


def test_the_same_id_through_many_servers_is_stored_once(tmp_path: Path) -> None:
    stores = [store(tmp_path) for _ in range(8)]

    async def submit_all() -> list[bool]:
        return await asyncio.gather(*(one.submit(GIVEN) for one in stores for _ in range(3)))

    answers = asyncio.run(submit_all())
    assert answers.count(False) == 1
    assert len(read_feedback(tmp_path)) == 1
    assert not list(tmp_path.glob("feedback/*/.*"))


def test_ids_are_needed(tmp_path: Path) -> None:
    for name in ("feedback_id", "request_id"):
        with pytest.raises(RequestInvalid):
            submit(tmp_path, replace(GIVEN, **{name: ""}))


def test_a_volume_that_fails_is_said_and_may_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "feedback").write_text("no folder")
    with pytest.raises(FeedbackUnavailable) as refused:
        submit(tmp_path, GIVEN)
    assert refused.value.retryable
    (tmp_path / "feedback").unlink()
    assert submit(tmp_path, GIVEN) is False


def test_retention_deletes_what_is_old_within_a_day(tmp_path: Path) -> None:
    day, ids = 86_400.0, [f"f{n}" for n in range(40)]
    for feedback_id in ids:
        submit(tmp_path, replace(GIVEN, feedback_id=feedback_id))
    for feedback_id in ids[:20]:
        os.utime(feedback_path(tmp_path / "feedback", feedback_id), (0, 0))
    hours = [401 * day + 3600 * n for n in range(24)]
    assert sum(drop_old_feedback(tmp_path, now, 0) for now in hours) == 0, "0 keeps it for ever"
    assert sum(drop_old_feedback(tmp_path, now, 403 * day) for now in hours) == 0
    hourly = [drop_old_feedback(tmp_path, now, 400 * day) for now in hours]
    assert sum(hourly) == 20
    assert max(hourly) < 20, "a bit of it each hour"
    assert sorted(found.feedback_id for found in read_feedback(tmp_path)) == sorted(ids[20:])
    assert submit(tmp_path, replace(GIVEN, feedback_id=ids[20])) is True, "what is kept is still known"


def test_a_user_is_forgotten(tmp_path: Path) -> None:
    submit(tmp_path, GIVEN)
    submit(tmp_path, replace(GIVEN, feedback_id="f2", routing_key="bob"))
    assert forget(tmp_path, "ann", now=9.0).feedback == 1
    assert [found.feedback_id for found in read_feedback(tmp_path)] == ["f2"]


def test_forgetting_nobody_in_particular_is_refused(tmp_path: Path) -> None:
    submit(tmp_path, replace(GIVEN, routing_key=""))
    with pytest.raises(ConfigInvalid, match="the routing key is empty"):
        forget(tmp_path, "", now=9.0)
    assert len(read_feedback(tmp_path)) == 1, "feedback without a key is nobody's"


def test_forgetting_in_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no such folder"):
        forget(tmp_path / "mistyped", "ann", now=9.0)
    assert not (tmp_path / "mistyped").exists()


def test_what_a_killed_server_left_unfinished_is_removed(tmp_path: Path) -> None:
    submit(tmp_path, GIVEN)
    stored = feedback_path(tmp_path / "feedback", GIVEN.feedback_id)
    left = stored.with_name(f".{stored.name}.1f")
    left.write_text("a user's words")
    now = left.stat().st_mtime
    hours = [now + 3600 * n for n in range(1, 26)]
    for hour in hours:
        assert drop_old_feedback(tmp_path, hour, 0) == 0
    assert sorted(stored.parent.iterdir()) == [stored]
