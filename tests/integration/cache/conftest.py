# SPDX-License-Identifier: Apache-2.0
"""A provider with a ledger, LM stacks over one folder, and a network file system."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest
from cache_network import SCRIPT, NetworkVolume, wait_until_ready

from slipway_server.simulate.config import Behaviour, SimulatorConfig
from slipway_server.simulate.server import Provider


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Answers after 0.3 s."""
    behaviour = Behaviour(latency_seconds=0.3, answer="text", text="[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]")
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(Provider(SimulatorConfig(behaviour=behaviour)))


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
        wait_until_ready(process, folder)
        inside = psutil.Process(process.pid).children()[0]
        one, two = (Path(f"/proc/{inside.pid}/root{mount}") for mount in (folder / "ready").read_text().split())
        yield NetworkVolume(one, two, inside)
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)
