# SPDX-License-Identifier: Apache-2.0
"""Before a new artifact says ready, its cache is warmed with questions that will come.

    done = await prewarm(run, load_questions(path, ["question"], limit=100), budget_seconds=60)

A new artifact changes every prompt, so at the switch every LM call is a cache miss: just when a rollout has doubled
the load. Pre-warming runs at batch priority, stops at its budget, and no failure in it keeps an artifact from serving.
"""

from __future__ import annotations

import asyncio
import codecs
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from slipway_server.errors import DatasetInvalid, SlipwayError
from slipway_server.request import RequestContext, TrafficClass

CONCURRENCY = 8

log = logging.getLogger(__name__)

Run = Callable[[dict[str, Any], RequestContext], Awaitable[object]]


def load_questions(path: Path, names: Sequence[str], *, limit: int) -> list[dict[str, Any]]:
    """The first `limit` lines of a jsonl file, of each the fields in `names`. Raises DatasetInvalid with the line."""
    try:
        # Bytes: in text, lines would also end at the separators that JSON may have within a string (U+2028 and others).
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError:
        raise DatasetInvalid(f"{path}: no such file of questions", file=str(path)) from None
    questions: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            question = orjson.loads(line)
        except orjson.JSONDecodeError:
            question = None
        if not isinstance(question, dict):
            raise DatasetInvalid(f"{path}:{number}: not a JSON object in UTF-8", file=str(path))
        questions.append({name: question[name] for name in names if name in question})
        if len(questions) == limit:
            break
    return questions


async def prewarm(run: Run, questions: Sequence[dict[str, Any]], *, budget_seconds: float) -> int:
    """Run the questions, CONCURRENCY at a time, until done or out of time. Returns how many succeeded."""
    deadline = time.monotonic() + budget_seconds
    waiting = iter(enumerate(questions))
    succeeded = 0

    async def worker() -> None:
        nonlocal succeeded
        for number, inputs in waiting:
            context = RequestContext(f"prewarm-{number}", deadline=deadline, traffic_class=TrafficClass.BATCH)
            if context.remaining_seconds() == 0:
                return
            try:
                await run(inputs, context)
            except SlipwayError as error:
                log.warning("prewarm failed", extra={"number": number, "reason": error.reason})
            else:
                succeeded += 1

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    log.info("prewarmed", extra={"questions": len(questions), "succeeded": succeeded})
    return succeeded
