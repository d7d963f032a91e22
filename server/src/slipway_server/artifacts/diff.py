# SPDX-License-Identifier: Apache-2.0
"""What differs between two artifacts, as values; nothing is loaded into a program.

    found = diff(read_side(Path("old.json")), read_side(Path("new.json")))
    found.predictors[0].instructions      # [Change("=", "Answer "), Change("-", "briefly"), Change("+", "in words")]

Demos are the same where their values are, and changed where their inputs are equal and something else is not.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from slipway_server.artifacts.canonical import canonical
from slipway_server.artifacts.findings import RESTORE, Served
from slipway_server.artifacts.fingerprint import fields_of, inputs_of
from slipway_server.artifacts.manifest import Manifest, Measured, name_of
from slipway_server.artifacts.state import AUGMENTED, BARE, METADATA, PredictorState
from slipway_server.artifacts.verify import verify_files
from slipway_server.errors import ArtifactInvalid

Operation = Literal["=", "-", "+"]


class Change(NamedTuple):
    """A run of words that both have (=), that was removed (-) or added (+)."""

    operation: Operation
    text: str


@dataclass(frozen=True, slots=True)
class Side:
    """One artifact. `predictors`: state by name, as DSPy stores it; `others`: parameters that are no predictors."""

    path: Path
    manifest: Manifest
    predictors: dict[str, dict[str, Any]]
    others: dict[str, Any]

    @property
    def name(self) -> str:
        """The file's name without .json."""
        return name_of(self.path)


@dataclass(frozen=True, slots=True)
class DemoChange:
    """A demo that is on one side only, or on both with other values in `fields`."""

    before: dict[str, Any] | None
    after: dict[str, Any] | None
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """A value on both sides; empty on one that does not have it."""

    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class PredictorDiff:
    """One predictor. `instructions` is empty where equal; `kept` counts the equal demos, `demos` holds the others."""

    name: str
    instructions: tuple[Change, ...] = ()
    fields: tuple[Fact, ...] = ()
    demos: tuple[DemoChange, ...] = ()
    kept: int = 0
    reordered: bool = False

    @property
    def same(self) -> bool:
        """Whether its prompts are the same."""
        return not (self.instructions or self.fields or self.demos or self.reordered)


@dataclass(frozen=True, slots=True)
class Diff:
    """Two artifacts side by side."""

    before: Side
    after: Side
    facts: tuple[Fact, ...]
    predictors: tuple[PredictorDiff, ...]


def read_side(path: Path, *, served: Served | None = None) -> Side:
    """The artifact at `path`, verified as far as that goes without its program. Raises Artifact… errors."""
    report = verify_files(path, served=served)
    report.raise_if_refused()
    subject = report.verified
    rest = {name: value for name, value in subject.state.items() if name != METADATA}
    parts = {BARE: rest} if subject.manifest.predictors.keys() == {BARE} else rest
    predictors = {name: part for name, part in parts.items() if name in subject.manifest.predictors}
    for name, part in predictors.items():
        try:
            PredictorState.model_validate(part)
        except ValidationError:
            raise ArtifactInvalid(f"{path.name}: '{name}' is not what DSPy's `save` writes; {RESTORE}") from None
    return Side(path, subject.manifest, predictors, {n: part for n, part in parts.items() if n not in predictors})


def diff(before: Side, after: Side) -> Diff:
    """Everything that differs, in the order of `after`."""
    names = [*after.predictors, *(name for name in before.predictors if name not in after.predictors)]
    return Diff(before, after, tuple(_facts(before, after)), tuple(_predictor(name, before, after) for name in names))


def word_changes(before: str, after: str) -> tuple[Change, ...]:
    """A word diff: the texts of = and - give `before` again, those of = and + `after`."""
    a, b = _WORD.findall(before), _WORD.findall(after)
    changes = []
    for tag, a1, a2, b1, b2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            changes.append(Change("=", "".join(a[a1:a2])))
        else:
            changes += [Change("-", "".join(a[a1:a2]))] * (a2 > a1) + [Change("+", "".join(b[b1:b2]))] * (b2 > b1)
    return tuple(changes)


_WORD = re.compile(r"\s+|\w+|[^\w\s]")


def _facts(before: Side, after: Side) -> Iterator[Fact]:
    """What they scored, and where they come from as far as that differs."""
    for label, then, now in zip(_LABELS, _values(before), _values(after), strict=True):
        if then != now or label == "score":
            yield Fact(label, then, now)


