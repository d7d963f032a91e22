# SPDX-License-Identifier: Apache-2.0
"""A progress bar per stage, with rate and time left, on standard error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stages(*, quiet: bool, unit: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """Gives a callback `report(stage, done, total)`; a stage with a total of None shows what is done and the rate."""
    if quiet:
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit}, {{task.fields[rate]}}/s, left"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def report(stage: str, done: int, total: int | None) -> None:
            with lock:
                if stage not in tasks:
                    for earlier in tasks.values():
                        bar.stop_task(earlier)
                    tasks[stage] = bar.add_task(stage, total=total, rate="?")
            task = tasks[stage]
            bar.update(task, completed=done, total=max(total, done) if total is not None else None)
            speed = bar.tasks[task].finished_speed or bar.tasks[task].speed
            bar.update(task, rate=f"{speed:,.1f}" if speed else "?")

        yield report
