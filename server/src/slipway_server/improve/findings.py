# SPDX-License-Identifier: Apache-2.0
"""A re-evaluation as JSON values: what the page shows, what servers export as metrics, what a candidate names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from slipway_server.evaluation import Comparison
from slipway_server.evaluation.statistics import compare_scores
from slipway_server.improve.claims import Claim
from slipway_server.improve.decide import Pool, Preset, Step
from slipway_server.improve.reevaluate import Outcome, Setup
from slipway_server.improve.windows import WindowResult

Z = 1.96

PROMISES = {
    name: f"recompiles for nothing at most 0.05 times a year, and finds a 10-point drop in {days} days (median) where "
    "days differ by 2 points (sd)"
    for name, days in (("daily", 7), ("weekly", 14))
}
"""What docs/loop.md states of the presets, with the assumptions; tests hold them."""


def findings(outcome: Outcome, setup: Setup, artifact: str, claim: Claim | None) -> dict[str, Any]:
    """Everything that a run found. Times are UTC; scores are shares from 0 to 1."""
    steps, newest = outcome.steps, outcome.steps[-1] if outcome.steps else None
    return {
        "verdict": outcome.verdict.value,
        "reason": outcome.reason,
        "void": outcome.void,
        "time": datetime.fromtimestamp(setup.now, UTC).isoformat(timespec="seconds"),
        "artifact": artifact,
        "digest": setup.places.digest,
        "window": newest.window.name if newest else "",
        "judged_now": outcome.judged_now,
        "judge": {**asdict(setup.judge.pin), "digest": setup.judge.pin.digest},
        "preset": {**asdict(setup.preset), "promise": PROMISES.get(setup.preset.name, "")},
        "baseline": _baseline(newest),
        "series": [_point(step, result) for step, result in zip(steps, outcome.results, strict=True)],
        "threshold": setup.preset.threshold,
        "diagnosis": _diagnosis(outcome),
        "guard": None if outcome.guard is None else {**asdict(outcome.guard), "words": outcome.guard.words},
        "anchors": None if outcome.anchors is None else comparison_values(outcome.anchors),
        "shadow": _shadow(outcome),
        "recompile": {"wanted": bool(outcome.act), "window": outcome.act, **(asdict(claim) if claim else {})},
        "drop": _drop(steps),
        "examples": [
            {
                "request_id": record.request_id,
                "routing": record.routing,
                "score": score,
                "inputs": record.inputs,
                "outputs": record.outputs,
            }
            for record, score in outcome.examples
        ],
    }


def comparison_values(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON values."""
    return {**asdict(comparison), "interval": list(comparison.interval)}


def figures(report: dict[str, Any], preset: Preset) -> dict[str, Any]:
    """The few numbers that servers export (traffic/quality.py)."""
    last = report["series"][-1] if report["series"] else {}
    return {
        "verdict": report["verdict"],
        "time": datetime.fromisoformat(report["time"]).timestamp(),
        "digest": report["digest"],
        "score": last.get("mean"),
        "low": last.get("low"),
        "high": last.get("high"),
        "baseline": (report["baseline"] or {}).get("mean"),
        "cusum_ratio": last.get("cusum", 0.0) / preset.threshold,
    }


def _baseline(newest: Step | None) -> dict[str, Any] | None:
    pool: Pool | None = newest.state.baseline if newest else None
    if pool is None or not pool.n:
        return None
    return {
        "mean": pool.mean,
        "n": pool.n,
        "windows": pool.windows,
        "error": math.sqrt(pool.variance / pool.n),
        "day_sd": math.sqrt(pool.between()),
    }


def _point(step: Step, result: WindowResult) -> dict[str, Any]:
    """One window. The interval is the normal approximation of the mean's 95 % interval."""
    window = step.window
    point: dict[str, Any] = {
        "window": window.name,
        "verdict": step.verdict.value,
        "reason": step.reason,
        "act": step.act,
        "n": window.n,
        "recorded": result.recorded,
        "cusum": step.cusum,
        "infrastructure_errors": result.infrastructure_errors,
        "attempts_per_call": result.attempts_per_call,
        "collection": result.collection,
        "mean": None,
    }
    if window.n:
        half = Z * math.sqrt(max(Pool().plus(window).variance, 0.0) / window.n)
        mean = window.mean
        point.update(mean=mean, low=max(0.0, mean - half), high=min(1.0, mean + half))
    return point


def _diagnosis(outcome: Outcome) -> dict[str, str] | None:
    found = outcome.diagnosis
    return None if found is None else {"cause": found.cause.value, "words": found.words, "remedy": found.remedy}


def _shadow(outcome: Outcome) -> dict[str, Any] | None:
    """Shadow minus stable over the newest artifact in shadow, on the same items."""
    digest = next((result.shadow_digest for result in reversed(outcome.results) if result.shadow), "")
    pairs = [pair for result in outcome.results if result.shadow_digest == digest for pair in result.shadow]
    if not pairs:
        return None
    return {"digest": digest, **comparison_values(compare_scores([a for a, _ in pairs], [b for _, b in pairs]))}


def _drop(steps: Sequence[Step]) -> float | None:
    acted = [step for step in steps if step.act]
    return acted[-1].drop if acted else None
