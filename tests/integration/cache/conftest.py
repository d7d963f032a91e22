# SPDX-License-Identifier: Apache-2.0
"""A provider with a ledger, LM stacks over one folder, and a network file system."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from slipway_server.simulate.config import Behaviour, SimulatorConfig
from slipway_server.simulate.server import Provider

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Answers after 0.3 s."""
    behaviour = Behaviour(latency_seconds=0.3, answer="text", text="[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]")
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(Provider(SimulatorConfig(behaviour=behaviour)))


@dataclass(frozen=True)
class NetworkVolume:
    """One GlusterFS volume, mounted twice, as two hosts would."""

    one: Path
    two: Path
    process: psutil.Process

    @property
    def server(self) -> psutil.Process:
        """The daemon that serves the files."""
        return next(child for child in self.process.children(recursive=True) if child.name() == "glusterfsd")


SCRIPT = Path(__file__).parents[3] / "scripts" / "glusterfs"
START_SECONDS = 60


@pytest.fixture(scope="session")
def network_volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkVolume]:
    """A real network file system. Where CI is set, Debian's packages are installed first."""
    if os.name != "posix" or os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("a network file system needs root and /dev/fuse")
    if os.environ.get("CI"):
        subprocess.run([SCRIPT, "install"], check=True)
    if shutil.which("glusterd") is None or shutil.which("mount.glusterfs") is None:
        pytest.skip("a network file system needs glusterfs-server and glusterfs-client: scripts/glusterfs install")
    folder = tmp_path_factory.mktemp("glusterfs")
    process = subprocess.Popen([SCRIPT, "run", folder], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _wait_until_ready(process, folder)
        inside = psutil.Process(process.pid).children()[0]
        one, two = (Path(f"/proc/{inside.pid}/root{mount}") for mount in (folder / "ready").read_text().split())
        yield NetworkVolume(one, two, inside)
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(process: subprocess.Popen[str], folder: Path) -> None:
    for _ in range(START_SECONDS * 4):
        if (folder / "ready").exists():
            return
        try:
            process.wait(0.25)
        except subprocess.TimeoutExpired:
            continue
        break
    process.kill()
    said = (process.communicate()[1].strip().splitlines() or ["it said nothing"])[-1]
    pytest.skip(f"GlusterFS does not start here: {said}")
