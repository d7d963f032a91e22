# SPDX-License-Identifier: Apache-2.0
"""A progress bar per stage, with rate and time left, on standard error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextmanager
def stages(*, quiet: bool, unit: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """Gives a callback `report(stage, done, total)`; a stage with a total of None shows what is done and the rate.

    Nothing is shown before the first report, nor of a stage that has nothing to do.
    """
    if quiet:
        yield lambda stage, done, total: None
        return
    bar = _bar(unit)
    tasks: dict[str, tuple[TaskID, float]] = {}
    lock = threading.Lock()

    def report(stage: str, done: int, total: int | None) -> None:
        if total == 0:
            return
        with lock:
            if stage not in tasks:
                for earlier, _ in tasks.values():
                    bar.stop_task(earlier)
                tasks[stage] = bar.add_task(stage, total=total, rate="?"), time.monotonic()
                bar.start()
        task, started = tasks[stage]
        speed = bar.tasks[task].speed or done / max(time.monotonic() - started, 1e-3)
        rate = f"{speed:,.0f}" if speed >= 100 else f"{speed:,.1f}"
        most = max(total, done) if total is not None else None
        bar.update(task, completed=done, total=most, rate=rate if done else "?")

    try:
        yield report
    finally:
        if tasks:
            bar.stop()


def _bar(unit: str) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit}, {{task.fields[rate]}}/s, left"),
        TimeRemainingColumn(),
        TextColumn("taken"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
