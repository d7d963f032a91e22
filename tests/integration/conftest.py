# SPDX-License-Identifier: Apache-2.0
"""A real collection, made once: the demonstration's corpus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from slipway_server.config import Settings, load_settings
from slipway_server.retrieval.corpus import read
from slipway_server.retrieval.ingest import run

COLLECTION = "isles"


@pytest.fixture(scope="session")
def isles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the collection `isles`."""
    data_dir = tmp_path_factory.mktemp("data")
    corpus = Path(str(resources.files("slipway_server.demo"))) / "corpus.jsonl"
    settings = load_settings({"data_dir": data_dir, "collection": COLLECTION}, environ={})
    asyncio.run(run(settings, read(corpus)))
    return data_dir


@pytest.fixture
def settings_with(isles: Path, tmp_path: Path) -> Callable[..., Settings]:
    """`settings_with(program=…, …)`: settings over the collection, with a cache of the test's own."""

    def make(**overrides: Any) -> Settings:
        values = {
            "data_dir": isles,
            "collection": COLLECTION,
            "cache_dir": tmp_path / "cache",
            "scratch_dir": tmp_path,
            "allow_uncompiled": True,
            **overrides,
        }
        return load_settings(values, environ={})

    return make
