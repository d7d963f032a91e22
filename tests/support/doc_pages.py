# SPDX-License-Identifier: Apache-2.0
"""Runs the code blocks of README.md and docs/, each page from top to bottom in a folder of its own.

An HTML comment before a fenced block says what to do with it:

    <!-- test: run -->             run it; it must exit with 0 (bash, or python)
    <!-- test: serve -->           run it in the background until the page ends, once it says that it is ready
    <!-- test: config FILE -->     save it as FILE after Slipway has read it as its configuration
    <!-- test: quote FILE -->      each of its lines stands in that file of the checkout
    <!-- test: cluster NAME -->    tests/cluster/NAME.py types it on a cluster (cluster_desk.py)
    <!-- test: skip, REASON -->    it cannot run here

The folder links to the checkout's `server` and `.venv`. Servers take free ports, which replace the documented one in
what follows; the provider simulator takes the place of local model servers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from slipway_server.config import load_settings

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?:^ *<!-- test: (?P<mark>.+?) -->\n)?^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.M | re.S)
HEADING = re.compile(r"^##+ (.+)$", re.M)
MODEL_SERVERS = ("localhost:11434", "localhost:8080", "localhost:8000", "localhost:8001")
DOCUMENTED_TARGET = "localhost:50051"
STEP_SECONDS = 60


@dataclass(frozen=True)
class Block:
    """One fenced block. `mark` is empty where none was given, `heading` before the page's first section."""

    page: str
    heading: str
    line: int
    mark: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def documents() -> list[str]:
    """README.md and every page of docs/."""
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


def blocks(page: str) -> list[Block]:
    """The fenced blocks of one page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [_block(page, text[: match.start()], match) for match in BLOCK.finditer(text)]


def _block(page: str, before: str, match: re.Match[str]) -> Block:
    heading = (HEADING.findall(before) or [""])[-1]
    text = textwrap.dedent(match["text"])
    return Block(page, heading, before.count("\n") + 1, match["mark"] or "", match["language"], text)


class Page:
    """A folder and an environment in which the blocks of one page run."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.output = ""
        """What the blocks have printed so far."""
        self._stack = stack
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SLIPWAY_", "DSPY_"))}
        self._environment = inherited | {
            "PATH": f"{Path(sys.executable).parent}:{inherited['PATH']}",
            "SLIPWAY_GRPC_PORT": "0",
            "SLIPWAY_METRICS_PORT": "0",
            "SLIPWAY_DRAIN_SECONDS": "0.2",
            "NO_COLOR": "1",
        }
        self._replaced: dict[str, str] = {}
        (folder / "server").symlink_to(ROOT / "server")
        (folder / ".venv").symlink_to(Path(sys.executable).parents[1])

    def do(self, block: Block) -> None:
        """What the block's mark says."""
        verb, _, argument = block.mark.partition(" ")
        text = self._localized(block.text)
        if verb == "config":
            (self.folder / argument).write_text(text, encoding="utf-8")
            load_settings(environ={"SLIPWAY_CONFIG_FILE": str(self.folder / argument)})
        elif verb == "quote":
            lines = (ROOT / argument).read_text(encoding="utf-8").splitlines()
            assert [line for line in block.text.splitlines() if line not in lines] == [], (
                f"{block} is not in {argument}"
            )
        elif verb == "run":
            self._run(block, text)
        elif verb == "serve":
            found = self._start(["bash", "-euc", f"exec {text}"], r"gRPC +(\S+)")
            self._replaced[DOCUMENTED_TARGET] = found

    def use_simulator(self) -> None:
        """Answer for the local model servers that the page names."""
        found = self._start(["slipway", "simulate-provider", "--port", "0"], r"http://(\S+?:\d+)")
        self._replaced |= dict.fromkeys(MODEL_SERVERS, found)

    def _start(self, command: list[str], announcement: str) -> str:
        """Start a process that runs until the page ends; return what it announces on its output once it is ready."""
        process = subprocess.Popen(command, cwd=self.folder, env=self._environment, stdout=subprocess.PIPE, text=True)
        self._stack.callback(_stop, process)
        for line in process.stdout or ():
            self.output += line
            if match := re.search(announcement, line):
                return match[1]
        raise AssertionError(f"{command} ended with {process.wait()} before it was ready")

    def _localized(self, text: str) -> str:
        for documented, here in self._replaced.items():
            text = text.replace(documented, here)
        return text

    def _run(self, block: Block, text: str) -> None:
        program = [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
        done = subprocess.run(
            [*program, text],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        self.output += done.stdout
        assert done.returncode == 0, f"{block} exits with {done.returncode}\n{done.stdout}\n{done.stderr}"


def _stop(process: subprocess.Popen[str]) -> None:
    with process:  # closes the pipe, whatever happened
        process.terminate()
        assert process.wait(timeout=STEP_SECONDS) == 0, f"{process.args} ends with {process.returncode}"
