# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path

import programs
import pytest
from artifact_drafts import CREATED, compiled, draft

from slipway_server.artifacts import Store, files, manifest_path, resolve, save
from slipway_server.errors import ArtifactInvalid, ArtifactMissing


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three artifacts, a minute apart, none of them current."""
    for minute in range(3):
        manifest = draft().model_copy(update={"created": CREATED + timedelta(minutes=minute)})
        save(compiled(programs.TutorialRAG()), manifest, tmp_path)
    return Store(tmp_path)


def names(store: Store) -> list[str]:
    return [entry.name for entry in store.list()]


def test_the_list_is_newest_first_and_leaves_out_what_is_no_artifact(store: Store) -> None:
    (store.folder / "notes.json").write_text("{}")
    (store.folder / "orphan.meta.json").write_text("{}")
    assert len(names(store)) == 3
    assert names(store) == sorted(names(store), reverse=True)
    assert not any(entry.current for entry in store.list())


def test_promote_and_roll_back(store: Store) -> None:
    newest, middle, oldest = store.list()
    store.promote(oldest.manifest.digest)
    store.promote(middle.manifest.digest[:10])
    store.promote(newest.path.name)
    assert store.current() == newest.path
    assert [entry.current for entry in store.list()] == [True, False, False]
    assert store.rollback().name == middle.name
    assert store.rollback().name == oldest.name
    assert store.current() == oldest.path
    with pytest.raises(ArtifactMissing, match="no previous artifact"):
        store.rollback()


def test_promoting_the_current_one_changes_nothing(store: Store) -> None:
    newest, middle, _ = store.list()
    store.promote(middle.name)
    store.promote(newest.name)
    store.promote(newest.name)
    assert store.rollback().name == middle.name


def test_a_reference_must_mean_one_artifact(store: Store) -> None:
    with pytest.raises(ArtifactMissing, match="means 3 artifacts"):
        store.find("tutorialrag")
    for unknown in ("nosuch", "", "../tutorialrag-x"):
        with pytest.raises(ArtifactMissing):
            store.find(unknown)
    assert store.find(str(store.list()[0].path)).name == names(store)[0]


def test_resolve_takes_a_file_or_a_store(store: Store, tmp_path: Path) -> None:
    newest = store.list()[0]
    assert resolve(newest.path) == newest.path
    with pytest.raises(ArtifactMissing, match="has no current artifact"):
        resolve(store.folder)
    store.promote(newest.name)
    assert resolve(store.folder) == newest.path


def test_a_pointer_to_a_file_that_is_gone(store: Store) -> None:
    entry = store.promote(names(store)[0])
    entry.path.unlink()
    with pytest.raises(ArtifactMissing, match="which is not there; promote another one"):
        store.current()
    left = store.list()
    assert [listed.current for listed in left] == [False, False]
    assert store.promote(left[0].name).path == store.current() == left[0].path


def test_rolling_back_never_means_another_artifact_whose_name_begins_alike(store: Store) -> None:
    for entry, name in zip(store.list(), ("rag-1", "rag-10", "rag-2"), strict=True):
        manifest_path(entry.path).rename(manifest_path(entry.path.with_name(f"{name}.json")))
        entry.path.rename(entry.path.with_name(f"{name}.json"))
    store.promote("rag-1")
    store.promote("rag-2")
    (store.folder / "rag-1.json").unlink()
    with pytest.raises(ArtifactMissing, match=r"rag-1\.json, the artifact before, is not in .*promote another one"):
        store.rollback()
    assert store.current() == store.folder / "rag-2.json"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"artifact": 1}', '{"artifact": "../../etc/passwd"}'])
def test_a_damaged_pointer(content: str, store: Store) -> None:
    (store.folder / "current").write_text(content)
    with pytest.raises(ArtifactInvalid, match="is damaged"):
        store.current()


def test_readers_see_one_artifact_or_the_other(store: Store) -> None:
    first, second, _ = store.list()
    store.promote(first.name)
    stop, seen, failures = threading.Event(), set(), []

    def read() -> None:
        while not stop.is_set():
            try:
                seen.add(store.current())
            except Exception as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(50):
        store.promote(second.name)
        store.promote(first.name)
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert seen <= {first.path, second.path}


def test_a_crash_between_the_two_files_leaves_no_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = files.write_atomic, []

    def crash_at_the_second(path: Path, content: bytes) -> None:
        if written:
            raise OSError("no space left on device")
        written.append(path)
        write(path, content)

    monkeypatch.setattr(files, "write_atomic", crash_at_the_second)
    with pytest.raises(OSError, match="no space"):
        save(compiled(programs.TutorialRAG()), draft(), tmp_path)
    assert written[0].name.endswith(".meta.json")
    assert Store(tmp_path).list() == [] or not Store(tmp_path).list()[0].path.exists()


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write_atomic(path, b"old")

    def fail(handle: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_every_character_of_a_name_may_be_a_configmap_key(tmp_path: Path) -> None:
    manifest = draft(program="my.pkg:RÄG_2", metric="my.module:score_it")
    path = save(compiled(programs.TutorialRAG()), manifest, tmp_path)
    assert path.name.startswith("r.g.2-20260304T0506Z-g0123456-my.module.score.it_0.667-")
    assert manifest_path(path).name == path.name.replace(".json", ".meta.json")
