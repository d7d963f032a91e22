# SPDX-License-Identifier: Apache-2.0
"""What other rooms need of the shared cache."""

from __future__ import annotations

from typing import Protocol


class EntryStore(Protocol):
    """Bytes by key. A fault of the volume is a miss, or a write that did not happen; it never raises."""

    async def get(self, key: str) -> bytes | None:
        """The value stored under `key`, or None."""
        ...

    async def put(self, key: str, value: bytes) -> None:
        """Store `value` under `key`; readers see the whole of it or nothing."""
        ...
