# SPDX-License-Identifier: Apache-2.0
"""Two examiners on one folder agree that a local disk is fine, see what a bad volume does, and say what they missed."""

from __future__ import annotations

import errno
import math
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from slipway_server.cache import doctor, properties, rendezvous
from slipway_server.cache.doctor import examine
from slipway_server.cache.fileops import FileOps
from slipway_server.cache.properties import CHECKS, Finding
from slipway_server.cache.store import DiskStore


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "RENAME_SECONDS", 0.3)
    monkeypatch.setattr(properties, "ROUNDS", 5)
    monkeypatch.setattr(properties, "CHANGE_SECONDS", 0.3)
    monkeypatch.setattr(properties, "ABSENT_SECONDS", 0.3)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`only("exclusive create")`: the one check that is made."""
    return lambda name: monkeypatch.setattr(doctor, "CHECKS", {name: CHECKS[name]})


def both(path: Path, ops: type[FileOps]) -> list[Future[list[Finding] | None]]:
    with ThreadPoolExecutor(2) as pool:
        return [pool.submit(examine, DiskStore(path, ops=ops()), wait_seconds=60) for _ in range(2)]


def findings(path: Path, ops: type[FileOps] = FileOps) -> dict[str, Finding]:
    """What both found, by name."""
    one, two = (future.result() for future in both(path, ops))
    assert one is not None
    assert one == two
    return {finding.name: finding for finding in one}


def test_a_local_disk_is_fine(tmp_path: Path) -> None:
    found = findings(tmp_path)
    assert list(found) == list(CHECKS)
    speed = found.pop("times")
    assert {name: finding.verdict for name, finding in found.items()} == dict.fromkeys(found, "ok")
    assert 0 < speed.figures["get_p50_ms"] <= speed.figures["get_p99_ms"]
    assert list((tmp_path / "slipway/doctor").iterdir()) == []
    assert [path for path in (tmp_path / "slipway/v1").rglob("*") if path.is_file()] == []


class NoExclusiveCreate(FileOps):
    def create(self, path: str, data: bytes, *, mode: int, fsync: bool) -> None:
        if ".race" in path and Path(path).exists():
            return
        super().create(path, data, mode=mode, fsync=fsync)


class CopyingRename(FileOps):
    def replace(self, source: str, target: str) -> None:
        if not target.endswith(".rename"):
            super().replace(source, target)
            return
        with Path(source).open("rb") as read, Path(target).open("wb") as write:
            while part := read.read(512):
                write.write(part)
                write.flush()
        self.unlink(source)


def tearing(size: int, torn_reads: float) -> type[FileOps]:
    """Operations that show the first version found at another size than its own, for so many reads."""

    class OldSize(FileOps):
        torn: bytes | None = None
        left = torn_reads

        def read(self, path: str) -> bytes:
            data = super().read(path)
            if not path.endswith(".rename") or self.left <= 0:
                return data
            self.left -= 1
            self.torn = data.ljust(size, b"\0")[:size] if self.torn is None else self.torn
            return self.torn

    return OldSize


class LosesEntries(FileOps):
    def read(self, path: str) -> bytes:
        if "/v1/" in path:
            raise FileNotFoundError(2, "gone")
        return super().read(path)


class NobodyEverWins(FileOps):
    def create(self, path: str, data: bytes, *, mode: int, fsync: bool) -> None:
        if path.endswith(".race7"):
            raise FileExistsError(errno.EEXIST, "undone")
        super().create(path, data, mode=mode, fsync=fsync)


@pytest.mark.parametrize(
    ("ops", "name"),
    [
        (NoExclusiveCreate, "exclusive create"),
        (NobodyEverWins, "exclusive create"),
        (CopyingRename, "atomic rename"),
        (tearing(100_000, math.inf), "atomic rename"),
        (LosesEntries, "close-to-open"),
    ],
)
def test_a_bad_volume_is_told(
    tmp_path: Path, ops: type[FileOps], name: str, only: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only(name)
    monkeypatch.setattr(properties, "RETRIES", 3)
    monkeypatch.setattr(properties, "TEAR_SECONDS", 0.5)
    assert findings(tmp_path, ops)[name].verdict == "failed"


@pytest.mark.parametrize("size", [0, 30, 100_000])
def test_a_version_that_is_torn_at_first_is_looked_up_anew(
    tmp_path: Path, only: Callable[[str], None], size: int
) -> None:
    """As on GlusterFS, where a file that is looked up while it is replaced may have the old one's size for a second."""
    only("atomic rename")
    found = findings(tmp_path, tearing(size, torn_reads=200))["atomic rename"]
    assert found.verdict == "ok"
    assert found.figures["torn"] == 1
    assert found.figures["versions"] >= properties.VERSIONS_PER_TEAR
    assert found.detail.endswith("1 of them torn at first, and whole when looked up anew")


def test_a_race_that_nobody_wins_at_first_is_run_again(tmp_path: Path, only: Callable[[str], None]) -> None:
    """As on GlusterFS, where both are now and then told that the file exists, and then it does not."""
    only("exclusive create")
    attempts, lock = Counter[str](), threading.Lock()

    class NobodyWinsAtFirst(FileOps):
        def create(self, path: str, data: bytes, *, mode: int, fsync: bool) -> None:
            if path.endswith((".race7", ".race99")):
                with lock:
                    attempts[path] += 1
                    if attempts[path] <= 2:
                        raise FileExistsError(errno.EEXIST, "undone")
            super().create(path, data, mode=mode, fsync=fsync)

    found = findings(tmp_path, NobodyWinsAtFirst)["exclusive create"]
    assert found.verdict == "ok"
    assert (found.figures["nobody"], found.figures["nobody_at_first"]) == (0, 2)


