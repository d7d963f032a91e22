# SPDX-License-Identifier: Apache-2.0
"""The stores that bench/cache.py compares, a network file system to compare them on, and processes that meet."""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
from diskcache import FanoutCache
from dspy import lm15
from dspy.clients.call_result import CallResult

from slipway_server.cache.store import DiskStore
from slipway_server.config import load_settings

ROOT = Path(__file__).parents[1]
CLONE_FS, CLONE_NEWNS = 0x200, 0x20000
"""Flags of unshare(2) and setns(2)."""
CELL_SECONDS = 30.0
"""A process gives up a phase after this long: FanoutCache waits up to 10 s for a lock."""
TEXT = "Slipways are ramps on which ships are built and let into the water. " * 30


def record(key: str) -> dict[str, Any]:
    """What DSPy stores for one answer of 2,000 characters: it holds the text three times."""
    text = key + TEXT
    choice = {"index": 0, "message": {"role": "assistant", "content": "".join(list(text))}, "finish_reason": "stop"}
    response = lm15.Response(
        id="chatcmpl-1",
        model="m",
        message=lm15.Message.assistant(text),
        finish_reason="stop",
        usage=lm15.Usage(input_tokens=500, output_tokens=400, total_tokens=900),
        provider_data={"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [choice]},
    )
    return CallResult.native(response).dump()


def request_of(number: int) -> dict[str, Any]:
    """What DSPy asks its cache for."""
    return {
        "model": "openai/m",
        "messages": [{"role": "system", "content": TEXT}, {"role": "user", "content": TEXT}],
        "temperature": 0.0,
        "seed": number,
        "_fn_identifier": "dspy.clients.lm.alitellm_completion",
    }


class Files:
    """Slipway's store: one file per entry, written through to the disk where SLIPWAY_CACHE_FSYNC says so."""

    name = "Slipway"

    def __init__(self, folder: Path) -> None:
        self._store = DiskStore(folder, fsync=load_settings().cache_fsync)

    def put(self, key: str, value: dict[str, Any]) -> None:
        self._store.put(key, orjson.dumps(value))

    def get(self, key: str) -> Any:
        found = self._store.get(key)
        return orjson.loads(found) if isinstance(found, bytes) else None


class Fanout:
    """As DSPy configures it: 16 SQLite files, pickled values."""

    name = "FanoutCache"

    def __init__(self, folder: Path) -> None:
        self._cache = FanoutCache(str(folder / "fanout"), shards=16, timeout=10, size_limit=30_000_000_000)

    def put(self, key: str, value: dict[str, Any]) -> None:
        if not self._cache.set(key, value):
            raise OSError("not stored")

    def get(self, key: str) -> Any:
        return self._cache.get(key)


STORES: dict[str, Callable[[Path], Files | Fanout]] = {Files.name: Files, Fanout.name: Fanout}


def key_of(process: int, number: int) -> str:
    return hashlib.sha256(f"{process} {number}".encode()).hexdigest()


def enter(folder: Path) -> Path:
    """Move to the mount namespace of a folder below /proc/PID/root: SQLite resolves that link, and ends elsewhere."""
    if folder.parts[1] != "proc":
        return folder
    libc = ctypes.CDLL(None, use_errno=True)
    namespace = os.open(f"/proc/{folder.parts[2]}/ns/mnt", os.O_RDONLY)
    if libc.unshare(CLONE_FS) or libc.setns(namespace, CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "cannot enter the mount namespace")
    return Path("/", *folder.parts[4:])


def together(work: Callable[..., None], folders: list[Path], *arguments: Any) -> list[Any]:
    """What processes that run side by side put into their queue, one thing each; those that died put nothing.

    Each runs `work(folder, number, barrier, queue, *arguments)`.
    """
    context = multiprocessing.get_context("spawn")
    barrier, out = context.Barrier(len(folders)), context.Queue()
    processes = [
        context.Process(target=work, args=(folder, me, barrier, out, *arguments)) for me, folder in enumerate(folders)
    ]
    for process in processes:
        process.start()
    found: list[Any] = []
    deadline = time.monotonic() + 8 * CELL_SECONDS
    while len(found) < len(processes) and time.monotonic() < deadline:
        try:
            found.append(out.get(timeout=1))
        except queue.Empty:
            if not any(process.is_alive() for process in processes):
                break
    for process in processes:
        process.kill()
        process.join(10)
    return found


def meet(barrier: Any, seconds: float = 2 * CELL_SECONDS) -> None:
    """Wait for the other processes, unless one has died."""
    with suppress(threading.BrokenBarrierError):
        barrier.wait(seconds)


@contextmanager
def network(folder: Path, profile: str) -> Iterator[list[Path] | None]:
    """The two mounts of a GlusterFS volume with a group of options, or None where it cannot run."""
    if os.geteuid() != 0 or shutil.which("glusterd") is None:
        yield None
        return
    folder.mkdir()
    environment = {**os.environ, "BRICK": str(folder / "brick"), "PROFILE": profile}
    process = subprocess.Popen([ROOT / "scripts" / "glusterfs", "run", folder], env=environment)
    try:
        for _ in range(240):
            if (folder / "ready").exists() or process.poll() is not None:
                break
            time.sleep(0.25)
        inside = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        yield [Path(f"/proc/{inside}/root{mount}") for mount in (folder / "ready").read_text().split()]
    finally:
        process.kill()
        process.wait()
