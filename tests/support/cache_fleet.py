# SPDX-License-Identifier: Apache-2.0
"""Starts pods and collects what they say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from pathlib import Path

POD = Path(__file__).with_name("cache_pod.py")


class Fleet:
    """Processes that each make the same calls over a folder of their own view of one volume."""

    def __init__(self, pods: list[Process]) -> None:
        self.pods = pods

    @classmethod
    async def start(cls, folders: list[Path], base_url: str, *, calls: int, lease_seconds: float = 10.0) -> Fleet:
        """One process per folder, all ready to go."""
        pods = [
            await asyncio.create_subprocess_exec(
                sys.executable, POD, folder, base_url, str(calls), str(lease_seconds), stdin=PIPE, stdout=PIPE
            )
            for folder in folders
        ]
        for pod in pods:
            assert pod.stdout
            assert await pod.stdout.readline() == b"ready\n"
        return cls(pods)

    async def go(self) -> None:
        """All at once."""
        for pod in self.pods:
            assert pod.stdin
            pod.stdin.write(b"go\n")
            await pod.stdin.drain()

    async def kill_leader(self, folder: Path) -> None:
        """kill -9 of the process that holds the lease."""
        leader = await asyncio.to_thread(_leader, folder)
        os.kill(leader, signal.SIGKILL)
        self.pods = [pod for pod in self.pods if pod.pid != leader]

    async def answers(self) -> Counter[str]:
        """What the living pods answered, by answer and tier."""
        found: Counter[str] = Counter()
        for pod in self.pods:
            out, _ = await pod.communicate()
            assert pod.returncode == 0
            found.update(json.loads(out))
        return found


def _leader(folder: Path) -> int:
    """Leases begin with host-pid-random."""
    lease = next((folder / "slipway/leases").iterdir()).read_text()
    return int(lease.split(" ")[0].rsplit("-", 2)[1])
