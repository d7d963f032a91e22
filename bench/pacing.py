# SPDX-License-Identifier: Apache-2.0
"""N pods, one provider key, virtual time: the production gate and pacer against the simulated provider's quota.

    python bench/pacing.py                      # the whole matrix, as a table
    python bench/pacing.py --pods 4 --load skew60 --provider TB60 --seconds 900

A minute takes about a tenth of a second. Providers allow 600 requests a minute: TB600 with a bucket of one minute,
TB60 of six seconds, TB60r the same where rejected attempts are charged too, TB10 of one second; TPM allows 600,000
tokens a minute, of which an answer takes 1,000 on average, known only afterwards. Loads: even at 1.5 times the limit,
one pod with 60 % of that, even at 0.95, pods joining and leaving, and classes (0.3 or 0.9 interactive, batch always
waiting). An answer takes 2 s (log-normal), so headers are as old. Waits are those of interactive calls.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dspy import lm15

from slipway_server.lm.gate import Gate, Waiter
from slipway_server.lm.needs import Needs
from slipway_server.lm.pacing.priced import PricedConfig, PricedPacer
from slipway_server.lm.pacing.types import Level, Levels, Need, Pacer
from slipway_server.lm.retries import RetryBudget
from slipway_server.request import TrafficClass
from slipway_server.simulate.quota import KeyQuota, QuotaConfig

LIMIT_PER_MINUTE = 600.0
LIMIT = LIMIT_PER_MINUTE / 60.0
PROMPT_TOKENS, COMPLETION_TOKENS = 600.0, 400.0
"""Of one call; the completion's length is log-normal with this mean and a sigma of 1."""
PROVIDERS = {
    "TB600": QuotaConfig(LIMIT_PER_MINUTE, burst_seconds=60.0),
    "TB60": QuotaConfig(LIMIT_PER_MINUTE, burst_seconds=6.0),
    "TB60r": QuotaConfig(LIMIT_PER_MINUTE, burst_seconds=6.0, rejects_charged=True),
    "TB10": QuotaConfig(LIMIT_PER_MINUTE, burst_seconds=1.0),
    "TPM": QuotaConfig(None, LIMIT_PER_MINUTE * (PROMPT_TOKENS + COMPLETION_TOKENS), burst_seconds=60.0),
}
LOADS: dict[str, tuple[float, float | None]] = {"even": (1.5, None), "skew60": (1.5, 0.6), "near": (0.95, None)}
"""Offered load as a multiple of the limit, and the first pod's part of it (None: all alike)."""
JOINING = ((0.0, 4), (1 / 4, 12), (1 / 2, 6), (3 / 4, 2))
"""Pods from each part of the run on, for the load "joinleave"."""
REQUEST = lm15.Request(model="m", system="Answer.", messages=(lm15.Message.user("x" * int(4 * PROMPT_TOKENS)),))


class Timer:
    """A callback on the virtual clock."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act: Callable[[], Any] | None = act

    def cancel(self) -> None:
        """It will not run."""
        self.act = None


class Clock:
    """Virtual time: `now` jumps from one timer to the next."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def now(self) -> float:
        """Seconds since the start."""
        return self.seconds

    def at(self, when: float, act: Callable[[], Any]) -> Timer:
        """Run `act` at `when`."""
        timer = Timer(act)
        heapq.heappush(self._timers, (max(when, self.seconds), next(self._order), timer))
        return timer

    def run(self, until: float) -> None:
        """Advance to `until`."""
        while self._timers and self._timers[0][0] <= until:
            self.seconds, _, timer = heapq.heappop(self._timers)
            if timer.act is not None:
                timer.act()
        self.seconds = until


@dataclass(frozen=True)
class Scenario:
    """One run. `offered`: requests as a multiple of the limit; `first_share`: the first pod's part of them."""

    provider: QuotaConfig
    pods: int = 4
    offered: float = 1.5
    first_share: float | None = None
    steps: Sequence[tuple[float, int]] = ()
    """(from_seconds, pods) where the number of pods changes."""
    peers_delay_seconds: float = 0.0
    """So much later do pods that were there before learn of a change; a new one knows."""
    pods_believed: int | None = None
    """What pods believe their number to be; None: the truth."""
    warmup_seconds: float = 120.0
    seconds: float = 300.0
    latency_seconds: float = 2.0
    latency_spread: float = 0.5
    reject_seconds: float = 0.08
    network_seconds: float = 0.04
    deadline_seconds: float = 60.0
    queue_cap_seconds: float = 10.0
    slots: int = 64
    retry_after: bool = True
    background: Sequence[TrafficClass] = ()
    """Classes that always have work, 64 calls in all at a time; interactive load then alternates 0.3 / 0.9."""
    seed: int = 1


