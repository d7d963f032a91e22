# SPDX-License-Identifier: Apache-2.0
"""Leases between processes: one maker, a dead one is replaced by exactly one other."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway_server.cache.fileops import FileOps
from slipway_server.cache.lease import FREE, LEASE_BYTES, Held, Lease, Leases
from slipway_server.cache.store import DiskStore

NAME = "ab" * 32


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[list[Leases]]:
    """Three processes on one volume; their hearts beat only when a test says so."""
    made = [Leases(DiskStore(tmp_path), beat_seconds=3600) for _ in range(3)]
    yield made
    for leases in made:
        leases.close()


def test_one_holder(pods: list[Leases]) -> None:
    first = pods[0].acquire(NAME)
    assert isinstance(first, Lease)
    held = pods[1].acquire(NAME)
    assert isinstance(held, Held)
    assert not held.dead
    assert pods[1].look(NAME) == held
    pods[0].release(first)
    assert pods[1].look(NAME) is FREE
    assert isinstance(pods[1].acquire(NAME), Lease)


def test_a_lease_that_this_host_still_knew_is_free(tmp_path: Path, ops: Any) -> None:
    """GlusterFS and NFS say ESTALE for a moment where another host removed the file."""
    maker = Leases(DiskStore(tmp_path), beat_seconds=3600)
    follower = Leases(DiskStore(tmp_path, ops=ops), beat_seconds=3600)
    lease = maker.acquire(NAME)
    assert isinstance(lease, Lease)
    assert isinstance(follower.look(NAME), Held)
    maker.release(lease)
    ops.faults["read"] = errno.ESTALE
    assert follower.look(NAME) is FREE
    ops.faults["read"] = errno.EIO
    with pytest.raises(OSError, match="EIO"):
        follower.look(NAME)
    maker.close()
    ops.recover()
    follower.close()


def test_signs_of_life_are_seen(pods: list[Leases]) -> None:
    pods[0].acquire(NAME)
    before = pods[1].look(NAME)
    assert pods[1].look(NAME) == before
    pods[0].beat()
    assert pods[1].look(NAME) != before


@pytest.mark.parametrize("host", ["a", "a-very-long-name.of-a-host" * 10])
def test_leases_all_have_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    leases = Leases(DiskStore(tmp_path), beat_seconds=3600)
    assert leases.acquire(NAME) != leases.acquire("cd" * 32)
    sizes = {len((tmp_path / "slipway/leases" / name).read_bytes()) for name in (NAME, "cd" * 32)}
    assert sizes == {LEASE_BYTES}
    leases.close()


def test_one_of_many_takes_over(pods: list[Leases]) -> None:
    pods[0].acquire(NAME)
    held = pods[1].look(NAME)
    assert isinstance(held, Held)
    taken = [pods[1].take_over(NAME, held), pods[2].take_over(NAME, held)]
    assert [isinstance(lease, Lease) for lease in taken] == [True, False]
    assert pods[2].look(NAME) != held


def test_racing_takeovers_have_one_winner(tmp_path: Path) -> None:
    for attempt in range(20):
        name = f"{attempt:064d}"
        dead = Leases(DiskStore(tmp_path), beat_seconds=3600)
        dead.acquire(name)
        pods = [Leases(DiskStore(tmp_path), beat_seconds=3600) for _ in range(6)]
        held = pods[0].look(name)
        barrier, winners = threading.Barrier(len(pods)), []

        def race(leases: Leases, name=name, held=held, barrier=barrier, winners=winners) -> None:
            barrier.wait()
            if leases.take_over(name, held):
                winners.append(leases)

        threads = [threading.Thread(target=race, args=(leases,)) for leases in pods]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(winners) == 1
        for leases in (dead, *pods):
            leases.close()


def test_racing_acquisitions_have_one_winner(tmp_path: Path) -> None:
    pods = [Leases(DiskStore(tmp_path), beat_seconds=3600) for _ in range(8)]
    for attempt in range(20):
        barrier, winners = threading.Barrier(len(pods)), []

        def race(leases: Leases, name: str, barrier=barrier, winners=winners) -> None:
            barrier.wait()
            if isinstance(leases.acquire(name), Lease):
                winners.append(leases)

        threads = [threading.Thread(target=race, args=(leases, f"{attempt:064d}")) for leases in pods]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(winners) == 1
    for leases in pods:
        leases.close()


class Undoes(FileOps):
    """GlusterFS tells both of two racers now and then that the file exists, and removes it."""

    def __init__(self) -> None:
        self.undone: set[str] = set()

    def create(self, path: str, data: bytes, *, mode: int, fsync: bool) -> None:
        if "/leases/" in path and path not in self.undone:
            self.undone.add(path)
            raise FileExistsError(errno.EEXIST, "undone")
        super().create(path, data, mode=mode, fsync=fsync)


def test_a_lease_that_nobody_won_is_tried_for_again(tmp_path: Path) -> None:
    leases = Leases(DiskStore(tmp_path, ops=Undoes()), beat_seconds=3600)
    assert isinstance(leases.acquire(NAME), Lease)
    leases.close()


def test_a_takeover_that_nobody_won_is_tried_for_again(tmp_path: Path, pods: list[Leases]) -> None:
    assert isinstance(pods[0].acquire(NAME), Lease)
    held = pods[1].look(NAME)
    assert isinstance(held, Held)
    unlucky = Leases(DiskStore(tmp_path, ops=Undoes()), beat_seconds=3600)
    assert isinstance(unlucky.take_over(NAME, held), Lease)
    assert pods[1].take_over(NAME, held) is None
    unlucky.close()


def test_who_was_replaced_removes_nothing(pods: list[Leases]) -> None:
    first = pods[0].acquire(NAME)
    held = pods[1].look(NAME)
    assert isinstance(first, Lease)
    assert isinstance(held, Held)
    second = pods[1].take_over(NAME, held)
    pods[0].release(first)
    assert pods[2].look(NAME) == pods[1].look(NAME) != FREE
    assert second is not None
    pods[1].release(second)
    assert pods[2].look(NAME) is FREE


def test_closing_gives_everything_back(pods: list[Leases], tmp_path: Path) -> None:
    pods[0].acquire(NAME)
    pods[0].acquire("cd" * 32)
    pods[0].close()
    assert pods[1].look(NAME) is FREE
    assert list((tmp_path / "slipway/holders").iterdir()) == []


def test_a_holder_without_its_file_is_dead(pods: list[Leases], tmp_path: Path) -> None:
    pods[0].acquire(NAME)
    next((tmp_path / "slipway/holders").iterdir()).unlink()
    held = pods[1].look(NAME)
    assert isinstance(held, Held)
    assert held.dead


@pytest.mark.parametrize("content", [b"", b"../../../etc/passwd x\n", b"\xff\xfe\x00", b"x" * 5000])
def test_a_damaged_lease_is_held_by_nobody_harmful(pods: list[Leases], tmp_path: Path, content: bytes) -> None:
    pods[0].acquire("cd" * 32)
    path = tmp_path / "slipway/leases" / NAME
    path.write_bytes(content)
    held = pods[1].acquire(NAME)
    assert isinstance(held, Held)
    assert held.beat is None
    assert isinstance(pods[1].take_over(NAME, held), Lease)


def test_a_repeated_create_is_recognised(tmp_path: Path, ops) -> None:
    """An NFS client that repeats a request hears EEXIST about the file that it has made."""

    class Repeating(type(ops)):
        def create(self, path: str, data: bytes, *, mode: int, fsync: bool) -> None:
            super().create(path, data, mode=mode, fsync=fsync)
            if "/leases/" in path:
                raise FileExistsError(errno.EEXIST, path)

    leases = Leases(DiskStore(tmp_path, ops=Repeating()), beat_seconds=3600)
    assert isinstance(leases.acquire(NAME), Lease)
    leases.close()


def test_who_comes_late_takes_nothing_over(pods: list[Leases]) -> None:
    pods[0].acquire(NAME)
    held = pods[1].look(NAME)
    assert isinstance(held, Held)
    lease = pods[1].take_over(NAME, held)
    assert lease is not None
    assert pods[2].take_over(NAME, held) is None
    pods[1].release(lease)
    assert pods[2].take_over(NAME, held) is None


def test_a_lease_that_could_not_be_given_back_is_given_back_later(tmp_path: Path, ops) -> None:
    leases, other = Leases(DiskStore(tmp_path, ops=ops), beat_seconds=3600), Leases(DiskStore(tmp_path), beat_seconds=1)
    lease = leases.acquire(NAME)
    assert isinstance(lease, Lease)
    ops.faults["unlink"] = errno.EIO
    with pytest.raises(OSError, match="EIO"):
        leases.release(lease)
    leases.settle()
    assert isinstance(other.look(NAME), Held)
    ops.recover()
    leases.settle()
    assert other.look(NAME) is FREE
    leases.close()
