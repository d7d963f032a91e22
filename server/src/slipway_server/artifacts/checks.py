# SPDX-License-Identifier: Apache-2.0
"""The checks of an artifact, one small callable each, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dspy.adapters.decision_state import DecisionState
from pydantic import ValidationError

from slipway_server.artifacts import signing
from slipway_server.artifacts.canonical import parsed
from slipway_server.artifacts.findings import RESTORE, Check, Finding, Subject, error, foreign, note, warning
from slipway_server.artifacts.fingerprint import fingerprint_of, shape_of
from slipway_server.artifacts.manifest import Manifest, digest_of
from slipway_server.artifacts.sizes import size
from slipway_server.artifacts.state import AUGMENTED, METADATA, MetadataState, model_of, named_states
from slipway_server.artifacts.surroundings import same_code, same_settings, same_versions

CLIENT_KEYS = frozenset({"api_base", "api_key", "base_url", "extra_headers", "headers", "model_list", "engine"})
"""Settings of an LM client; none belongs into an artifact."""


# ---- the files


def artifact_is_json(subject: Subject) -> Iterator[Finding]:
    """The artifact is a JSON object, whole."""
    state = parsed(subject.pair.state)
    if state is None:
        yield error("json", "is not a JSON object, or is truncated", RESTORE)
    else:
        subject.state = state


def manifest_is_valid(subject: Subject) -> Iterator[Finding]:
    """The manifest is JSON of the schema."""
    raw = parsed(subject.pair.manifest)
    if raw is None:
        yield error("manifest", "its manifest is not a JSON object, or is truncated", RESTORE)
        return
    try:
        subject.manifest = Manifest.model_validate_json(subject.pair.manifest)
        subject.raw_manifest = raw
    except ValidationError as invalid:
        yield error("manifest", f"its manifest is of another schema: {_first(invalid)}", RESTORE)


# ---- what they say of themselves


def digest_matches(subject: Subject) -> Iterator[Finding]:
    """Neither file was changed since it was written; nor were both, where the deployment names the digest."""
    actual = digest_of(subject.state, subject.raw_manifest)
    if actual != subject.manifest.digest:
        yield error(
            "digest", f"differs from its digest: {actual[:8]}… instead of {subject.manifest.digest[:8]}…", RESTORE
        )
    elif subject.expected_digest and actual != subject.expected_digest:
        yield error(
            "digest-expected",
            f"has digest {actual[:8]}…, the configuration asks for {subject.expected_digest[:8]}…",
            "configure the digest of the artifact that is meant",
        )


def signed(subject: Subject) -> Iterator[Finding]:
    """It is signed by a configured key, where one is configured."""
    manifest, public_key = subject.manifest, subject.served.public_key
    if public_key is None:
        if manifest.signature:
            yield note("signature", "is signed, which no key is configured to check (SLIPWAY_ARTIFACT_PUBLIC_KEY)")
    elif not manifest.signature:
        yield error("signature", "is not signed, and a key is configured", "`slipway artifact sign` signs it")
    elif signing.is_signed_by(manifest.signature, manifest.digest, signing.read_keys(public_key)):
        yield note("signature", "is signed by the configured key")
    else:
        yield error("signature", "is not signed by the configured key", RESTORE)


def only_known_keys(subject: Subject) -> Iterator[Finding]:
    """Every key is on the allow-list, and `lm` is null."""
    try:
        MetadataState.model_validate(subject.state.get(METADATA))
    except ValidationError as invalid:
        yield error("keys", f"'{METADATA}' is not DSPy's: {_first(invalid)}", RESTORE)
    parameters = dict(subject.program.named_parameters())
    for name, state in named_states(subject.program, subject.state).items():
        model = model_of(parameters[name]) if name in parameters else None
        if name in parameters and model is None:
            yield error("keys", f"'{name}' is a {type(parameters[name]).__name__}, which artifacts cannot carry", "")
        elif model is not None:
            try:
                model.model_validate(state)
            except ValidationError as invalid:
                yield error("keys", f"'{name}': {_first(invalid)}", "remove what DSPy's `save` does not write")


def no_client_settings(subject: Subject) -> Iterator[Finding]:
    """No key anywhere is that of an LM client, unless a signature has a field of that name."""
    fields = {field for predictor in subject.program.predictors() for field in predictor.signature.fields}
    found = sorted(_keys(subject.state) & CLIENT_KEYS - fields)
    if found:
        yield error("client-settings", f"holds settings of an LM client: {', '.join(found)}", "remove them")


# ---- the program


def same_predictors(subject: Subject) -> Iterator[Finding]:
    """The artifact has a state for each parameter of the code, and for nothing else."""
    code = {name for name, _ in subject.program.named_parameters()}
    stored = set(named_states(subject.program, subject.state))
    if code != stored:
        yield foreign("predictors", f"is of another program: {_difference(stored, code)}")


def same_fingerprint(subject: Subject) -> Iterator[Finding]:
    """Predictors and their fields' names, types and order are those that were compiled."""
    stated, code = subject.manifest.predictors, shape_of(subject.program)
    if fingerprint_of(stated) != subject.manifest.fingerprint:
        yield error("fingerprint", "its manifest's fingerprint is not that of its predictors", RESTORE)
    elif stated.keys() != code.keys():
        yield foreign("fingerprint", f"was compiled for other predictors: {_difference(set(stated), set(code))}")
    for name in sorted(stated.keys() & code.keys()):
        if stated[name] != code[name]:
            yield foreign("fingerprint", f"was compiled for {name}({stated[name]}), the code has {name}({code[name]})")


