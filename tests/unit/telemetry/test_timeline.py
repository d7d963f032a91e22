# SPDX-License-Identifier: Apache-2.0
"""A request's story out of log lines, whatever else stands between them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slipway_server.telemetry.timeline import events_of, timelines

START = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def line(after: float, event: str, request_id: str = "r-1", source: str = "", **fields: Any) -> str:
    at = (START + timedelta(seconds=after)).isoformat(timespec="milliseconds")
    row = {"ts": at, "level": "info", "logger": "l", "event": event, **fields, "request_id": request_id}
    return source + orjson.dumps(row).decode() + "\n"


def access(after: float, **fields: Any) -> str:
    return line(after, "rpc", **{"method": "Predict", "code": "OK", "elapsed_seconds": 2.0, **fields})


def test_a_line_of_another_program_without_a_time_zone_is_utc() -> None:
    foreign = '{"ts": "2026-03-04T05:06:08", "event": "proxied", "request_id": "r-1"}\n'
    [found] = timelines(events_of([access(2.0), foreign, line(0.5, "cache")], "r-1"), "r-1")
    assert [step.what for step in found.steps] == ["cache", "proxied", "rpc"]


def test_steps_are_in_order_whatever_the_order_of_the_files() -> None:
    lines = [
        access(
            2.0,
            variant="stable",
            artifact="rag-1",
            cache={"miss": 1},
            lm_calls=1,
            attempts=2,
            waits_seconds={"retry": 0.5, "queue": 0.1},
            spent_seconds={"lm": 1.2, "retrieval": 0.02},
        ),
        "not JSON, although it names r-1\n",
        line(0.8, "lm attempt", outcome="rate_limited", seconds=0.3, **{"class": "interactive"}),
        line(1.0, "rpc", "r-2", method="Predict", code="OK", elapsed_seconds=1.0),
        line(0.81, "lm pause", seconds=0.5),
        line(0.1, "cache", kind="lm", tier="miss"),
        line(0.2, "lm wait", queue=0.1),
    ]
    [found] = timelines(events_of(lines, "r-1"), "r-1")
    assert [step.what for step in found.steps] == ["cache", "lm wait", "lm attempt", "lm pause", "rpc"]
    assert [step.offset_seconds for step in found.steps] == pytest.approx([0.1, 0.2, 0.8, 0.81, 2.0])
    assert [step.words for step in found.steps[:4]] == [
        "lm: miss",
        "waited for others first 100 ms",
        "rate_limited after 300 ms",
        "500 ms before the next attempt",
    ]
    assert found.steps[4].words == (
        "Predict: OK after 2.00 s; variant stable (rag-1); cache miss 1; 1 LM call, 2 attempts"
    )
    assert list(found.shares) == [
        "the LM",
        "waiting: pauses between attempts",
        "program and server",
        "waiting: others first",
        "retrieval",
    ]
    assert sum(found.shares.values()) == pytest.approx(2.0)


def test_a_request_that_came_again_has_two_stories_and_the_pods_names() -> None:
    lines = [
        access(2.0, source="[pod/a] ", code="UNAVAILABLE", reason="PROVIDER_UNAVAILABLE", detail="away"),
        line(3.0, "cache", source="[pod/b] ", kind="lm", tier="disk"),
        access(3.1, source="[pod/b] ", elapsed_seconds=0.2),
        line(3.4, "shadow failed", reason="X"),
    ]
    first, second = timelines(events_of(lines, "r-1"), "r-1")
    assert (first.code, second.code) == ("UNAVAILABLE", "OK")
    assert "PROVIDER_UNAVAILABLE: away" in first.steps[0].words
    assert {step.source for step in first.steps} == {"[pod/a]"}
    assert [step.what for step in second.steps] == ["cache", "rpc", "shadow failed"]


def test_without_its_end() -> None:
    [found] = timelines(events_of([line(0.0, "lm refused", reason="queue_cap", **{"class": "batch"})], "r-1"), "r-1")
    assert (found.seconds, found.code, found.shares) == (None, "", {})
    assert found.steps[0].words == "without an attempt: queue_cap (batch)"


def test_calls_in_parallel_do_not_make_the_rest_negative() -> None:
    [found] = timelines(events_of([access(2.0, spent_seconds={"lm": 5.0})], "r-1"), "r-1")
    assert found.shares == {"the LM": 5.0, "program and server": 0.0}


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["ts", "level", "event", "elapsed_seconds", "waits_seconds", "cache", "code", "seconds"])
events = st.sampled_from(["rpc", "lm wait", "lm attempt", "lm pause", "cache", "retrieval", "parse retry", "other"])


@example([("rpc", {"elapsed_seconds": 1e300})], "")
@example([("rpc", {"elapsed_seconds": 1e12})], "")
@given(st.lists(st.tuples(events, st.dictionaries(names, json_values, max_size=4)), max_size=4), st.text(max_size=20))
def test_no_line_makes_it_crash(rows: list[tuple[str, dict[str, Any]]], noise: str) -> None:
    base = {"ts": START.isoformat(), "request_id": "r-1"}
    lines = [orjson.dumps({**base, "event": event, **fields}).decode() for event, fields in rows]
    found = events_of([*lines, noise + "r-1", f"r-1 {{{noise}"], "r-1")
    if found:
        timelines(found, "r-1")
