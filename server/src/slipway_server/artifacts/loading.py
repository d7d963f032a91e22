# SPDX-License-Identifier: Apache-2.0
"""Saving a compiled program as an artifact, and loading an artifact into a fresh program."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import dspy

from slipway_server.artifacts import state as states
from slipway_server.artifacts.canonical import pretty
from slipway_server.artifacts.files import MAX_CONTENT_BYTES, Pair, write_pair
from slipway_server.artifacts.findings import Finding, Served, Severity, Subject
from slipway_server.artifacts.fingerprint import fingerprint_of, shape_of
from slipway_server.artifacts.manifest import Manifest, digest_of, file_name, name_of
from slipway_server.artifacts.verify import ProgramFactory, examine, verify
from slipway_server.errors import ArtifactInvalid

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedArtifact:
    """A verified artifact in a program of its own. `findings` holds warnings and notes."""

    path: Path
    program: dspy.Module
    manifest: Manifest
    findings: tuple[Finding, ...]

    @property
    def name(self) -> str:
        """The file's name without .json."""
        return name_of(self.path)

    @property
    def digest(self) -> str:
        """The content digest, 64 hex digits."""
        return self.manifest.digest


def load(
    path: Path, program_factory: ProgramFactory, *, digest: str | None = None, served: Served | None = None
) -> LoadedArtifact:
    """Verify the artifact at `path`, then put it into a fresh program. No LM is set; `program.set_lm` comes after.

    Args:
        path: The artifact's file; `resolve` finds a store's current one.
        program_factory: Makes a fresh program; its class will do.
        digest: Content digest that the artifact must have; None accepts the one that it states.
        served: Settings to compare with the compiled ones; each difference is a warning.

    Raises:
        ArtifactMissing: The file or its manifest is not there.
        ArtifactInvalid: Not JSON, truncated, keys that are not allowed, another digest, too large.
        ArtifactForeign: Compiled for another program or for other fields.
    """
    report = verify(path, program_factory, digest=digest, served=served)
    report.raise_if_refused()
    subject = report.verified
    try:
        states.apply(subject.state, subject.program)
    except Exception as error:
        raise ArtifactInvalid(f"{path.name}: DSPy cannot load its state ({type(error).__name__})") from error
    for finding in report.findings:
        if finding.severity is Severity.WARNING:
            log.warning("artifact %s: %s; %s", path.name, finding.message, finding.remedy)
    return LoadedArtifact(path, subject.program, subject.manifest, report.findings)


def save(program: dspy.Module, manifest: Manifest, folder: Path) -> Path:
    """Write `program` and `manifest` into `folder`, both files atomically, and return the artifact's path.

    The manifest's fingerprint, predictors and digest are filled in. What could not be loaded again is not written; what
    no ConfigMap holds is, because a volume may, and gzip may be enough.

    Raises:
        ArtifactInvalid: The program's state cannot be stored.
    """
    return save_state(states.dump(program), program, manifest, folder)[0]


def save_state(state: states.State, program: dspy.Module, manifest: Manifest, folder: Path) -> tuple[Path, Manifest]:
    """As `save`, with a state that did not come from `program` itself; also returns the manifest as written."""
    shape = shape_of(program)
    stated = manifest.model_copy(
        update={"predictors": shape, "fingerprint": fingerprint_of(shape), "digest": "", "signature": ""}
    )
    stated = stated.model_copy(update={"digest": digest_of(state, stated.values())})
    files = state_file, manifest_file = pretty(state), pretty(stated.values())
    pair = Pair(*files, stored_bytes=len(state_file) + len(manifest_file))
    subject = Subject(folder / file_name(stated), program, pair, served=Served(max_bytes=MAX_CONTENT_BYTES))
    examine(subject).raise_if_refused()
    write_pair(subject.path, *files)
    return subject.path, stated
