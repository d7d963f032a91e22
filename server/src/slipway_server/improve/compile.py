# SPDX-License-Identifier: Apache-2.0
"""Compile: evaluate the program as it is, optimize it, evaluate what would be served, compare, write the artifact.

    with open_session(settings) as session:
        done = compile_program(session, Plan(train=…, dev=…, optimizer="bootstrap-few-shot", metric=…, out=…))
    done.path, done.comparison.difference

Both evaluations run on the dev set, which no optimizer sees, and past the cache. What is evaluated as compiled is the
artifact's own state in a fresh program, so that serving it gives the same prompts to the last byte.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dspy

from slipway_server.artifacts import Manifest, fingerprint, provenance
from slipway_server.artifacts import state as states
from slipway_server.artifacts.canonical import canonical
from slipway_server.artifacts.loading import save_state
from slipway_server.artifacts.manifest import Dataset as DatasetNote
from slipway_server.artifacts.manifest import Measured, Model, Optimizer, Retrieval
from slipway_server.errors import ConfigInvalid
from slipway_server.evaluation import Comparison, Dataset, Evaluation, EvaluatorConfig, Metric, compare, evaluate
from slipway_server.improve.optimize import optimize, split, with_feedback
from slipway_server.improve.optimizers import Task, find
from slipway_server.runtime.session import Session

Progress = Callable[[str, int, int | None], None]
"""Called with a stage's name, what is done of it and, where known, how much there is."""


def _ignore(stage: str, done: int, total: int | None) -> None:
    return None


@dataclass(frozen=True)
class Plan:
    """What to compile with. `log_dir` holds a folder per plan, in which a second start of the same plan goes on.

    `anchors`: examples that guard the judge later (improve/anchors.py); the manifest names them, nothing else is done.
    """

    train: Dataset
    dev: Dataset
    optimizer: str
    metric: Metric
    out: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    log_dir: Path = Path(".slipway/compile")
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    anchors: Dataset | None = None


@dataclass(frozen=True, slots=True)
class Compilation:
    """The artifact and how the program did before and after. `runs`: of the program, by the optimizer."""

    path: Path
    manifest: Manifest
    uncompiled: Evaluation
    compiled: Evaluation
    comparison: Comparison
    runs: int
    failed_runs: int


def compile_program(session: Session, plan: Plan, on_progress: Progress = _ignore) -> Compilation:
    """Compile the session's program as `plan` says and write the artifact.

    Raises:
        ConfigInvalid: Unknown optimizer or setting, a package is missing, or a folder cannot be written.
        CompileFailed, RunVoid: No usable result; the message says why.
    """
    optimizer = find(plan.optimizer)
    optimizer.check(plan.optimizer, plan.settings)
    check_writable(plan.out)
    check_writable(plan.log_dir)
    train, selection = split(plan.train.examples, plan.seed, selects=optimizer.selects)
    uncompiled = _evaluated(session, session.new_program(), plan, "uncompiled", on_progress)
    task = Task(
        program=session.new_program(),
        train=train,
        selection=selection,
        metric=plan.metric,
        feedback_metric=with_feedback(plan.metric),
        lm=session.lm_stack.lm,
        seed=plan.seed,
        log_dir=plan.log_dir / _key(session, plan),
        threads=min(plan.evaluator.concurrency, session.settings.sync_workers),
    )
    expected = optimizer.runs(task, plan.settings)
    on_progress(plan.optimizer, 0, expected)
    optimized = optimize(
        optimizer, task, plan.settings, plan.metric, on_runs=lambda runs: on_progress(plan.optimizer, runs, expected)
    )
    served = session.new_program()
    states.apply(optimized.state, served)
    compiled = _evaluated(session, served, plan, "compiled", on_progress)
    drafted = _manifest(session, plan, served, uncompiled, compiled)
    path, manifest = save_state(optimized.state, served, drafted, plan.out)
    comparison = compare(uncompiled, compiled)
    return Compilation(path, manifest, uncompiled, compiled, comparison, optimized.runs, optimized.failed_runs)


def check_writable(folder: Path) -> None:
    """Raises ConfigInvalid where `folder` can neither be written nor made: better now than after hours of compiling."""
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise ConfigInvalid(f"{folder}: {place} is no folder that can be written; name another one")


def measured(evaluation: Evaluation) -> Measured:
    """An evaluation as a manifest has it."""
    return Measured(
        score=evaluation.score,
        interval=(evaluation.interval.low, evaluation.interval.high),
        n=evaluation.n,
        prompt_tokens=evaluation.prompt_tokens,
        completion_tokens=evaluation.completion_tokens,
        cost_usd=evaluation.cost_usd,
        latency_seconds=evaluation.latency_seconds(0.5),
    )


def _evaluated(session: Session, program: dspy.Module, plan: Plan, stage: str, on_progress: Progress) -> Evaluation:
    on_progress(stage, 0, len(plan.dev.examples))
    return session.run(
        evaluate(
            session.invoker(program),
            plan.dev.examples,
            plan.metric,
            config=plan.evaluator,
            on_progress=lambda done, total: on_progress(stage, done, total),
        )
    )


def _key(session: Session, plan: Plan) -> str:
    """Name of the plan's log folder: the same for the same plan, and for no other."""
    settings = session.settings
    facts = [
        fingerprint(session.new_program()),
        plan.optimizer,
        dict(plan.settings),
        plan.seed,
        plan.train.digest,
        plan.metric.name,
        [settings.lm_model, settings.lm_temperature, settings.retrieval_k, session.retriever.collection_version],
    ]
    return f"{plan.optimizer}-{hashlib.sha256(canonical(facts)).hexdigest()[:12]}"


def _manifest(
    session: Session, plan: Plan, program: dspy.Module, uncompiled: Evaluation, compiled: Evaluation
) -> Manifest:
    settings, retriever = session.settings, session.retriever
    searched = bool(retriever.collection_version)
    return Manifest(
        program=settings.program,
        created=datetime.now(UTC),
        code=provenance.revision(Path.cwd()),
        data={
            use: DatasetNote(name=data.path.name, digest=data.digest, examples=len(data.examples))
            for use, data in (("train", plan.train), ("dev", plan.dev), ("anchors", plan.anchors))
            if data is not None
        },
        optimizer=Optimizer(name=plan.optimizer, settings=dict(plan.settings), seed=plan.seed),
        lm=Model(name=settings.lm_model, temperature=settings.lm_temperature, max_tokens=settings.lm_max_tokens),
        retrieval=Retrieval(
            k=states.retrieved_k(program) or settings.retrieval_k,
            collection_version=retriever.collection_version,
            embedder=retriever.embedder_name,
        )
        if searched
        else Retrieval(),
        metric=plan.metric.name,
        compiled=measured(compiled),
        uncompiled=measured(uncompiled),
        versions=provenance.versions(),
    )
