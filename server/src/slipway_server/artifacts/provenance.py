# SPDX-License-Identifier: Apache-2.0
"""Where the running code comes from: git revision and versions."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from dspy.utils.saving import get_dependency_versions

from slipway_server.artifacts.manifest import Revision, Versions

_GIT_SECONDS = 10


def revision(folder: Path) -> Revision:
    """The git commit of `folder` and whether tracked files differ; empty outside a repository or without git."""
    sha = _git(folder, "rev-parse", "HEAD")
    if not sha:
        return Revision()
    return Revision(sha=sha, dirty=bool(_git(folder, "status", "--porcelain", "--untracked-files=no")))


@cache
def running_revision() -> Revision:
    """Of the working folder when this is first asked: what runs was imported by then, whatever is committed later."""
    return revision(Path.cwd())


def versions() -> Versions:
    """Of this process."""
    return Versions(slipway=version("slipway-server"), **get_dependency_versions())


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
