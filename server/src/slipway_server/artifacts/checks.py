# SPDX-License-Identifier: Apache-2.0
"""The checks of an artifact, one small callable each, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from dspy.adapters.decision_state import DecisionState
from pydantic import ValidationError

from slipway_server.artifacts import provenance
from slipway_server.artifacts.files import MAX_BYTES
from slipway_server.artifacts.findings import Check, Finding, Severity, Subject
from slipway_server.artifacts.fingerprint import fingerprint_of, shape_of
from slipway_server.artifacts.manifest import Manifest, digest_of
from slipway_server.artifacts.state import AUGMENTED, METADATA, MetadataState, model_of, named_states, retrieved_k
from slipway_server.errors import ArtifactForeign, ArtifactInvalid

CLIENT_KEYS = frozenset({"api_base", "api_key", "base_url", "extra_headers", "headers", "model_list", "engine"})
"""Settings of an LM client; none belongs into an artifact."""

RECOMPILE = "compile again with this code, or serve the code that it was compiled with"
RESTORE = "take the file again from where it was built"


# ---- the files


def size(subject: Subject) -> Iterator[Finding]:
    """Both files fit into one ConfigMap."""
    total = len(subject.state_bytes) + len(subject.manifest_bytes)
    if total >= MAX_BYTES:
        yield _error("size", f"is larger than a ConfigMap may be ({MAX_BYTES:,} bytes)", "compile with fewer demos")
    else:
        yield Finding(
            Severity.NOTE, "size", f"{total:,} bytes, {100 * total / MAX_BYTES:.1f} % of what a ConfigMap holds"
        )


def artifact_is_json(subject: Subject) -> Iterator[Finding]:
    """The artifact is a JSON object, whole."""
    state = _parsed(subject.state_bytes)
    if state is None:
        yield _error("json", "is not a JSON object, or is truncated", RESTORE)
    else:
        subject.state = state


def manifest_is_valid(subject: Subject) -> Iterator[Finding]:
    """The manifest is JSON of the schema."""
    raw = _parsed(subject.manifest_bytes)
    if raw is None:
        yield _error("manifest", "its manifest is not a JSON object, or is truncated", RESTORE)
        return
    try:
        subject.manifest = Manifest.model_validate_json(subject.manifest_bytes)
        subject.raw_manifest = raw
    except ValidationError as error:
        yield _error("manifest", f"its manifest is of another schema: {_first(error)}", RESTORE)


# ---- what they say of themselves


def digest_matches(subject: Subject) -> Iterator[Finding]:
    """Neither file was changed since it was written; nor were both, where the deployment names the digest."""
    actual = digest_of(subject.state, subject.raw_manifest)
    if actual != subject.manifest.digest:
        yield _error(
            "digest", f"differs from its digest: {actual[:8]}… instead of {subject.manifest.digest[:8]}…", RESTORE
        )
    elif subject.expected_digest and actual != subject.expected_digest:
        yield _error(
            "digest-expected",
            f"has digest {actual[:8]}…, the configuration asks for {subject.expected_digest[:8]}…",
            "configure the digest of the artifact that is meant",
        )


def only_known_keys(subject: Subject) -> Iterator[Finding]:
    """Every key is on the allow-list, and `lm` is null."""
    try:
        MetadataState.model_validate(subject.state.get(METADATA))
    except ValidationError as error:
        yield _error("keys", f"'{METADATA}' is not DSPy's: {_first(error)}", RESTORE)
    parameters = dict(subject.program.named_parameters())
    for name, state in named_states(subject.program, subject.state).items():
        model = model_of(parameters[name]) if name in parameters else None
        if name in parameters and model is None:
            yield _error("keys", f"'{name}' is a {type(parameters[name]).__name__}, which artifacts cannot carry", "")
        elif model is not None:
            try:
                model.model_validate(state)
            except ValidationError as error:
                yield _error("keys", f"'{name}': {_first(error)}", "remove what DSPy's `save` does not write")


def no_client_settings(subject: Subject) -> Iterator[Finding]:
    """No key anywhere is that of an LM client, unless a signature has a field of that name."""
    fields = {field for predictor in subject.program.predictors() for field in predictor.signature.fields}
    found = sorted(_keys(subject.state) & CLIENT_KEYS - fields)
    if found:
        yield _error("client-settings", f"holds settings of an LM client: {', '.join(found)}", "remove them")


# ---- the program


def same_predictors(subject: Subject) -> Iterator[Finding]:
    """The artifact has a state for each parameter of the code, and for nothing else."""
    code = {name for name, _ in subject.program.named_parameters()}
    stored = set(named_states(subject.program, subject.state))
    if code != stored:
        yield _foreign("predictors", f"is of another program: {_difference(stored, code)}")


def same_fingerprint(subject: Subject) -> Iterator[Finding]:
    """Predictors and their fields' names, types and order are those that were compiled."""
    stated, code = subject.manifest.predictors, shape_of(subject.program)
    if fingerprint_of(stated) != subject.manifest.fingerprint:
        yield _error("fingerprint", "its manifest's fingerprint is not that of its predictors", RESTORE)
    elif stated.keys() != code.keys():
        yield _foreign("fingerprint", f"was compiled for other predictors: {_difference(set(stated), set(code))}")
    for name in sorted(stated.keys() & code.keys()):
        if stated[name] != code[name]:
            yield _foreign("fingerprint", f"was compiled for {name}({stated[name]}), the code has {name}({code[name]})")


