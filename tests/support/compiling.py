# SPDX-License-Identifier: Apache-2.0
"""Compilations of the shared programs with the demonstration's examples."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import programs

from slipway_server.config import Settings
from slipway_server.evaluation import metric_named
from slipway_server.improve.compile import Compilation, Plan, compile_program
from slipway_server.improve.data import dataset_for
from slipway_server.runtime.session import open_session

DATA = Path(str(resources.files("slipway_server.demo")))
FEW_SHOT = {"max_bootstrapped_demos": 2, "max_labeled_demos": 4, "metric_threshold": 0.5}


def plan(program: Any, folder: Path, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "train": dataset_for(program, DATA / "train.jsonl"),
        "dev": dataset_for(program, DATA / "dev.jsonl"),
        "optimizer": "bootstrap-few-shot",
        "metric": metric_named("token-f1"),
        "settings": FEW_SHOT,
        "seed": 1,
        "out": folder / "artifacts",
        "log_dir": folder / "logs",
    }
    return Plan(**{**values, **changes})


def compiled(configuration: Settings, folder: Path, **changes: Any) -> Compilation:
    with open_session(configuration) as session:
        return compile_program(session, plan(session.new_program(), folder, **changes))


def slipway(*words: str, settings: Settings, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLIPWAY_")}
    environment |= {
        "PYTHONPATH": str(Path(programs.__file__).parent),
        "SLIPWAY_DATA_DIR": str(settings.data_dir),
        "SLIPWAY_COLLECTION": settings.collection,
        "DSPY_CACHEDIR": str(settings.cache_dir),
        "COLUMNS": "160",
    }
    return subprocess.run(
        [sys.executable, "-c", "from slipway_server.cli import main; main()", *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
