# SPDX-License-Identifier: Apache-2.0
"""Verification: every check of an artifact, gathered into one report.

    report = verify(path, RAG, digest="…")
    for finding in report.findings: print(finding.severity, finding.message, finding.remedy)
    report.raise_if_refused()          # what `load` does

Checks run in stages (the files, what they say, the program, the surroundings); a stage that finds an error is the last
one, because the next ones would rest on what it refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import dspy

from slipway_server.artifacts.checks import FILE_STAGES, STAGES
from slipway_server.artifacts.files import read_pair
from slipway_server.artifacts.findings import Check, Finding, Served, Severity, Subject
from slipway_server.errors import ArtifactInvalid, ArtifactMissing

ProgramFactory = Callable[[], dspy.Module]
"""Makes a fresh instance of the program; its class will do."""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings about one artifact; `subject` is None where the files could not be read."""

    path: Path
    findings: tuple[Finding, ...]
    subject: Subject | None

    @property
    def refused(self) -> bool:
        """Whether there is an error."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)

    @property
    def warned(self) -> bool:
        """Whether there is a warning."""
        return any(finding.severity is Severity.WARNING for finding in self.findings)

    @property
    def verified(self) -> Subject:
        """What was read and checked; only where the artifact is not refused."""
        assert self.subject is not None
        return self.subject

    def raise_if_refused(self) -> None:
        """Raise the first error as ArtifactMissing, ArtifactInvalid or ArtifactForeign, in one line."""
        for finding in self.findings:
            if finding.severity is Severity.ERROR:
                remedy = f"; {finding.remedy}" if finding.remedy else ""
                raise finding.raises(
                    f"{self.path.name}: {finding.message}{remedy}", artifact=self.path.name, check=finding.code
                )


def verify(
    path: Path, program_factory: ProgramFactory, *, digest: str | None = None, served: Served | None = None
) -> Report:
    """Check the artifact at `path` against the code, the expected `digest` and the settings that it is served with."""
    return _examined(path, program_factory, digest, served, STAGES)


def verify_files(path: Path, *, served: Served | None = None) -> Report:
    """As `verify`, as far as that goes without the program: JSON, manifest, digest, size and signature."""
    return _examined(path, dspy.Module, None, served, FILE_STAGES)


def _examined(
    path: Path,
    program_factory: ProgramFactory,
    digest: str | None,
    served: Served | None,
    stages: Sequence[Sequence[Check]],
) -> Report:
    try:
        pair = read_pair(path)
    except (ArtifactMissing, ArtifactInvalid) as error:
        code = "files-present" if isinstance(error, ArtifactMissing) else "gzip"
        return Report(path, (Finding(Severity.ERROR, code, error.message, raises=type(error)),), None)
    return examine(Subject(path, program_factory(), pair, digest, served or Served()), stages)


def examine(subject: Subject, stages: Sequence[Sequence[Check]] = STAGES) -> Report:
    """Run the stages on what was read."""
    findings: list[Finding] = []
    for stage in stages:
        findings += [finding for check in stage for finding in check(subject)]
        if any(finding.severity is Severity.ERROR for finding in findings):
            break
    return Report(subject.path, tuple(findings), subject)
