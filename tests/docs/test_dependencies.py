# SPDX-License-Identifier: Apache-2.0
"""docs/dependencies.md says of every direct dependency why it is there, and of nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def declared(section: str) -> set[str]:
    """Names of the packages that the project files declare for one section of the page."""
    client, server, workspace = (_toml(folder) for folder in ("client", "server", "."))
    requirements = {
        "Client": client["project"]["dependencies"],
        "Server": server["project"]["dependencies"],
        "Compile extra": server["project"]["optional-dependencies"]["compile"],
        "Development group": workspace["dependency-groups"]["dev"],
    }[section]
    return {re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in requirements}


def documented() -> dict[str, dict[str, str]]:
    """Section → package → reason, from the tables of the page."""
    sections: dict[str, dict[str, str]] = {}
    for part in (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        rows = re.findall(r"^\| (\S+) \| (.+) \|$", part, flags=re.MULTILINE)
        sections[part.split("\n", 1)[0]] = {name: why for name, why in rows if name not in ("package", "---")}
    return sections


def _toml(folder: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("section", ["Client", "Server", "Compile extra", "Development group"])
def test_every_direct_dependency_is_justified(section: str) -> None:
    assert set(documented()[section]) == declared(section)


def test_every_optional_extra_has_a_section() -> None:
    assert set(_toml("server")["project"]["optional-dependencies"]) == {"compile"}
    assert "optional-dependencies" not in _toml("client")["project"]
    assert set(_toml(".")["dependency-groups"]) == {"dev"}


def test_every_reason_is_a_sentence() -> None:
    reasons = [why for rows in documented().values() for why in rows.values()]
    assert all(why.endswith(".") and len(why) > 5 for why in reasons)
