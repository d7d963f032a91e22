# SPDX-License-Identifier: Apache-2.0
"""The LM of a process, ready to use.

    stack = await open_stack(settings, owner=OwnerLoop.of_running_loop())     # on the owner loop
    with dspy.context(lm=stack.lm):
        …
    await stack.aclose()

`make_pacer` says which pacing the settings mean.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from dspy import lm15
from dspy.utils.exceptions import LMConfigurationError

from slipway_server.config import OFFLINE_MODEL, Settings
from slipway_server.errors import ConfigInvalid
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.lm.engines import AsyncEngine, Capabilities, SyncEngine
from slipway_server.lm.governor import Backend, Governor, GovernorConfig
from slipway_server.lm.model import Flight, SlipwayLM
from slipway_server.lm.offline import ExtractiveReader
from slipway_server.lm.pacing.auto import AutoPacer
from slipway_server.lm.pacing.fixed import FixedPacer
from slipway_server.lm.pacing.priced import PricedConfig, PricedPacer
from slipway_server.lm.pacing.share import SharePacer
from slipway_server.lm.pacing.types import Pacer, Unpaced
from slipway_server.lm.peers import count_peers
from slipway_server.lm.provider import open_provider
from slipway_server.lm.retries import RetryConfig
from slipway_server.telemetry import metrics

REFRESH_SECONDS = 1.0
PEERS_SECONDS = 7.0
"""Time between look-ups of the pods, with jitter."""
CAUTIOUS_BURST_SECONDS = 0.25


class OfflineBackend:
    """governor.Backend on the built-in reader."""

    def __init__(self) -> None:
        self._reader = ExtractiveReader()

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """The whole answer; under a millisecond of CPU."""
        return self._reader.complete(request)

    async def stream(self, request: lm15.Request) -> AsyncIterator[lm15.StreamEvent]:
        """The answer as events."""
        for event in self._reader.stream(request):
            yield event

    async def aclose(self) -> None:
        """Nothing to release."""


@dataclass
class LMStack:
    """`lm` for dspy.context, and the governor under it."""

    lm: SlipwayLM
    governor: Governor
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def aclose(self) -> None:
        """Stop the upkeep and close the connections; calls under way must have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.governor.aclose()


async def open_stack(settings: Settings, *, owner: OwnerLoop, flight: Flight | None = None) -> LMStack:
    """Open the LM on the running loop, which must be `owner`'s. `flight` wraps every call (cache/single flight).

    Raises ConfigInvalid for a model, price or pacing that cannot work. Makes no request.
    """
    backend: Backend
    if settings.lm_model == OFFLINE_MODEL:
        backend, capabilities = OfflineBackend(), _offline_capabilities()
    else:
        backend, capabilities = open_provider(settings)
    pods = await look_for_peers(settings) or settings.lm_replicas
    metrics.LM_PODS_SEEN.set(pods)
    governor = Governor(_config(settings), backend, make_pacer(settings, pods=pods))
    governor.pacer.set_pods(pods)
    lm = _make_lm(settings, governor, owner, capabilities, flight)
    tasks = [asyncio.create_task(_upkeep(governor), name="slipway-lm-upkeep")]
    if settings.lm_peers_dns:
        tasks.append(asyncio.create_task(_follow_peers(settings, governor), name="slipway-lm-peers"))
    return LMStack(lm, governor, tasks)


