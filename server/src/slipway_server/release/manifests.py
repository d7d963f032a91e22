# SPDX-License-Identifier: Apache-2.0
"""What an upgrade changes: the objects of two manifests, compared one by one.

for one in differences(helm.manifest(), helm.tried(words)):
    print(one.change, one.kind, one.name, *one.lines, sep="\\n")
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LINE_LENGTH = 160
CONTEXT_LINES = 2

QUIET = re.compile(r"\s*(#|(helm\.sh/chart|app\.kubernetes\.io/version):)")
"""Comments, and labels that every new version of the chart changes on every object."""

Objects = Mapping[tuple[str, str], Sequence[str]]
"""The lines of each object, by kind and name."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One object. `change`: added, removed or changed; `lines`: a unified diff of what changed, cut to a width."""

    change: str
    kind: str
    name: str
    lines: tuple[str, ...] = ()


def differences(before: str, after: str) -> list[Difference]:
    """What differs between two manifests that Helm rendered, by kind and name."""
    old, new = _objects(before), _objects(after)
    found = []
    for kind, name in sorted(old.keys() | new.keys()):
        one, other = old.get((kind, name)), new.get((kind, name))
        if one is None or other is None:
            found.append(Difference("added" if one is None else "removed", kind, name))
        elif one != other:
            found.append(Difference("changed", kind, name, tuple(_diff(one, other))))
    return found


def _objects(manifest: str) -> Objects:
    found = {}
    for document in re.split(r"^---\s*$", manifest, flags=re.MULTILINE):
        kind = re.search(r"^kind: (\S+)", document, re.MULTILINE)
        name = re.search(r"^metadata:\n(?:[ ].*\n)*?  name: \"?([^\s\"]+)", document, re.MULTILINE)
        if kind and name:
            lines = [line for line in document.splitlines() if line.strip() and not QUIET.match(line)]
            found[kind[1], name[1]] = lines
    return found


def _diff(before: Sequence[str], after: Sequence[str]) -> list[str]:
    lines = list(difflib.unified_diff(before, after, lineterm="", n=CONTEXT_LINES))[2:]
    return [line if len(line) <= LINE_LENGTH else f"{line[: LINE_LENGTH - 1]}…" for line in lines]
