# SPDX-License-Identifier: Apache-2.0
"""Pages: every item once, also while the list changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_server.errors import RequestInvalid
from slipway_server.serving.pages import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, page


@given(st.integers(0, 450), st.integers(0, 300))
def test_pages_hold_every_item_once(count: int, size: int) -> None:
    items, token, found = list(range(count)), "", []
    while True:
        shown, token = page(items, size, token, key=str)
        assert len(shown) <= min(size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        found += shown
        if not token:
            break
    assert found == items


def test_items_that_come_or_go_between_pages_repeat_and_skip_none() -> None:
    items = ["e", "d", "c", "b", "a"]
    shown, token = page(items, 2, "", key=str)
    assert shown == ["e", "d"]
    assert page(["f", *items], 2, token, key=str)[0] == ["c", "b"]
    assert page(["d", "c", "b", "a"], 2, token, key=str)[0] == ["c", "b"]
    assert page(["e", "c", "b", "a"], 2, token, key=str)[0] == ["c", "b"]


@pytest.mark.parametrize(
    ("size", "token", "field"),
    [
        (-1, "", "page_size"),
        (1, "?", "page_token"),
        (1, "eA", "page_token"),
        (1, "LTE6eA==", "page_token"),
        (1, "ü", "page_token"),
    ],
)
def test_malformed_requests_name_their_field(size: int, token: str, field: str) -> None:
    with pytest.raises(RequestInvalid) as failure:
        page([1, 2], size, token, key=str)
    assert failure.value.metadata == {"field": field}
