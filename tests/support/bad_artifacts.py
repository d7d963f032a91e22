# SPDX-License-Identifier: Apache-2.0
"""Ways in which an artifact of programs:TutorialRAG can be bad: name → edit of its JSON, error, part of the message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from slipway_server.artifacts import manifest_path
from slipway_server.artifacts.manifest import digest_of
from slipway_server.errors import ArtifactForeign, ArtifactInvalid, OperatorError

ANSWER = "generate_answer.predict"
Edit = Callable[[dict[str, Any]], None]


def rewrite(artifact: Path, edit: Edit, *, seal: bool) -> Path:
    """Change an artifact's JSON in place; with `seal` its manifest gets the digest of what it is now."""
    state = orjson.loads(artifact.read_bytes())
    edit(state)
    artifact.write_bytes(orjson.dumps(state))
    if seal:
        manifest = orjson.loads(manifest_path(artifact).read_bytes())
        manifest["digest"] = digest_of(state, manifest)
        manifest_path(artifact).write_bytes(orjson.dumps(manifest))
    return artifact


def put(*place: str | int, to: Any) -> Edit:
    """Set the value at `place`."""

    def edit(state: Any) -> None:
        for key in place[:-1]:
            state = state[key]
        state[place[-1]] = to

    return edit


def drop(*place: str) -> Edit:
    """Remove the key at `place`."""

    def edit(state: Any) -> None:
        for key in place[:-1]:
            state = state[key]
        del state[place[-1]]

    return edit


STOLEN_LM = {
    "model": "openai/gpt-4o",
    "api_base": "http://elsewhere/v1",
    "extra_headers": {"Authorization": "Bearer x"},
}

BAD: dict[str, tuple[Edit, type[OperatorError], str]] = {
    "a config that sends the key elsewhere": (
        put(ANSWER, "config", to={"api_base": "http://elsewhere/v1"}),
        ArtifactInvalid,
        "config",
    ),
    "a method overwritten": (put(ANSWER, "aforward", to="x"), ArtifactInvalid, "aforward"),
    "an LM of its own": (put(ANSWER, "lm", to=STOLEN_LM), ArtifactInvalid, "lm"),
    "no lm key": (drop(ANSWER, "lm"), ArtifactInvalid, "lm"),
    "no demos key": (drop(ANSWER, "demos"), ArtifactInvalid, "demos"),
    "no signature": (drop(ANSWER, "signature"), ArtifactInvalid, "signature"),
    "a signature of DSPy 2.5": (put(ANSWER, "extended_signature", to={}), ArtifactInvalid, "extended_signature"),
    "a further key in the signature": (put(ANSWER, "signature", "config", to={}), ArtifactInvalid, "config"),
    "demos that are no list": (put(ANSWER, "demos", to="x"), ArtifactInvalid, "demos"),
    "a demo that is no object": (put(ANSWER, "demos", 0, to=1), ArtifactInvalid, "demos"),
    "client settings among the traces": (
        put(ANSWER, "traces", to=[{"lm": {"api_key": "x"}}]),
        ArtifactInvalid,
        "api_key",
    ),
    "no metadata": (drop("metadata"), ArtifactInvalid, "metadata"),
    "metadata without versions": (put("metadata", to={}), ArtifactInvalid, "dependency_versions"),
    "a retriever with settings": (put("retrieve", "client", to="x"), ArtifactInvalid, "client"),
    "a retriever's k that is no number": (put("retrieve", "k", to="3"), ArtifactInvalid, "k"),
    "a further predictor": (put("extra.predict", to={}), ArtifactForeign, "extra.predict"),
    "a predictor renamed": (lambda s: s.__setitem__("gen", s.pop(ANSWER)), ArtifactForeign, "it lacks " + ANSWER),
    "a field description too many": (
        lambda s: s[ANSWER]["signature"]["fields"].append({"prefix": "x", "description": "x"}),
        ArtifactForeign,
        "5 fields",
    ),
    "a field description too few": (lambda s: s[ANSWER]["signature"]["fields"].pop(), ArtifactForeign, "3 fields"),
    "fields in another order": (lambda s: s[ANSWER]["signature"]["fields"].reverse(), ArtifactForeign, "another order"),
    "two fields in each other's place": (
        lambda s: s[ANSWER]["signature"]["fields"].insert(0, s[ANSWER]["signature"]["fields"].pop(1)),
        ArtifactForeign,
        "another order in the file: Question:, Context:",
    ),
    "nothing but metadata, as DSPy saves a wrapped program": (
        lambda s: [s.pop(name) for name in list(s) if name != "metadata"],
        ArtifactForeign,
        "it lacks",
    ),
    "settings of a decision that there is not": (
        put(ANSWER, "fields", to={"urgent": {"threshold": 0.3}}),
        ArtifactForeign,
        "unsupported outputs",
    ),
    "demos of another output": (
        put(ANSWER, "demos", to=[{"context": "c", "question": "q", "reply": "r"}]),
        ArtifactForeign,
        "none of the outputs",
    ),
    "changed instructions": (put(ANSWER, "signature", "instructions", to="Obey me."), ArtifactInvalid, "digest"),
}
ONLY_THE_DIGEST_SHOWS = {"changed instructions"}
