# SPDX-License-Identifier: Apache-2.0
"""What docs/operations.md tells a shipper to type renders, command after command."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, KUBERNETES, ROOT, Helm, Objects, parsed

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
WITH_VALUE = {"--namespace", "-n", "--values", "--set", "--set-file"}
WITHOUT_VALUE = {"--install", "--wait", "--reset-then-reuse-values"}


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^ *```{language}\n(.+?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in found]


def upgrades() -> Iterator[list[str]]:
    """The words after `helm upgrade` of each such command."""
    for block in blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:2] == ["helm", "upgrade"]:
                yield words[2:]


@pytest.fixture
def renders(helm: Helm, tmp_path: Path) -> list[Objects]:
    """What the page's `helm upgrade` commands render, each with the values of those before it."""
    values: dict[str, Any] = {}
    (tmp_path / "artifacts").mkdir()
    given = yaml.safe_load((CHART / "ci/everything-values.yaml").read_text(encoding="utf-8"))["artifacts"]
    for number, one in (("1", given["v1"]), ("2", given["v2"])):
        (tmp_path / f"artifacts/guide-{number}.json").write_text(one["state"], encoding="utf-8")
        (tmp_path / f"artifacts/guide-{number}.meta.json").write_text(one["manifest"], encoding="utf-8")
    found = []
    for words in upgrades():
        apply(words, values, tmp_path)
        reused = tmp_path / "values.yaml"
        reused.write_text(yaml.safe_dump(values), encoding="utf-8")
        where = ("answers", str(CHART), "--namespace", "search", "--kube-version", KUBERNETES)
        found.append(parsed(helm.run("template", *where, "--values", str(reused))))
    return found


def apply(words: list[str], values: dict[str, Any], folder: Path) -> None:
    """Set what a command sets, as Helm does. Its other options have to be known, too."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in WITH_VALUE:
            settings = rest.pop(0).split(",")
            if word == "--values":
                merge(values, yaml.safe_load(values_file(settings[0])))
            for key, _, value in (one.partition("=") for one in settings if word.startswith("--set")):
                *path, last = key.split(".")
                within = values
                for name in path:
                    within = within.setdefault(name, {})
                from_file = word == "--set-file"
                within[last] = (folder / value).read_text(encoding="utf-8") if from_file else typed(value)
        else:
            assert word in WITHOUT_VALUE or word in ("answers", "deploy/helm/slipway"), word


def values_file(name: str) -> str:
    """The block of the page that begins with a file's name."""
    [found] = [block for block in blocks("yaml") if block.startswith(f"# {name}\n")]
    return found


def merge(under: dict[str, Any], over: dict[str, Any]) -> None:
    """Lay values on top of values, as Helm does."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(under.get(key), dict):
            merge(under[key], value)
        else:
            under[key] = value


def typed(value: str) -> Any:
    """A value of --set: whole numbers, true, false and null are not text."""
    known = {"true": True, "false": False, "null": None}
    return int(value) if value.isdigit() else known.get(value, value)


def test_each_step_does_what_the_page_says(renders: list[Objects]) -> None:
    install, canary, half, switched, pruned, *later = (facts(objects) for objects in renders)
    assert install == {"weight": 0, "stable": "1", "candidate": "", "artifacts": 1}
    assert canary == {"weight": 1000, "stable": "1", "candidate": "2", "artifacts": 2}
    assert half == {"weight": 5000, "stable": "1", "candidate": "2", "artifacts": 2}
    assert switched == {"weight": 0, "stable": "2", "candidate": "", "artifacts": 2}
    assert pruned == {"weight": 0, "stable": "2", "candidate": "", "artifacts": 1}
    assert ("CronJob", "answers-slipway-ingest") in renders[0]
    assert later
    assert all(one == pruned for one in later), (
        "the loop and the runbook's remedies change neither routing nor artifacts"
    )
    assert {("CronJob", f"answers-slipway-{name}") for name in ("reevaluate", "recompile")} <= set(renders[-1])


def facts(objects: Objects) -> dict[str, Any]:
    """The routing, and which artifact each variant serves."""
    [container] = objects["Deployment", "answers-slipway"]["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value", "") for one in container["env"]}
    routing = yaml.safe_load(objects["ConfigMap", "answers-slipway-routing"]["data"]["routing.json"])
    return {
        "weight": routing["candidate"],
        "stable": re.sub(r".*/v(\d)\.json$", r"\1", environment["SLIPWAY_ARTIFACT"]),
        "candidate": re.sub(r".*/v(\d)\.json$", r"\1", environment.get("SLIPWAY_CANDIDATE_ARTIFACT", "")),
        "artifacts": sum(name.startswith("answers-slipway-artifact-") for _, name in objects),
    }
