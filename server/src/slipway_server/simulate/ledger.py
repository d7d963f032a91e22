# SPDX-License-Identifier: Apache-2.0
"""The provider's own record of every request, to check afterwards what clients really did.

    ledger.entries                 # newest 200,000, oldest first
    ledger.count(status=429)
    ledger.between(60, 120)        # by arrival, seconds after the provider's start

With a file, each entry is also written to it as one JSON line, by a thread, within half a second. A volume that fails
later ends the file, which is said, and nothing else.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

log = logging.getLogger(__name__)

KEPT = 200_000
_STOP = object()


@dataclass(slots=True)
class Entry:
    """One request. Times in seconds after the provider's start; `status` 0: no status was sent.

    `outcome` is "ok", "aborted" (the client went away) or the fault or refusal. `key` is the API key's last four
    characters. `client` is the request's user-agent; `tag` its x-slipway-tag header, for telling callers apart.
    """

    number: int
    arrived_seconds: float
    finished_seconds: float
    path: str
    model: str
    key: str
    status: int
    outcome: str
    stream: bool
    input_tokens: int
    output_tokens: int
    client: str
    tag: str
    request_id: str
    remaining_requests: float | None = None


class Ledger:
    """Keeps entries in memory and, where given, in a file between `open` and `close`."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: deque[Entry] = deque(maxlen=KEPT)
        self._path = path
        self._queue: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin to write the file, if there is to be one. Raises OSError where it cannot be opened."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("ab")
            self._thread = threading.Thread(target=self._write, args=(file,), name="ledger", daemon=True)
            self._thread.start()

    def add(self, entry: Entry) -> None:
        """Keep an entry."""
        self.entries.append(entry)
        if self._thread:
            self._queue.put(entry)

    def clear(self) -> None:
        """Forget what is in memory."""
        self.entries.clear()

    def count(self, **wanted: object) -> int:
        """Entries whose fields equal the given ones, e.g. `count(status=429, model="m")`."""
        return sum(all(getattr(entry, name) == value for name, value in wanted.items()) for entry in self.entries)

    def between(self, start_seconds: float, end_seconds: float) -> list[Entry]:
        """Entries that arrived in [start, end)."""
        return [entry for entry in self.entries if start_seconds <= entry.arrived_seconds < end_seconds]

    def summary(self) -> dict[str, Any]:
        """Counts by status and outcome, and tokens."""
        statuses: dict[str, int] = {}
        outcomes: dict[str, int] = {}
        for entry in self.entries:
            statuses[str(entry.status)] = statuses.get(str(entry.status), 0) + 1
            outcomes[entry.outcome] = outcomes.get(entry.outcome, 0) + 1
        return {
            "requests": len(self.entries),
            "statuses": statuses,
            "outcomes": outcomes,
            "input_tokens": sum(entry.input_tokens for entry in self.entries),
            "output_tokens": sum(entry.output_tokens for entry in self.entries),
        }

    def close(self) -> None:
        """Write what is left."""
        thread, self._thread = self._thread, None
        if thread:
            self._queue.put(_STOP)
            thread.join(timeout=5)

    def _write(self, file: BinaryIO) -> None:
        try:
            self._write_entries(file)
        except OSError as error:
            log.error("the ledger's file ends here: %s", error.strerror)
            self._thread = None
        finally:
            with suppress(OSError):
                file.close()

    def _write_entries(self, file: BinaryIO) -> None:
        while True:
            item = self._queue.get()
            lines: list[bytes] = []
            while isinstance(item, Entry):
                lines.append(orjson.dumps(asdict(item), option=orjson.OPT_APPEND_NEWLINE))
                if self._queue.empty():
                    break
                item = self._queue.get()
            file.write(b"".join(lines))
            file.flush()
            if item is _STOP:
                return