def same_field_count(subject: Subject) -> Iterator[Finding]:
    """As many field descriptions as fields: DSPy assigns them by position."""
    for name, predictor in subject.program.named_predictors():
        stored = len(named_states(subject.program, subject.state)[name]["signature"]["fields"])
        if stored != len(predictor.signature.fields):
            yield _foreign(
                "fields", f"'{name}' has {stored} fields stored, {len(predictor.signature.fields)} in the code"
            )


def decisions_fit(subject: Subject) -> Iterator[Finding]:
    """Settings of decision outputs are of outputs that the code has, and of their kind."""
    for name, predictor in subject.program.named_predictors():
        try:
            DecisionState(predictor.signature, named_states(subject.program, subject.state)[name].get("fields", {}))
        except (ValueError, TypeError) as error:
            yield _foreign("decisions", f"'{name}': {str(error).splitlines()[0][:200]}")


def demos_fit(subject: Subject) -> Iterator[Finding]:
    """Demos are examples of their predictor's signature."""
    for name, predictor in subject.program.named_predictors():
        yield from _demo_findings(name, predictor, named_states(subject.program, subject.state)[name]["demos"])


def _demo_findings(name: str, predictor: Any, demos: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    signature = predictor.signature
    foreign = [number for number, demo in enumerate(demos, 1) if not demo.keys() & signature.output_fields.keys()]
    if foreign:
        outputs = ", ".join(signature.output_fields)
        yield _foreign("demos", f"'{name}': demo {foreign[0]} of {len(demos)} has none of the outputs {outputs}")
        return
    partial = [demo for demo in demos if not demo.keys() >= signature.fields.keys()]
    if partial:
        missing = ", ".join(field for field in signature.fields if any(field not in demo for demo in partial))
        yield _warning(
            "demos-incomplete",
            f"'{name}': {len(partial)} of {len(demos)} demos lack {missing}",
            "they are labelled, not bootstrapped; DSPy shows them as incomplete examples",
        )
    extra = {key for demo in demos for key in demo} - signature.fields.keys() - {AUGMENTED}
    if extra:
        yield _warning(
            "demos-extra", f"'{name}': demos have unused keys {', '.join(sorted(extra))}", "they are ignored"
        )


# ---- the surroundings


def same_versions(subject: Subject) -> Iterator[Finding]:
    """DSPy and Python are those that compiled it."""
    then, now = subject.manifest.versions, provenance.versions()
    for what in ("dspy", "python", "cloudpickle"):
        if getattr(then, what) not in ("", getattr(now, what)):
            yield _warning(
                f"version-{what}",
                f"was compiled with {what} {getattr(then, what)}, this is {getattr(now, what)}",
                "prompts may differ; evaluate before you ship",
            )


def same_settings(subject: Subject) -> Iterator[Finding]:
    """It is served with what it was compiled with."""
    then, now = subject.manifest, subject.served
    pairs = {
        "k": (then.retrieval.k, None if retrieved_k(subject.program) else now.k),
        "collection-version": (then.retrieval.collection_version or None, now.collection_version or None),
        "embedder": (then.retrieval.embedder or None, now.embedder or None),
        "model": (then.lm.name if then.lm else None, now.model),
        "temperature": (then.lm.temperature if then.lm else None, now.temperature),
    }
    for what, (compiled, served) in pairs.items():
        if compiled is not None and served is not None and compiled != served:
            yield _warning(
                f"setting-{what}",
                f"was compiled with {what.replace('-', ' ')} {compiled}, is served with {served}",
                "its score was measured with the former",
            )


STAGES: tuple[tuple[Check, ...], ...] = (
    (size, artifact_is_json, manifest_is_valid),
    (digest_matches, only_known_keys, no_client_settings),
    (same_predictors, same_fingerprint),
    (same_field_count, decisions_fit, demos_fit),
    (same_versions, same_settings),
)


def _error(code: str, message: str, remedy: str) -> Finding:
    return Finding(Severity.ERROR, code, message, remedy, ArtifactInvalid)


def _foreign(code: str, message: str) -> Finding:
    return Finding(Severity.ERROR, code, message, RECOMPILE, ArtifactForeign)


def _warning(code: str, message: str, remedy: str) -> Finding:
    return Finding(Severity.WARNING, code, message, remedy)


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place or 'it'}: {problem['msg'].lower()}"


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(_keys(item) for item in value.values()))
    return set().union(*(_keys(item) for item in value)) if isinstance(value, list) else set()


def _difference(stored: set[str], code: set[str]) -> str:
    parts = [
        f"{what} {', '.join(sorted(names))}"
        for what, names in (("it has", stored - code), ("it lacks", code - stored))
        if names
    ]
    return ", ".join(parts)
