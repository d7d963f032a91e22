# SPDX-License-Identifier: Apache-2.0
"""Receipts and configurations for recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway_server.request import Citation
from slipway_server.runtime.types import Receipt
from slipway_server.traffic import Redactor, TrafficConfig
from slipway_server.traffic.redact import patterns


@pytest.fixture
def receipt() -> Callable[..., Receipt]:
    """`receipt("id-1", variant="shadow")`."""

    def make(request_id: str, **changes: Any) -> Receipt:
        values: dict[str, Any] = {
            "request_id": request_id,
            "program": "tests:Echo",
            "artifact": "echo",
            "artifact_digest": "d" * 64,
            "variant": "stable",
            "model": "offline/extractive",
            "cache": "miss",
            "lm_calls": 1,
            "attempts": 2,
            "waits_seconds": {"retry": 0.5},
            "prompt_tokens": 10,
            "completion_tokens": 2,
            "cost_usd": None,
            "collection_version": "docs-1",
            "citations": (Citation("p1", "T", 1.0, "T | a passage"),),
            "elapsed_seconds": 0.25,
        }
        return Receipt(**{**values, **changes})

    return make


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., TrafficConfig]:
    """`config(sample=0.1)`: everything is recorded, fields are allowed, and the volume is a temporary folder."""

    def make(**changes: Any) -> TrafficConfig:
        values: dict[str, Any] = {
            "folder": tmp_path,
            "redactor": Redactor(["*"], [patterns]),
            "sample": 1.0,
            "close_seconds": 60.0,  # a loaded machine syncs slowly
        }
        return TrafficConfig(**{**values, **changes})

    return make
