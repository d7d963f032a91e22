# SPDX-License-Identifier: Apache-2.0
"""What a process does that shares entries with others; run in a pool of processes."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from slipway_server.cache.record import Miss
from slipway_server.cache.store import DiskStore

ENTRIES = 200


def digest_of(writer: int, number: int) -> str:
    return hashlib.sha256(f"{writer} {number}".encode()).hexdigest()


def value_of(writer: int, number: int) -> bytes:
    return f"{writer} {number} ".encode() * 700


def write(folder: Path, writer: int) -> int:
    """Entries written without an error."""
    store = DiskStore(folder)
    for number in range(ENTRIES):
        store.put(digest_of(writer, number), value_of(writer, number))
    return ENTRIES


def read(folder: Path, writers: int) -> Counter[str]:
    """How the entries of all writers were found: right, wrong, or a reason of a miss."""
    store, found = DiskStore(folder), Counter[str]()
    for writer in range(writers):
        for number in range(ENTRIES):
            value = store.get(digest_of(writer, number))
            kind = value.value if isinstance(value, Miss) else "right" if value == value_of(writer, number) else "wrong"
            found[kind] += 1
    return found