@dataclass
class Outcome:
    """What was measured after the warm-up."""

    permitted: float
    """Requests; of tokens, as many as the average one takes."""
    offered: int = 0
    attempts: int = 0
    accepted: int = 0
    taken: float = 0.0
    """As `permitted`: requests, or tokens of as many average ones."""
    rejected: int = 0
    shed: int = 0
    failed: int = 0
    waits: list[float] = field(default_factory=list)
    by_class: dict[TrafficClass, int] = field(default_factory=lambda: dict.fromkeys(TrafficClass, 0))

    @property
    def goodput(self) -> float:
        """What was taken of what quota and demand allowed."""
        return self.taken / min(self.permitted, self.offered or self.permitted)

    @property
    def rejected_ratio(self) -> float:
        """429s per attempt."""
        return self.rejected / max(1, self.attempts)

    @property
    def amplification(self) -> float:
        """Attempts per accepted one."""
        return self.attempts / max(1, self.accepted)

    def wait(self, quantile: float) -> float:
        """Quantile of the interactive waits until the accepted attempt, in seconds."""
        return statistics.quantiles(self.waits, n=1000)[int(quantile * 1000) - 1] if len(self.waits) > 1 else 0.0


@dataclass
class _Job:
    cls: TrafficClass
    arrived: float
    deadline: float
    completion_tokens: float = 0.0


class _Pod:
    """One process: its own gate, pacer and retry budget."""

    def __init__(self, world: World, pacer: Pacer) -> None:
        self.world, self.pacer, self.alive = world, pacer, True
        scenario, clock = world.scenario, world.clock
        self.gate = Gate(pacer, scenario.slots, now=clock.now, call_at=clock.at)
        self.budget = RetryBudget()
        self._needs = Needs()

    def need(self) -> Need:
        """What a call is predicted to take."""
        return self._needs.predict(REQUEST) if self.world.counts_tokens else Need()

    def arrive(self, job: _Job) -> None:
        """Admit as the governor does: a wait that is too long is refused at once."""
        scenario, counts = self.world.scenario, self.world.counts()
        job.completion_tokens = self.world.completion()
        if counts and not scenario.background:
            counts.offered += 1
        if job.cls is TrafficClass.INTERACTIVE:
            wait = self.gate.predicted_wait(job.cls, self.need())
            if wait > min(scenario.queue_cap_seconds, job.deadline - self.world.clock.now()):
                if counts:
                    counts.shed += 1
                return
        self._enqueue(job, front=False)

    def _enqueue(self, job: _Job, front: bool) -> None:
        self.gate.enqueue(self.need(), job.cls, lambda waiter: self._send(job, waiter), front=front)

    def _send(self, job: _Job, waiter: Waiter) -> None:
        world = self.world
        delay = world.scenario.network_seconds * world.dice.uniform(0.5, 1.5)
        world.clock.at(world.clock.now() + delay, lambda: self._at_provider(job, waiter))

    def _at_provider(self, job: _Job, waiter: Waiter) -> None:
        world, scenario = self.world, self.world.scenario
        verdict = world.quota.admit(PROMPT_TOKENS if world.counts_tokens else 0.0)
        counts, now = world.counts(), world.clock.now()
        levels = {
            name: Level(math.floor(level.remaining), level.limit, level.reset_seconds)
            for name, level in verdict.levels.items()
        }
        if counts:
            counts.attempts += 1
            counts.accepted += verdict.admitted
            counts.rejected += not verdict.admitted
            if verdict.admitted:
                counts.by_class[job.cls] += 1
                counts.taken += world.size(job)
                if job.cls is TrafficClass.INTERACTIVE:
                    counts.waits.append(now - job.arrived)
        if verdict.admitted:
            world.clock.at(now + world.latency(), lambda: self._answered(job, waiter, levels))
            return
        advice = math.ceil(verdict.wait_seconds) if scenario.retry_after else None
        world.clock.at(now + scenario.reject_seconds, lambda: self._rejected(job, waiter, levels, advice))

    def _answered(self, job: _Job, waiter: Waiter, levels: Levels) -> None:
        self.budget.earn()
        used = None
        if self.world.counts_tokens:
            self.world.quota.charge_tokens(job.completion_tokens)
            used = Need(1.0, PROMPT_TOKENS + job.completion_tokens, PROMPT_TOKENS, job.completion_tokens)
            self._needs.learn(REQUEST, used)
        self.pacer.succeeded(job.cls, waiter.need, waiter.admitted_at or 0.0, levels, used)
        self.gate.leave(waiter)
        self._next(job)

    def _rejected(self, job: _Job, waiter: Waiter, levels: Levels, advice: float | None) -> None:
        world = self.world
        self.pacer.throttled(job.cls, waiter.need, waiter.admitted_at or 0.0, levels, advice)
        self.gate.leave(waiter)
        pause = (advice or 0.0) + world.dice.uniform(0.0, 0.5)
        if world.clock.now() + pause > job.deadline or not self.budget.spend():
            counts = world.counts()
            if counts:
                counts.failed += 1
            self._next(job)
            return
        world.clock.at(world.clock.now() + pause, lambda: self._enqueue(job, front=True))

    def _next(self, job: _Job) -> None:
        """A background class has its next call ready."""
        if job.cls is not TrafficClass.INTERACTIVE and self.alive:
            self.arrive(_Job(job.cls, self.world.clock.now(), math.inf))


