# SPDX-License-Identifier: Apache-2.0
"""The memory tier is bounded in bytes and forgets what was used least recently."""

from __future__ import annotations

import gc
import itertools

from hypothesis import given
from hypothesis import strategies as st

from slipway_server.cache.memory import ENTRY_OVERHEAD_BYTES, Held, MemoryTier


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2000)), max_size=60), st.integers(0, 5000))
def test_never_beyond_the_limit_and_right(puts: list[tuple[str, int]], limit: int) -> None:
    tier, newest = MemoryTier(limit), {}
    for key, size in puts:
        value = key.encode() * size
        tier.put(key, value)
        if size + ENTRY_OVERHEAD_BYTES <= limit:
            newest[key] = value
        assert tier.size_bytes <= limit
    held = {key: tier.get(key) for key in newest}
    assert all(value is None or value == newest[key] for key, value in held.items())
    assert tier.size_bytes == sum(len(v) + ENTRY_OVERHEAD_BYTES for v in held.values() if v is not None)


def test_least_recently_used_goes_first() -> None:
    tier = MemoryTier(3 * (ENTRY_OVERHEAD_BYTES + 1))
    for key in "abc":
        tier.put(key, b"x")
    tier.get("a")
    tier.put("d", b"x")
    assert [key for key in "abcd" if tier.get(key)] == ["a", "c", "d"]


def test_ttl() -> None:
    now = [0.0]
    tier = MemoryTier(10_000, 60, clock=lambda: now[0])
    tier.put("a", b"x")
    now[0] = 59.9
    assert tier.get("a") == b"x"
    now[0] = 60.0
    assert tier.get("a") is None
    assert tier.size_bytes == 0


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.integers(0, 1500)), max_size=60),
    st.integers(0, 6000),
)
def test_forms_count_against_the_limit_and_go_with_their_value(steps: list[tuple[str, bool, int]], limit: int) -> None:
    tier = MemoryTier(limit)
    seen: list[Held] = []
    for number, (key, put, size) in enumerate(steps):
        if put:
            tier.put(key, number.to_bytes(2) + b"v" * size)
        elif (held := tier.held(key)) is not None:
            seen.append(held)
            tier.keep(held, "form", (held.value[:2], b"f" * size))
        for old in seen:  # whoever still has an entry that was forgotten or replaced
            tier.keep(old, "late", (old.value[:2],))
        assert tier.size_bytes <= limit
    held_now = [held for key in "abcd" if (held := tier.held(key)) is not None]
    parts = [part for held in held_now for part in (held.value, *itertools.chain(*held.forms.values()))]
    entries = sum(1 + len(held.forms) for held in held_now)
    assert tier.size_bytes == sum(map(len, parts)) + entries * ENTRY_OVERHEAD_BYTES
    for held in held_now:
        assert all(form[0] == held.value[:2] for form in held.forms.values())


def test_a_form_is_not_younger_than_its_value() -> None:
    now = [0.0]
    tier = MemoryTier(10_000, 60, clock=lambda: now[0])
    tier.put("a", b"x")
    now[0] = 59.0
    tier.keep(tier.held("a"), "form", (b"y",))
    now[0] = 60.0
    assert tier.held("a") is None


def test_entries_are_left_out_of_collections_of_garbage() -> None:
    tier = MemoryTier(1_000_000)
    for number in range(100):
        tier.put(str(number), b"x")
    gc.collect()
    assert not any(gc.is_tracked(entry) for entry in tier._entries.values())
