# SPDX-License-Identifier: Apache-2.0
"""Why answers became worse: the anchors tell a moved model from moved traffic. Pure.

diagnose(anchors=compare_scores(first, now), collections=("docs-1", "docs-2"), attempts_per_call=1.1).cause
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from slipway_server.evaluation import Comparison

ALPHA = 0.05
RETRIED = 1.5
"""Attempts per LM call from which the provider is short of capacity."""


class Cause(StrEnum):
    """What moved, as far as can be told."""

    MODEL = "model"
    RETRIEVAL = "retrieval"
    TRAFFIC = "traffic"
    CAPACITY = "capacity"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The likeliest cause and what to do about it."""

    cause: Cause
    words: str
    remedy: str


def diagnose(
    *,
    anchors: Comparison | None,
    collections: Sequence[str],
    attempts_per_call: float,
    void: str = "",
) -> Diagnosis:
    """Explain an alarm.

    Args:
        anchors: The program's scores on the anchors now against its first ones; None where there are none from before.
        collections: Versions of the collection that were served: in the baseline first, now last.
        attempts_per_call: HTTP attempts per LM call of the newest answers.
        void: Why the evaluation could not be done; empty where it was.
    """
    if void:
        return Diagnosis(
            Cause.CAPACITY,
            f"the evaluation could not be done: {void}",
            "look at the provider's quota and status; nothing is known of quality",
        )
    served = list(dict.fromkeys(version for version in collections if version))
    changed = f"the collection changed ({' → '.join(served)})" if len(served) > 1 else ""
    short = (
        f"; {attempts_per_call:.1f} attempts per LM call: the provider is short" if attempts_per_call > RETRIED else ""
    )
    if anchors is None or not anchors.n:
        if changed:
            return Diagnosis(Cause.RETRIEVAL, f"{changed}; no anchors from before{short}", "compare the two versions")
        remedy = "read the lowest scores; anchors in the bundle, replayed before the alarm, would tell more"
        return Diagnosis(Cause.UNKNOWN, f"there are no anchors from before the alarm{short}", remedy)
    fell = f"{anchors.difference:+.3f} on the anchors, {anchors.worse} worse and {anchors.better} better of {anchors.n}"
    if anchors.difference < 0 and anchors.p < ALPHA:
        if changed:
            return Diagnosis(
                Cause.RETRIEVAL, f"{fell}; {changed}{short}", "check the new version; recompile if it stays"
            )
        return Diagnosis(
            Cause.MODEL, f"{fell}, the collection is the same{short}", "recompile: the model behaves otherwise"
        )
    return Diagnosis(
        Cause.TRAFFIC,
        f"{fell}: the program is as good as it was on the same questions{short}",
        "add labelled live questions to the training set, then recompile; check what users ask now",
    )
