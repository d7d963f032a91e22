# SPDX-License-Identifier: Apache-2.0
"""What DSPy sees: values come back equal, faults are misses, nothing raises."""

from __future__ import annotations

import asyncio
import errno
import time
from typing import Any

import numpy as np
import pytest

from slipway_server import request
from slipway_server.cache import AnswerMemo, care, deferred, volume
from slipway_server.cache.breaker import Breaker
from slipway_server.cache.memo import content_of
from slipway_server.cache.shared import to_json
from slipway_server.telemetry import metrics

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ANSWER = {"_dspy_format": "x", "outputs": ["Paris"], "usage": {"prompt_tokens": 3}}


async def flushed(*caches: Any) -> None:
    for shared in caches:
        await shared.volume.flush()


async def lookup(shared: Any, **context: Any) -> tuple[Any, str]:
    with request.opened(request.RequestContext(**context)) as opened:
        value = await asyncio.to_thread(shared.get, ASK)
        return value, next(iter(opened.account.cache_tiers))


async def test_tiers(caches) -> None:
    one, two = caches(), caches()
    assert await lookup(one) == (None, "miss")
    one.put(ASK, ANSWER)
    assert await lookup(one) == (ANSWER, "memory")
    await flushed(one)
    assert await lookup(two) == (ANSWER, "disk")
    assert await lookup(two) == (ANSWER, "memory")
    assert await lookup(two, use_cache=False) == (None, "bypass")


async def test_bytes_are_counted_as_they_reach_the_volume(caches) -> None:
    def counted() -> tuple[float, float]:
        read, written = (metrics.CACHE_VOLUME_BYTES.labels(operation) for operation in ("read", "write"))
        return read._value.get(), written._value.get()

    one, two = caches(), caches()
    read, written = counted()
    one.put(ASK, ANSWER)
    await flushed(one)
    size = len(to_json(ANSWER) or b"")
    assert counted() == (read, written + size)
    await lookup(two)
    await lookup(two)  # from memory
    assert counted() == (read + size, written + size)


async def test_values_are_not_shared(caches) -> None:
    shared = caches()
    answer = {"outputs": ["Paris"]}
    shared.put(ASK, answer)
    answer["outputs"].append("x")
    shared.get(ASK)["outputs"].append("y")
    assert shared.get(ASK) == {"outputs": ["Paris"]}


async def test_modes(caches, config) -> None:
    memory, off = caches(cache="memory"), caches(cache="off")
    for shared in (memory, off):
        shared.put(ASK, ANSWER)
    assert await lookup(memory) == (ANSWER, "memory")
    assert await lookup(off) == (None, "bypass")
    assert not config().folder.exists()


async def test_namespaces_are_apart(caches) -> None:
    one, two = caches(cache_namespace="production"), caches(cache_namespace="staging")
    one.put(ASK, ANSWER)
    await flushed(one)
    assert await lookup(two) == (None, "miss")


async def test_ttl_also_bounds_memory(caches) -> None:
    shared = caches(cache_ttl_seconds=1e-9)
    shared.put(ASK, ANSWER)
    await flushed(shared)
    assert await lookup(shared) == (None, "miss")


@pytest.mark.parametrize(
    "value", [{"x": (1, 2)}, {"x": float("nan")}, {1: 2}, object(), np.zeros(3), [float("-inf")], {"x": b"bytes"}]
)
async def test_what_json_would_change_is_not_stored(caches, value: Any) -> None:
    shared = caches()
    shared.put(ASK, value)
    assert shared.get(ASK) is None


async def test_nothing_raises(caches) -> None:
    shared = caches()
    shared.put({"model": len}, ANSWER)
    assert shared.get({"model": len}) is None
    assert shared.get(None) is None
    shared.put(None, None)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("operation", ["read", "create", "overwrite", "replace", "unlink", "mkdir"])
async def test_faults_fail_no_request(caches, ops, operation: str, number: int) -> None:
    ops.faults[operation] = number
    shared = caches(ops)
    assert await lookup(shared) == (None, "miss")
    with await shared.flight.board("ab" * 32):
        shared.put(ASK, ANSWER)
    assert await lookup(shared) == (ANSWER, "memory")
    await flushed(shared)


async def test_a_hanging_volume_costs_its_budget_and_then_nothing(caches, ops) -> None:
    ops.hanging.add("read")
    shared = caches(ops, cache_timeout_seconds=0.1, cache_memory_bytes=0)
    started = time.perf_counter()
    assert {await_[1] for await_ in await asyncio.gather(*[lookup(shared) for _ in range(40)])} == {"miss"}
    burst_seconds = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(100):
        shared.put(ASK, ANSWER)
        assert await lookup(shared) == (None, "miss")
    assert burst_seconds < 2
    assert time.perf_counter() - started < 3  # waiting each time would take 10 s


async def test_hanging_writes_delay_no_answer(caches, ops) -> None:
    shared = caches(ops)
    await shared.start()
    ops.hanging.add("create")
    started = time.perf_counter()
    for index in range(200):
        shared.put({**ASK, "n": index}, ANSWER)
    assert time.perf_counter() - started < 5  # waiting for any of them would take for ever
    ops.recover()
    await flushed(shared)
    assert ops.calls["replace"] >= 200


async def test_an_open_folder_is_said_at_start_and_used_never(caches, config) -> None:
    from slipway_server.errors import ConfigInvalid

    folder = config().folder / "slipway"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    shared = caches()
    with pytest.raises(ConfigInvalid, match="chmod"):
        await shared.start()
    with await shared.flight.board("ab" * 32):
        shared.put(ASK, ANSWER)
    await flushed(shared)
    assert list(folder.iterdir()) == []


