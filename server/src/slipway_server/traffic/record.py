# SPDX-License-Identifier: Apache-2.0
"""One recorded answer, and what is kept of it.

record = Record.of(inputs, outputs, receipt, routing_key, now=time.time())
Record.from_values(orjson.loads(line))
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from slipway_server.runtime.types import Receipt

CONTEXT = "context"
"""Name under which the passages that the program was given are kept."""


def sampled(request_id: str, share: float) -> bool:
    """Whether this request belongs to the sample: the same answer in every pod, and later on for a check."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest()) < share * 2**64


def pseudonym(routing_key: str) -> str:
    """What stands for a routing key in records, so that the key itself is stored nowhere; empty for no key."""
    return hashlib.blake2b(routing_key.encode(), digest_size=16).hexdigest() if routing_key else ""


@dataclass(frozen=True, slots=True)
class Record:
    """One answer. `time`: seconds since the epoch. `routing`: pseudonym of the routing key.

    `inputs`, `outputs` and `context` hold the allowed fields after redaction, and are empty where content is off.
    """

    request_id: str
    time: float
    program: str = ""
    digest: str = ""
    variant: str = ""
    model: str = ""
    collection_version: str = ""
    routing: str = ""
    cache: str = ""
    lm_calls: int = 0
    attempts: int = 0
    waited_seconds: float = 0.0
    elapsed_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    citations: list[str] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    context: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        receipt: Receipt,
        routing_key: str,
        *,
        now: float,
    ) -> Record:
        """Everything that is known of an answer, not redacted yet."""
        return cls(
            request_id=receipt.request_id,
            time=now,
            program=receipt.program,
            digest=receipt.artifact_digest,
            variant=receipt.variant,
            model=receipt.model,
            collection_version=receipt.collection_version,
            routing=pseudonym(routing_key),
            cache=receipt.cache,
            lm_calls=receipt.lm_calls,
            attempts=receipt.attempts,
            waited_seconds=sum(receipt.waits_seconds.values()),
            elapsed_seconds=receipt.elapsed_seconds,
            prompt_tokens=receipt.prompt_tokens,
            completion_tokens=receipt.completion_tokens,
            cost_usd=receipt.cost_usd,
            citations=[citation.passage_id for citation in receipt.citations],
            inputs=dict(inputs),
            outputs=dict(outputs),
            context=[citation.text for citation in receipt.citations if citation.text],
        )

    def values(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: Any) -> Record | None:
        """The record of a line; keys that a later version added are left out. None where it is no record."""
        if not isinstance(values, dict) or not {"request_id", "time"} <= values.keys():
            return None
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})
