# SPDX-License-Identifier: Apache-2.0
"""Collection, verification and statistics of a volume in use."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.cache import care
from slipway_server.cache.care import Limits
from slipway_server.cache.fileops import FileOps
from slipway_server.cache.folder import Folder
from slipway_server.cache.store import DiskStore

NOW = 1_700_000_000.0


def fill(store: DiskStore, ages: list[float], size: int = 1000) -> list[str]:
    """Entries of these ages in seconds, all of one size."""
    digests = [hashlib.sha256(f"{store.folder.root}{index}".encode()).hexdigest() for index in range(len(ages))]
    for digest, age in zip(digests, ages, strict=True):
        store.put(digest, bytes(size))
        os.utime(store.folder.entry(digest), (NOW - age, NOW - age))
    return digests


def collect(folder: Folder, **limits: float) -> care.Collected:
    return care.collect(folder, Limits(**limits), now=lambda: NOW, sleep=lambda _: None)


def trash(store: DiskStore) -> list[Path]:
    return list(Path(store.folder.path("trash")).iterdir())


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path)


def test_by_age(store: DiskStore) -> None:
    digests = fill(store, [10 * care.DAY, 2 * care.DAY, 7200])
    result = collect(store.folder, max_age_seconds=5 * care.DAY)
    assert (result.removed, result.kept) == (1, 2)
    assert [isinstance(store.get(digest), bytes) for digest in digests] == [False, True, True]


def test_by_size_the_oldest_first(store: DiskStore) -> None:
    digests = fill(store, [50_000, 40_000, 30_000, 20_000, 10_000])
    one = Path(store.folder.entry(digests[0])).stat().st_size
    result = collect(store.folder, max_bytes=2 * one)
    assert [isinstance(store.get(digest), bytes) for digest in digests] == [False] * 3 + [True] * 2
    assert result.kept_bytes == 2 * one


def test_young_entries_stay(store: DiskStore) -> None:
    fill(store, [60, 120, 3599])
    assert collect(store.folder, max_age_seconds=0, max_bytes=0).removed == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 20).map(lambda hours: hours * 1800.0), max_size=20), st.integers(0, 20))
def test_never_more_than_the_limit_or_than_needed(tmp_path_factory, ages: list[float], fits: int) -> None:
    store = DiskStore(tmp_path_factory.mktemp("volume"))
    digests = fill(store, ages)
    one = Path(store.folder.entry(digests[0])).stat().st_size if ages else 1
    result = collect(store.folder, max_bytes=fits * one, min_age_seconds=0)
    assert result.kept == min(fits, len(ages))
    left = sorted(age for digest, age in zip(digests, ages, strict=True) if Path(store.folder.entry(digest)).exists())
    assert left == sorted(ages)[: result.kept]


def test_leftovers_of_the_dead_go(store: DiskStore) -> None:
    folder = store.folder
    for name in ("tmp", "leases", "holders", "trash"):
        Path(folder.path(name, "old")).touch()
    assert care.collect(folder, Limits(), sleep=lambda _: None).leftovers == 0
    later = time.time() + 2 * care.DAY
    assert care.collect(folder, Limits(), now=lambda: later, sleep=lambda _: None).leftovers == 4
    assert care.stats(folder).temporary == 0


def test_readers_keep_what_they_opened(store: DiskStore) -> None:
    """An entry is renamed away first and removed after the grace time only."""
    digest = fill(store, [2 * care.DAY])[0]
    seen = []

    def during_grace(seconds: float) -> None:
        seen.append((seconds, len(trash(store)), Path(store.folder.entry(digest)).exists()))

    care.collect(store.folder, Limits(max_age_seconds=care.DAY), now=lambda: NOW, sleep=during_grace)
    assert seen == [(5.0, 1, False)]
    assert trash(store) == []


def test_verify_and_repair(store: DiskStore) -> None:
    digests = fill(store, [0, 0, 0, 0])
    path = Path(store.folder.entry(digests[0]))
    path.write_bytes(path.read_bytes()[:-1])
    Path(store.folder.entry(digests[1])).write_bytes(b"SQLite format 3\0")
    waits: list[float] = []
    found = care.verify(store.folder, sleep=waits.append)
    assert (found.whole, dict(found.faults), found.removed) == (2, {"torn": 1, "foreign": 1}, 0)
    assert care.verify(store.folder, repair=True, sleep=waits.append).removed == 2
    assert dict(care.verify(store.folder, sleep=waits.append).faults) == {}
    assert waits == [care.REMEMBERED_SECONDS] * 2


@pytest.mark.parametrize("first", [b"", b"slipway-cache 1 ", errno.ESTALE, errno.ENOENT])
def test_an_entry_that_is_replaced_meanwhile_is_read_again(store: DiskStore, first: bytes | int) -> None:
    """Another host's replacement may show for a second as a torn or a stale file."""
    fill(store, [0, 0])

    class Replaced(FileOps):
        reads = 0

        def read(self, path: str) -> bytes:
            self.reads += 1
            if self.reads > 1:
                return super().read(path)
            if isinstance(first, int):
                raise OSError(first, "replaced")
            return first

    found = care.verify(store.folder, repair=True, ops=Replaced(), sleep=lambda seconds: None)
    assert (found.whole, found.faults, found.removed) == (1 if first == errno.ENOENT else 2, {}, 0)
    assert care.verify(store.folder).whole == 2


def test_stats(store: DiskStore) -> None:
    fill(store, [100, 50, 10])
    found = care.stats(store.folder, now=lambda: NOW)
    assert (found.entries, found.oldest_seconds, found.newest_seconds) == (3, 100, 10)
    assert found.bytes > 3000
    assert care.stats(Folder("/nowhere/at/all")).entries == 0
