# SPDX-License-Identifier: Apache-2.0
"""Scores live answers, once each: what an interrupted run has judged is not asked again.

evaluation = judge_records(session, records, judge, folder, "2026-11-20")
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dspy

from slipway_server.evaluation import EvaluatorConfig, Metric, evaluate
from slipway_server.evaluation.evaluator import Evaluation
from slipway_server.evaluation.judges import CONTEXT, Judge
from slipway_server.runtime.session import Session
from slipway_server.traffic import Record
from slipway_server.traffic.framing import frame
from slipway_server.traffic.segments import Damage, read

KEY = "slipway_record"
Key = tuple[str, str]
Progress = Callable[[int, int], None]


def judgeable(record: Record, judge: Judge) -> bool:
    """Whether the record has what the judge needs."""
    return bool(record.inputs and record.outputs) and (CONTEXT not in judge.needs or bool(record.context))


def key_of(record: Record) -> Key:
    """What names an answer."""
    return record.request_id, record.variant


def judge_records(
    session: Session,
    records: Sequence[Record],
    judge: Judge,
    folder: Path,
    window: str,
    *,
    config: EvaluatorConfig | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Score recorded answers with the evaluator's three outcomes; the evaluation's items are in the records' order.

    Raises RunVoid above 2 % infrastructure errors; the scores until then are kept for the next run.
    """
    memory = ScoreMemory(folder, window, judge)
    by_key = {"\n".join(key_of(record)): record for record in records}

    async def replay(inputs: dict[str, Any]) -> dspy.Prediction:
        record = by_key[inputs[KEY]]
        return dspy.Prediction({**record.outputs, **({CONTEXT: record.context} if record.context else {})})

    try:
        return session.run(
            evaluate(
                replay,
                [_example(record) for record in records],
                memory.metric,
                config=config or EvaluatorConfig(warm_up=False),
                on_progress=on_progress,
            )
        )
    finally:
        memory.close()


def _example(record: Record) -> dspy.Example:
    return dspy.Example({**record.inputs, KEY: "\n".join(key_of(record))}).with_inputs(KEY)


class ScoreMemory:
    """A judge's metric that remembers, in a file of this process's own; reads what all processes have written."""

    def __init__(self, folder: Path, window: str, judge: Judge) -> None:
        self._judge = judge.metric
        self._lock = threading.Lock()
        self._known: dict[str, float] = {}
        for path in sorted(folder.glob(f"{window}-*.jsonl")):
            self._known.update((row["key"], row["score"]) for row in read(path, Damage()))
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{window}-{os.uname().nodename}-{os.getpid()}-{time.time_ns():x}.jsonl"
        self._file = self._path.open("xb", buffering=0)
        self.metric = Metric(judge.metric.name, self._score, blocking=True)

    def close(self) -> None:
        """Close the file; one without a score is removed."""
        if self._file.tell() == 0:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _score(self, example: dspy.Example, prediction: Any, trace: Any = None) -> float:
        key = example[KEY]
        if key not in self._known:
            score = self._judge(_without_key(example), prediction)
            with self._lock:
                self._known[key] = score
                self._file.write(frame({"key": key, "score": score}))
        return self._known[key]


def _without_key(example: dspy.Example) -> dspy.Example:
    values = {name: value for name, value in example.items() if name != KEY}
    return dspy.Example(values).with_inputs(*values)
