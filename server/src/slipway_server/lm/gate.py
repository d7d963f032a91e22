# SPDX-License-Identifier: Apache-2.0
"""Who goes next: queues by class, calls in flight, and the pacer's slots.

    waiter = gate.enqueue(need, cls, go)         # go(waiter) runs at once, or when its turn comes
    gate.withdraw(waiter)                        # the caller gave up; also gives a slot back that came meanwhile
    gate.leave(waiter)                           # the attempt is over

First in, first out within a class, so that a large request is never overtaken without end; a retried attempt goes to
the head. No tasks and no asyncio inside: `call_at` is the event loop's, or a simulator's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from slipway_server.lm.pacing.types import NOTHING, Need, Pacer
from slipway_server.request import TrafficClass

RESERVED = {TrafficClass.INTERACTIVE: 1.0, TrafficClass.BATCH: 0.9, TrafficClass.EVALUATION: 0.8}
"""Part of the slots that a class may fill; the rest is kept for more urgent ones."""

NEGLIGIBLE_SECONDS = 0.001
"""Shorter is not waiting."""


class Timer(Protocol):
    """A scheduled callback."""

    def cancel(self) -> None:
        """Forget it."""
        ...


class Waiter:
    """One attempt on its way through the gate."""

    __slots__ = ("_reason", "_since", "admitted_at", "cls", "enqueued_at", "go", "left", "need", "waits")

    def __init__(self, need: Need, cls: TrafficClass, go: Callable[[Waiter], None], now: float) -> None:
        self.need, self.cls, self.go = need, cls, go
        self.enqueued_at = self._since = now
        self.admitted_at: float | None = None
        """When it went, by the gate's clock; None while it waits."""
        self.left = False
        self.waits: dict[str, float] = {}
        """Seconds by what was waited for: queue, slot, pacing."""
        self._reason = ""

    def queued(self) -> None:
        """It could not go at once: where nothing else holds it up, others are before it."""
        self._reason = self._reason or "queue"

    def blocked_by(self, reason: str, now: float) -> None:
        """From now on it waits for something else; for nothing where `reason` is empty."""
        if reason != self._reason:
            if self._reason and now - self._since > NEGLIGIBLE_SECONDS:
                self.waits[self._reason] = self.waits.get(self._reason, 0.0) + now - self._since
            self._reason, self._since = reason, now


