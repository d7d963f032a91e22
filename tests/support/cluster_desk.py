# SPDX-License-Identifier: Apache-2.0
"""What the documentation has typed on a cluster, typed as it stands there.

    desk = Desk(kubectl, folder, __file__)
    desk.type("Uninstall", "helm uninstall")
    desk.finished()

A block that is marked `<!-- test: cluster NAME -->` belongs to tests/cluster/NAME.py, which types all its commands.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from charts import ROOT, TOOLS
from doc_pages import blocks, documents
from kube import Kubectl, run

SECONDS = 600


def commands(module: str) -> list[tuple[str, str]]:
    """The commands that a module types, each with its section's heading."""
    found = []
    for block in (block for page in documents() for block in blocks(page) if block.mark == f"cluster {module}"):
        lines = block.text.replace("\\\n", " ").splitlines()
        found += [(block.heading, line) for line in lines if line.strip() and not line.startswith("#")]
    return found


def page_values(name: str) -> dict[str, Any]:
    """A file of values that docs/operations.md shows; its block begins with the file's name."""
    [text] = [block.text for block in blocks("docs/operations.md") if block.text.startswith(f"# {name}\n")]
    return dict(yaml.safe_load(text))


class Desk:
    """A shipper's folder and shell, with this machine's Slipway and Helm 4.

    `file`: of the module that types. `namespace`: of the kubeconfig's context, where the commands do not name theirs.
    """

    def __init__(self, kubectl: Kubectl, folder: Path, file: str, *, namespace: str = "default") -> None:
        self.folder = folder
        self._all = commands(Path(file).stem)
        self._left = list(self._all)
        config, tools = folder / "kubeconfig", folder / "bin"
        config.write_text(kubectl("config", "view", "--raw", "--flatten"), "utf-8")
        tools.mkdir()
        (tools / "helm").symlink_to(TOOLS / "helm4")
        (folder / "deploy").symlink_to(ROOT / "deploy")
        inherited = {key: value for key, value in kubectl.environ.items() if not key.startswith("SLIPWAY_")}
        path = f"{tools}:{Path(sys.executable).parent}:{inherited['PATH']}"
        self._environ = inherited | {"PATH": path, "HOME": str(folder), "KUBECONFIG": str(config), "NO_COLOR": "1"}
        self._run(f"kubectl config set-context --current --namespace={namespace}", {})

    def type(self, heading: str, meant: str, here: Mapping[str, str] | None = None) -> str:
        """Type the next command of a section, which must be about `meant`; what it prints. Raises Refused.

        `here`: what stands on this cluster for names that the page makes up.
        """
        command = next((command for section, command in self._left if section == heading), "nothing more")
        assert meant in command, f"{heading} says {command}"
        self._left.remove((heading, command))
        return self._run(command, here or {})

    def again(self, heading: str, meant: str, here: Mapping[str, str] | None = None) -> str:
        """Type a command once more. Raises Refused."""
        [command] = (command for section, command in self._all if section == heading and meant in command)
        return self._run(command, here or {})

    def finished(self) -> None:
        """All that the module was to type has been typed."""
        assert not self._left, self._left

    def _run(self, command: str, here: Mapping[str, str]) -> str:
        for name, real in here.items():
            command = command.replace(name, real)
        where = f"cd {shlex.quote(str(self.folder))}"
        return run("bash", "-euc", f"{where}; {command}", environ=self._environ, seconds=SECONDS)
