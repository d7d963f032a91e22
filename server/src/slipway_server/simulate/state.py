# SPDX-License-Identifier: Apache-2.0
"""What the simulated provider knows while it runs: behaviour by model and time, quotas by key and model."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from slipway_server.errors import ConfigInvalid
from slipway_server.simulate.config import Behaviour, SimulatorConfig
from slipway_server.simulate.quota import Clock, Dimension, KeyQuota, Level


class _Account:
    """One (key, model): its quota, and the levels of the last seconds for stale headers."""

    def __init__(self, quota: KeyQuota) -> None:
        self.quota = quota
        self.history: deque[tuple[float, Mapping[Dimension, Level]]] = deque(maxlen=10_000)


class State:
    """Answers "how to behave now" and "does this request fit". Times are seconds since the start."""

    def __init__(self, config: SimulatorConfig, clock: Clock = time.monotonic) -> None:
        self.config = config
        self.dice = random.Random(config.seed)
        self.turns = itertools.count()
        """Which text of a script an answer has; what is refused takes none."""
        self._clock = clock
        self._start = clock()
        self._base = config.behaviour
        self._models: dict[str, dict[str, Any]] = {name: dict(changes) for name, changes in config.models.items()}
        self._known = frozenset(config.models)
        self._cache: dict[tuple[str, tuple[int, ...]], Behaviour] = {}
        self._accounts: dict[tuple[str, str], _Account] = {}

    def now(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def restart(self) -> None:
        """Full quotas, and the scenario from its beginning."""
        self._start = self._clock()
        self.turns = itertools.count()
        self._accounts.clear()

    def knows(self, model: str) -> bool:
        """Whether the model exists."""
        return not self._known or model in self._known

    def models(self) -> list[str]:
        """Names for the list of models."""
        return sorted(self._known) or ["simulated"]

    def configure(self, model: str | None, changes: Mapping[str, Any]) -> None:
        """Change behaviour from now on, of one model or of all. Raises ConfigInvalid."""
        if model is None:
            self._base = self._base.changed(changes)
        else:
            if not self.knows(model):
                raise ConfigInvalid(f"{model}: no such model; there are {', '.join(self.models())}", key="model")
            self._base.changed(changes)
            self._models.setdefault(model, {}).update(changes)
        self._cache.clear()

    def behaviour(self, model: str) -> Behaviour:
        """Behaviour now: the provider's, then the model's, then the active steps', later ones winning."""
        at = self.now()
        active = tuple(
            index
            for index, step in enumerate(self.config.steps)
            if step.active(at) and (step.model is None or step.model == model)
        )
        known = self._cache.get((model, active))
        if known is None:
            known = self._base.changed(self._models.get(model, {}))
            for index in active:
                known = known.changed(self.config.steps[index].changes)
            if len(self._cache) > 1000:
                self._cache.clear()
            self._cache[model, active] = known
        return known

    def quota(self, key: str, model: str, behaviour: Behaviour) -> KeyQuota:
        """The quota of a key on a model; one whose limits changed starts as a new one does."""
        return self._account(key, model, behaviour).quota

    def levels(
        self, key: str, model: str, behaviour: Behaviour, current: Mapping[Dimension, Level]
    ) -> Mapping[Dimension, Level]:
        """The levels that headers tell: the current ones, or older ones where headers are stale."""
        stale = behaviour.stale_headers_seconds
        if stale <= 0:
            return current
        history, now = self._account(key, model, behaviour).history, self.now()
        history.append((now, current))
        while len(history) > 1 and history[1][0] <= now - stale:
            history.popleft()
        return history[0][1]

    def latency(self, behaviour: Behaviour) -> float:
        """Seconds that one answer takes."""
        mean, spread = behaviour.latency_seconds, behaviour.latency_spread
        if mean <= 0:
            return 0.0
        match behaviour.latency:
            case "fixed":
                return mean
            case "uniform":
                return max(0.0, mean * (1 + self.dice.uniform(-spread, spread)))
            case "exponential":
                return self.dice.expovariate(1 / mean)
            case "lognormal":
                return self.dice.lognormvariate(math.log(mean) - spread**2 / 2, spread)

    def fault(self, behaviour: Behaviour) -> str:
        """What goes wrong with one request, or "none"."""
        if behaviour.fault == "none" or self.dice.random() >= behaviour.fault_ratio:
            return "none"
        return behaviour.fault

    def _account(self, key: str, model: str, behaviour: Behaviour) -> _Account:
        account = self._accounts.get((key, model))
        if account is None or account.quota.config != behaviour.quota_config:
            account = self._accounts[key, model] = _Account(KeyQuota(behaviour.quota_config, self._clock))
            account.quota.drain(1 - behaviour.initial_fill)
        return account
