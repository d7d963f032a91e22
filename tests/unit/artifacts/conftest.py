# SPDX-License-Identifier: Apache-2.0
"""A saved artifact to look at, and to damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import programs
import pytest
from artifact_drafts import compiled, draft
from bad_artifacts import rewrite

from slipway_server.artifacts import save


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return save(compiled(programs.TutorialRAG()), draft(), tmp_path)


@pytest.fixture
def rewritten() -> Callable[..., Path]:
    """Change an artifact's JSON in place; with `seal` its manifest gets the digest of what it is now."""
    return rewrite
