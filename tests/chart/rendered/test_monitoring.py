# SPDX-License-Identifier: Apache-2.0
"""Rules, monitors and dashboards speak of metrics that exist, and every alert has a section to read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from charts import CHART, ROOT, Objects
from prometheus_client.metrics import MetricWrapperBase

from slipway_server.errors import CallerError, catalogue
from slipway_server.telemetry import metrics
from slipway_server.traffic.quality import VERDICTS

Render = Callable[..., Objects]
NAME = "answers-slipway"
FOREIGN_LABELS = {"namespace", "pod", "le"}
"""Labels that Prometheus adds, and a histogram's."""
KUBE_STATE_METRICS = {
    "kube_cronjob_status_last_schedule_time": {"cronjob"},
    "kube_cronjob_status_last_successful_time": {"cronjob"},
}
"""Its documentation: docs/metrics/workload/cronjob-metrics.md of kubernetes/kube-state-metrics."""
SERIES = r"\b((?:slipway|kube)_\w+)"


def known() -> dict[str, set[str]]:
    """Series name → labels, of every metric of the server, and of those that tell of its jobs."""
    found = dict(KUBE_STATE_METRICS)
    for one in vars(metrics).values():
        if isinstance(one, MetricWrapperBase):
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(one._type, [""])
            found |= {one._name + suffix: set(one._labelnames) for suffix in suffixes}
    return found


def unknown(expression: str) -> list[str]:
    """What an expression asks for that the server does not have."""
    series = known()
    wrong = [name for name in re.findall(SERIES, expression) if name not in series]
    for name, matchers in re.findall(SERIES + r"\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) - FOREIGN_LABELS
        wrong += [f"{name}.{label}" for label in labels - series.get(name, set())]
    return wrong


def rules(rendered: Objects) -> list[dict[str, Any]]:
    [group] = rendered["PrometheusRule", NAME]["spec"]["groups"]
    return list(group["rules"])


def test_rules_ask_for_series_that_exist(objects: Render) -> None:
    for rule in rules(objects("everything")):
        assert re.search(SERIES, rule["expr"]), rule["alert"]
        assert unknown(rule["expr"]) == [], rule["alert"]


def test_an_expression_that_is_wrong_is_found() -> None:
    assert unknown('slipway_nothing_total{pod="x"} > slipway_errors_total{color="red"}') == [
        "slipway_nothing_total",
        "slipway_errors_total.color",
    ]


def test_rules_are_about_this_release_only(objects: Render) -> None:
    mine = {
        "slipway": 'namespace="search",pod=~"answers-slipway-.+"',
        "kube": 'namespace="search",cronjob=~"answers-slipway-(reevaluate|cache-gc)"',
    }
    for rule in rules(objects("everything")):
        selectors = re.findall(SERIES + r"(\{[^}]*\})?", rule["expr"])
        assert selectors, rule["alert"]
        assert all(mine[name.partition("_")[0]] in one for name, one in selectors), rule["alert"]


def test_the_alert_about_jobs_names_cronjobs_that_there_are(objects: Render) -> None:
    rendered = objects("everything")
    [failed] = [rule for rule in rules(rendered) if rule["alert"] == "SlipwayJobFailed"]
    [pattern] = set(re.findall(r'cronjob=~"([^"]+)"', failed["expr"]))
    scheduled = {name for (kind, name), one in rendered.items() if kind == "CronJob" and not one["spec"]["suspend"]}
    assert {name for (kind, name) in rendered if kind == "CronJob" and re.fullmatch(pattern, name)} == scheduled


def test_every_alert_has_its_switch_severity_and_section(objects: Render) -> None:
    given = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["monitoring"]["rules"]["alerts"]
    rendered = {rule["alert"]: rule for rule in rules(objects("everything"))}
    assert set(rendered) == set(given) - {"SlipwayTrafficLost"}, "that one is switched off in the scenario"
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    headings = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", page, re.MULTILINE)}
    for alert, rule in rendered.items():
        assert rule["labels"] == {"severity": given[alert]["severity"], "release": "answers", "team": "search"}
        assert rule["annotations"]["runbook_url"].partition("#")[2] in headings
        assert rule["for"] == given[alert]["for"]
    assert {alert.lower() for alert in given} <= headings


def test_a_threshold_reaches_its_rule(objects: Render) -> None:
    [slow] = [rule for rule in rules(objects("everything")) if rule["alert"] == "SlipwaySlow"]
    assert slow["expr"].endswith("> 10")
    assert "10 s" in slow["annotations"]["summary"]


def test_the_alert_about_errors_counts_every_error_that_is_not_the_caller_s(objects: Render) -> None:
    [failing] = [rule for rule in rules(objects("everything")) if rule["alert"] == "SlipwayErrors"]
    [counted] = re.findall(r'code=~"([^"]+)"', failing["expr"])
    ours = {str(error.code) for error in catalogue() if not issubclass(error, CallerError)}
    assert set(counted.split("|")) == ours | {"UNKNOWN"}, "a refused key, too, is nothing that a caller can mend"


def test_the_alert_about_quality_names_verdicts_that_there_are(objects: Render) -> None:
    [dropped] = [rule for rule in rules(objects("everything")) if rule["alert"] == "SlipwayQualityDropped"]
    [pattern] = re.findall(r'verdict=~"([^"]+)"', dropped["expr"])
    assert {verdict for verdict in VERDICTS if re.fullmatch(pattern, verdict)} == set(pattern.split("|"))


@pytest.mark.parametrize("scenario", ["external", "volume"])
def test_a_monitor_finds_the_pods_once(objects: Render, scenario: str) -> None:
    rendered = objects(scenario)
    [monitor] = [one for (kind, _), one in rendered.items() if kind in ("ServiceMonitor", "PodMonitor")]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    if monitor["kind"] == "ServiceMonitor":
        services = [one for (kind, _), one in rendered.items() if kind == "Service"]
        found = [one for one in services if "metrics" in {port["name"] for port in one["spec"]["ports"]}]
        ports = [port["name"] for one in found for port in one["spec"]["ports"]]
        labels = [one["metadata"]["labels"] for one in services if wanted <= one["metadata"]["labels"].items()]
        assert labels == [one["metadata"]["labels"] for one in found]
    else:
        template = rendered["Deployment", NAME]["spec"]["template"]
        ports = [port["name"] for port in template["spec"]["containers"][0]["ports"]]
        labels = [template["metadata"]["labels"]]
    assert [wanted <= one.items() for one in labels].count(True) == 1
    assert "metrics" in ports


def test_metrics_are_on_the_service_that_never_leaves_the_cluster(objects: Render) -> None:
    rendered = objects("everything")
    ports = {
        name: [port["name"] for port in rendered["Service", name]["spec"]["ports"]]
        for name in (NAME, f"{NAME}-headless")
    }
    assert ports == {NAME: ["grpc"], f"{NAME}-headless": ["grpc", "metrics"]}
    assert rendered["Service", NAME]["spec"]["type"] == "LoadBalancer"


def test_dashboards_ask_for_series_that_exist(objects: Render) -> None:
    one = objects("everything")["ConfigMap", f"{NAME}-dashboards"]
    assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
    for text in one["data"].values():
        expressions = [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
        assert expressions
        assert [unknown(expression) for expression in expressions] == [[]] * len(expressions)
