# SPDX-License-Identifier: Apache-2.0
"""From a request's account to its receipt."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from slipway_server.request import RequestContext
from slipway_server.runtime.types import ArtifactInfo, Receipt

_HOST = socket.gethostname()
_DEAREST_FIRST = ("memo", "miss", "joined", "disk", "memory", "bypass")
_PAID = frozenset(("miss", "bypass"))


def cache_tier(tiers: Mapping[str, int]) -> str:
    """The dearest place that an answer came from; empty where no LM was asked."""
    for tier in _DEAREST_FIRST:
        if tier in tiers:
            return tier
    return ""


def from_cache(tiers: Mapping[str, int]) -> bool:
    """Whether a cache, or another request's call, had a part in an answer, so that its latency says little."""
    return not tiers.keys() <= _PAID


def receipt(
    context: RequestContext, *, program: str, variant: str, artifact: ArtifactInfo, model: str, elapsed_seconds: float
) -> Receipt:
    """The receipt of a request that is done."""
    account = context.account
    return Receipt(
        request_id=context.request_id,
        program=program,
        artifact=artifact.name,
        artifact_digest=artifact.digest,
        variant=variant,
        model=model,
        cache=cache_tier(account.cache_tiers),
        lm_calls=account.lm_calls,
        attempts=account.attempts,
        waits_seconds={kind: seconds for kind, seconds in account.waits_seconds.items() if seconds > 0},
        prompt_tokens=account.prompt_tokens,
        completion_tokens=account.completion_tokens,
        cost_usd=account.cost_usd,
        collection_version=account.collection_version,
        citations=tuple(account.citations),
        elapsed_seconds=elapsed_seconds,
        server=_HOST,
    )
