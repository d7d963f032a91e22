# SPDX-License-Identifier: Apache-2.0
"""Single flight within a process and, over one folder, between several."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import hashlib
import queue
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from slipway_server import request
from slipway_server.cache import SharedCache, deferred
from slipway_server.cache.store import DiskStore
from slipway_server.request import TrafficClass
from slipway_server.telemetry import metrics

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


class Upstream:
    """Counts and answers calls; each answer is unique."""

    def __init__(self, seconds: float = 0.05) -> None:
        self.calls = 0
        self.seconds = seconds
        self.fail: list[type[BaseException]] = []
        self.called = asyncio.Event()

    async def __call__(self) -> dict[str, int]:
        self.calls += 1
        self.called.set()
        number = self.calls
        await asyncio.sleep(self.seconds)
        if self.fail:
            raise self.fail.pop(0)("upstream")
        return {"answer": number}


async def call(shared: SharedCache, upstream: Any, *, parse_fails: bool = False, **context: Any) -> tuple[int, str]:
    """What SlipwayLM, DSPy and the adapter do, without the rest of them."""
    with request.opened(request.RequestContext(**context)) as opened, deferred() as pending:
        with await shared.flight.board(shared.keys.of_request(ASK)):
            found = await asyncio.to_thread(shared.get, ASK)
            if found is None:
                found = await upstream()
                await asyncio.to_thread(shared.put, ASK, found)
        if parse_fails:
            raise ValueError("unparseable")
        pending.commit()
        return found["answer"], next(iter(opened.account.cache_tiers))


async def test_identical_calls_of_a_process_are_one(caches) -> None:
    shared, upstream = caches(), Upstream()
    found = Counter(await asyncio.gather(*[call(shared, upstream) for _ in range(50)]))
    assert found == {(1, "miss"): 1, (1, "joined"): 49}
    assert await call(shared, upstream) == (1, "memory")


async def test_identical_calls_of_a_fleet_are_one(caches) -> None:
    pods, upstream = [caches() for _ in range(3)], Upstream(0.3)
    found = Counter(await asyncio.gather(*[call(pods[i % 3], upstream) for i in range(60)]))
    assert upstream.calls == 1
    assert {answer for answer, _ in found} == {1}
    assert found[(1, "miss")] == 1


async def test_memory_only_joins_too(caches) -> None:
    shared, upstream = caches(cache="memory"), Upstream()
    assert Counter(await asyncio.gather(*[call(shared, upstream) for _ in range(20)])) == {
        (1, "miss"): 1,
        (1, "joined"): 19,
    }


async def test_a_failing_leader_fails_nobody_else(caches) -> None:
    shared, upstream = caches(), Upstream()
    upstream.fail = [ConnectionError]
    found = await asyncio.gather(*[call(shared, upstream) for _ in range(10)], return_exceptions=True)
    assert [type(one) for one in found].count(ConnectionError) == 1
    assert sum(isinstance(one, tuple) for one in found) == 9


async def test_a_cancelled_leader_is_replaced_by_one_follower(caches) -> None:
    shared, upstream = caches(), Upstream(0.2)
    leader = asyncio.create_task(call(shared, upstream))
    await upstream.called.wait()
    followers = [asyncio.create_task(call(shared, upstream)) for _ in range(10)]
    await asyncio.sleep(0.05)
    leader.cancel()
    assert {answer for answer, _ in await asyncio.gather(*followers)} == {2}
    assert upstream.calls == 2


async def test_a_cancelled_follower_disturbs_nobody(caches) -> None:
    shared, upstream = caches(), Upstream(0.2)
    tasks = [asyncio.create_task(call(shared, upstream)) for _ in range(5)]
    await asyncio.sleep(0.05)
    tasks[3].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[3], asyncio.CancelledError)
    assert upstream.calls == 1


async def test_a_failing_leader_of_another_pod_is_replaced(caches) -> None:
    one, two, upstream = caches(), caches(), Upstream(0.2)
    upstream.fail = [ConnectionError]
    leader = asyncio.create_task(call(one, upstream))
    await upstream.called.wait()
    follower = asyncio.create_task(call(two, upstream))
    with pytest.raises(ConnectionError):
        await leader
    assert await follower == (2, "miss")


async def test_an_unparseable_answer_is_not_published(caches) -> None:
    shared, other, upstream = caches(), caches(), Upstream()
    with pytest.raises(ValueError, match="unparseable"):
        await call(shared, upstream, parse_fails=True)
    assert await call(other, upstream) == (2, "miss")


async def test_the_lease_is_held_until_the_entry_is_published(caches) -> None:
    one, two, upstream = caches(), caches(), Upstream(0.0)
    outside = contextvars.copy_context()
    with deferred() as pending:
        with await one.flight.board(one.keys.of_request(ASK)):
            one.put(ASK, await upstream())
        waiting = asyncio.create_task(call(two, upstream), context=outside)
        await asyncio.sleep(0.2)
        assert not waiting.done()
        pending.commit()
    assert await waiting == (1, "joined")


async def test_a_dead_leader_of_another_pod_is_replaced_after_the_lease(caches) -> None:
    one = caches(cache_lease_seconds=3600)
    pods, upstream = [caches(cache_lease_seconds=0.5) for _ in range(2)], Upstream()
    await one.flight.board(one.keys.of_request(ASK))  # its heart beats every 900 seconds: as good as dead
    started = time.monotonic()
    found = await asyncio.gather(*[call(pods[i % 2], upstream) for i in range(20)])
    assert {answer for answer, _ in found} == {1}
    assert upstream.calls == 1
    assert 0.5 < time.monotonic() - started < 10  # the dead leader's lease holds for an hour


def die_while_replacing(store: DiskStore, name: str) -> None:
    dead = Path(store.folder.path("leases", name)).read_bytes()
    Path(store.folder.path("leases", f"{name}.{hashlib.sha256(dead).hexdigest()[:16]}")).touch()


async def test_a_replacement_that_dies_is_not_waited_for(caches) -> None:
    one, two = caches(cache_lease_seconds=3600), caches(cache_lease_seconds=3600)
    three, upstream = caches(cache_lease_seconds=0.2), Upstream(0.0)
    digest = one.keys.of_request(ASK)
    await one.flight.board(digest)
    await asyncio.to_thread(die_while_replacing, two.volume.store, digest)
    assert await call(three, upstream) == (1, "miss")


async def test_followers_wait_within_their_deadlines(caches) -> None:
    one, two, upstream = caches(), caches(), Upstream(0.0)
    await one.flight.board(one.keys.of_request(ASK))
    started = time.monotonic()
    deadline = started + 0.3
    found = await asyncio.gather(call(one, upstream, deadline=deadline), call(two, upstream, deadline=deadline))
    assert {tier for _, tier in found} == {"miss"}
    assert 0.3 <= time.monotonic() - started < 5  # a lease holds for 10 s


async def test_an_interactive_call_waits_for_no_batch_call(caches) -> None:
    shared, upstream = caches(), Upstream()
    found = await asyncio.gather(
        call(shared, upstream, traffic_class=TrafficClass.BATCH), call(shared, upstream), call(shared, upstream)
    )
    assert upstream.calls == 2
    assert Counter(tier for _, tier in found) == {"miss": 2, "joined": 1}


async def test_no_lease_is_left_behind(caches, config) -> None:
    shared, upstream = caches(), Upstream(0.2)
    task = asyncio.create_task(call(shared, upstream))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await call(shared, upstream)
    await shared.aclose()
    assert list(config().folder.rglob("*/leases/*")) == []
    assert list(config().folder.rglob("*/tmp/*")) == []


async def test_a_lease_that_comes_too_late_is_given_back(caches, ops, config) -> None:
    shared, upstream = caches(ops, cache_timeout_seconds=0.1), Upstream(0.0)
    await shared.start()
    ops.hanging.add("create")
    assert await call(shared, upstream) == (1, "miss")
    ops.recover()
    await shared.volume.flush()
    await shared.aclose()
    assert list(config().folder.rglob("*/leases/*")) == []


async def none_left(folder: Path, name: str) -> None:
    async with asyncio.timeout(60):
        while (folder / "slipway/leases" / name).exists():
            await asyncio.sleep(0.01)


async def test_a_look_up_whose_lease_fails_is_one_miss(caches, ops) -> None:
    shared = caches(ops)
    await shared.start()
    before = misses()
    with await shared.flight.board("a" * 64):
        pass
    assert misses() - before == {"absent": 1}
    before, ops.faults["create"] = misses(), errno.EACCES
    with await shared.flight.board("b" * 64):
        pass
    assert misses() - before == {"denied": 1}


def misses() -> Counter[str]:
    """What was counted so far, by reason."""
    samples = [sample for metric in metrics.CACHE_MISSES.collect() for sample in metric.samples]
    return Counter({one.labels["reason"]: int(one.value) for one in samples if one.name.endswith("_total")})


async def test_a_lease_is_given_back_although_too_much_is_waiting(
    caches, config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise queue.Full

    shared, upstream = caches(cache_lease_seconds=0.2), Upstream(0.0)
    monkeypatch.setattr(shared.volume._writers, "submit", full)
    assert await call(shared, upstream) == (1, "miss")
    await none_left(config().folder, shared.keys.of_request(ASK))


async def test_a_lease_that_was_taken_over_is_given_back_by_a_cancelled_call(
    caches, config, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = caches(cache_lease_seconds=3600), caches(cache_lease_seconds=0.2)
    digest, looking, go_on = one.keys.of_request(ASK), threading.Event(), threading.Event()

    def refresh(_: str) -> None:
        looking.set()
        go_on.wait(10)

    monkeypatch.setattr(two.volume.store, "refresh", refresh)
    await one.flight.board(digest)
    waiting = asyncio.create_task(two.flight.board(digest))
    assert await asyncio.to_thread(looking.wait, 5)
    waiting.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await none_left(config().folder, digest)
