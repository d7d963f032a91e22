# SPDX-License-Identifier: Apache-2.0
"""Upgrading from an earlier version of the chart changes nothing that Kubernetes keeps fixed, and restarts no pod."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from charts import CHART, KUBERNETES, ROOT, Helm, Objects, parsed

PACKAGES = sorted((ROOT / "tests/chart/fixtures").glob("slipway-*.tgz"))
SCENARIOS = ("default", "canary", "everything", "volume")
NAME = "answers-slipway"


@pytest.fixture(params=PACKAGES, ids=[path.stem for path in PACKAGES])
def previous(request: pytest.FixtureRequest, helm: Helm) -> Callable[[str], Objects]:
    """Renders a scenario with an earlier version."""

    def render(scenario: str) -> Objects:
        where = ("answers", str(request.param), "--namespace", "search", "--kube-version", KUBERNETES)
        return parsed(helm.run("template", *where, "--values", str(CHART / f"ci/{scenario}-values.yaml")))

    return render


def test_there_is_one() -> None:
    assert PACKAGES


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_cannot_change_stays(
    previous: Callable[[str], Objects], objects: Callable[..., Objects], scenario: str
) -> None:
    before, after = previous(scenario), objects(scenario)
    assert set(before) <= set(after), "an object that is renamed is deleted and made anew"
    for (kind, name), one in before.items():
        now = after[kind, name]
        if one.get("immutable") or kind == "PersistentVolumeClaim":
            fields = ("data", "binaryData", "immutable", "spec")
            assert {key: one.get(key) for key in fields} == {key: now.get(key) for key in fields}, name
        if kind == "Deployment":
            assert one["spec"]["selector"] == now["spec"]["selector"]
        if kind == "Service":
            assert one["spec"].get("clusterIP") == now["spec"].get("clusterIP")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_new_chart_alone_restarts_no_pod(
    previous: Callable[[str], Objects], objects: Callable[..., Objects], scenario: str
) -> None:
    key = ("Deployment", NAME)
    assert previous(scenario)[key]["spec"]["template"] == objects(scenario)[key]["spec"]["template"]