class World:
    """The provider, the pods and their callers."""

    def __init__(self, scenario: Scenario, config: PricedConfig | None = None) -> None:
        self.scenario = scenario
        self.clock = Clock()
        self.dice = random.Random(scenario.seed)
        self.quota = KeyQuota(scenario.provider, clock=self.clock.now)
        self.pods: list[_Pod] = []
        self.outcome = Outcome(LIMIT * scenario.seconds)
        self._config = config or PricedConfig(burst_seconds=scenario.provider.burst_seconds)
        self.counts_tokens = scenario.provider.tokens_per_minute is not None
        self._spread = scenario.latency_spread
        self._mu = math.log(scenario.latency_seconds) - self._spread**2 / 2

    def counts(self) -> Outcome | None:
        """Where to count, once the warm-up is over."""
        return self.outcome if self.clock.now() >= self.scenario.warmup_seconds else None

    def latency(self) -> float:
        """Time of one answer."""
        return self.dice.lognormvariate(self._mu, self._spread)

    def completion(self) -> float:
        """Length of one answer in tokens."""
        return self.dice.lognormvariate(math.log(COMPLETION_TOKENS) - 0.5, 1.0) if self.counts_tokens else 0.0

    def size(self, job: _Job) -> float:
        """What an admitted call takes, the average one being 1."""
        if not self.counts_tokens:
            return 1.0
        return (PROMPT_TOKENS + job.completion_tokens) / (PROMPT_TOKENS + COMPLETION_TOKENS)

    def run(self) -> Outcome:
        """Run the scenario."""
        scenario = self.scenario
        for when, pods in scenario.steps or ((0.0, scenario.pods),):
            self.clock.at(when, lambda pods=pods: self._resize(pods))
        self.clock.at(0.0, self._arrival)
        self.clock.run(scenario.warmup_seconds + scenario.seconds)
        return self.outcome

    def _resize(self, count: int) -> None:
        scenario, live = self.scenario, [pod for pod in self.pods if pod.alive]
        believed = scenario.pods_believed or count
        for pod in live[count:]:
            pod.alive = False
        for _ in range(count - len(live)):
            dice = random.Random(self.dice.random())
            quota = scenario.provider
            limits = {"tokens": quota.tokens_per_minute} if quota.tokens_per_minute else {"requests": LIMIT_PER_MINUTE}
            pacer = PricedPacer(self._config, limits, now=self.clock.now, pods=believed, rng=dice)
            pod = _Pod(self, pacer)
            self.pods.append(pod)
            for cls in scenario.background:
                for _ in range(64 // count):
                    self.clock.at(
                        self.clock.now() + self.dice.random(),
                        lambda pod=pod, cls=cls: pod.arrive(_Job(cls, 0.0, math.inf)),
                    )
        for pod in self.pods:
            delay = scenario.peers_delay_seconds if pod in live else 0.0
            self.clock.at(self.clock.now() + delay, lambda pod=pod: pod.pacer.set_pods(believed))

    def _arrival(self) -> None:
        scenario, now = self.scenario, self.clock.now()
        live = [pod for pod in self.pods if pod.alive]
        first = scenario.first_share if len(live) > 1 else None
        if first is None:
            pod = self.dice.choice(live)
        else:
            pod = live[0] if self.dice.random() < first else self.dice.choice(live[1:])
        pod.arrive(_Job(TrafficClass.INTERACTIVE, now, now + scenario.deadline_seconds))
        offered = scenario.offered
        if scenario.background:
            offered = 0.3 if int(now // 120) % 2 == 0 else 0.9
        self.clock.at(now + self.dice.expovariate(offered * LIMIT), self._arrival)


def scenario(provider: str, load: str, pods: int, **changes: Any) -> Scenario:
    """A scenario by its names in the table."""
    base = Scenario(PROVIDERS[provider], pods=pods, **changes)
    if load == "joinleave":
        total = base.warmup_seconds + base.seconds
        return Scenario(PROVIDERS[provider], steps=tuple((part * total, n) for part, n in JOINING), **changes)
    if load == "classes":
        return Scenario(PROVIDERS[provider], pods=pods, background=(TrafficClass.BATCH,), **changes)
    offered, first = LOADS[load]
    return Scenario(PROVIDERS[provider], pods=pods, offered=offered, first_share=first, **changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, nargs="*", default=[1, 4, 8, 16])
    parser.add_argument("--load", nargs="*", default=[*LOADS, "joinleave", "classes"])
    parser.add_argument("--provider", nargs="*", default=list(PROVIDERS))
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| provider | load | pods | goodput | 429 | attempts per success | p50 wait s | p95 wait s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for provider, load in itertools.product(options.provider, options.load):
        for pods in options.pods if load != "joinleave" else [0]:
            run = World(scenario(provider, load, pods, seconds=options.seconds, seed=options.seed)).run()
            print(
                f"| {provider} | {load} | {pods or '4>12>6>2'} | {run.goodput:.3f} | {100 * run.rejected_ratio:.2f} % "
                f"| {run.amplification:.3f} | {run.wait(0.5):.2f} | {run.wait(0.95):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