class KeepsTheFirst(FileOps):
    def replace(self, source: str, target: str) -> None:
        if target.endswith(".rename") and Path(target).exists():
            self.unlink(source)
        else:
            super().replace(source, target)


class TearsTheFirst(KeepsTheFirst, tearing(0, 1)):
    """One of one is more than one in twenty."""


class Unreadable(FileOps):
    def read(self, path: str) -> bytes:
        if path.endswith(".rename"):
            raise OSError(errno.ESTALE, "gone")
        return super().read(path)


@pytest.mark.parametrize(
    ("ops", "limit_seconds", "versions", "seen", "why"),
    [
        (KeepsTheFirst, 4.0, 2, "saw 1 versions", "goes on seeing old versions"),
        (TearsTheFirst, 2.0, 1, "1 of them torn, in 2 s, too few to tell", "goes on seeing old versions"),
        (Unreadable, 1.0, 2, "0 reads", "too busy, run again"),
    ],
)
def test_what_was_not_seen_is_unclear(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    only: Callable[[str], None],
    ops: type[FileOps],
    limit_seconds: float,
    versions: int,
    seen: str,
    why: str,
) -> None:
    only("atomic rename")
    monkeypatch.setattr(properties, "LIMIT_SECONDS", limit_seconds)
    monkeypatch.setattr(properties, "RENAME_VERSIONS", versions)
    monkeypatch.setattr(properties, "RENAME_READS", 1)
    found = findings(tmp_path, ops)["atomic rename"]
    assert found.verdict == "unclear"
    assert seen in found.detail
    assert why in found.detail


class NeverChanges(FileOps):
    """A host that remembers a file for ever."""

    def __init__(self) -> None:
        self._beats: dict[str, bytes] = {}

    def read(self, path: str) -> bytes:
        data = super().read(path)
        return self._beats.setdefault(path, data) if path.endswith(".beat") else data


def test_a_file_that_never_changes_is_told(tmp_path: Path, only: Callable[[str], None]) -> None:
    only("changes in place")
    found = findings(tmp_path, NeverChanges)["changes in place"]
    assert found.verdict == "slow"
    assert "not seen to change" in found.detail


def one_is_late(until: float) -> type[FileOps]:
    """Operations of two of whom one comes too late for every race before number `until`."""
    lock = threading.Lock()

    class OneIsLate(FileOps):
        fast: FileOps | None = None

        def create(self, path: str, data: bytes, *, mode: int, fsync: bool) -> None:
            _, race, number = path.partition(".race")
            if race and int(number) < until:
                with lock:
                    OneIsLate.fast = OneIsLate.fast or self
                while self is not OneIsLate.fast and not Path(path).exists():
                    pass
            super().create(path, data, mode=mode, fsync=fsync)

    return OneIsLate


def test_who_is_always_late_has_raced_nobody(
    tmp_path: Path, only: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only("exclusive create")
    monkeypatch.setattr(properties, "LIMIT_SECONDS", 3.0)
    found = findings(tmp_path, one_is_late(math.inf))["exclusive create"]
    assert found.verdict == "unclear"
    assert found.figures["races"] >= properties.RACES
    assert "always late; the machine is too busy, run again" in found.detail
    assert list((tmp_path / "slipway/doctor").iterdir()) == []


def test_a_machine_that_is_busy_for_a_while_is_waited_for(
    tmp_path: Path, only: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only("exclusive create")
    monkeypatch.setattr(properties, "RACES", 20)
    found = findings(tmp_path, one_is_late(600))["exclusive create"]
    assert found.verdict == "ok"
    assert found.figures["races"] > 600


def test_who_ends_in_the_middle_leaves_it_unclear(
    tmp_path: Path, only: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only("exclusive create")
    ended = threading.Lock()

    class OneEnds(FileOps):
        def create(self, path: str, data: bytes, *, mode: int, fsync: bool) -> None:
            if ".race" in path and ended.acquire(blocking=False):
                monkeypatch.setattr(rendezvous, "LIMIT_SECONDS", 1.0)
                raise OSError(errno.EIO, "gone")
            super().create(path, data, mode=mode, fsync=fsync)

    one, two = sorted(both(tmp_path, OneEnds), key=lambda future: future.exception() is None)
    assert isinstance(one.exception(), OSError)
    last = (two.result() or [])[-1]
    assert (last.name, last.verdict) == ("exclusive create", "unclear")
    assert "run again" in last.detail


def test_nobody_comes(tmp_path: Path) -> None:
    assert examine(DiskStore(tmp_path), wait_seconds=0.1) is None


def test_somebody_who_died_waiting_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_REPLY_SECONDS", 3.0)
    store = DiskStore(tmp_path)
    Path(store.folder.path("doctor")).mkdir()
    Path(store.folder.path("doctor", "waiting")).write_bytes(b"dead")
    assert list(findings(tmp_path)) == list(CHECKS)
