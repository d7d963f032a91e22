# SPDX-License-Identifier: Apache-2.0
"""A key file is read again when it changes, and a bad one names its setting."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slipway_server.errors import ConfigInvalid
from slipway_server.keyfile import KeyFile

SETTING = "SLIPWAY_LM_API_KEY_FILE"


def test_a_swapped_link_is_seen(tmp_path: Path) -> None:
    """Kubernetes swaps a mounted Secret by moving a link."""
    for name, key in (("old", "sk-1\n"), ("new", "sk-2\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key").write_text(key)
        os.utime(tmp_path / name / "key", ns=(1, 1))
    (tmp_path / "..data").symlink_to("old")
    (tmp_path / "key").symlink_to("..data/key")
    key = KeyFile(tmp_path / "key", SETTING)
    assert key() == "sk-1"
    (tmp_path / "..next").symlink_to("new")
    (tmp_path / "..next").rename(tmp_path / "..data")
    assert key() == "sk-2"
    assert "sk-" not in repr(key)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "cannot be read"), (b"\xff\xfe", "cannot be read"), (b" \n", "is empty")]
)
def test_a_bad_file_names_its_setting(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigInvalid, match=f"^{SETTING}: .*key {why}$"):
        KeyFile(tmp_path / "key", SETTING)()
