# SPDX-License-Identifier: Apache-2.0
"""kube-score finds nothing in the scenarios but what they are for."""

from __future__ import annotations

import subprocess

import pytest
from charts import SCENARIOS, TOOLS, Helm

SCORE = TOOLS / "kube-score"
pytestmark = pytest.mark.skipif(not SCORE.is_file(), reason="not built: run `make chart-tools`, which needs Go")

NOT_OURS = (
    "container-ephemeral-storage-request-and-limit",  # the copy of a collection is as large as the collection
    "container-image-pull-policy",  # a value; images are named by tag or digest
    "deployment-has-host-podantiaffinity",  # topologySpreadConstraints spread the pods
)
ALONE = "The pod does not have a matching NetworkPolicy"
MEANT = {"everything": set(), "loop": set(), "tryout": {ALONE, "Deployment few replicas"}}
"""By scenario. A NetworkPolicy is the user's to enable; the others do not."""


def findings(text: str) -> set[str]:
    """What kube-score criticizes or warns of. A limit of CPU would only make a server slower."""
    options = ("--ignore-container-cpu-limit", "--ignore-test", ",".join(NOT_OURS), "--output-format", "ci")
    done = subprocess.run([SCORE, "score", *options, "-"], input=text, capture_output=True, text=True, timeout=60)
    assert not done.stderr, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("[CRITICAL]", "[WARNING]"))]
    assert "[OK]" in done.stdout
    return {line.partition(": ")[2] for line in lines}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_criticized(helm: Helm, scenario: str) -> None:
    assert findings(helm.render(scenario)) == MEANT.get(scenario, {ALONE})


def test_a_fault_is_found(helm4: Helm) -> None:
    text = helm4.render("everything").replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false")
    assert any("writable root" in one.lower() for one in findings(text))