def same_field_count(subject: Subject) -> Iterator[Finding]:
    """As many field descriptions as fields: DSPy assigns them by position."""
    for name, predictor in subject.program.named_predictors():
        stored = len(named_states(subject.program, subject.state)[name]["signature"]["fields"])
        if stored != len(predictor.signature.fields):
            yield foreign(
                "fields", f"'{name}' has {stored} fields stored, {len(predictor.signature.fields)} in the code"
            )


def same_field_order(subject: Subject) -> Iterator[Finding]:
    """No two fields have changed places: DSPy stores no names, but prefixes that belong to other fields show it."""
    for name, predictor in subject.program.named_predictors():
        stored = [
            field["prefix"] for field in named_states(subject.program, subject.state)[name]["signature"]["fields"]
        ]
        code = [info.json_schema_extra["prefix"] for info in predictor.signature.fields.values()]
        moved = [a for a, b in zip(stored, code, strict=False) if a != b and a in code]
        if len(moved) > 1:
            yield foreign("field-order", f"'{name}': fields are in another order in the file: {', '.join(moved)}")


def decisions_fit(subject: Subject) -> Iterator[Finding]:
    """Settings of decision outputs are of outputs that the code has, and of their kind."""
    for name, predictor in subject.program.named_predictors():
        try:
            DecisionState(predictor.signature, named_states(subject.program, subject.state)[name].get("fields", {}))
        except (ValueError, TypeError) as invalid:
            yield foreign("decisions", f"'{name}': {str(invalid).splitlines()[0][:200]}")


def demos_fit(subject: Subject) -> Iterator[Finding]:
    """Demos are examples of their predictor's signature."""
    for name, predictor in subject.program.named_predictors():
        yield from _demo_findings(name, predictor, named_states(subject.program, subject.state)[name]["demos"])


def _demo_findings(name: str, predictor: Any, demos: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    signature = predictor.signature
    others = [number for number, demo in enumerate(demos, 1) if not demo.keys() & signature.output_fields.keys()]
    if others:
        outputs = ", ".join(signature.output_fields)
        yield foreign("demos", f"'{name}': demo {others[0]} of {len(demos)} has none of the outputs {outputs}")
        return
    partial = [demo for demo in demos if not demo.keys() >= signature.fields.keys()]
    if partial:
        missing = ", ".join(field for field in signature.fields if any(field not in demo for demo in partial))
        yield warning(
            "demos-incomplete",
            f"'{name}': {len(partial)} of {len(demos)} demos lack {missing}",
            "they are labelled, not bootstrapped; DSPy shows them as incomplete examples",
        )
    extra = {key for demo in demos for key in demo} - signature.fields.keys() - {AUGMENTED}
    if extra:
        yield warning("demos-extra", f"'{name}': demos have unused keys {', '.join(sorted(extra))}", "they are ignored")


STAGES: tuple[tuple[Check, ...], ...] = (
    (size, artifact_is_json, manifest_is_valid),
    (digest_matches, signed, only_known_keys, no_client_settings),
    (same_predictors, same_fingerprint),
    (same_field_count, same_field_order, decisions_fit, demos_fit),
    (same_versions, same_code, same_settings),
)

FILE_STAGES: tuple[tuple[Check, ...], ...] = (STAGES[0], (digest_matches, signed))
"""What can be checked without the program that it was compiled for."""


def _first(invalid: ValidationError) -> str:
    problem = invalid.errors(include_url=False, include_input=False)[0]
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
