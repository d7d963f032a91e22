# SPDX-License-Identifier: Apache-2.0
"""Datasets for a program: its own fields are found and checked."""

from __future__ import annotations

from pathlib import Path

import dspy

from slipway_server.evaluation import Dataset, read_dataset
from slipway_server.runtime.fields import InputFields


def dataset_for(program: dspy.Module, path: Path) -> Dataset:
    """Read a file of examples for `program`. Labels are the keys that any of its predictors puts out.

    Raises DatasetInvalid, which names file and line.
    """
    fields = InputFields.of(program)
    outputs = [name for predictor in reversed(program.predictors()) for name in predictor.signature.output_fields]
    return read_dataset(path, inputs=fields.names, outputs=list(dict.fromkeys(outputs)), check=fields.checked)
