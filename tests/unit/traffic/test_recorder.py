# SPDX-License-Identifier: Apache-2.0
"""Recording: sampled by hash, redacted, rotated, kept off the request's path, and never a reason to fail one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from slipway_server.runtime.types import Receipt
from slipway_server.telemetry import metrics
from slipway_server.traffic import Recorder, Redactor, TrafficConfig, forget, read_traffic, sampled
from slipway_server.traffic.feedback import feedback_path
from slipway_server.traffic.retention import HOURS, drop_old
from slipway_server.traffic.segments import SegmentWriter

NOON = 1_795_262_400.0
"""2026-11-21T12:00Z."""
QUESTION, ANSWER = {"question": "when?"}, {"answer": "1868, says a@b.org"}

MakeReceipt = Callable[..., Receipt]
MakeConfig = Callable[..., TrafficConfig]


def lost(outcome: str) -> float:
    return metrics.REGISTRY.get_sample_value("slipway_traffic_records_total", {"outcome": outcome}) or 0.0


def test_an_answer_comes_back_redacted_with_its_figures(config: MakeConfig, receipt: MakeReceipt) -> None:
    recorder = Recorder(config(), wall=lambda: NOON)
    recorder(QUESTION, ANSWER, receipt("r1"), "user-1")
    asyncio.run(recorder.aclose())
    [path] = config().folder.glob("requests/2026-11-21/*.jsonl")
    assert path.stat().st_mode & 0o777 == 0o600
    [record] = read_traffic(config().folder, NOON, NOON + 1).records
    assert (record.inputs, record.outputs) == (QUESTION, {"answer": "1868, says <email>"})
    assert (record.context, record.citations) == (["T | a passage"], ["p1"])
    assert (record.attempts, record.waited_seconds, record.time) == (2, 0.5, NOON)
    assert b"user-1" not in path.read_bytes()
    assert len(record.routing) == 32


def test_content_is_off_unless_fields_are_allowed(config: MakeConfig, receipt: MakeReceipt) -> None:
    recorder = Recorder(config(redactor=Redactor([], [])), wall=lambda: NOON)
    recorder(QUESTION, ANSWER, receipt("r1"))
    asyncio.run(recorder.aclose())
    [record] = read_traffic(config().folder).records
    assert (record.inputs, record.outputs, record.context) == ({}, {}, [])
    assert record.prompt_tokens == 10


def test_the_sample_is_by_hash(config: MakeConfig, receipt: MakeReceipt) -> None:
    ids = [f"r{n}" for n in range(400)]
    recorder = Recorder(config(sample=0.25))
    for request_id in ids:
        recorder(QUESTION, ANSWER, receipt(request_id))
    asyncio.run(recorder.aclose())
    found = {record.request_id for record in read_traffic(config().folder).records}
    assert found == {request_id for request_id in ids if sampled(request_id, 0.25)}
    assert 70 < len(found) < 130
    assert all(sampled(request_id, 1.0) and not sampled(request_id, 0.0) for request_id in ids)


def test_a_hook_that_raises_loses_the_record_not_the_redaction(config: MakeConfig, receipt: MakeReceipt) -> None:
    def hook(text: str) -> str:
        raise ValueError(text)

    before = lost("lost_redaction")
    recorder = Recorder(config(redactor=Redactor(["*"], [hook])))
    recorder(QUESTION, ANSWER, receipt("r1"))
    asyncio.run(recorder.aclose())
    assert not read_traffic(config().folder).records
    assert lost("lost_redaction") == before + 1


def test_segments_rotate_by_size_and_duplicates_are_read_once(config: MakeConfig, receipt: MakeReceipt) -> None:
    recorder = Recorder(config(rotate_bytes=1500), wall=lambda: NOON)
    for n in range(20):
        recorder(QUESTION, ANSWER, receipt(f"r{n}"))
        recorder(QUESTION, ANSWER, receipt(f"r{n}"))
    recorder(QUESTION, ANSWER, receipt("r1", variant="shadow"))
    asyncio.run(recorder.aclose())
    assert len(list(config().folder.glob("requests/*/*.jsonl"))) > 5
    assert not list(config().folder.glob("requests/*/*.open"))
    assert len(read_traffic(config().folder).records) == 21


def test_a_hanging_volume_costs_records_only(
    config: MakeConfig, receipt: MakeReceipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, released = threading.Event(), threading.Event()

    def append(self: SegmentWriter, lines: bytes, now: float) -> None:
        hangs.set()
        released.wait(60)

    monkeypatch.setattr(SegmentWriter, "append", append)
    before = lost("lost_queue_full")
    recorder = Recorder(config(queue_records=5))
    recorder(QUESTION, ANSWER, receipt("first"))
    assert hangs.wait(60)
    for n in range(50):
        recorder(QUESTION, ANSWER, receipt(f"r{n}"))
    assert lost("lost_queue_full") == before + 45
    released.set()
    asyncio.run(recorder.aclose())
    assert not recorder._thread.is_alive()


def test_a_full_volume_costs_records_until_it_is_writable(
    config: MakeConfig, receipt: MakeReceipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, full, seen = [100.0], [True], threading.Semaphore(0)
    write = os.write

    def failing(handle: int, data: bytes) -> int:
        if full[0]:
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr("slipway_server.traffic.segments.os.write", failing)
    inner = Recorder._write

    def noted(self: Recorder, record: object) -> None:
        try:
            inner(self, record)  # type: ignore[arg-type]
        finally:
            seen.release()

    monkeypatch.setattr(Recorder, "_write", noted)
    recorder = Recorder(config(), monotonic=lambda: clock[0])
    for n in range(3):
        recorder(QUESTION, ANSWER, receipt(f"lost{n}"))
        assert seen.acquire(timeout=60)
    full[0], clock[0] = False, 200.0
    recorder(QUESTION, ANSWER, receipt("kept"))
    asyncio.run(recorder.aclose())
    assert [record.request_id for record in read_traffic(config().folder).records] == ["kept"]


def test_retention_deletes_whole_segments(config: MakeConfig, receipt: MakeReceipt) -> None:
    recorder = Recorder(config(), wall=lambda: NOON)
    recorder(QUESTION, ANSWER, receipt("old"))
    asyncio.run(recorder.aclose())
    [path] = config().folder.glob("requests/*/*.jsonl")
    os.utime(path, (NOON, NOON))
    assert drop_old(config().folder, NOON - 1) == 0
    assert drop_old(config().folder, NOON + 1) == 1
    assert not list((config().folder / "requests").iterdir())


def test_a_server_drops_old_feedback(config: MakeConfig, tmp_path: Path) -> None:
    path = feedback_path(tmp_path / "feedback", "old")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    os.utime(path, (NOON, NOON))
    hour = int(path.parent.name, 16) % HOURS
    midnight = NOON - 43_200 + 2 * 86_400.0
    recorder = Recorder(
        config(feedback_retention_seconds=86_400.0, sync_seconds=0.01), wall=lambda: midnight + hour * 3600
    )
    while path.exists():
        os.sched_yield()
    asyncio.run(recorder.aclose())


def test_forgetting_removes_one_user_and_says_so(config: MakeConfig, receipt: MakeReceipt, tmp_path: Path) -> None:
    recorder = Recorder(config(), wall=lambda: NOON)
    for n in range(6):
        recorder(QUESTION, ANSWER, receipt(f"r{n}"), "ann" if n % 2 else "bob")
    asyncio.run(recorder.aclose())
    done = forget(tmp_path, "ann", now=NOON + 10)
    assert (done.records, done.segments, done.pending) == (3, 1, 0)
    assert [record.request_id for record in read_traffic(tmp_path).records] == ["r0", "r2", "r4"]
    again = forget(tmp_path, "ann", now=NOON + 20)
    assert (again.records, again.pending) == (0, 0)
    later = Recorder(config(), wall=lambda: NOON + 30)
    later(QUESTION, ANSWER, receipt("later"), "ann")
    asyncio.run(later.aclose())
    assert "later" in {record.request_id for record in read_traffic(tmp_path).records}


def test_a_segment_under_way_is_scrubbed_by_its_own_writer(config: MakeConfig, receipt: MakeReceipt) -> None:
    settings = config()
    recorder = Recorder(settings, wall=lambda: NOON)
    for key in ("ann", "bob"):
        recorder(QUESTION, ANSWER, receipt(f"r-{key}"), key)
    while len(read_traffic(settings.folder).records) < 2:
        os.sched_yield()
    [path] = settings.folder.glob("requests/*/*.open")
    os.utime(path, (NOON, NOON))
    assert forget(settings.folder, "ann", now=NOON + 1).pending == 1
    assert [record.request_id for record in read_traffic(settings.folder).records] == ["r-bob"]
    asyncio.run(recorder.aclose())
    [closed] = settings.folder.glob("requests/*/*.jsonl")
    assert b"r-ann" not in closed.read_bytes()
    assert b"r-bob" in closed.read_bytes()


def test_a_dead_pods_segment_is_read_without_its_torn_line(
    config: MakeConfig, receipt: MakeReceipt, tmp_path: Path
) -> None:
    writer = SegmentWriter(tmp_path / "requests", NOON)
    from slipway_server.traffic import Record
    from slipway_server.traffic.framing import frame

    record = Record.of(QUESTION, ANSWER, receipt("whole"), "ann", now=NOON)
    writer.append(frame(record.values()), NOON)
    writer.append(frame(replace(record, request_id="torn").values())[:-7], NOON)
    writer.abandon()
    traffic = read_traffic(tmp_path)
    assert [found.request_id for found in traffic.records] == ["whole"]
    assert traffic.damage.torn == 1
    [path] = tmp_path.glob("requests/*/*.open")
    os.utime(path, (NOON, NOON))
    assert forget(tmp_path, "ann", now=NOON + 5000).records == 1
    assert not list(tmp_path.glob("requests/*/*.open"))


def test_what_cannot_be_deleted_keeps_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    day = tmp_path / "requests" / "2026-11-20"
    (day / "a.jsonl").mkdir(parents=True)  # no file, so that unlink(2) refuses
    (day / "b.jsonl").touch()
    later = (day / "b.jsonl").stat().st_mtime + 10
    assert drop_old(tmp_path, later) == 1
    assert [path.name for path in day.iterdir()] == ["a.jsonl"]
    assert "1 files are not deleted although their time is over" in caplog.text


def test_servers_show_the_loops_newest_figures(config: MakeConfig, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.mkdir()
    (loop / "latest.json").write_text(
        '{"verdict": "WATCH", "time": 1000.0, "score": 0.8, "low": 0.7, "high": null, "cusum_ratio": 1.2}'
    )
    recorder = Recorder(config(loop=loop, sync_seconds=0.01), wall=lambda: 1060.0)
    while gauge("slipway_quality_age_seconds") != 60:
        os.sched_yield()
    asyncio.run(recorder.aclose())
    assert gauge("slipway_quality_verdict", verdict="WATCH") == 1
    assert gauge("slipway_quality_verdict", verdict="HEALTHY") == 0
    assert gauge("slipway_quality_score", kind="score") == 0.8
    assert gauge("slipway_quality_cusum_ratio") == 1.2


def test_figures_that_are_damaged_stop_nothing(config: MakeConfig, receipt: MakeReceipt, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.mkdir()
    for number, text in enumerate(("[]", '{"time": "yesterday"}', "{")):
        (loop / "latest.json").write_text(text)
        clock = iter(range(10**9))
        recorder = Recorder(config(loop=loop, retry_seconds=0), monotonic=lambda clock=clock: next(clock))  # type: ignore[misc]
        for n in range(3):
            recorder(QUESTION, ANSWER, receipt(f"r{number}-{n}"))
        asyncio.run(recorder.aclose())
        assert not recorder._thread.is_alive()
    assert len(read_traffic(tmp_path).records) == 9


def gauge(name: str, **labels: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, labels)
