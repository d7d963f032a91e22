# SPDX-License-Identifier: Apache-2.0
"""A file is written once and whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slipway_server.traffic.once import write_once


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    path = tmp_path / "claim.json"
    assert write_once(path, b"mine") is True
    assert write_once(path, b"yours") is False
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_volume_keeps_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_once(tmp_path / "claim.json", b"mine")
    assert list(tmp_path.iterdir()) == []


def test_a_link_whose_answer_was_lost_has_won(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Path.hardlink_to

    def asked_twice(path: Path, target: Path) -> None:
        link(path, target)
        link(path, target)

    monkeypatch.setattr(Path, "hardlink_to", asked_twice)
    assert write_once(tmp_path / "claim.json", b"mine") is True
    assert write_once(tmp_path / "claim.json", b"yours") is False