def make_pacer(settings: Settings, *, pods: int = 1) -> Pacer:
    """The pacer that `settings` ask for. Raises ConfigInvalid where it needs a limit that is not configured."""
    limits = {name: limit for name, limit in (("requests", settings.lm_rpm), ("tokens", settings.lm_tpm)) if limit}
    kind = "off" if settings.lm_model == OFFLINE_MODEL else settings.lm_pacing
    if kind in ("fixed", "share") and not limits:
        raise ConfigInvalid(f"SLIPWAY_LM_PACING={kind} needs SLIPWAY_LM_RPM or SLIPWAY_LM_TPM", key="SLIPWAY_LM_PACING")

    def fixed(of: int = 1, burst_seconds: float = settings.lm_burst_seconds) -> Pacer:
        return FixedPacer({name: limit / of for name, limit in limits.items()}, burst_seconds) if limits else Unpaced()

    def priced(of: int) -> Pacer:
        config = PricedConfig(burst_seconds=settings.lm_burst_seconds)
        return PricedPacer(config, limits, now=time.monotonic, pods=of)

    def share(of: int) -> Pacer:
        return SharePacer(limits, now=time.monotonic, pods=of)

    def silent(of: int) -> Pacer:
        return share(of) if of > 1 and limits else fixed()

    if kind == "off":
        return Unpaced()
    if kind == "auto":
        return AutoPacer(fixed(pods, CAUTIOUS_BURST_SECONDS), priced, silent)
    return {"fixed": fixed, "share": share, "priced": priced}[kind](1 if kind == "fixed" else pods)


def _config(settings: Settings) -> GovernorConfig:
    return GovernorConfig(
        model=settings.lm_model,
        max_concurrency=settings.lm_max_concurrency,
        attempt_timeout_seconds=settings.lm_attempt_timeout_seconds,
        queue_cap_seconds=settings.lm_queue_cap_seconds,
        retries=RetryConfig(settings.lm_max_attempts, settings.lm_retry_after_cap_seconds),
        prices=prices_of(settings.lm_prices),
    )


def prices_of(text: str | None) -> tuple[float, float] | None:
    """US dollars per million prompt and completion tokens, of SLIPWAY_LM_PRICES. Raises ConfigInvalid."""
    if text is None:
        return None
    try:
        prompt, completion = (float(part) for part in text.split(":"))
        if not (0 <= prompt < math.inf and 0 <= completion < math.inf):
            raise ValueError("price")
    except ValueError:
        raise ConfigInvalid(
            f"SLIPWAY_LM_PRICES={text}: write US dollars per million tokens as prompt:completion, e.g. 0.15:0.60",
            key="SLIPWAY_LM_PRICES",
        ) from None
    return prompt, completion


def _make_lm(
    settings: Settings, governor: Governor, owner: OwnerLoop, capabilities: Capabilities, flight: Flight | None
) -> SlipwayLM:
    try:
        return SlipwayLM(
            settings.lm_model,
            engine=SyncEngine(governor, owner, capabilities),
            async_engine=AsyncEngine(governor, owner, capabilities),
            flight=flight,
            temperature=settings.lm_temperature,
            max_tokens=settings.lm_max_tokens,
            cache=settings.cache != "off",
        )
    except LMConfigurationError:
        raise ConfigInvalid(
            f"SLIPWAY_LM_MODEL={settings.lm_model} is a reasoning model: it needs SLIPWAY_LM_TEMPERATURE=1 and "
            "SLIPWAY_LM_MAX_TOKENS of 16000 or more",
            key="SLIPWAY_LM_MODEL",
        ) from None
    except ValueError:
        raise ConfigInvalid(
            f"SLIPWAY_LM_MODEL={settings.lm_model}: write provider/model", key="SLIPWAY_LM_MODEL"
        ) from None


def _offline_capabilities() -> Capabilities:
    return Capabilities(supported_params=ExtractiveReader.supported_params)


async def look_for_peers(settings: Settings) -> int | None:
    """The pods that share the key now; None where nothing says so."""
    return await count_peers(settings.lm_peers_dns) if settings.lm_peers_dns else None


async def _upkeep(governor: Governor) -> None:
    while True:
        governor.refresh()
        await asyncio.sleep(REFRESH_SECONDS)


async def _follow_peers(settings: Settings, governor: Governor) -> None:
    while True:
        await asyncio.sleep(PEERS_SECONDS * random.uniform(0.7, 1.3))
        pods = await look_for_peers(settings)
        if pods is not None:
            governor.pacer.set_pods(pods)
            metrics.LM_PODS_SEEN.set(pods)
