# SPDX-License-Identifier: Apache-2.0
"""Checks of what an artifact meets: versions, code and settings other than those that it was compiled with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slipway_server.artifacts import provenance
from slipway_server.artifacts.findings import Finding, Subject, note, warning
from slipway_server.artifacts.manifest import Retrieval, Revision
from slipway_server.artifacts.state import retrieved_k


def same_versions(subject: Subject) -> Iterator[Finding]:
    """DSPy and Python are those that compiled it."""
    then, now = subject.manifest.versions, provenance.versions()
    for what in ("dspy", "python", "cloudpickle"):
        if getattr(then, what) not in ("", getattr(now, what)):
            yield warning(
                f"version-{what}",
                f"was compiled with {what} {getattr(then, what)}, this is {getattr(now, what)}",
                "prompts may differ; evaluate before you ship",
            )


def same_code(subject: Subject) -> Iterator[Finding]:
    """Where the code came from that compiled it, and where the code comes from that runs."""
    then, now = subject.manifest.code, subject.served.code or Revision()
    same = then.sha and then.sha == now.sha
    compiled_at = f"was compiled at commit {then.label}" if then.sha else "was compiled outside a repository"
    runs = "which runs now" if same else f"commit {now.label} runs now" if now.sha else "what runs now is not known"
    yield note(
        "code",
        f"{compiled_at}, {runs}",
        "" if same or not (then.sha and now.sha) else f"git diff {then.sha[:7]} {now.sha[:7]}",
    )
    if then.dirty:
        yield warning("code-dirty", "was compiled with changes that were not committed", "commit, and compile again")


def same_settings(subject: Subject) -> Iterator[Finding]:
    """It is served with what it was compiled with."""
    then, now = subject.manifest, subject.served
    yield from differing(
        {
            "k": (then.retrieval.k, None if retrieved_k(subject.program) else now.k),
            "model": (then.lm.name if then.lm else None, now.model),
            "temperature": (then.lm.temperature if then.lm else None, now.temperature),
        }
    )
    yield from same_collection(then.retrieval, now.collection_version, now.embedder)


def same_collection(compiled: Retrieval, version: str | None, embedder: str | None) -> Iterator[Finding]:
    """It retrieves from what it was compiled with; also asked when a server has opened its collection."""
    yield from differing(
        {
            "collection-version": (compiled.collection_version or None, version or None),
            "embedder": (compiled.embedder or None, embedder or None),
        }
    )


def differing(pairs: Mapping[str, tuple[object, object]]) -> Iterator[Finding]:
    """A warning for each setting that is known on both sides, compiled and served, and differs."""
    for what, (compiled, served) in pairs.items():
        if compiled is not None and served is not None and compiled != served:
            yield warning(
                f"setting-{what}",
                f"was compiled with {what.replace('-', ' ')} {compiled}, is served with {served}",
                "its score was measured with the former",
            )
