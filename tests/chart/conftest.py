# SPDX-License-Identifier: Apache-2.0
"""The chart, rendered; tests/support/charts.py says how. Where Helm is not built, what needs it is not collected."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from charts import HELMS, Helm, Objects, missing, rendered

collect_ignore = ["rendered"] if missing() else []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="take what is rendered now as what it should be")


@pytest.fixture(scope="session", params=HELMS)
def helm(request: pytest.FixtureRequest) -> Helm:
    """Both majors, one after the other."""
    return Helm(request.param)


@pytest.fixture(scope="session")
def helm4() -> Helm:
    """The newer one, for what does not depend on Helm."""
    return Helm("helm4")


@pytest.fixture(scope="session")
def objects(helm4: Helm) -> Callable[..., Objects]:
    """`objects(scenario, *arguments)`: what Helm renders, parsed."""

    return partial(rendered, helm4)
