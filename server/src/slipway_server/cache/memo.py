# SPDX-License-Identifier: Apache-2.0
"""Whole answers, remembered.

    memo = AnswerMemo(shared)
    remembered = await memo.get(digest, inputs, collection_version)     # None: run the program
    content_of(remembered)
    await memo.put(digest, inputs, collection_version, content)

An answer is found again only under the same artifact, inputs, collection version and configuration (program, model,
endpoint, temperature, token limit, k, embedder). What is not in it is the program's code: deploying changed code with
the same artifact needs another SLIPWAY_CACHE_NAMESPACE, or a compile. Same store and same guarantees as LM calls.

Beside an answer in memory its users keep the forms that they gave it, such as the bytes of a response: they are as old
as the answer, count against the same limit and go with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from slipway_server.cache.keys import NotKeyable
from slipway_server.cache.memory import Held
from slipway_server.cache.pending import Entry
from slipway_server.cache.shared import SharedCache, count, to_json
from slipway_server.request import Account
from slipway_server.telemetry import metrics

KIND, TIER = "answer", "memo"


def content_of(held: Held) -> dict[str, Any]:
    """What was remembered; a copy of one's own."""
    found: dict[str, Any] = orjson.loads(held.value)
    return found


class AnswerMemo:
    """Answers by artifact, inputs and collection version. Off unless SLIPWAY_CACHE_ANSWERS is set; never raises."""

    def __init__(self, shared: SharedCache) -> None:
        self._shared = shared
        self._scope = shared.config.answer_scope

    async def get(self, artifact_digest: str, inputs: Mapping[str, Any], collection_version: str) -> Held | None:
        """What is remembered, or None. An uncompiled program (empty digest) is not remembered."""
        digest = self._digest(artifact_digest, inputs, collection_version)
        memory = self._shared.memory
        if digest is None or memory is None:
            return None
        held = memory.held(digest)
        if held is None:
            value = await self._shared.read(digest)
            if value is None:
                metrics.CACHE_LOOKUPS.labels(KIND, "miss").inc()
                return None
            held = memory.held(digest) or Held(memory, digest, (value, 0.0))  # too large to be held
        count(KIND, TIER)
        return held

    def again(self, key: str, account: Account) -> Held | None:
        """The answer that was remembered under `key`, if memory has it still; for the request of `account`."""
        memory = self._shared.memory
        held = None if memory is None else memory.held(key)
        if held is not None:
            metrics.CACHE_LOOKUPS.labels(KIND, TIER).inc()
            account.cache_tiers[TIER] += 1
        return held

    async def put(
        self, artifact_digest: str, inputs: Mapping[str, Any], collection_version: str, content: Mapping[str, Any]
    ) -> None:
        """Remember `content`, which is JSON; it is written in the background."""
        digest = self._digest(artifact_digest, inputs, collection_version)
        value = None if digest is None else to_json(content)
        if digest is not None and value is not None:
            self._shared.publish(Entry(digest, value, self._shared.publish))

    def _digest(self, artifact_digest: str, inputs: Mapping[str, Any], collection_version: str) -> str | None:
        if not (artifact_digest and self._shared.config.answers and self._shared.usable()):
            return None
        try:
            return self._shared.keys.of_values(KIND, [*self._scope, artifact_digest, collection_version, inputs])
        except NotKeyable:
            metrics.CACHE_SKIPPED.labels("not_keyable").inc()
            return None