async def test_entry_store(caches) -> None:
    one, two = caches(), caches()
    assert await one.store.get("text") is None
    await one.store.put("text", b"\x00\x01")
    assert await one.store.get("text") == b"\x00\x01"
    await flushed(one)
    assert await two.store.get("text") == b"\x00\x01"
    with request.opened(request.RequestContext(use_cache=False)):
        assert await two.store.get("text") is None


async def test_bulk_work_waits_for_room_instead_of_being_dropped(caches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume, "BACKLOG_BYTES", 50_000)
    monkeypatch.setattr(volume, "CROWDED", 20)
    shared = caches()
    await asyncio.gather(*[shared.store.put(f"text {number}", bytes(1000)) for number in range(300)])
    await flushed(shared)
    assert await asyncio.to_thread(lambda: care.stats(shared.volume.store.folder).entries) == 300


async def test_on_an_event_loop_nothing_waits(caches, ops) -> None:
    one, two = caches(), caches(ops)
    one.put(ASK, ANSWER)
    await flushed(one)
    assert one.get(ASK) == ANSWER
    assert two.get(ASK) is None
    assert "read" not in ops.calls


async def test_deferred_publishes_on_commit_only(caches) -> None:
    shared, other = caches(), caches()
    with deferred():
        await asyncio.to_thread(shared.put, ASK, ANSWER)
        assert shared.get(ASK) == ANSWER
        with deferred() as inner:
            assert shared.get(ASK) == ANSWER
            inner.commit()
    assert shared.get(ASK) is None
    with deferred() as pending:
        shared.put(ASK, ANSWER)
        pending.commit()
    assert await lookup(shared) == (ANSWER, "memory")
    await flushed(shared)
    assert await lookup(other) == (ANSWER, "disk")


async def test_a_put_after_the_block_is_dropped(caches) -> None:
    shared = caches()
    with deferred() as pending:
        pass
    from slipway_server.cache.pending import Entry

    entry = Entry("ab" * 32, b"1", shared.publish)
    pending.add(entry)
    assert entry.settled.done()
    assert shared.find("ab" * 32) is None


async def test_memo(caches) -> None:
    shared = caches(cache_answers=True)
    memo = AnswerMemo(shared)
    answer = {"answer": "Paris"}
    with request.opened(request.RequestContext()) as context:
        assert await memo.get("d1", {"question": "q"}, "v1") is None
        await memo.put("d1", {"question": "q"}, "v1", answer)
        remembered = await memo.get("d1", {"question": "q"}, "v1")
        assert remembered is not None
        assert content_of(remembered) == answer
        assert context.account.cache_tiers == {"memo": 1}
    for other in (("d2", {"question": "q"}, "v1"), ("d1", {"question": "p"}, "v1"), ("d1", {"question": "q"}, "v2")):
        assert await memo.get(*other) is None
    await flushed(shared)
    elsewhere = await AnswerMemo(caches(cache_answers=True)).get("d1", {"question": "q"}, "v1")
    assert elsewhere is not None
    assert content_of(elsewhere) == answer
    assert await AnswerMemo(caches(cache_answers=True, lm_model="openai/b")).get("d1", {"question": "q"}, "v1") is None
    assert await AnswerMemo(caches()).get("d1", {"question": "q"}, "v1") is None
    await memo.put("", {"question": "q"}, "v1", answer)
    assert await memo.get("", {"question": "q"}, "v1") is None


async def test_forms_stay_with_the_answer_that_they_were_made_of(caches) -> None:
    shared = caches(cache_answers=True)
    memo, question = AnswerMemo(shared), {"question": "q"}
    await memo.put("d1", question, "v1", {"answer": "Paris"})
    first = await memo.get("d1", question, "v1")
    assert first is not None
    assert first.forms.get("bytes") is None
    first.keep("bytes", (b"Paris",))
    again = await memo.get("d1", question, "v1")
    assert again is not None
    assert (again.forms.get("bytes"), again.forms.get("other")) == ((b"Paris",), None)
    await memo.put("d1", question, "v1", {"answer": "Rome"})
    first.keep("bytes", (b"Paris",))
    newer = await memo.get("d1", question, "v1")
    assert newer is not None
    assert (content_of(newer), newer.forms.get("bytes")) == ({"answer": "Rome"}, None)


async def test_an_answer_too_large_for_memory_is_read_and_keeps_no_form(caches) -> None:
    shared = caches(cache_answers=True, cache_memory_bytes=500)
    memo, answer = AnswerMemo(shared), {"answer": "x" * 1000}
    await memo.put("d1", {"question": "q"}, "v1", answer)
    await flushed(shared)
    for _ in range(2):
        remembered = await memo.get("d1", {"question": "q"}, "v1")
        assert remembered is not None
        assert (content_of(remembered), remembered.forms.get("bytes")) == (answer, None)
        remembered.keep("bytes", (b"x",))
    assert shared.memory.size_bytes == 0


def test_breaker() -> None:
    now = [0.0]
    breaker = Breaker(clock=lambda: now[0])
    breaker.timed_out()
    breaker.timed_out()
    breaker.answered()
    for _ in range(3):
        assert breaker.allow()
        breaker.timed_out()
    assert [breaker.allow() for _ in range(3)] == [False] * 3
    now[0] = 5.0
    assert [breaker.allow() for _ in range(3)] == [True, False, False]
    breaker.answered()
    assert breaker.allow()
