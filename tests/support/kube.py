# SPDX-License-Identifier: Apache-2.0
"""A cluster from outside: kubectl, waiting for a condition, and what only the cluster of this machine can do.

kubectl = Kubectl(environ)
pods = kubectl.json("get", "pods", "--namespace", "search")["items"]
eventually(lambda: …, "the node is seen to be gone")
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "cluster" / "cluster"
EVENTUALLY_SECONDS = 180
START_SECONDS = 900
LINES, LINE = 60, 240
OURS = "--selector=app.kubernetes.io/part-of=slipway"


class Refused(Exception):
    """A command failed, or did not end in time; the message is what it printed."""


def run(*command: str, environ: Mapping[str, str], given: str | None = None, seconds: float = 300) -> str:
    """What a command printed on stdout. Raises Refused."""
    said = f"{' '.join(command)[:300]}: "
    try:
        done = subprocess.run(
            command, env=dict(environ), input=given, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise Refused(f"{said}no end after {seconds:g} s: {late.stderr!r} {late.stdout!r}") from None
    if done.returncode:
        raise Refused(f"{said}{done.stderr}{done.stdout}")
    return done.stdout


class Kubectl:
    """kubectl with the environment that names the cluster, in a namespace where one is given."""

    def __init__(self, environ: Mapping[str, str], namespace: str = "") -> None:
        self.environ = environ
        self._where = ("--namespace", namespace) if namespace else ()

    def __call__(self, *arguments: str, input: str | None = None) -> str:
        """What the command printed. Raises Refused."""
        if "--" in arguments:  # what follows is another program's
            cut = arguments.index("--")
            arguments, rest = arguments[:cut], arguments[cut:]
        else:
            rest = ()
        return run("kubectl", *arguments, *self._where, *rest, environ=self.environ, given=input)

    def json(self, *arguments: str) -> Any:
        """The same as JSON, parsed."""
        return json.loads(self(*arguments, "--output=json"))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Make or change objects."""
        self("apply", "--filename=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def within(self, namespace: str) -> Kubectl:
        """The same in a namespace."""
        return Kubectl(self.environ, namespace)


def eventually(condition: Callable[[], object], what: str, seconds: float = EVENTUALLY_SECONDS) -> None:
    """Wait until a condition holds. Raises AssertionError where it does not within so long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.5)


def account(kubectl: Kubectl) -> str:
    """How a namespace looks now, for the report of a test that failed there."""
    looks = (
        ("get", "pods,jobs", "--output=wide"),
        ("get", "events", "--sort-by=.metadata.creationTimestamp"),
        ("logs", OURS, "--all-containers", "--prefix", "--ignore-errors", "--max-log-requests=30", "--tail=8"),
    )
    return "\n\n".join(_last_lines(kubectl, look) for look in looks)


def _last_lines(kubectl: Kubectl, look: tuple[str, ...]) -> str:
    try:
        return "\n".join(line[:LINE] for line in kubectl(*look).splitlines()[-LINES:])
    except Refused as refused:
        return str(refused)


class Local:
    """The cluster that tests/cluster/cluster started: what it can do to nodes and volumes. `node` is a node's name."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __call__(self, *arguments: str) -> str:
        """Run the script. Raises Refused."""
        return run(str(SCRIPT), *arguments, environ=self._environ, seconds=START_SECONDS).strip()

    @cached_property
    def environ(self) -> Mapping[str, str]:
        """The environment that reaches the cluster, with its kubectl."""
        exports = dict(word.split("=", 1) for word in shlex.split(self("env")) if "=" in word)
        return {**self._environ, **exports, "PATH": exports["PATH"].replace("$PATH", self._environ["PATH"])}

    def volume(self, name: str) -> str:
        """Path of a folder that every node mounts and every pod may write to."""
        return self("volume", name)

    def kill(self, node: str, container: str) -> None:
        """SIGKILL the first process of a container, by its id as its pod's status has it."""
        self("kill", number(node), container.rpartition("/")[2])

    @contextmanager
    def cut(self, node: str) -> Iterator[None]:
        """Cut a node off the network; its pods live on, unseen. Afterwards it is connected again."""
        self("cut", number(node))
        try:
            yield
        finally:
            self("heal", number(node))

    @contextmanager
    def volume_cut(self, node: str) -> Iterator[None]:
        """Cut a node off the file server, and of nothing else."""
        self("volume-cut", number(node))
        try:
            yield
        finally:
            self("volume-heal", number(node))

    @contextmanager
    def volume_stopped(self) -> Iterator[None]:
        """Stop the file server."""
        self("volume-stop")
        try:
            yield
        finally:
            self("volume-start")


def number(node: str) -> str:
    """What the script calls a node."""
    return node.removeprefix("node")
