# SPDX-License-Identifier: Apache-2.0
"""The format of an entry's file: one readable header line, then the value.

    slipway-cache 1 <digest> <created, Unix seconds> <length of the value> <sha256>\\n<value>

The checksum covers the rest of the header and the value, so that whatever bytes a file holds, `decode` gives the exact
value or says why not.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import NamedTuple

MAGIC = b"slipway-cache 1 "
_LONGEST_HEADER = 256


class Miss(StrEnum):
    """Why there is no value; the label `reason` of slipway_cache_misses_total."""

    ABSENT = "absent"
    EXPIRED = "expired"
    FOREIGN = "foreign"
    TORN = "torn"
    DAMAGED = "damaged"
    FULL = "full"
    DENIED = "denied"
    STALE = "stale"
    IO = "io"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    """The volume hung a moment ago and is left alone, or too much is waiting for it."""


class Record(NamedTuple):
    """A value and the time it was stored, in Unix seconds."""

    value: bytes
    created: float


def encode(digest: str, value: bytes, created: float) -> bytes:
    """The file's content."""
    head = MAGIC + f"{digest} {created:.3f} {len(value)} ".encode()
    return b"".join((head, _checksum(head, value), b"\n", value))


def decode(data: bytes, digest: str) -> Record | Miss:
    """What `encode` was given, or TORN, FOREIGN (another format or entry) or DAMAGED."""
    if not data.startswith(MAGIC):
        return Miss.FOREIGN if data and not MAGIC.startswith(data[: len(MAGIC)]) else Miss.TORN
    end = data.find(b"\n", 0, _LONGEST_HEADER)
    split = data.rfind(b" ", 0, end) + 1
    fields = data[len(MAGIC) : split].split(b" ")
    if end < 0 or len(fields) != 4:
        return Miss.TORN if end < 0 and len(data) < _LONGEST_HEADER else Miss.DAMAGED
    value = data[end + 1 :]
    if data[split:end] != _checksum(data[:split], value):
        return Miss.TORN if fields[2].isdigit() and len(value) < int(fields[2]) else Miss.DAMAGED
    if fields[0] != digest.encode():
        return Miss.FOREIGN
    return Record(value, float(fields[1]))


def _checksum(head: bytes, value: bytes) -> bytes:
    digest = hashlib.sha256(head)
    digest.update(value)
    return digest.hexdigest().encode()
