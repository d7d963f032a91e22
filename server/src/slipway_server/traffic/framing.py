# SPDX-License-Identifier: Apache-2.0
"""Lines that show whether they are whole: length and CRC-32 of the JSON, both in hex, then the JSON.

    00000011 1c4f29d1 {"hello":"world"}

A killed writer leaves at most one torn line, which fails its check; what follows it is read as usual.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import orjson

_HEAD = 18


def frame(value: Any) -> bytes:
    """One line, with its newline. JSON never contains a newline of its own."""
    body = orjson.dumps(value)
    return b"%08x %08x %b\n" % (len(body), zlib.crc32(body), body)


def unframe(line: bytes) -> Any | None:
    """The value of one line without its newline; None where the line is torn or damaged."""
    body = line[_HEAD:]
    if line[:_HEAD] != b"%08x %08x " % (len(body), zlib.crc32(body)):
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def values(content: bytes) -> Iterator[Any | None]:
    """Every line's value, None for each that is not whole."""
    for line in content.split(b"\n"):
        if line:
            yield unframe(line)
