# SPDX-License-Identifier: Apache-2.0
"""What the simulated provider does, and when: behaviour, scenario steps, and the file that holds both.

    storm = Step(from_seconds=60, for_seconds=120, changes={"fault": "rate-limit"})
    config = SimulatorConfig(behaviour=Behaviour(rpm=600, latency_seconds=0.4), steps=(storm,))
    config = load_scenario(Path("storm.toml"))

Scenario files are TOML or JSON; docs/simulator.md describes them. A wrong key or value raises ConfigInvalid.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from slipway_server.errors import ConfigInvalid
from slipway_server.simulate.quota import QuotaConfig, QuotaKind

Fault = Literal[
    "none",
    "rate-limit",
    "billing",
    "auth",
    "model",
    "context-length",
    "invalid",
    "timeout",
    "server-error",
    "unavailable",
    "overloaded",
    "html",
    "reset",
    "hang",
    "cut",
    "error-event",
    "garbage",
]
HeaderStyle = Literal["openai", "anthropic", "none"]
RetryAfter = Literal["right", "late", "absurd", "date", "ms", "decimal", "missing"]
LatencyShape = Literal["fixed", "uniform", "exponential", "lognormal"]
OutputCharge = Literal["produced", "reserved", "refunded"]
AnswerSource = Literal["reader", "text", "script"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Duration = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Everything about the provider that may change while it runs.

    Args:
        rpm, tpm: Requests and tokens per minute of each (key, model); None is no limit.
        initial_fill: Share of the quota that is left when a key first comes, 1.0 for all of it.
        quota, burst_seconds, window_seconds, rejects_charged: See `quota.QuotaConfig`.
        output_charged: How output counts against tpm: as "produced"; "reserved" (max_tokens, kept); or "refunded"
            (max_tokens, given back down to what was produced).
        headers: Style of the rate-limit headers.
        stale_headers_seconds: Headers tell the levels of so long ago.
        retry_after: Form of a 429's advice. "right" is whole seconds, rounded up; "late" 30 s too long; "absurd" 1e9 s;
            "date" an HTTP date; "ms" retry-after-ms only; "decimal" exact seconds.
        retry_after_seconds: Advice of a 429 that no quota caused (fault "rate-limit").
        latency_seconds, latency, latency_spread: Time to an answer: mean, shape, and relative spread (half width of
            "uniform", sigma of "lognormal").
        first_byte_seconds: Wait between the headers and the body's first byte.
        chunk_seconds: Wait between the chunks of a stream.
        fault, fault_ratio: What goes wrong, and with which probability per request.
        cut_after_chunks: Chunks that a stream with fault "cut" or "error-event" sends.
        context_tokens: Context window; a longer prompt plus max_tokens is refused. None: no limit.
        answer, text, script: Source of answers: the extractive reader on the messages, one text, or texts in turn.
        completion_tokens, completion_spread: Reported (and charged) length instead of the real one: mean, and sigma
            of a lognormal distribution.
    """

    rpm: Positive | None = None
    tpm: Positive | None = None
    quota: QuotaKind = "bucket"
    burst_seconds: Positive = 60.0
    window_seconds: Positive = 60.0
    rejects_charged: bool = False
    initial_fill: Annotated[float, Field(ge=0, le=1)] = 1.0
    output_charged: OutputCharge = "produced"
    headers: HeaderStyle = "openai"
    stale_headers_seconds: Duration = 0.0
    retry_after: RetryAfter = "right"
    retry_after_seconds: Duration = 1.0
    latency_seconds: Duration = 0.0
    latency: LatencyShape = "fixed"
    latency_spread: Duration = 0.5
    first_byte_seconds: Duration = 0.0
    chunk_seconds: Duration = 0.0
    fault: Fault = "none"
    fault_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    cut_after_chunks: Annotated[int, Field(ge=0)] = 2
    context_tokens: Annotated[int, Field(gt=0)] | None = None
    answer: AnswerSource = "reader"
    text: str = "Fine."
    script: tuple[str, ...] = ()
    completion_tokens: Annotated[int, Field(gt=0)] | None = None
    completion_spread: Duration = 0.0

    @property
    def quota_config(self) -> QuotaConfig:
        """The limits of one (key, model)."""
        return QuotaConfig(
            requests_per_minute=self.rpm,
            tokens_per_minute=self.tpm,
            kind=self.quota,
            burst_seconds=self.burst_seconds,
            window_seconds=self.window_seconds,
            rejects_charged=self.rejects_charged,
        )

    def changed(self, changes: Mapping[str, Any]) -> Behaviour:
        """This behaviour with some keys changed. Raises ConfigInvalid for an unknown key or a wrong value."""
        known = {item.name for item in fields(self)}
        for key in changes:
            if key not in known:
                raise ConfigInvalid(f"{key}: unknown key; a provider's keys are {', '.join(sorted(known))}", key=key)
        try:
            valid = _ADAPTER.validate_python({**_plain(self), **changes})
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            raise ConfigInvalid(f"{key}: {first['msg']}", key=key) from None
        return replace(self, **{key: getattr(valid, key) for key in changes})