class Gate:
    """See the module. `limit`: attempts in flight at most."""

    def __init__(
        self,
        pacer: Pacer,
        limit: int,
        *,
        now: Callable[[], float],
        call_at: Callable[[float, Callable[[], Any]], Timer],
    ) -> None:
        self.pacer = pacer
        self._limit = limit
        self._now = now
        self._call_at = call_at
        self._queues: dict[TrafficClass, deque[Waiter]] = {cls: deque() for cls in TrafficClass}
        self._queued: dict[TrafficClass, Need] = dict.fromkeys(TrafficClass, NOTHING)
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self._pumping = self._again = False
        self._held_seconds = 0.0
        self.in_flight = 0

    def __repr__(self) -> str:
        waiting = ", ".join(f"{cls}={len(queue)}" for cls, queue in self._queues.items())
        return f"Gate({self.in_flight} of {self._limit} in flight, waiting: {waiting}, {self.pacer.kind})"

    def waiting(self, cls: TrafficClass) -> int:
        """Attempts of the class in the queue."""
        return len(self._queues[cls])

    def slot_wait(self, cls: TrafficClass) -> float:
        """Seconds that the oldest of the class has waited, where a slot would let one go; 0 where quota would not."""
        queue, now = self._queues[cls], self._now()
        if not queue or self.in_flight < self._slots(cls) or self.pacer.ready_at(cls, queue[0].need) > now:
            return 0.0
        return now - min(waiter.enqueued_at for waiter in queue)

    def enqueue(self, need: Need, cls: TrafficClass, go: Callable[[Waiter], None], *, front: bool = False) -> Waiter:
        """Queue an attempt; `front` for one that was sent already and came back."""
        waiter = Waiter(need, cls, go, self._now())
        queue = self._queues[cls]
        if front:
            queue.appendleft(waiter)
        else:
            queue.append(waiter)
        self._changed(cls, need, 1)
        self.pump()
        if waiter.admitted_at is None:
            waiter.queued()
        return waiter

    def withdraw(self, waiter: Waiter) -> None:
        """Take it out, wherever it is."""
        if waiter.admitted_at is not None:
            # Its slot came meanwhile and was not used: nothing is learnt of how long attempts take.
            self._free(waiter)
            return
        try:
            self._queues[waiter.cls].remove(waiter)
        except ValueError:
            return
        self._changed(waiter.cls, waiter.need, -1)
        self.pump()

    def leave(self, waiter: Waiter) -> None:
        """Its attempt is over: the slot is free. Saying so again changes nothing."""
        if waiter.left:
            return
        held = self._now() - (waiter.admitted_at or 0.0)
        self._held_seconds += 0.1 * (held - self._held_seconds) if self._held_seconds else held
        self._free(waiter)

    def _free(self, waiter: Waiter) -> None:
        if not waiter.left:
            waiter.left = True
            self.in_flight -= 1
            self.pump()

    def predicted_wait(self, cls: TrafficClass, need: Need) -> float:
        """Seconds that a new attempt of the class would wait here, by the present pace and queue."""
        total, count = NOTHING, 0
        for other, queue in self._queues.items():
            if queue and (other is cls or not self.pacer.lanes):
                total, count = total.plus(self._queued[other]), count + len(queue)
            if other is cls:
                break
        paced = max(0.0, self.pacer.ready_at(cls, need) - self._now())
        if count:
            paced += self.pacer.drain_seconds(cls, total)
        slots = self._slots(cls)
        busy = self._held_seconds * (count + 1) / slots if self.in_flight >= slots else 0.0
        return max(paced, busy)

    def pump(self) -> None:
        """Let everybody go who may. Called after every change; also when only the pacer's mind changed."""
        self._again = True
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._again:
                self._again = False
                wake = self._serve_all()
            self._arm(wake)
        finally:
            self._pumping = False

    def _serve_all(self) -> float:
        wake = math.inf
        for cls, queue in self._queues.items():
            if queue:
                wake = min(wake, self._serve(cls, queue))
            if queue and not self.pacer.lanes:
                break
        return wake

    def _serve(self, cls: TrafficClass, queue: deque[Waiter]) -> float:
        """Admit from the head; return when to look again."""
        while queue:
            head, now = queue[0], self._now()
            if self.in_flight >= self._slots(cls):
                head.blocked_by("slot", now)
                return math.inf
            ready = self.pacer.ready_at(cls, head.need)
            if ready > now:
                head.blocked_by("pacing", now)
                return ready
            queue.popleft()
            self._changed(cls, head.need, -1)
            # Booked before anything else can run: else a whole backlog would pass through one slot.
            self.pacer.book(cls, head.need)
            self.in_flight += 1
            head.blocked_by("", now)
            head.admitted_at = now
            head.go(head)
        return math.inf

    def _slots(self, cls: TrafficClass) -> int:
        return max(1, int(self._limit * RESERVED[cls]))

    def _changed(self, cls: TrafficClass, need: Need, sign: int) -> None:
        waiting = len(self._queues[cls])
        self._queued[cls] = self._queued[cls].plus(need, sign) if waiting else NOTHING
        self.pacer.backlog(cls, waiting)

    def _arm(self, wake: float) -> None:
        if self._timer is not None and wake == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, wake
        if wake < math.inf:
            self._timer = self._call_at(wake, self._fire)

    def _fire(self) -> None:
        self._timer, self._timer_at = None, math.inf
        self.pump()
