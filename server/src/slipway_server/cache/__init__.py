# SPDX-License-Identifier: Apache-2.0
"""The shared cache: one file per entry, a memory tier, single flight."""

from __future__ import annotations

from slipway_server.cache.config import CacheConfig
from slipway_server.cache.memo import AnswerMemo
from slipway_server.cache.pending import Pending, deferred
from slipway_server.cache.protocol import EntryStore
from slipway_server.cache.shared import SharedCache, install, open_cache

__all__ = ["AnswerMemo", "CacheConfig", "EntryStore", "Pending", "SharedCache", "deferred", "install", "open_cache"]
