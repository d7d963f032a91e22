# SPDX-License-Identifier: Apache-2.0
"""The shared cache beside diskcache.FanoutCache, which is DSPy's own: times, sharing, faults, bytes, open files.

    python bench/cache.py [--write] [--entries 500] [--no-network]

Places: the local disk, tmpfs, and a GlusterFS volume mounted twice (root and Debian's packages; `scripts/glusterfs
install`), of which every other process uses the other mount. Each process puts entries of a typical size, waits for the
others, then gets what all of them have put. Then, on the network, what a get costs pods (bench/cache_pods.py), what one
operation costs (bench/cache_requests.py), also with the options that make gets cheapest, and what sharing is worth to
two hosts (bench/cache_hosts.py). Last, what a look-up costs through the whole stack (bench/cache_stacks.py). Entries
are written through to the disk where SLIPWAY_CACHE_FSYNC says so, as in a server. `--write` replaces the tables in
docs/cache.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cache_hosts
import cache_pods
import cache_requests
import cache_stacks
import orjson
from cache_stores import CELL_SECONDS, ROOT, STORES, enter, key_of, meet, network, record, together

from slipway_server.config import load_settings

DOCS = ROOT / "docs" / "cache.md"
BEGIN, END = "<!-- begin: bench/cache.py -->", "<!-- end: bench/cache.py -->"
PROCESSES = (1, 2, 4, 8)
METADATA_CACHE = "metadata-cache"
"""GlusterFS' own group of options that lets a host remember files for ten minutes. docs/cache.md advises against it."""


@dataclass
class Found:
    """What one process measured. Times in seconds."""

    puts: list[float] = field(default_factory=list)
    gets: list[float] = field(default_factory=list)
    right: int = 0
    wrong: int = 0
    asked: int = 0
    failed: int = 0
    faults: list[str] = field(default_factory=list)


def work(folder: Path, me: int, barrier: Any, out: Any, store_name: str, all_of_them: int, entries: int) -> None:
    """One process of a cell."""
    found = Found()
    try:
        store = STORES[store_name](enter(folder))
    except Exception as error:
        store, found.failed, found.faults = None, 1, [repr(error)[:100]]
    meet(barrier)
    deadline = time.monotonic() + CELL_SECONDS
    for number in range(entries if store else 0):
        key = key_of(me, number)
        value = record(key)
        _timed(found.puts, found, lambda key=key, value=value: store.put(key, value))
        if time.monotonic() > deadline:
            break
    meet(barrier)
    deadline = time.monotonic() + CELL_SECONDS
    wanted = [key_of(process, number) for process in range(all_of_them) for number in range(entries)]
    for key in wanted if store else []:
        value = _timed(found.gets, found, lambda key=key: store.get(key))
        found.right += value == record(key)
        found.wrong += value is not None and value != record(key)
        if time.monotonic() > deadline:
            break
    found.asked = len(wanted)
    out.put(found)


