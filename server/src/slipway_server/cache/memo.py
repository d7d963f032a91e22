# SPDX-License-Identifier: Apache-2.0
"""Whole answers, remembered.

    memo = AnswerMemo(shared)
    outputs = await memo.get(digest, inputs, collection_version)     # None: run the program
    await memo.put(digest, inputs, collection_version, outputs)

An answer is found again only under the same artifact, inputs, collection version and configuration (program, model,
endpoint, temperature, token limit, k, embedder). What is not in it is the program's code: deploying changed code with
the same artifact needs another SLIPWAY_CACHE_NAMESPACE, or a compile. Same store and same guarantees as LM calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from slipway_server.cache.keys import NotKeyable
from slipway_server.cache.pending import Entry
from slipway_server.cache.shared import SharedCache, count, to_json
from slipway_server.telemetry import metrics

KIND = "answer"


class AnswerMemo:
    """Answers by artifact, inputs and collection version. Off unless SLIPWAY_CACHE_ANSWERS is set; never raises."""

    def __init__(self, shared: SharedCache) -> None:
        self._shared = shared
        self._scope = shared.config.answer_scope

    async def get(
        self, artifact_digest: str, inputs: Mapping[str, Any], collection_version: str
    ) -> dict[str, Any] | None:
        """The remembered outputs, or None. An uncompiled program (empty digest) is not remembered."""
        digest = self._digest(artifact_digest, inputs, collection_version)
        if digest is None:
            return None
        value = self._shared.find(digest)
        if value is None:
            value = await self._shared.read(digest)
        if value is None:
            metrics.CACHE_LOOKUPS.labels(KIND, "miss").inc()
            return None
        count(KIND, "memo")
        outputs: dict[str, Any] = orjson.loads(value)
        return outputs

    async def put(
        self, artifact_digest: str, inputs: Mapping[str, Any], collection_version: str, outputs: Mapping[str, Any]
    ) -> None:
        """Remember `outputs`, which are JSON values; they are written in the background."""
        digest = self._digest(artifact_digest, inputs, collection_version)
        value = None if digest is None else to_json(outputs)
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
