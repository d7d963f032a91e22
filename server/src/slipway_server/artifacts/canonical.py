# SPDX-License-Identifier: Apache-2.0
"""JSON objects as artifacts have them: read, written, and as one byte string for one value.

The last is for hashes, which must not depend on indentation or the order of keys.
"""

from __future__ import annotations

from typing import Any

import orjson


def canonical(value: Any) -> bytes:
    """UTF-8, keys sorted by code point, no white space, numbers in their shortest form that reads back the same."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def pretty(value: Any) -> bytes:
    """What is written to files, in the form of DSPy's own `save`: two spaces, keys in the order given."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def parsed(content: bytes) -> dict[str, Any] | None:
    """The JSON object in `content`; None where there is none, or where `canonical` could not write it again."""
    try:
        value = orjson.loads(content)
        # It writes 254 levels, and reads a thousand: what is nested more deeply has no digest.
        canonical(value)
    except (orjson.JSONDecodeError, TypeError):
        return None
    return value if isinstance(value, dict) else None
