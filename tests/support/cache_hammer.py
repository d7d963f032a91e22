# SPDX-License-Identifier: Apache-2.0
"""One process that uses a cache without pause until it is killed: `cache_hammer.py FOLDER REPORT KEYS`, or `… gc`.

Every value names its key and repeats a word that no other value has, so that a reader can tell a right value from a
torn, mixed or foreign one by itself. REPORT gets a line "reads hits wrong failed faults" now and then: failed are
exceptions (the cache swallows and logs them), faults are misses for another reason than that there was no entry.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from slipway_server.cache import CacheConfig, SharedCache
from slipway_server.cache.care import Limits, collect
from slipway_server.cache.record import Miss
from slipway_server.cache.store import DiskStore
from slipway_server.config import load_settings
from slipway_server.telemetry import metrics

REPORT_EVERY = 200


def request_of(number: int) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": f"question {number}"}]}


def value_of(number: int) -> dict[str, Any]:
    word = secrets.token_hex(8)
    text = word * random.randint(1, 1500)
    return {"number": number, "text": text, "sum": hashlib.sha256(text.encode()).hexdigest()}


def right(number: int, value: Any) -> bool:
    text = value["text"]
    return (
        value["number"] == number
        and text == text[:16] * (len(text) // 16)
        and value["sum"] == hashlib.sha256(text.encode()).hexdigest()
    )


class Failures(logging.Handler):
    """Counts what the cache swallows."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def faults() -> int:
    """Misses since the last call for another reason than that there was no entry."""
    found = 0
    for reason in set(Miss) - {Miss.ABSENT}:
        counter = metrics.CACHE_MISSES.labels(reason)
        found += int(counter._value.get())
        counter.reset()
    return found


def hammer(folder: Path, report: Path, keys: int) -> None:
    settings = load_settings({"cache_dir": folder, "cache_timeout_seconds": 30.0}, environ={})
    shared = SharedCache(CacheConfig.from_settings(settings))
    shared.memory.put = lambda digest, value: None  # every get must read the volume
    counts = {"reads": 0, "hits": 0, "wrong": 0, "failed": 0, "faults": 0}
    logging.getLogger("slipway_server.cache.shared").addHandler(failures := Failures())
    with report.open("a", buffering=1) as lines:
        while True:
            number = random.randrange(keys)
            value = shared.get(request_of(number))
            counts["reads"] += 1
            if value is not None:
                counts["hits"] += 1
                counts["wrong"] += not right(number, value)
            if value is None or random.random() < 0.05:
                shared.put(request_of(number), value_of(number))
            if counts["reads"] % REPORT_EVERY == 0:
                counts["failed"], failures.count = failures.count, 0
                counts["faults"] = faults()
                lines.write(" ".join(map(str, counts.values())) + "\n")
                counts = dict.fromkeys(counts, 0)
                asyncio.run(shared.volume.flush())


def collect_always(folder: Path) -> None:
    """Half of what is there, again and again."""
    store = DiskStore(folder)
    while True:
        limits = Limits(max_bytes=2_000_000, min_age_seconds=0, grace_seconds=0.05, leftover_seconds=3600)
        collect(store.folder, limits, now=lambda: time.time() + 120)


if __name__ == "__main__":
    if sys.argv[2] == "gc":
        collect_always(Path(sys.argv[1]))
    else:
        hammer(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
