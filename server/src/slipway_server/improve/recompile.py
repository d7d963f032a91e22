# SPDX-License-Identifier: Apache-2.0
"""Recompiles a degraded program; the gate decides whether the result becomes a candidate. Nothing goes live here.

    done = recompile(session, plan)
    done.gate.verdict, done.path

Trained with the bundle's train set and labelled feedback; compared on the held-out set, which no optimizer sees, and
which incumbent and candidate answer in the same hour, past the cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from slipway_server.artifacts import LoadedArtifact, Manifest
from slipway_server.artifacts import state as states
from slipway_server.artifacts.canonical import canonical
from slipway_server.artifacts.loading import save_state
from slipway_server.artifacts.manifest import Dataset as DatasetNote
from slipway_server.evaluation import Dataset, Evaluation, EvaluatorConfig, LabelledExample, Metric, evaluate
from slipway_server.improve.anchors import extra
from slipway_server.improve.budget import Budget
from slipway_server.improve.compile import Compilation, Plan, Progress, compile_program
from slipway_server.improve.gate import GateResult, GateVerdict, gate
from slipway_server.improve.watch import Stopped
from slipway_server.runtime.session import Session

SLICE = "slice"


@dataclass(frozen=True)
class RecompilePlan:
    """What to recompile with. `trigger`: the alarm's report; `rejected`: where a program that does not pass is kept."""

    incumbent: LoadedArtifact
    train: Dataset
    heldout: Dataset
    feedback: Sequence[LabelledExample]
    optimizer: str
    metric: Metric
    out: Path
    rejected: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    trigger: Mapping[str, Any] | None = None
    emergency: bool = False
    budget: Budget = field(default_factory=Budget)
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    log_dir: Path = Path(".slipway/recompile")


@dataclass(frozen=True)
class Recompiled:
    """The gate's result, and where the program is: in the store where it passed, with the rejected ones where not."""

    gate: GateResult
    path: Path
    manifest: Manifest
    incumbent: Evaluation
    compilation: Compilation
    calls: int
    cost_usd: float

    @property
    def passed(self) -> bool:
        """It is a candidate."""
        return self.gate.verdict is GateVerdict.PASS


def recompile(session: Session, plan: RecompilePlan, on_progress: Progress) -> Recompiled:
    """Compile, compare, keep.

    Raises:
        CompileFailed, RunVoid: No result; the message says why, e.g. that the budget is spent.
        ConfigInvalid: Unknown optimizer or setting.
    """

    def watched(stage: str, done: int, total: int | None) -> None:
        on_progress(stage, done, total)
        plan.budget.check()

    with TemporaryDirectory(prefix="slipway-recompile-") as scratch:
        try:
            incumbent = _evaluated(session, plan, watched)
            compilation = compile_program(session, _compile_plan(plan, Path(scratch)), watched)
        except Stopped:
            raise plan.budget.error() from None
        state = orjson.loads(compilation.path.read_bytes())
    result = _gated(incumbent, compilation.compiled, plan)
    program = session.new_program()
    states.apply(state, program)
    drafted = _manifest(compilation.manifest, plan)
    folder = plan.out if result.verdict is GateVerdict.PASS else plan.rejected
    path, manifest = save_state(state, program, drafted, folder)
    budget = plan.budget
    return Recompiled(result, path, manifest, incumbent, compilation, budget.calls_made, budget.cost_so_far)


def _evaluated(session: Session, plan: RecompilePlan, on_progress: Progress) -> Evaluation:
    return session.run(
        evaluate(
            session.invoker(plan.incumbent.program),
            plan.heldout.examples,
            plan.metric,
            config=plan.evaluator,
            on_progress=lambda done, total: on_progress("incumbent", done, total),
        )
    )


def _compile_plan(plan: RecompilePlan, out: Path) -> Plan:
    digest = hashlib.sha256(f"{plan.train.digest}{_feedback_digest(plan)}".encode()).hexdigest()
    return Plan(
        train=Dataset(plan.train.path, digest, [*plan.train.examples, *plan.feedback]),
        dev=plan.heldout,
        optimizer=plan.optimizer,
        metric=plan.metric,
        out=out,
        settings=plan.settings,
        seed=plan.seed,
        log_dir=plan.log_dir,
        evaluator=plan.evaluator,
    )


def _gated(incumbent: Evaluation, candidate: Evaluation, plan: RecompilePlan) -> GateResult:
    """Over the examples that both were scored on."""
    both = [
        (before.score, after.score, str(extra(example, SLICE) or ""))
        for before, after, example in zip(incumbent.items, candidate.items, plan.heldout.examples, strict=True)
        if before.score is not None and after.score is not None
    ]
    return gate(
        [before for before, _, _ in both],
        [after for _, after, _ in both],
        [name for _, _, name in both],
        emergency=plan.emergency,
    )


def _manifest(compiled: Manifest, plan: RecompilePlan) -> Manifest:
    data = {
        **compiled.data,
        "train": DatasetNote(name=plan.train.path.name, digest=plan.train.digest, examples=len(plan.train.examples)),
    }
    if "anchors" in plan.incumbent.manifest.data:
        data["anchors"] = plan.incumbent.manifest.data["anchors"]
    if plan.feedback:
        data["feedback"] = DatasetNote(name="feedback", digest=_feedback_digest(plan), examples=len(plan.feedback))
    if plan.trigger is not None:
        digest = hashlib.sha256(canonical(dict(plan.trigger))).hexdigest()
        judged = sum(point["n"] for point in plan.trigger["series"])
        data["trigger"] = DatasetNote(name=plan.trigger["recompile"]["window"], digest=digest, examples=judged)
    return compiled.model_copy(update={"data": data, "parent": plan.incumbent.digest, "digest": ""})


def _feedback_digest(plan: RecompilePlan) -> str:
    rows = [dict(example.items()) for example in plan.feedback]
    return hashlib.sha256(canonical(rows)).hexdigest()
