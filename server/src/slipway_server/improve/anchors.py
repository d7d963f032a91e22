# SPDX-License-Identifier: Apache-2.0
"""Anchors: a few dozen fixed examples that tell a judge that moved from quality that moved.

    anchors = anchors_for(program, Path("bundle/anchors.jsonl"))
    guard(known, now).moved                 # the judge's verdicts on fixed answers, against its own first ones

A line has the program's inputs, its labels and, for the guard, an answer that people have judged:

    {"question": "…", "answer": "1868", "judged": {"answer": "1901"}, "context": ["…"], "human": 0}

`human` is 0 or 1. The guard never runs the program. The replay does, when an alarm is to be explained: it scores the
program's own answers to the anchors against their labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy
from scipy import stats

from slipway_server.errors import DatasetInvalid
from slipway_server.evaluation import Dataset, EvaluatorConfig, evaluate
from slipway_server.evaluation.judges import CONTEXT
from slipway_server.improve.data import dataset_for
from slipway_server.runtime.session import Session
from slipway_server.traffic import Record

ALPHA = 1e-4
"""Chance that the guard speaks up on a day on which nothing moved; once in 27 years of days."""
NOISE = 0.02
"""Share of verdicts that a judge at temperature 0 is assumed to change by itself."""
PASSES = 0.5


@dataclass(frozen=True, slots=True)
class Guard:
    """`flips`: verdicts that are no longer the first ones. `agreement`: share that agrees with people."""

    n: int
    flips: int
    agreement: float
    first_agreement: float
    p: float

    @property
    def moved(self) -> bool:
        """So many flips are no noise."""
        return self.p < ALPHA

    @property
    def words(self) -> str:
        """One line for a report."""
        return (
            f"the judge changed its mind on {self.flips} of {self.n} anchors; "
            f"it agrees with people on {self.agreement:.0%}, at first {self.first_agreement:.0%}"
        )


def anchors_for(program: dspy.Module, path: Path) -> Dataset:
    """Read the anchors of `program`. Raises DatasetInvalid, also where a judged answer lacks its human verdict."""
    dataset = dataset_for(program, path)
    for number, example in enumerate(dataset.examples, 1):
        judged, human = extra(example, "judged"), extra(example, "human")
        if judged is not None and (not isinstance(judged, dict) or human not in (0, 1)):
            raise DatasetInvalid(f"{path}: example {number} has a judged answer but no 'human' of 0 or 1")
        if judged is not None and not _is_texts(extra(example, CONTEXT) or []):
            raise DatasetInvalid(f"{path}: example {number} has a '{CONTEXT}' that is no list of texts")
    return dataset


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def extra(example: Any, name: str) -> Any | None:
    """A further key of a line; None where the line has none."""
    try:
        return example[name]
    except KeyError:
        return None


def judged_records(anchors: Dataset) -> list[Record]:
    """The fixed answers, as if they had been recorded."""
    return [
        Record(
            request_id=f"anchor-{number}",
            time=0.0,
            inputs=dict(example.inputs().items()),
            outputs=extra(example, "judged") or {},
            context=list(extra(example, CONTEXT) or []),
        )
        for number, example in enumerate(anchors.examples)
        if extra(example, "judged") is not None
    ]


def humans(anchors: Dataset) -> list[int]:
    """People's verdicts, in the order of `judged_records`."""
    return [int(extra(example, "human") or 0) for example in anchors.examples if extra(example, "judged") is not None]


def guard(first: Sequence[float], now: Sequence[float | None], human: Sequence[int]) -> Guard:
    """Compare the judge's scores of the fixed answers with its first ones. None: not scored this time."""
    both = [(a >= PASSES, b >= PASSES, bool(h)) for a, b, h in zip(first, now, human, strict=True) if b is not None]
    n, flips = len(both), sum(a != b for a, b, _ in both)
    p = float(stats.binom.sf(flips - 1, n, NOISE)) if flips else 1.0
    return Guard(
        n=n,
        flips=flips,
        agreement=sum(b == h for _, b, h in both) / n if n else 1.0,
        first_agreement=sum(a == h for a, _, h in both) / n if n else 1.0,
        p=p,
    )


def replay(session: Session, program: dspy.Module, anchors: Dataset, metric: Any, config: EvaluatorConfig) -> list[Any]:
    """The program's own answers to the anchors, scored against their labels: one score or None each.

    Raises RunVoid above 2 % infrastructure errors.
    """
    done = session.run(evaluate(session.invoker(program), anchors.examples, metric, config=config))
    return [item.score for item in done.items]
