# SPDX-License-Identifier: Apache-2.0
"""Re-evaluates the served artifact on recorded live answers: judge what is due, decide, explain.

    outcome = reevaluate(session, setup)
    outcome.verdict, outcome.reason, outcome.act        # act: the window whose alarm wants a recompilation, or ""

Idempotent by window: a window that has a result is not judged again, one that was missed is made up for, and one whose
evaluation was void has no result and is tried again. Nothing is decided on what the provider's trouble left over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from slipway_server.errors import ConfigInvalid, DatasetInvalid, RunVoid
from slipway_server.evaluation import Comparison, Dataset, EvaluatorConfig, Metric
from slipway_server.evaluation.judges import Judge
from slipway_server.evaluation.statistics import compare_scores
from slipway_server.improve import anchors as anchor_set
from slipway_server.improve.decide import Preset, Step, Verdict, replay, wanted
from slipway_server.improve.diagnose import Diagnosis, diagnose
from slipway_server.improve.places import Places, load, publish
from slipway_server.improve.scores import judge_records, judgeable, key_of
from slipway_server.improve.windows import (
    GRACE_SECONDS,
    WindowResult,
    due,
    result_of,
    sample,
    span,
    start_of,
    store,
    stored,
)
from slipway_server.runtime.session import Session
from slipway_server.runtime.variants import CANDIDATE, SHADOW, STABLE
from slipway_server.traffic import Record, read_traffic

Progress = Callable[[str, int, int | None], None]


def silent(stage: str, done: int, total: int | None) -> None:
    """Progress for nobody."""


@dataclass(frozen=True)
class Setup:
    """One re-evaluation. `program`: the served artifact, loaded; `metric`: scores its answers to the anchors.

    `now`: seconds since the epoch. `anchors`: None leaves out the guard and the diagnosis.
    """

    traffic: Path
    places: Places
    preset: Preset
    judge: Judge
    program: Any
    now: float
    anchors: Dataset | None = None
    metric: Metric | None = None
    evaluator: EvaluatorConfig = field(default_factory=lambda: EvaluatorConfig(warm_up=False))


@dataclass(frozen=True)
class Outcome:
    """What a run found. `void`: why nothing could be judged; empty where it could."""

    verdict: Verdict
    reason: str
    act: str
    results: Sequence[WindowResult]
    steps: Sequence[Step]
    guard: anchor_set.Guard | None
    anchors: Comparison | None
    diagnosis: Diagnosis | None
    void: str
    judged_now: int
    examples: Sequence[tuple[Record, float]]
    """The worst answers of the newest window, with their scores."""


def reevaluate(session: Session, setup: Setup, on_progress: Progress = silent) -> Outcome:
    """Run once. Raises OperatorError where the deployment is wrong; a provider in trouble gives INCONCLUSIVE."""
    _pin(setup)
    guard, void, judged = None, "", 0
    try:
        guard = _guard(session, setup, on_progress)
        if guard is None or not guard.moved:
            judged = _judge_due(session, setup, on_progress)
    except RunVoid as error:
        void = error.message
    results = stored(setup.places.windows)
    steps = replay([result.window for result in results], setup.preset)
    compared = None
    if not void and steps and steps[-1].verdict in (Verdict.WATCH, Verdict.DEGRADED):
        try:
            compared = _replayed(session, setup, steps, on_progress)
        except RunVoid as error:
            void = error.message
    verdict, reason = _overall(steps, guard, void)
    return Outcome(
        verdict=verdict,
        reason=reason,
        act=_open_act(steps) if verdict is Verdict.DEGRADED else "",
        results=results,
        steps=steps,
        guard=guard,
        anchors=compared,
        diagnosis=_diagnosis(verdict, results, compared, void),
        void=void,
        judged_now=judged,
        examples=_examples(setup, results),
    )


def _pin(setup: Setup) -> None:
    """Note judge and preset beside the scores. Windows of another length are no sequel to those that were judged."""
    publish(setup.places.pinned, {"judge": asdict(setup.judge.pin), "preset": setup.preset.name})
    judged_with = (load(setup.places.pinned) or {}).get("preset", setup.preset.name)
    if judged_with != setup.preset.name:
        raise ConfigInvalid(
            f"this artifact is judged with the preset {judged_with}; keep it, or --new-baseline",
            key="SLIPWAY_LOOP_PRESET",
        )


def _overall(steps: Sequence[Step], guard: anchor_set.Guard | None, void: str) -> tuple[Verdict, str]:
    if void:
        return Verdict.INCONCLUSIVE, void
    if guard is not None and guard.moved:
        return Verdict.JUDGE_MOVED, f"{guard.words}; no window is judged until it is pinned again, or --new-baseline"
    if not steps:
        return Verdict.INCONCLUSIVE, "no window of recorded answers of this artifact has ended yet"
    return steps[-1].verdict, steps[-1].reason


def _open_act(steps: Sequence[Step]) -> str:
    """The confirmed alarm whose cool-down still runs: a run that died before it could act does so later."""
    acted = [step.window.name for step in steps if step.act]
    return acted[-1] if acted and steps[-1].verdict is Verdict.DEGRADED else ""


def _guard(session: Session, setup: Setup, on_progress: Progress) -> anchor_set.Guard | None:
    """Judge the fixed answers again; the first time, and only then, keep what judge and program say of the anchors."""
    if setup.anchors is None:
        return None
    records = anchor_set.judged_records(setup.anchors)
    if not all(judgeable(record, setup.judge) for record in records):
        raise DatasetInvalid(f"{setup.anchors.path}: a judged answer lacks what the judge needs: {_needs(setup)}")
    known = load(setup.places.anchors) or _first_anchors(session, setup, records, on_progress)
    if known["anchors"] != setup.anchors.digest:
        raise ConfigInvalid(
            "the anchors are not those of the baseline; use the bundle that the artifact names, or --new-baseline"
        )
    if not records:
        return None
    now = known.get("just_now") or _judge_anchors(session, setup, records, on_progress)
    return anchor_set.guard(known["judge"], now, anchor_set.humans(setup.anchors))


def _first_anchors(session: Session, setup: Setup, records: list[Record], on_progress: Progress) -> dict[str, Any]:
    assert setup.anchors is not None
    judged = _judge_anchors(session, setup, records, on_progress)
    if None in judged:
        raise RunVoid("not all anchors could be judged for the baseline; run it again when the provider answers")
    replayed = _replay(session, setup)
    first = {"time": setup.now, "judge": judged, "replay": replayed, "anchors": setup.anchors.digest}
    publish(setup.places.anchors, first)
    kept: dict[str, Any] = load(setup.places.anchors) or first
    return {**kept, "just_now": judged}


def _judge_anchors(session: Session, setup: Setup, records: list[Record], on_progress: Progress) -> list[float | None]:
    if not records:
        return []
    run = judge_records(
        session,
        records,
        setup.judge,
        setup.places.scores,
        f"anchors-{setup.now:.0f}",
        config=setup.evaluator,
        on_progress=lambda done, total: on_progress("judge the anchors", done, total),
    )
    return [item.score for item in run.items]


def _replay(session: Session, setup: Setup) -> list[float | None]:
    if setup.anchors is None or setup.metric is None:
        return []
    return anchor_set.replay(session, setup.program, setup.anchors, setup.metric, setup.evaluator)


def _replayed(session: Session, setup: Setup, steps: Sequence[Step], on_progress: Progress) -> Comparison | None:
    """The program on the anchors, now against the first time; None where the first time was after the alarm."""
    known = load(setup.places.anchors)
    alarms = [step.state.alarm for step in steps if step.state.alarm]
    if not known or not known["replay"] or not alarms:
        return None
    if known["time"] >= span(date.fromisoformat(alarms[-1]), setup.preset)[1] + GRACE_SECONDS:
        return None
    on_progress("replay the anchors", 0, len(known["replay"]))
    both = [
        (first, now)
        for first, now in zip(known["replay"], _replay(session, setup), strict=True)
        if first is not None and now is not None
    ]
    return compare_scores([first for first, _ in both], [now for _, now in both])


def _judge_due(session: Session, setup: Setup, on_progress: Progress) -> int:
    """Judge every window that is due, oldest first; returns how many answers."""
    done = [result.name for result in stored(setup.places.windows)]
    first = _first_due(setup, done)
    judged = 0
    for day in due(first, done, setup.preset, setup.now) if first else []:
        judged += _judge_window(session, setup, day, on_progress)
    return judged


def _first_due(setup: Setup, done: Sequence[str]) -> date | None:
    if done:
        return date.fromisoformat(done[-1]) + timedelta(days=setup.preset.days)
    mine = [record.time for record in read_traffic(setup.traffic).records if _is_served(record, setup)]
    return start_of(mine[0], setup.preset) if mine else None


def _is_served(record: Record, setup: Setup) -> bool:
    return record.variant == STABLE and record.digest == setup.places.digest


def _judge_window(session: Session, setup: Setup, day: date, on_progress: Progress) -> int:
    records = _recorded(setup, day)
    served = [record for record in records if _is_served(record, setup)]
    usable = [record for record in served if judgeable(record, setup.judge)]
    if served and not usable:
        raise ConfigInvalid(
            f"the recorded answers of {day} lack what the judge needs ({_needs(setup)}): name the fields in "
            "SLIPWAY_TRAFFIC_FIELDS, e.g. question,answer,context",
            key="SLIPWAY_TRAFFIC_FIELDS",
        )
    frozen = any(record.variant == CANDIDATE for record in records)
    steps = replay([result.window for result in stored(setup.places.windows)], setup.preset)
    chosen = [] if frozen else sample(usable, wanted(steps, setup.preset), setup.places.digest)
    ids = {record.request_id for record in chosen}
    shadows = [r for r in records if r.variant == SHADOW and r.request_id in ids and judgeable(r, setup.judge)]
    judged = sorted([*chosen, *shadows], key=key_of)
    evaluation = judge_records(
        session,
        judged,
        setup.judge,
        setup.places.scores,
        day.isoformat(),
        config=setup.evaluator,
        on_progress=lambda done, total: on_progress(f"judge {day}", done, total),
    )
    store(setup.places.windows, result_of(day.isoformat(), served, judged, evaluation, frozen=frozen))
    return len(judged)


def _recorded(setup: Setup, day: date) -> list[Record]:
    """A window is judged once, so not while a part of it cannot be read."""
    found = read_traffic(setup.traffic, *span(day, setup.preset))
    if found.damage.unreadable:
        raise ConfigInvalid(
            f"some recorded answers of {day} cannot be read (files: {found.damage.unreadable}); look at the volume",
            key="SLIPWAY_TRAFFIC_DIR",
        )
    return found.records


def _needs(setup: Setup) -> str:
    return ", ".join(("inputs", "outputs", *setup.judge.needs))


def _diagnosis(
    verdict: Verdict, results: Sequence[WindowResult], compared: Comparison | None, void: str
) -> Diagnosis | None:
    if not void and verdict not in (Verdict.WATCH, Verdict.DEGRADED):
        return None
    newest = results[-1] if results else None
    return diagnose(
        anchors=compared,
        collections=[result.collection for result in results],
        attempts_per_call=newest.attempts_per_call if newest else 0.0,
        void=void,
    )


def _examples(setup: Setup, results: Sequence[WindowResult]) -> list[tuple[Record, float]]:
    newest = next((result for result in reversed(results) if result.worst), None)
    if newest is None:
        return []
    records = read_traffic(setup.traffic, *span(date.fromisoformat(newest.name), setup.preset)).records
    by_id = {record.request_id: record for record in records if _is_served(record, setup)}
    return [(by_id[request_id], score) for request_id, score in newest.worst if request_id in by_id]
