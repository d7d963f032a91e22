# SPDX-License-Identifier: Apache-2.0
"""What a person reads after `helm upgrade`: how to call this release, and what is risky about it."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from charts import CHART, Helm

WARNINGS = {
    "default": {"networkPolicy.enabled", "retrieval.mode"},
    "everything": {"service.type"},
    "tryout": {"volume.mode", "verifyHook.enabled", "networkPolicy.enabled"},
    "loop": {"gate.floor"},
}


def notes(helm: Helm, scenario: str, *arguments: str) -> str:
    values = str(CHART / f"ci/{scenario}-values.yaml")
    where = ("answers", str(CHART), "--namespace", "search", "--values", values)
    return helm.run("install", *where, "--dry-run=client", *arguments).partition("\nNOTES:\n")[2]


def test_the_call_that_it_shows_is_one_that_a_shell_understands(helm4: Helm) -> None:
    inputs = {"question": "Which island's crew won?"}
    said = notes(helm4, "default", "--set-json", f"test.inputs={json.dumps(inputs)}")
    [call] = [line for line in said.splitlines() if line.strip().startswith("slipway ask")]
    assert shlex.split(call) == [
        "slipway",
        "ask",
        "--target",
        "localhost:50051",
        "--inputs",
        json.dumps(inputs, separators=(",", ":")),
    ]
    assert "dns:///answers-slipway-headless.search.svc:50051" in said


def test_it_names_what_is_served(helm4: Helm) -> None:
    said = notes(helm4, "everything")
    assert re.findall(r"^  (\w+): v\d ", said, re.MULTILINE) == ["stable", "candidate", "shadow"]
    said = notes(helm4, "canary")
    assert re.search(r"^  stable: v1 \([0-9a-f]{12}\)$", said, re.MULTILINE)
    assert re.search(r"^  candidate: v2 \([0-9a-f]{12}\), 1000 of 10000 basis points$", said, re.MULTILINE)


@pytest.mark.parametrize("scenario", WARNINGS)
def test_it_warns_of_risky_values_and_of_nothing_else(helm4: Helm, scenario: str) -> None:
    assert set(re.findall(r"^WARNING: (\S+) is ", notes(helm4, scenario), re.MULTILINE)) == WARNINGS[scenario]


def test_a_new_claim_has_no_collection_yet(helm4: Helm) -> None:
    said = notes(helm4, "default", "--set", "ingest.enabled=true")
    assert "retrieval.mode" not in said
    assert "create job --from=cronjob/answers-slipway-ingest answers-slipway-ingest-now" in said
    assert "WARNING: retrieval.mode" not in notes(helm4, "volume"), "a claim that is there may have one"


def test_a_key_over_plain_http_is_warned_of(helm4: Helm) -> None:
    said = notes(helm4, "default", "--set", "lm.endpoint=http://vllm:8000/v1")
    assert "WARNING: lm.endpoint is plain http: the key travels unencrypted." in said


def test_a_cluster_without_policies_is_warned_of(helm4: Helm) -> None:
    said = notes(helm4, "loop", "--set", "loop.admissionPolicy=auto")
    assert "WARNING: loop.admissionPolicy has no effect here" in said
    assert "create job --from=cronjob/answers-slipway-reevaluate" in said