_LABELS = ("score", "program", "optimizer", "LM", "retrieval", "parameters", "DSPy", "code", "compiled on", "dev set")


def _values(side: Side) -> Sequence[str]:
    manifest, lm, retrieval = side.manifest, side.manifest.lm, side.manifest.retrieval
    settings = "".join(f", {key}={value}" for key, value in manifest.optimizer.settings.items())
    return (
        scored(manifest.metric, manifest.compiled),
        manifest.program,
        f"{manifest.optimizer.name}{settings}",
        f"{lm.name}, temperature {lm.temperature}" if lm else "",
        f"k {retrieval.k}, {retrieval.collection_version}, {retrieval.embedder}" if retrieval.k else "",
        canonical(side.others).decode() if side.others else "",
        manifest.versions.dspy,
        manifest.code.label,
        _dataset(manifest, "train"),
        _dataset(manifest, "dev"),
    )


def scored(metric: str, measured: Measured | None) -> str:
    """A score with its interval, as a person reads it."""
    if measured is None:
        return "not measured"
    low, high = measured.interval
    return f"{metric} {measured.score:.3f} ({low:.3f} to {high:.3f}), n = {measured.n}"


def _dataset(manifest: Manifest, use: str) -> str:
    found = manifest.data.get(use)
    return f"{found.name} ({found.examples}, {found.digest[:8]})" if found else ""


def _predictor(name: str, before: Side, after: Side) -> PredictorDiff:
    a, b = before.predictors.get(name), after.predictors.get(name)
    shapes = before.manifest.predictors.get(name, ""), after.manifest.predictors.get(name, "")
    texts = [part["signature"]["instructions"] if part else "" for part in (a, b)]
    inputs = inputs_of(shapes[1] or shapes[0])
    demos, kept, reordered = _demos(a["demos"] if a else [], b["demos"] if b else [], inputs)
    fields = tuple(_fields(a, b, shapes))
    return PredictorDiff(name, word_changes(*texts) if texts[0] != texts[1] else (), fields, demos, kept, reordered)


def _fields(a: dict[str, Any] | None, b: dict[str, Any] | None, shapes: tuple[str, str]) -> Iterator[Fact]:
    if shapes[0] != shapes[1]:
        yield Fact("fields", *shapes)
        return
    names = [field for field, _ in fields_of(shapes[0])]
    if a and b:
        for name, then, now in zip(names, a["signature"]["fields"], b["signature"]["fields"], strict=False):
            for what in ("prefix", "description"):
                if then[what] != now[what]:
                    yield Fact(f"{name} {what}", then[what], now[what])


def _demos(
    a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]], inputs: Sequence[str]
) -> tuple[tuple[DemoChange, ...], int, bool]:
    """Changes, how many are equal, and whether these are in another order."""
    keys_a, keys_b = _numbered([canonical(demo) for demo in a]), _numbered([canonical(demo) for demo in b])
    kept = [key for key in keys_b if key in set(keys_a)]
    reordered = kept != [key for key in keys_a if key in set(keys_b)]
    gone = [demo for key, demo in zip(keys_a, a, strict=True) if key not in set(kept)]
    changes = []
    for demo in (demo for key, demo in zip(keys_b, b, strict=True) if key not in set(kept)):
        same_inputs = {name: demo.get(name) for name in inputs}
        old = next((one for one in gone if inputs and {name: one.get(name) for name in inputs} == same_inputs), None)
        if old is None:
            changes.append(DemoChange(None, demo))
            continue
        gone.remove(old)
        keys = [*old, *(key for key in demo if key not in old)]
        changes.append(DemoChange(old, demo, tuple(key for key in keys if old.get(key) != demo.get(key))))
    return (*changes, *(DemoChange(demo, None) for demo in gone)), len(kept), reordered


def _numbered(keys: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Each key with its number among equal ones, so that a demo that is there twice counts twice."""
    seen: Counter[bytes] = Counter()
    numbered = []
    for key in keys:
        numbered.append((key, seen[key]))
        seen[key] += 1
    return numbered


def is_bootstrapped(demo: dict[str, Any]) -> bool:
    """Whether a run made it; else it is a labelled example."""
    return bool(demo.get(AUGMENTED))
