# SPDX-License-Identifier: Apache-2.0
"""One GlusterFS volume, mounted twice, as two hosts would (scripts/glusterfs)."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "glusterfs"
START_SECONDS = 60


@dataclass(frozen=True)
class NetworkVolume:
    """The two mounts, and the process that everything ends with."""

    one: Path
    two: Path
    process: psutil.Process

    @property
    def server(self) -> psutil.Process:
        """The daemon that serves the files."""
        return next(child for child in self.process.children(recursive=True) if child.name() == "glusterfsd")


def wait_until_ready(process: subprocess.Popen[str], folder: Path) -> None:
    """Return when the volume is mounted; skip the test where it cannot be."""
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
