# SPDX-License-Identifier: Apache-2.0
"""A world of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import drifting_world
import pytest


@pytest.fixture
def world(tmp_path: Path) -> Iterator[drifting_world.World]:
    """A world whose artifact was just promoted."""
    with drifting_world.opened(tmp_path) as made:
        yield made
