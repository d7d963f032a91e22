# SPDX-License-Identifier: Apache-2.0
"""Whatever bytes a file holds, decode gives the exact value or a reason."""

from __future__ import annotations

from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.cache.record import Miss, Record, decode, encode

DIGEST = "ab" * 32
OTHER = "cd" * 32

values = st.binary(max_size=2000)


@given(values)
def test_reads_back_what_was_written(value: bytes) -> None:
    assert decode(encode(DIGEST, value, 1700000000.25), DIGEST) == Record(value, 1700000000.25)


@given(values, st.binary(max_size=3000))
def test_any_bytes_are_a_miss_or_the_value(value: bytes, data: bytes) -> None:
    found = decode(data, DIGEST)
    assert isinstance(found, Miss) or data == encode(DIGEST, found.value, found.created)


@settings(max_examples=300)
@given(values, st.data())
def test_damaged_files_are_misses(value: bytes, data: st.DataObject) -> None:
    whole = encode(DIGEST, value, 1.0)
    at = data.draw(st.integers(0, len(whole) - 1))
    damage = data.draw(st.sampled_from(["cut", "flip", "zero tail", "insert", "delete", "repeat", "swap", "append"]))
    extra = data.draw(st.binary(min_size=1, max_size=64))
    bit = 1 << data.draw(st.integers(0, 7))
    broken = {
        "cut": whole[:at],
        "flip": whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :],
        "zero tail": whole[:at] + bytes(len(whole) - at),
        "insert": whole[:at] + extra + whole[at:],
        "delete": whole[:at] + whole[at + len(extra) :],
        "repeat": whole + whole[at:],
        "swap": whole[at:] + whole[:at],
        "append": whole + extra,
    }[damage]
    found = decode(broken, DIGEST)
    assert isinstance(found, Miss) or broken == whole


@given(values, values)
def test_two_entries_spliced_are_a_miss(first: bytes, second: bytes) -> None:
    one, two = encode(DIGEST, first, 1.0), encode(OTHER, second, 1.0)
    spliced = one[: one.index(b"\n") + 1] + two[two.index(b"\n") + 1 :]
    assert (decode(spliced, DIGEST) == Record(first, 1.0)) == (first == second)


@given(st.binary(min_size=13, max_size=13), st.binary(min_size=10, max_size=10))
def test_a_right_checksum_over_nonsense_is_a_miss(created: bytes, length: bytes) -> None:
    head = b"slipway-cache 1 " + DIGEST.encode() + b" " + created + b" " + length + b" "
    found = decode(head + b"%08x\n" % crc32(head), DIGEST)
    assert isinstance(found, Miss) or found.value == b""


def test_reasons() -> None:
    whole = encode(DIGEST, b"value", 1.0)
    assert decode(whole, OTHER) is Miss.FOREIGN
    assert decode(b"SQLite format 3\0", DIGEST) is Miss.FOREIGN
    assert decode(b"", DIGEST) is Miss.TORN
    assert decode(whole[:-1], DIGEST) is Miss.TORN
    assert decode(whole[:30], DIGEST) is Miss.TORN
    assert decode(whole[:5], DIGEST) is Miss.TORN
    assert decode(whole[:-1] + b"x", DIGEST) is Miss.DAMAGED
