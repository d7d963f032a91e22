# SPDX-License-Identifier: Apache-2.0
"""A manifest and a compiled program, for tests of whatever handles artifacts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dspy

from slipway_server.artifacts import Manifest, provenance
from slipway_server.artifacts.manifest import Measured, Model, Optimizer, Retrieval, Revision

CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def draft(program: str = "programs:TutorialRAG", **changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "program": program,
        "created": CREATED,
        "code": Revision(sha="0123456789" * 4),
        "optimizer": Optimizer(name="bootstrap-few-shot", settings={"max_bootstrapped_demos": 4}, seed=1),
        "lm": Model(name="openai/gpt-4o-mini", temperature=0.1),
        "retrieval": Retrieval(k=3, collection_version="docs-1a2b3c4d", embedder="offline/bm25"),
        "metric": "exact-match",
        "compiled": Measured(score=2 / 3, interval=(0.4, 0.8), n=30),
        "versions": provenance.versions(),
    }
    return Manifest(**{**values, **changes})


def compiled(program: Any) -> Any:
    """`program` with one bootstrapped and one labelled demo in its answering predictor."""
    predictor = dict(program.named_predictors())["generate_answer.predict"]
    predictor.demos = [
        dspy.Example(augmented=True, context=["a"], question="q1", reasoning="r", answer="a1"),
        dspy.Example(question="q2", answer="a2", gold_titles=["not a field"]),
    ]
    predictor.signature = predictor.signature.with_instructions("Answer from the context.")
    return program
