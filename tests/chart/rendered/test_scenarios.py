# SPDX-License-Identifier: Apache-2.0
"""Every scenario of ci/ lints, renders the same with both majors of Helm, and is valid for old and new Kubernetes."""

from __future__ import annotations

import kubernetes_validate
import pytest
from charts import CHART, GOLDEN, SCENARIOS, Helm, normal, rendered

OPERATOR_KINDS = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
"""Not Kubernetes' own: it has no schemas of them."""
POLICY_KINDS = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
"""Since Kubernetes 1.30; older clusters get none unless they are asked for."""


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_it_lints(helm: Helm, scenario: str) -> None:
    helm.run("lint", "--strict", str(CHART), "--values", str(CHART / f"ci/{scenario}-values.yaml"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_it_renders_as_before(helm: Helm, scenario: str, request: pytest.FixtureRequest) -> None:
    now = normal(helm.render(scenario))
    golden = GOLDEN / f"{scenario}.yaml"
    if request.config.getoption("--update-golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(now, encoding="utf-8")
    assert now == golden.read_text(encoding="utf-8"), "if that is meant: pytest tests/chart --update-golden"


@pytest.mark.parametrize("kubernetes", ["1.27", "1.34", "1.37"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_kubernetes_takes_it(helm4: Helm, scenario: str, kubernetes: str) -> None:
    left_out = OPERATOR_KINDS | (POLICY_KINDS if kubernetes == "1.27" else set())
    for one in rendered(helm4, scenario, kubernetes=f"{kubernetes}.0").values():
        if one["kind"] not in left_out:
            kubernetes_validate.validate(one, kubernetes, strict=True)


def test_every_scenario_says_what_it_is_for() -> None:
    for scenario in SCENARIOS:
        assert (CHART / f"ci/{scenario}-values.yaml").read_text(encoding="utf-8").startswith("# ")