_ADAPTER: TypeAdapter[Behaviour] = TypeAdapter(Behaviour)


def _plain(behaviour: Behaviour) -> dict[str, Any]:
    return {item.name: getattr(behaviour, item.name) for item in fields(behaviour)}


@dataclass(frozen=True, slots=True)
class Step:
    """Changes that hold from `from_seconds` after the start, for `for_seconds` (None: to the end).

    `model` limits them to one model. Later steps win over earlier ones.
    """

    from_seconds: float
    for_seconds: float | None
    changes: Mapping[str, Any]
    model: str | None = None
    name: str = ""

    def active(self, at_seconds: float) -> bool:
        """Whether it holds at a time after the start."""
        if at_seconds < self.from_seconds:
            return False
        return self.for_seconds is None or at_seconds < self.from_seconds + self.for_seconds


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """The provider as it starts.

    Args:
        behaviour: What it does.
        models: Model → changes for it. Where any are named, every other model is unknown (404); else all are known.
        keys: API keys that it accepts; none means any, or none at all.
        steps: What changes by time.
        host, port: Address; port 0 takes a free one.
        ledger: File for the ledger, one JSON object a line.
        seed: Of latencies and of which requests fail.
        embedding_dimension: Default length of an embedding.
    """

    behaviour: Behaviour = field(default_factory=Behaviour)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    host: str = "127.0.0.1"
    port: int = 0
    ledger: Path | None = None
    seed: int = 0
    embedding_dimension: int = 1024

    def __post_init__(self) -> None:
        self.behaviour.changed({})
        for changes in (*self.models.values(), *(step.changes for step in self.steps)):
            self.behaviour.changed(changes)


def load_scenario(path: Path, base: SimulatorConfig | None = None) -> SimulatorConfig:
    """Read a scenario file onto `base`: tables [provider], [models.NAME] and [[step]]. Raises ConfigInvalid."""
    base = base or SimulatorConfig()
    document = _read(path)
    unknown = set(document) - {"provider", "models", "step", "keys", "seed"}
    if unknown:
        raise ConfigInvalid(f"{path.name}: unknown table {sorted(unknown)[0]}; use provider, models, step, keys, seed")
    try:
        return replace(
            base,
            behaviour=base.behaviour.changed(document.get("provider", {})),
            models={**base.models, **document.get("models", {})},
            keys=_keys(document["keys"]) if "keys" in document else base.keys,
            steps=(*base.steps, *(_step(table) for table in document.get("step", []))),
            seed=int(document.get("seed", base.seed)),
        )
    except ConfigInvalid as error:
        raise ConfigInvalid(f"{path.name}: {error.message}") from None
    except (TypeError, ValueError, AttributeError):
        raise ConfigInvalid(f"{path.name}: a table or value has the wrong type; see docs/simulator.md") from None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigInvalid(f"no scenario file at {path}")
    try:
        text = path.read_text("utf-8")
        document = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        place = str(error).splitlines()[0]
        raise ConfigInvalid(f"{path.name} is neither TOML (*.toml) nor JSON: {place}") from None
    if not isinstance(document, dict):
        raise ConfigInvalid(f"{path.name} must hold tables")
    return document


def _keys(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
        raise ConfigInvalid('keys is a list of texts, such as ["sk-drill"]')
    return tuple(value)


def _step(table: Mapping[str, Any]) -> Step:
    changes = dict(table)
    if "from_seconds" not in changes:
        raise ConfigInvalid("a step needs from_seconds")
    lasts = changes.pop("for_seconds", None)
    return Step(
        from_seconds=float(changes.pop("from_seconds")),
        for_seconds=None if lasts is None else float(lasts),
        model=changes.pop("model", None),
        name=str(changes.pop("name", "")),
        changes=changes,
    )
