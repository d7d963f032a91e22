# SPDX-License-Identifier: Apache-2.0
"""A saved artifact to look at, and to damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import programs
import pytest
from artifact_drafts import compiled, draft

from slipway_server.artifacts import manifest_path, save
from slipway_server.artifacts.manifest import digest_of


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return save(compiled(programs.TutorialRAG()), draft(), tmp_path)


@pytest.fixture
def rewritten() -> Callable[..., Path]:
    """Change an artifact's JSON in place; with `seal` its manifest gets the digest of what it is now."""

    def change(path: Path, edit: Callable[[dict[str, Any]], None], *, seal: bool) -> Path:
        state = orjson.loads(path.read_bytes())
        edit(state)
        path.write_bytes(orjson.dumps(state))
        if seal:
            manifest = orjson.loads(manifest_path(path).read_bytes())
            manifest["digest"] = digest_of(state, manifest)
            manifest_path(path).write_bytes(orjson.dumps(manifest))
        return path

    return change
