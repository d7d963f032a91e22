# SPDX-License-Identifier: Apache-2.0
"""Damage is seen: whatever bytes a file holds, a line gives its exact value or none."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.traffic.framing import frame, unframe, values

json_values = st.dictionaries(st.text(max_size=5), st.one_of(st.text(), st.integers(-1000, 1000), st.booleans()))


@settings(max_examples=60, deadline=None)
@given(st.lists(json_values, max_size=5))
def test_lines_come_back(rows: list[object]) -> None:
    assert list(values(b"".join(map(frame, rows)))) == rows


@settings(max_examples=100, deadline=None)
@given(st.lists(json_values, min_size=1, max_size=4), st.data())
def test_a_file_cut_anywhere_loses_the_line_that_was_cut_and_no_other(rows: list[object], data: st.DataObject) -> None:
    lines = [frame(row) for row in rows]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    found = [value for value in values(whole[:cut]) if value is not None]
    complete = sum(len(b"".join(lines[: n + 1])) - 1 <= cut for n in range(len(lines)))
    assert found == rows[:complete]


@settings(max_examples=100, deadline=None)
@given(json_values, st.data())
def test_a_changed_byte_is_seen(row: object, data: st.DataObject) -> None:
    line = bytearray(frame(row)[:-1])
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    assert b"\n" in line or unframe(bytes(line)) is None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(content: bytes) -> None:
    list(values(content))
