# SPDX-License-Identifier: Apache-2.0
"""Pages of a list, after AIP-158: opaque tokens, a page size that is coerced, never a failure for an item that went."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from slipway_server.errors import RequestInvalid

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 200

T = TypeVar("T")


def page(items: Sequence[T], page_size: int, page_token: str, key: Callable[[T], str]) -> tuple[Sequence[T], str]:
    """One page of `items` and the token of the next, empty on the last one.

    The token holds the position and the `key` of the last item shown: items that came or went since make no page
    repeat or skip others, unless that very item went. Raises RequestInvalid for a negative size or a foreign token.
    """
    if page_size < 0:
        raise RequestInvalid("page_size must not be negative", field="page_size")
    size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    start = _resume(items, *_decoded(page_token), key) if page_token else 0
    shown = items[start : start + size]
    more = start + size < len(items)
    return shown, _encoded(start + size, key(shown[-1])) if more else ""


def _resume(items: Sequence[T], position: int, last: str, key: Callable[[T], str]) -> int:
    for index, item in enumerate(items):
        if key(item) == last:
            return index + 1
    return max(0, min(position - 1, len(items)))


def _encoded(position: int, last: str) -> str:
    return base64.urlsafe_b64encode(f"{position}:{last}".encode()).decode()


def _decoded(token: str) -> tuple[int, str]:
    try:
        position, separator, last = (
            base64.b64decode(token.encode("ascii"), b"-_", validate=True).decode().partition(":")
        )
        if separator and position.isdecimal():
            return int(position), last
    except (ValueError, binascii.Error):
        pass
    raise RequestInvalid("page_token is not one that this server gave", field="page_token")
