# SPDX-License-Identifier: Apache-2.0
"""The memory tier is bounded in bytes and forgets what was used least recently."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slipway_server.cache.memory import ENTRY_OVERHEAD_BYTES, MemoryTier


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
