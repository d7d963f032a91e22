# SPDX-License-Identifier: Apache-2.0
"""What pods are scaled by, and that whoever serves custom metrics is told of it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from charts import NAME, ROOT, Objects
from prometheus_client import Gauge

from slipway_server.request import TrafficClass
from slipway_server.telemetry import metrics

Render = Callable[..., Objects]
IN_FLIGHT = ("slipway_rpc_in_flight", {})
SLOT_WAIT = ("slipway_lm_slot_wait_seconds", {"class": "interactive"})
SCENARIOS = {
    "requests under way and waits": ("external", "", {IN_FLIGHT[0]: "20", SLOT_WAIT[0]: "0.5"}),
    "requests under way": ("external", "autoscaling.queueWaitSeconds=null", {IN_FLIGHT[0]: "20"}),
    "waits": ("external", "autoscaling.inFlight=null", {SLOT_WAIT[0]: "0.5"}),
    "CPU": ("everything", "", {"cpu": 70}),
    "all": (
        "everything",
        "autoscaling.inFlight=8,autoscaling.queueWaitSeconds=2",
        {IN_FLIGHT[0]: "8", SLOT_WAIT[0]: "2", "cpu": 70},
    ),
}


def aims(objects: Objects) -> list[dict[str, Any]]:
    return list(objects["HorizontalPodAutoscaler", NAME]["spec"]["metrics"])


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_aimed_at(objects: Render, name: str) -> None:
    scenario, given, wanted = SCENARIOS[name]
    found: dict[str, Any] = {}
    for aim in aims(objects(scenario, *(["--set", given] if given else []))):
        if aim["type"] == "Resource":
            found[aim["resource"]["name"]] = aim["resource"]["target"]["averageUtilization"]
        else:
            found[aim["pods"]["metric"]["name"]] = aim["pods"]["target"]["averageValue"]
    assert found == wanted


def test_pods_have_the_gauges_that_are_aimed_at(objects: Render) -> None:
    gauges = {one._name: one for one in vars(metrics).values() if isinstance(one, Gauge)}
    for aim in aims(objects("external")):
        metric = aim["pods"]["metric"]
        labels = metric.get("selector", {}).get("matchLabels", {})
        assert (metric["name"], labels) in (IN_FLIGHT, SLOT_WAIT)
        assert set(labels) <= set(gauges[metric["name"]]._labelnames)
        assert set(labels.values()) <= {str(cls) for cls in TrafficClass}


def test_the_page_s_rule_serves_what_is_aimed_at(objects: Render) -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    [text] = re.findall(r"^```yaml\n(# adapter-values.yaml\n.+?)^```$", page, re.MULTILINE | re.DOTALL)
    [rule] = yaml.safe_load(textwrap.dedent(text))["rules"]["custom"]
    [series] = re.findall(r'__name__=~"([^"]+)"', rule["seriesQuery"])
    wanted = {aim["pods"]["metric"]["name"] for aim in aims(objects("external"))}
    assert all(re.fullmatch(series, name) for name in wanted), "Prometheus anchors a pattern at both ends"
    assert set(rule["resources"]["overrides"]) == {"namespace", "pod"}
    assert rule["metricsQuery"] == "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)"
