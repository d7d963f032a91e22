# SPDX-License-Identifier: Apache-2.0
"""Make an artifact of a file that DSPy's own `save` wrote, without a manifest.

    path, findings = adopt(Path("rag.json"), RAG, program="my.module:RAG", folder=Path("artifacts"))

Read are the forms of DSPy 2.4 to 3.4: predictors named `generate_answer` or `generate_answer._predict` where the code
has `generate_answer.predict`, `signature_instructions` and `extended_signature` instead of `signature`, `rationale`
instead of `reasoning`, no metadata. The given file is left as it is; instructions, field texts and demos are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dspy

from slipway_server.artifacts import provenance
from slipway_server.artifacts.canonical import parsed
from slipway_server.artifacts.findings import Finding, note, warning
from slipway_server.artifacts.loading import save_state
from slipway_server.artifacts.manifest import Manifest, Optimizer, Retrieval
from slipway_server.artifacts.state import AUGMENTED, BARE, METADATA, State, cut_demo
from slipway_server.artifacts.verify import ProgramFactory
from slipway_server.errors import ArtifactInvalid, ArtifactMissing

OPTIMIZER = "adopted"
_OLD_NAMES = {".predict": ("", "._predict")}
"""What `dspy.ChainOfThought` called its predictor before: nothing up to 2.4, `_predict` in 2.5."""


def adopt(
    path: Path, program_factory: ProgramFactory, *, program: str, folder: Path, now: datetime | None = None
) -> tuple[Path, tuple[Finding, ...]]:
    """Write the artifact and its manifest into `folder`; the manifest's parent is the sha256 of the file.

    Args:
        path: What `program.save("….json")` wrote.
        program_factory: Makes a fresh program; its class will do.
        program: The program's import path, for the manifest.
        folder: Store to write to.
        now: Time for the manifest; None means now.

    Raises:
        ArtifactMissing: No such file.
        ArtifactInvalid: Not JSON, or with keys that DSPy does not write.
        ArtifactForeign: The program's predictors or fields are others.
    """
    try:
        content = path.read_bytes()
    except OSError:
        raise ArtifactMissing(f"no file at {path}") from None
    stored = parsed(content)
    if stored is None:
        raise ArtifactInvalid(f"{path.name}: is not a JSON object, which DSPy's `save` writes, or is truncated")
    fresh = program_factory()
    findings: list[Finding] = []
    state = _converted(stored, fresh, findings)
    manifest = Manifest(
        program=program,
        created=now or datetime.now(UTC),
        code=provenance.revision(Path.cwd()),
        optimizer=Optimizer(name=OPTIMIZER, settings={"file": path.name}),
        retrieval=Retrieval(k=_retrieved(fresh, state)),
        versions=provenance.versions().model_copy(
            update={
                what: str(state[METADATA]["dependency_versions"].get(what, ""))
                for what in ("dspy", "python", "cloudpickle")
            }
        ),
        parent=hashlib.sha256(content).hexdigest(),
    )
    adopted, _ = save_state(state, fresh, manifest, folder)
    return adopted, tuple(findings)


def _converted(stored: State, program: dspy.Module, findings: list[Finding]) -> State:
    metadata = stored.get(METADATA)
    if not (isinstance(metadata, dict) and isinstance(metadata.get("dependency_versions"), dict)):
        findings.append(note("metadata", "the file does not say which DSPy wrote it"))
        metadata = {"dependency_versions": {}}
    rest = {name: value for name, value in stored.items() if name != METADATA}
    if isinstance(program, dspy.Predict):
        return {**_predictor(BARE, rest, program, findings), METADATA: metadata}
    state: State = {}
    for name, parameter in program.named_parameters():
        old = next((known for known in _known_names(name) if known in rest), None)
        if old is None:
            if isinstance(parameter, dspy.Retrieve):
                state[name] = {"k": parameter.k}
            continue
        if old != name:
            findings.append(note("renamed", f"'{old}' is '{name}' in this version of DSPy"))
        value = rest.pop(old)
        state[name] = _predictor(name, value, parameter, findings) if isinstance(parameter, dspy.Predict) else value
    return {**state, **rest, METADATA: metadata}


def _known_names(name: str) -> Iterator[str]:
    yield name
    for ending, older in _OLD_NAMES.items():
        if name.endswith(ending):
            yield from (name.removesuffix(ending) + old for old in older)


def _predictor(name: str, stored: Any, predictor: Any, findings: list[Finding]) -> Any:
    if not isinstance(stored, dict):
        return stored
    state = dict(stored)
    if state.get("lm") is not None:
        findings.append(
            warning("lm", f"'{name}': the file carries an LM, which is dropped", "SLIPWAY_LM_… names the LM")
        )
    signature = _signature(state, predictor.signature)
    demos = state.pop("demos", [])
    kept = [_demo(demo, predictor.signature) for demo in demos] if isinstance(demos, list) else demos
    if isinstance(kept, list) and {} in kept:
        findings.append(
            warning(
                "demos-unusable",
                f"'{name}': {kept.count({})} of {len(kept)} demos have no input or no output of it",
                "they are dropped; DSPy leaves them out of prompts, too",
            )
        )
        kept = [demo for demo in kept if demo != {}]
    ours = {"traces": [], "train": [], "demos": kept, "signature": signature, "lm": None}
    return {**ours, **{key: value for key, value in state.items() if key not in ours}}


def _signature(state: dict[str, Any], code: Any) -> Any:
    """The stored signature in today's form; removes from `state` what older versions had instead."""
    old_texts = {
        key: state.pop(key) for key in list(state) if key.endswith(("signature_instructions", "signature_prefix"))
    }
    current = state.pop("signature", None)
    extended = state.pop("extended_signature", None)
    if extended is not None or current is not None:
        return extended if extended is not None else current
    if not old_texts:
        raise ArtifactInvalid("a predictor of the file has no signature, so it was not written by DSPy's `save`")
    texts = code.dump_state()
    for prefix in ("", "extended_"):
        texts["instructions"] = old_texts.get(f"{prefix}signature_instructions", texts["instructions"])
        texts["fields"][-1]["prefix"] = old_texts.get(f"{prefix}signature_prefix", texts["fields"][-1]["prefix"])
    return texts


def _demo(demo: Any, signature: Any) -> Any:
    if not isinstance(demo, dict):
        return demo
    named = dict(demo)
    if "rationale" in named and "reasoning" in signature.fields and "reasoning" not in named:
        named["reasoning"] = named.pop("rationale")
    return named if named.get(AUGMENTED) else cut_demo(named, signature)


def _retrieved(program: dspy.Module, state: State) -> int | None:
    """`retrieve.k` of the file."""
    names = [name for name, item in program.named_parameters() if isinstance(item, dspy.Retrieve)]
    stored = [value.get("k") for name in names if isinstance(value := state.get(name), dict)]
    return next((k for k in stored if isinstance(k, int)), None)
