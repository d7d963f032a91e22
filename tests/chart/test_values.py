# SPDX-License-Identifier: Apache-2.0
"""Every value is used by a template, and a mistyped one cannot slip through."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml
from charts import CHART

TEMPLATES = "\n".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").rglob("*") if path.is_file())


def leaves(values: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        below = schema["properties"][key]
        if isinstance(value, dict) and "description" not in below:
            yield from ((key, *path) for path in leaves(value, below))
        else:
            yield (key,)


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
