# SPDX-License-Identifier: Apache-2.0
"""The format of an entry's file: one readable header line of fixed width, then the value.

    slipway-cache 1 <digest> <created, Unix milliseconds> <length of the value> <CRC-32>\\n<value>

The checksum covers the rest of the header and the value, so that whatever bytes a file holds, `decode` gives the exact
value or says why not. It is against damage; against people there are the folder's permissions.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple
from zlib import crc32

MAGIC = b"slipway-cache 1 "
_DIGEST, _CREATED, _LENGTH = slice(16, 80), slice(81, 94), slice(95, 105)
_COVERED = 106
"""Bytes of the header before the checksum."""
_HEADER = 115


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
    """The file's content. `digest` has 64 characters; `created` is kept to the millisecond."""
    head = b"%s%s %013d %010d " % (MAGIC, digest.encode(), round(created * 1000), len(value))
    return b"%s%08x\n%s" % (head, crc32(value, crc32(head)), value)


def decode(data: bytes, digest: str) -> Record | Miss:
    """What `encode` was given, or TORN, FOREIGN (another format or entry) or DAMAGED."""
    if data[:16] != MAGIC:
        return Miss.TORN if MAGIC.startswith(data[:16]) else Miss.FOREIGN
    value = data[_HEADER:]
    if data[_COVERED:_HEADER] != b"%08x\n" % crc32(value, crc32(data[:_COVERED])):
        return _fault(data, value)
    if data[_DIGEST] != digest.encode():
        return Miss.FOREIGN
    try:
        return Record(value, int(data[_CREATED]) / 1000) if int(data[_LENGTH]) == len(value) else Miss.DAMAGED
    except ValueError:
        return Miss.DAMAGED


def _fault(data: bytes, value: bytes) -> Miss:
    length = data[_LENGTH]
    torn = len(data) < _HEADER or (length.isdigit() and len(value) < int(length))
    return Miss.TORN if torn else Miss.DAMAGED
