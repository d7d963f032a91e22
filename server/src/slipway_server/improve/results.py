# SPDX-License-Identifier: Apache-2.0
"""Triggers and gate results on the volume: which alarm still wants a recompilation, and what one came to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipway_server.improve.decide import Verdict
from slipway_server.improve.findings import comparison_values
from slipway_server.improve.places import UNCOMPILED, gates, latest, load, publish, triggers
from slipway_server.improve.recompile import Recompiled, RecompilePlan

STANDS = (Verdict.DEGRADED.value, Verdict.INCONCLUSIVE.value)
"""Newest verdicts under which a confirmed alarm still stands; after the others it has passed, or is doubted."""
RETIRE_AFTER = 10
"""Uses after which a held-out set is worn out: each gate tells a little about it (Dwork et al. 2015)."""


def newest_trigger(loop: Path, digest: str) -> dict[str, Any] | None:
    """The newest confirmed alarm of an artifact; None where there was none, or where something else is known by now."""
    newest = load(latest(loop)) or {}
    if newest.get("digest") == digest and newest.get("verdict") not in STANDS:
        return None
    found = sorted(triggers(loop).glob(f"{digest[:16] or UNCOMPILED}-*.json"))
    return load(found[-1]) if found else None


def gate_path(loop: Path, digest: str, window: str) -> Path:
    """Where the result of one alarm's recompilation is."""
    return gates(loop) / f"{digest[:16] or UNCOMPILED}-{window}.json"


def uses_of(loop: Path, heldout_digest: str) -> int:
    """How often a held-out set has been used by gates."""
    return sum((load(path) or {}).get("heldout") == heldout_digest for path in gates(loop).glob("*.json"))


def store_result(path: Path, values: Mapping[str, Any]) -> bool:
    """Publish a gate's result; returns whether this process was the first."""
    return publish(path, dict(values))


def result_values(done: Recompiled, plan: RecompilePlan, uses: int) -> dict[str, Any]:
    """A recompilation as JSON values."""
    found = done.gate
    return {
        "verdict": found.verdict.value,
        "path": found.path,
        "words": found.words,
        "p": found.p,
        "detectable": found.detectable,
        "needs": found.needs,
        "vetoed": list(found.vetoed),
        "comparison": comparison_values(found.comparison),
        "incumbent": {"digest": plan.incumbent.digest, "score": done.incumbent.score},
        "candidate": {"digest": done.manifest.digest, "score": done.compilation.compiled.score},
        "file": str(done.path),
        "optimizer": plan.optimizer,
        "train": len(plan.train.examples),
        "feedback": len(plan.feedback),
        "heldout": plan.heldout.digest,
        "heldout_uses": uses,
        "lm_calls": done.calls,
        "cost_usd": done.cost_usd,
    }
