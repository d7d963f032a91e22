# SPDX-License-Identifier: Apache-2.0
"""Follow a refactoring: the code's predictors or fields have other names now, the artifact gets them, too.

    renames = {"predictors": {"gen": "generate_answer"}, "fields": {"context": "passages"}}
    path, findings = migrate(old, RAG, program="my.module:RAG", folder=Path("artifacts"), **renames)

The given artifact is verified as far as that goes without its code, and stays as it is; the new one names it as its
parent. Fields are found by the names that the manifest states in order, so they may have moved as well. Names in the
instructions follow where they stand in backquotes. What a rename cannot mend is refused: other types, fields that one
side does not have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dspy
from dspy.signatures.signature import infer_prefix
from pydantic import ValidationError

from slipway_server.artifacts import provenance
from slipway_server.artifacts.findings import RECOMPILE, RESTORE, Finding, Served, note, warning
from slipway_server.artifacts.fingerprint import fields_of, fields_text
from slipway_server.artifacts.loading import save_state
from slipway_server.artifacts.manifest import Manifest
from slipway_server.artifacts.state import BARE, METADATA, PredictorState, State, cut_demo
from slipway_server.artifacts.verify import ProgramFactory, verify_files
from slipway_server.errors import ArtifactForeign, ArtifactInvalid, ConfigInvalid


@dataclass
class _Names:
    """Old name → new name, and which of them were met."""

    kind: str
    renamed: Mapping[str, str]
    met: set[str] = field(default_factory=set)

    def __call__(self, name: str) -> str:
        """The new name; of a predictor also by its beginning, as `gen` for `gen.predict`."""
        for old, new in self.renamed.items():
            if name == old or name.startswith(f"{old}."):
                self.met.add(old)
                return new + name[len(old) :]
        return name

    def check(self, known: str) -> None:
        """Raise ConfigInvalid where a name was asked for that the artifact does not have."""
        for old in self.renamed:
            if old not in self.met:
                raise ConfigInvalid(f"the artifact has no {self.kind} '{old}'; it has {known}")


def migrate(
    path: Path,
    program_factory: ProgramFactory,
    *,
    program: str,
    predictors: Mapping[str, str],
    fields: Mapping[str, str],
    folder: Path,
    served: Served | None = None,
    now: datetime | None = None,
) -> tuple[Path, tuple[Finding, ...]]:
    """Write the artifact under the code's present names into `folder`.

    Args:
        path: The artifact's file.
        program_factory: Makes a fresh program of the present code; its class will do.
        program: The program's import path, for the manifest.
        predictors: Old name → new name; the attribute's will do (`gen` for `gen.predict`).
        fields: Old name → new name, in every predictor that has the old one.
        folder: Store to write to.
        served: Settings with the key that the given artifact must be signed by.
        now: Time for the manifest; None means now.

    Raises:
        ArtifactMissing, ArtifactInvalid: The given artifact is not there, or was changed.
        ArtifactForeign: Renaming does not make it fit the code.
        ConfigInvalid: It has nothing of a name that is given.
    """
    fresh = program_factory()
    report = verify_files(path, served=served)
    report.raise_if_refused()
    old = report.verified
    move = _Move(_Names("predictor", predictors), _Names("field", fields), old.manifest, fresh)
    state = move.state(old.state)
    scores = {} if not fields else {"compiled": None, "uncompiled": None}
    manifest = old.manifest.model_copy(
        update={
            "program": program,
            "created": now or datetime.now(UTC),
            "code": provenance.revision(Path.cwd()),
            "parent": old.manifest.digest,
            **scores,
        }
    )
    if fields and old.manifest.compiled:
        move.findings.append(
            warning("score", "prompts name the fields, so its score is not known any more", "slipway evaluate")
        )
    migrated, _ = save_state(state, fresh, manifest, folder)
    return migrated, tuple(move.findings)


@dataclass
class _Move:
    """One artifact's way to the present names."""

    predictors: _Names
    fields: _Names
    manifest: Manifest
    program: dspy.Module
    findings: list[Finding] = field(default_factory=list)

    def state(self, stored: State) -> State:
        """The whole state under the new names, in the order of the code."""
        rest = {name: value for name, value in stored.items() if name != METADATA}
        parts = {BARE: rest} if self.manifest.predictors.keys() == {BARE} else rest
        moved: dict[str, tuple[str, Any]] = {}
        for name, part in parts.items():
            new = self.predictors(name)
            if new in moved:
                raise ConfigInvalid(f"'{moved[new][0]}' and '{name}' cannot both become '{new}'")
            moved[new] = (name, part)
        state = {name: self._part(name, parameter, moved) for name, parameter in self.program.named_parameters()}
        self.predictors.check(", ".join(parts))
        self.fields.check("; ".join(self.manifest.predictors.values()))
        state |= {name: part for name, (_, part) in moved.items() if not self._dropped(name, part)}
        return {**(state[BARE] if isinstance(self.program, dspy.Predict) else state), METADATA: stored.get(METADATA)}

    def _part(self, name: str, parameter: Any, moved: dict[str, tuple[str, Any]]) -> Any:
        if name not in moved:
            if isinstance(parameter, dspy.Retrieve):
                return {"k": self.manifest.retrieval.k or parameter.k}
            have = ", ".join(moved) or "nothing"
            raise ArtifactForeign(f"has no '{name}', which the code has; it has {have}: --rename OLD={name}")
        old, part = moved.pop(name)
        return self._predictor(old, name, part, parameter.signature) if isinstance(parameter, dspy.Predict) else part

    def _dropped(self, name: str, part: Any) -> bool:
        """A dspy.Retrieve of old code; programs may retrieve without one."""
        if isinstance(part, dict) and part.keys() == {"k"}:
            self.findings.append(
                note("retrieve", f"'{name}' is not in the code any more; k {part['k']} is SLIPWAY_RETRIEVAL_K now")
            )
            return True
        return False

    def _predictor(self, old: str, name: str, part: Any, signature: Any) -> dict[str, Any]:
        try:
            PredictorState.model_validate(part)
        except ValidationError:
            raise ArtifactInvalid(f"'{old}' holds what DSPy's `save` does not write; {RESTORE}") from None
        stated = fields_of(self.manifest.predictors.get(old, ""))
        if len(stated) != len(part["signature"]["fields"]):
            raise ArtifactForeign(f"'{old}' has other fields than its manifest says; {RECOMPILE}")
        names = {field_name: self.fields(field_name) for field_name, _ in stated}
        self._check(name, stated, names, signature)
        texts = {
            names[field_name]: _texts(stored, field_name, names[field_name], signature)
            for (field_name, _), stored in zip(stated, part["signature"]["fields"], strict=True)
        }
        demos = [{names.get(key, key): value for key, value in demo.items()} for demo in part["demos"]]
        moved = {
            **part,
            "demos": [cut_demo(demo, signature) or demo for demo in demos],
            "signature": {
                "instructions": self._instructions(name, part["signature"]["instructions"], names),
                "fields": [texts[field_name] for field_name in signature.fields],
            },
        }
        if "fields" in part:
            moved["fields"] = {names.get(key, key): value for key, value in part["fields"].items()}
        return moved

    def _check(self, name: str, stated: list[tuple[str, str]], names: dict[str, str], signature: Any) -> None:
        """Raise ArtifactForeign where a name or type would still differ."""
        have = {names[field_name]: kind for field_name, kind in stated}
        code = dict(fields_of(fields_text(signature)))
        if len(have) != len(stated):
            raise ConfigInvalid(f"'{name}': two fields would get the same name")
        if have.keys() != code.keys():
            lacking, further = sorted(code.keys() - have.keys()), sorted(have.keys() - code.keys())
            hint = f": --field {further[0]}={lacking[0]}" if lacking and further else f"; {RECOMPILE}"
            raise ArtifactForeign(
                f"'{name}' has fields {', '.join(further) or 'as the code'}, the code has "
                f"{', '.join(lacking) or 'none of these'}{hint}"
            )
        for field_name, kind in code.items():
            if have[field_name] != kind:
                raise ArtifactForeign(
                    f"'{name}': '{field_name}' was {have[field_name]} and is {kind} now, so its demos do not fit; "
                    "compile again"
                )

    def _instructions(self, name: str, text: str, names: dict[str, str]) -> str:
        changed = {old: new for old, new in names.items() if old != new}
        if not changed:
            return text
        quoted = re.compile("`(" + "|".join(map(re.escape, changed)) + ")`")
        moved = quoted.sub(lambda match: f"`{changed[match[1]]}`", text)
        if moved != text:
            self.findings.append(note("instructions", f"'{name}': the instructions name the new fields"))
        left = [old for old in changed if re.search(rf"(?<!`)\b{re.escape(old)}\b(?!`)", moved)]
        if left:
            self.findings.append(
                warning("instructions", f"'{name}': the instructions speak of {', '.join(left)}", "read them")
            )
        return moved


def _texts(stored: dict[str, str], old: str, new: str, signature: Any) -> dict[str, str]:
    """A field's prefix and description; where they were DSPy's own for the old name, the code's for the new one."""
    if old == new:
        return stored
    code = signature.fields[new].json_schema_extra
    return {
        "prefix": code["prefix"] if stored["prefix"] == f"{infer_prefix(old)}:" else stored["prefix"],
        "description": code["desc"] if stored["description"] == f"${{{old}}}" else stored["description"],
    }
