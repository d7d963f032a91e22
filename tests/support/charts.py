# SPDX-License-Identifier: Apache-2.0
"""Renders the chart with Helm 3 and 4, as `make chart-tools` builds them, and reads what they render."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/slipway"
GOLDEN = ROOT / "tests/chart/golden"
TOOLS = ROOT / ".slipway/tools"
SCENARIOS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
KUBERNETES = "1.34.0"
NAME = "answers-slipway"
"""What a render's objects are called: release, then chart."""
HELMS = ("helm3", "helm4")


def missing() -> list[str]:
    """The Helms that are not built."""
    return [name for name in HELMS if not (TOOLS / name).is_file()]


class Refused(Exception):
    """Helm did not render; the message is what it said."""


class Helm:
    """One major version of Helm."""

    def __init__(self, name: str) -> None:
        self._binary = TOOLS / name

    def run(self, *arguments: str) -> str:
        """What the command printed. Raises Refused."""
        done = subprocess.run([self._binary, *arguments], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise Refused(done.stderr + done.stdout)
        return done.stdout

    def render(self, scenario: str, *arguments: str, kubernetes: str = KUBERNETES) -> str:
        """`helm template` of the release `answers` in the namespace `search`, over a scenario of ci/."""
        values = str(CHART / f"ci/{scenario}-values.yaml")
        where = ("answers", str(CHART), "--namespace", "search")
        return self.run("template", *where, "--kube-version", kubernetes, "--values", values, *arguments)


Objects = Mapping[tuple[str, str], dict[str, Any]]
"""By kind and name."""


def parsed(text: str) -> Objects:
    """The objects of a render. No two have the same kind and name."""
    found = [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in found}
    assert len(by_name) == len(found)
    return by_name


@cache
def rendered(helm: Helm, scenario: str, *arguments: str, kubernetes: str = KUBERNETES) -> Objects:
    """The objects of `helm.render`. Shared: not to be changed."""
    return parsed(helm.render(scenario, *arguments, kubernetes=kubernetes))


@cache
def refusal(helm: Helm, scenario: str, *arguments: str) -> str:
    """What Helm says where it does not render."""
    with pytest.raises(Refused) as caught:
        helm.render(scenario, *arguments)
    return str(caught.value)


def environment(container: dict[str, Any]) -> dict[str, str]:
    """The variables that have a value of their own."""
    return {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}


def server(objects: Objects) -> dict[str, Any]:
    """The container that serves."""
    return dict(objects["Deployment", NAME]["spec"]["template"]["spec"]["containers"][0])


def pod_of(one: dict[str, Any]) -> dict[str, Any] | None:
    """The pod that an object describes."""
    spec = one.get("spec", {})
    match one["kind"]:
        case "Pod":
            return dict(spec)
        case "CronJob":
            return dict(spec["jobTemplate"]["spec"]["template"]["spec"])
        case "Deployment" | "Job":
            return dict(spec["template"]["spec"])
        case _:
            return None


def pods_of(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod of a render, with the name of what describes it."""
    for (kind, name), one in objects.items():
        pod = pod_of(one)
        if pod is not None:
            yield f"{kind} {name}", pod


def normal(text: str) -> str:
    """A render without what depends on Helm's version: order and white space."""
    found = parsed(text)
    return str(
        yaml.dump_all([found[key] for key in sorted(found)], Dumper=yaml.CSafeDumper, width=110, allow_unicode=True)
    )
