# SPDX-License-Identifier: Apache-2.0
"""A page of documentation to run; tests/support/doc_pages.py says how blocks are marked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from doc_pages import Page


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A fresh folder; what runs in the background ends with the test."""
    with ExitStack() as stack:
        yield Page(tmp_path, stack)
