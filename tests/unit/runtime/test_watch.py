# SPDX-License-Identifier: Apache-2.0
"""A file is followed through whatever replaces it."""

from __future__ import annotations

from pathlib import Path

from slipway_server.runtime.watch import Watched


def test_a_configmap_swap_is_seen(tmp_path: Path) -> None:
    for version, content in (("v1", b"one"), ("v2", b"two")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "routing.json").write_bytes(content)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "routing.json").symlink_to("..data/routing.json")
    watched = Watched(tmp_path / "routing.json")
    assert (watched.changed(), watched.changed()) == (True, False)
    (tmp_path / "new").symlink_to("v2")
    (tmp_path / "new").replace(tmp_path / "..data")
    assert watched.changed()
    assert watched.read() == b"two"


def test_a_replaced_file_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "current"
    watched = Watched(file)
    assert watched.changed(), "the first look"
    assert watched.read() is None
    file.write_bytes(b"one")
    assert watched.changed()
    (tmp_path / "next").write_bytes(b"two")
    (tmp_path / "next").replace(file)
    assert watched.changed()
    assert not watched.changed()
    watched.forget()
    assert watched.changed()


def test_links_in_a_circle_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    watched = Watched(tmp_path / "a")
    assert (watched.changed(), watched.changed(), watched.read()) == (True, False, None)
