# SPDX-License-Identifier: Apache-2.0
"""Scratch folders outlive neither their owner nor the next sweep; staged vectors are right or not there."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.errors import ConfigInvalid
from slipway_server.retrieval.scratch import Scratch, sweep
from slipway_server.retrieval.staging import Staging


def aged(folder: Path) -> None:
    os.utime(folder, (1, 1))


def test_close_removes_the_folder(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "new")
    (scratch.path / "file").write_text("x")
    scratch.close()
    scratch.close()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_place_that_cannot_be_written_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigInvalid, match="SLIPWAY_SCRATCH_DIR"):
        Scratch(tmp_path / "file" / "below")


def test_where_there_are_no_locks_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(ConfigInvalid, match=r"SLIPWAY_SCRATCH_DIR: .* cannot be used \(No locks available\)"):
        Scratch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_living_owner_keeps_its_folder(tmp_path: Path) -> None:
    with Scratch(tmp_path) as folder:
        aged(folder)
        assert sweep(tmp_path) == 0
        assert folder.exists()


def test_a_dead_owner_does_not(tmp_path: Path) -> None:
    script = "import os, sys; from slipway_server.retrieval.scratch import Scratch; from pathlib import Path\n"
    script += "print(Scratch(Path(sys.argv[1])).path, flush=True); os.kill(os.getpid(), 9)"
    died = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    folder = Path(died.stdout.strip())
    assert folder.exists()
    assert sweep(tmp_path) == 0, "too young to be swept"
    aged(folder)
    with Scratch(tmp_path):
        assert not folder.exists()


def test_folders_of_others_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "slipway-notes").mkdir()
    aged(tmp_path / "slipway-notes")
    assert sweep(tmp_path) == 0
    assert (tmp_path / "slipway-notes").exists()


async def test_staging_remembers_and_forgets(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "staging")
    assert await staging.get("key") is None
    await staging.put("key", b"value")
    assert await staging.get("key") == b"value"
    assert await staging.get("other") is None
    await asyncio.to_thread(staging.clear)
    assert await staging.get("key") is None


@given(content=st.binary(max_size=64))
@settings(max_examples=50)
def test_a_damaged_file_is_a_miss(tmp_path_factory: object, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("staging")  # type: ignore[attr-defined]
    staging = Staging(folder)
    staging._put("key", b"value")
    staging._path("key").write_bytes(content)
    assert staging._get("key") is None


async def test_a_full_disk_is_a_write_that_did_not_happen(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    staging = Staging(tmp_path / "file")
    await staging.put("key", b"value")
    assert await staging.get("key") is None
