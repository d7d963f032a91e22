# SPDX-License-Identifier: Apache-2.0
"""The cache's part of the configuration.

config = CacheConfig.from_settings(settings)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slipway_server.config import Settings


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """What the cache must know. Sizes in bytes, times in seconds; `ttl_seconds` None means for ever."""

    mode: Literal["on", "memory", "off"]
    folder: Path
    """The volume's folder, as configured; the cache keeps to `slipway/` in it."""
    namespace: str
    endpoint: str
    """The provider's address: equal model names behind two addresses are two models."""
    memory_bytes: int
    ttl_seconds: float | None
    timeout_seconds: float
    lease_seconds: float
    fsync: bool
    """Without it a power loss may tear recent entries, which readers notice: misses."""
    answers: bool
    answer_scope: tuple[str, ...]
    """What an answer depends on beside artifact, inputs and collection."""

    @classmethod
    def from_settings(cls, settings: Settings) -> CacheConfig:
        """Take what the cache needs."""
        endpoint = (settings.lm_base_url or "").rstrip("/")
        return cls(
            mode=settings.cache,
            folder=settings.cache_dir,
            namespace=settings.cache_namespace,
            endpoint=endpoint,
            memory_bytes=settings.cache_memory_bytes,
            ttl_seconds=settings.cache_ttl_seconds,
            timeout_seconds=settings.cache_timeout_seconds,
            lease_seconds=settings.cache_lease_seconds,
            fsync=settings.cache_fsync,
            answers=settings.cache_answers,
            answer_scope=(
                settings.program,
                endpoint,
                settings.lm_model,
                str(settings.lm_temperature),
                str(settings.lm_max_tokens),
                str(settings.retrieval_k),
                settings.embedding_model,
            ),
        )