def _timed(times: list[float], found: Found, call: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    try:
        return call()
    except Exception as error:
        found.failed += 1
        found.faults = [repr(error)[:100]]
        return None
    finally:
        times.append(time.perf_counter() - started)


def cell(store: str, folders: list[Path], entries: int) -> Found:
    """All processes of one cell together."""
    total = Found()
    reports = together(work, folders, store, len(folders), entries)
    for found in reports:
        for name in vars(total):
            setattr(total, name, getattr(total, name) + getattr(found, name))
    missing = len(folders) - len(reports)
    total.failed += missing
    total.asked += missing * entries * len(folders)
    total.faults += [f"a process died: {missing}"] if missing else []
    return total


def compare(place: str, pairs: list[Path], entries: int) -> list[str]:
    """Rows of the first table for one place; `pairs` are the folders that processes use in turn."""
    rows = []
    for count in PROCESSES:
        for store in STORES:
            name = f"bench-{secrets.token_hex(4)}"
            folders = [pairs[me % len(pairs)] / name for me in range(count)]
            for folder in set(folders):
                folder.mkdir(exist_ok=True)
            found = cell(store, folders, entries)
            shutil.rmtree(folders[0], ignore_errors=True)
            shared = f"{100 * found.right / found.asked:.1f} %" if found.asked else "-"
            each = f"{1e6 * sum(found.gets) / found.right:,.0f}" if found.right else "-"
            row = [place, count, store, *_percentiles(found.gets), *_percentiles(found.puts)]
            rows.append(_row([*row, shared, each, found.wrong, found.failed]))
            print(rows[-1], *set(found.faults), flush=True)
    return rows


def _percentiles(times: list[float]) -> list[str]:
    if len(times) < 2:
        return ["-", "-"]
    return [f"{1e6 * one:,.0f}" for one in (statistics.median(times), statistics.quantiles(times, n=100)[98])]


def _row(cells: list[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


# ---- what a process holds


def held(store: str, folder: Path, entries: int = 1000, threads: int = 32) -> str:
    """Bytes on disk for 1,000 entries, and files open after use by 32 threads (as many as asyncio's executor has)."""
    folder.mkdir()
    opened = STORES[store](folder)
    for number in range(entries):
        opened.put(key_of(0, number), record(key_of(0, number)))
    before = _open_files()
    everybody = threading.Barrier(threads + 1)

    def use() -> None:
        for number in range(64):
            opened.get(key_of(0, number))
        everybody.wait()
        everybody.wait()

    for _ in range(threads):
        threading.Thread(target=use, daemon=True).start()
    everybody.wait()
    files = _open_files() - before
    everybody.wait()
    blocks = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    return _row([store, f"{blocks / 1e6:.1f} MB", files])


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def main() -> None:
    """Print the tables; with --write also into docs/cache.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=500, help="per process; a fifth of it on the network")
    parser.add_argument("--no-network", action="store_true")
    parser.add_argument("--only-network", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    lines = [
        f"Python {platform.python_version()}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}; "
        f"{len(orjson.dumps(record('k' * 64))):,} bytes per entry; µs. SLIPWAY_CACHE_FSYNC is "
        f"{'on' if load_settings().cache_fsync else 'off'}.",
        "",
        _row(
            [
                "place",
                "processes",
                "store",
                "get p50",
                "p99",
                "put p50",
                "p99",
                "found",
                "per entry found",
                "wrong",
                "failed",
            ]
        ),
        _row(["---"] * 11),
    ]
    costs, shared, looked_up = cache_requests.head(), cache_hosts.head(), cache_stacks.head()
    had = cache_pods.head()
    with tempfile.TemporaryDirectory() as disk, tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        if not options.only_network:
            lines += compare("local disk", [Path(disk)], options.entries)
            lines += compare("tmpfs", [Path(memory)], options.entries)
            looked_up += cache_stacks.stacks("local disk", Path(disk) / "stacks")
        for profile in [] if options.no_network else ["", METADATA_CACHE]:
            with network(Path(disk) / f"network-{profile}", profile) as mounts:
                if mounts:
                    costs += cache_requests.requests(profile or "as installed", mounts)
                if mounts and not profile:
                    lines += compare("GlusterFS, two mounts", mounts, max(20, options.entries // 5))
                    had += cache_pods.pods(mounts)
                    shared += cache_hosts.hosts(mounts)
                    looked_up += cache_stacks.stacks("GlusterFS", mounts[0] / "stacks")
        lines += ["", *had, "", *costs, "", *shared, "", *looked_up]
        lines += ["", _row(["store", "1,000 entries on disk", "files held open by 32 threads"]), _row(["---"] * 3)]
        lines += [held(store, Path(disk) / f"held-{store}") for store in STORES]
    print("\n" + "\n".join(lines))
    if options.write:
        text = DOCS.read_text()
        head, tail = text.split(BEGIN)[0], text.split(END)[1]
        DOCS.write_text(f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{tail}")


if __name__ == "__main__":
    sys.exit(main())
