# SPDX-License-Identifier: Apache-2.0
"""One byte string for one JSON value, so that hashes do not depend on indentation or the order of keys."""

from __future__ import annotations

from typing import Any

import orjson


def canonical(value: Any) -> bytes:
    """UTF-8, keys sorted by code point, no white space, numbers in their shortest form that reads back the same."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def pretty(value: Any) -> bytes:
    """What is written to files, in the form of DSPy's own `save`: two spaces, keys in the order given."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
