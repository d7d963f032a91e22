# SPDX-License-Identifier: Apache-2.0
"""A folder that the demonstration cannot have is said in one line, and what it may empty is emptied."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway_server.demo.stage import MARKER, Stage
from slipway_server.errors import ConfigInvalid


def test_the_folder_of_an_earlier_one_is_emptied(tmp_path: Path) -> None:
    folder = Stage.prepare(tmp_path / "demo").folder
    (folder / "server.log").touch()
    assert [path.name for path in Stage.prepare(folder).folder.iterdir()] == [MARKER]


def test_a_link_to_such_a_folder_is_refused(tmp_path: Path) -> None:
    folder = Stage.prepare(tmp_path / "demo").folder
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(ConfigInvalid, match=r"--dir .*link cannot be emptied and made anew"):
        Stage.prepare(link)
    assert (folder / MARKER).exists()


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter").touch()
    with pytest.raises(ConfigInvalid, match="cannot be emptied and made anew: Not a directory"):
        Stage.prepare(tmp_path / "letter" / "demo")
