#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A command that keeps revisions of one release in the folder FAKE_HELM, as Helm does in a cluster.

FAKE_HELM/revisions/N.json: the values of revision N, and what made it. FAKE_HELM/calls: the words of every call.
FAKE_HELM/fail: where it exists, changes fail with its content, and leave a revision that failed. Put on PATH as `helm`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

HOME = Path(os.environ["FAKE_HELM"])
FLAGS = {"--wait", "--reset-then-reuse-values", "--no-hooks", "--dry-run=server"}
SETS = ("--set", "--set-string", "--set-json", "--set-file")
WITH_VALUE = {*SETS, "--namespace", "--output", "--revision", "--timeout", "--max"}


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main(words: list[str]) -> None:
    with (HOME / "calls").open("a", encoding="utf-8") as calls:
        calls.write(json.dumps(words) + "\n")
    named, options = parsed(words)
    match named:
        case ["get", "values", "answers"]:
            say(json.dumps(revision(options)["values"]))
        case ["get", "manifest", "answers"]:
            say(manifest(revision(options)["values"]))
        case ["history", "answers"]:
            say(json.dumps([listed(number, live()) for number in numbers()]))
        case ["upgrade", "answers", _]:
            upgrade(options)
        case ["rollback", "answers", number]:
            change({"values": load(int(number))["values"], "status": "deployed"})
        case ["get", *_] | ["history", *_]:
            sys.exit("Error: release: not found")
        case _:
            sys.exit(f"Error: unknown command {words}")


def parsed(words: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Arguments, and options with their values. An unknown option is an error."""
    named, options, rest = [], [], list(words)
    while rest:
        word = rest.pop(0)
        if word in WITH_VALUE:
            options.append((word, rest.pop(0)))
        elif word in FLAGS:
            options.append((word, ""))
        elif word.startswith("-"):
            sys.exit(f"Error: unknown flag: {word}")
        else:
            named.append(word)
    return named, options


def numbers() -> list[int]:
    return sorted(int(path.stem) for path in (HOME / "revisions").iterdir())


def load(number: int) -> dict[str, Any]:
    return dict(json.loads((HOME / f"revisions/{number}.json").read_text(encoding="utf-8")))


def revision(options: list[tuple[str, str]]) -> dict[str, Any]:
    return load(int(dict(options).get("--revision", numbers()[-1])))


def live() -> int:
    """The newest revision that did not fail; upgrades reuse its values."""
    return next(number for number in reversed(numbers()) if load(number)["status"] == "deployed")


def listed(number: int, live: int) -> dict[str, Any]:
    status = load(number)["status"]
    return {"revision": number, "status": "superseded" if status == "deployed" and number != live else status}


def upgrade(options: list[tuple[str, str]]) -> None:
    values = load(live())["values"]
    for option, text in options:
        if option in SETS:
            for setting in re.split(r"(?<!\\),", text) if option != "--set-json" else [text]:
                put(values, option, *setting.split("=", 1))
    if ("--dry-run=server", "") in options:
        say(json.dumps({"manifest": manifest(values)}))
    else:
        change({"values": values, "status": "deployed"})


def put(values: dict[str, Any], option: str, path: str, text: str) -> None:
    *parents, last = path.split(".")
    for name in parents:
        values = values.setdefault(name, {})
    match option:
        case "--set-file":
            values[last] = Path(text.replace("\\,", ",")).read_text(encoding="utf-8")
        case "--set-json":
            values[last] = json.loads(text)
        case "--set" if text == "null":
            values.pop(last, None)
        case "--set" if text.lstrip("-").isdigit():
            values[last] = int(text)
        case _:
            values[last] = text


def change(one: dict[str, Any]) -> None:
    failing = HOME / "fail"
    if failing.exists():
        one = {**one, "status": "failed"}
    (HOME / f"revisions/{numbers()[-1] + 1}.json").write_text(json.dumps(one), encoding="utf-8")
    if failing.exists():
        sys.exit(f"Error: {failing.read_text(encoding='utf-8')}")
    say("Release has been changed. Happy Helming!")


def manifest(values: dict[str, Any]) -> str:
    variants = json.dumps(values["variants"], sort_keys=True)
    maps = [f"---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: artifact-{key}" for key in values["artifacts"]]
    metadata = f"metadata:\n  name: server\n  labels:\n    helm.sh/chart: c-{len(variants)}"
    server = f"---\n# Source: x\napiVersion: apps/v1\nkind: Deployment\n{metadata}\nspec: {variants}"
    return "\n".join([*maps, server])


if __name__ == "__main__":
    main(sys.argv[1:])
