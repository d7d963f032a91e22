# SPDX-License-Identifier: Apache-2.0
"""Says in one line where the tests of tests/chart/rendered are left out."""

from __future__ import annotations

import pytest
from charts import missing


def test_helm_is_there() -> None:
    if missing():
        pytest.skip("the chart is not rendered: run `make chart-tools`, which needs Go")
