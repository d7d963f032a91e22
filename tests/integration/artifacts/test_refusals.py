# SPDX-License-Identifier: Apache-2.0
"""Every bad artifact is refused when a server starts and when one swaps, and what serves is untouched.

The artifact lies as in a mounted ConfigMap: the file is a link through `..data`, which is moved as a whole.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from artifact_drafts import compiled, draft
from bad_artifacts import BAD, ONLY_THE_DIGEST_SHOWS, Edit, rewrite
from programs import TutorialRAG

from slipway_server.artifacts import manifest_path, save
from slipway_server.config import Settings
from slipway_server.errors import OperatorError
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.request import RequestContext
from slipway_server.runtime.service import ProgramService, open_service

PROGRAM = "programs:TutorialRAG"
QUESTION = {"question": "In which year was Port Callow founded?"}
SettingsWith = Callable[..., Settings]


def truncate(artifact: Path) -> None:
    artifact.write_bytes(artifact.read_bytes()[:-20])


def without_manifest(artifact: Path) -> None:
    manifest_path(artifact).unlink()


def empty(artifact: Path) -> None:
    artifact.write_bytes(b"")


DAMAGED = {"truncated": truncate, "no manifest": without_manifest, "empty": empty}


class Mount:
    """A folder as the kubelet mounts a ConfigMap."""

    def __init__(self, folder: Path, artifact: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.file = folder / "artifact.json"
        self._number = 0
        self._good = artifact
        self.put(lambda file: None)
        for file in (self.file, manifest_path(self.file)):
            file.symlink_to(Path("..data") / file.name)

    def put(self, damage: Callable[[Path], object]) -> None:
        """Move `..data` to a copy of the good artifact that was damaged, or not."""
        self._number += 1
        version = self.folder / f"..{self._number}"
        version.mkdir()
        file = version / self.file.name
        shutil.copy(self._good, file)
        shutil.copy(manifest_path(self._good), manifest_path(file))
        damage(file)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")


def edited(edit: Edit, *, seal: bool) -> Callable[[Path], object]:
    return lambda file: rewrite(file, edit, seal=seal)


def bad_ones() -> dict[str, Callable[[Path], object]]:
    """Each of the matrix, with the manifest left alone and with it rewritten."""
    found: dict[str, Callable[[Path], object]] = dict(DAMAGED)
    for name, (edit, _, _) in BAD.items():
        found[name] = edited(edit, seal=False)
        if name not in ONLY_THE_DIGEST_SHOWS:
            found[f"{name}, manifest rewritten"] = edited(edit, seal=True)
    return found


def sealed_ones() -> dict[str, Callable[[Path], object]]:
    """With a digest in the configuration no rewriting helps, of whatever."""
    return {name: edited(edit, seal=True) for name, (edit, _, _) in BAD.items()}


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "mount", save(compiled(TutorialRAG()), draft(), tmp_path / "built"))


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another good artifact."""
    return save(TutorialRAG(), draft(), tmp_path / "other")


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[ProgramService]:
    service = await open_service(settings, OwnerLoop.of_running_loop())
    try:
        yield service
    finally:
        await service.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def digest_of_an_answer(service: ProgramService) -> str:
    return (await service.predict(QUESTION, RequestContext())).receipt.artifact_digest


def test_the_matrix_is_large_enough() -> None:
    assert len(BAD) + len(DAMAGED) >= 14


async def test_at_start(settings_with: SettingsWith, mount: Mount) -> None:
    settings = settings_with(program=PROGRAM, artifact=mount.file)
    for name, damage in bad_ones().items():
        mount.put(damage)
        with pytest.raises(OperatorError) as caught:
            async with serving(settings):
                pytest.fail(f"started with: {name}")
        assert caught.value.reason.startswith("ARTIFACT_"), name
        assert "\n" not in caught.value.message
    mount.put(lambda file: None)
    async with serving(settings) as service:
        assert await digest_of_an_answer(service)


@pytest.mark.parametrize("slot", ["stable", "candidate"])
async def test_at_swap(slot: str, settings_with: SettingsWith, mount: Mount, other: Path) -> None:
    files = {"artifact": mount.file} if slot == "stable" else {"artifact": other, "candidate_artifact": mount.file}
    settings = settings_with(
        program=PROGRAM, hot_reload=True, watch_seconds=0.02, cache="memory", candidate_weight_bps=10_000, **files
    )
    await refuse_all(settings, slot, mount, bad_ones())


async def test_at_swap_with_a_configured_digest(settings_with: SettingsWith, mount: Mount) -> None:
    settings = settings_with(program=PROGRAM, artifact=mount.file)
    async with serving(settings) as service:
        digest = service.serving().variants[0].artifact.digest
    settings = settings_with(
        program=PROGRAM,
        artifact=mount.file,
        artifact_digest=digest,
        hot_reload=True,
        watch_seconds=0.02,
        cache="memory",
    )
    await refuse_all(settings, "stable", mount, sealed_ones())


async def refuse_all(settings: Settings, slot: str, mount: Mount, damages: dict[str, Callable[[Path], object]]) -> None:
    async with serving(settings) as service:

        def variant() -> object:
            return next(info for info in service.serving().variants if info.name == slot)

        before = variant()
        served = await digest_of_an_answer(service)
        assert served == before.artifact.digest
        for name, damage in damages.items():
            mount.put(damage)
            await until(lambda: variant().refused_update != "")
            assert await digest_of_an_answer(service) == served, name
            assert (variant().artifact, variant().serving_since) == (before.artifact, before.serving_since), name
            mount.put(lambda file: None)
            await until(lambda: variant().refused_update == "")
