# SPDX-License-Identifier: Apache-2.0
"""Every value is documented, used by a template, and what is generated from values.yaml is up to date."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from charts import CHART, KUBERNETES, ROOT, Helm, parsed

TEMPLATES = "\n".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").rglob("*") if path.is_file())


def leaves(values: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        below = schema["properties"][key]
        if isinstance(value, dict) and "description" not in below:
            yield from ((key, *path) for path in leaves(value, below))
        else:
            yield (key,)


def test_what_is_generated_is_up_to_date() -> None:
    subprocess.run([sys.executable, str(ROOT / "scripts/chart.py"), "verify"], check=True)


def test_every_value_is_used_by_a_template() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    unused = [path for path in leaves(values, schema) if not re.search(rf"[.\"]{re.escape(path[-1])}\b", TEMPLATES)]
    assert [path for path in unused if path[:3] != ("monitoring", "rules", "alerts")] == []


def test_objects_of_the_schema_are_closed() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def open_ones(path: str, one: dict[str, Any]) -> Iterator[str]:
        if one.get("type") == "object" and "additionalProperties" not in one and path != "/global":
            yield path
        for key, below in one.get("properties", {}).items():
            yield from open_ones(f"{path}/{key}", below)

    assert list(open_ones("", schema)) == []


def test_the_values_of_the_documentation_render(helm: Helm, tmp_path: Path) -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^ *```yaml\n(.+?)^ *```$", page, re.MULTILINE | re.DOTALL)
    documented = tmp_path / "my-values.yaml"
    documented.write_text(textwrap.dedent(block), encoding="utf-8")
    given = yaml.safe_load((CHART / "ci/default-values.yaml").read_text(encoding="utf-8"))["artifacts"]["v1"]
    files = {"state": tmp_path / "guide-1.json", "manifest": tmp_path / "guide-1.meta.json"}
    for name, path in files.items():
        path.write_text(given[name], encoding="utf-8")
    artifact = ",".join(f"artifacts.v1.{name}={path}" for name, path in files.items())
    where = ("answers", str(CHART), "--kube-version", KUBERNETES, "--values", str(documented))
    rendered = helm.run("template", *where, "--set-file", artifact, "--set", "variants.stable.artifact=v1")
    assert ("Deployment", "answers-slipway") in parsed(rendered)
