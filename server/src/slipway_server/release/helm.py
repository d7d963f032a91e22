# SPDX-License-Identifier: Apache-2.0
"""Helm, 3 or 4, as a command: what it knows of a release, and the words that change it.

    helm = Helm("answers", "search", chart="deploy/helm/slipway")
    helm.values()["variants"]
    helm.apply(helm.upgrade(["--set", "variants.candidate.weight=0"]))

Helm finds its cluster as always: KUBECONFIG, HELM_KUBECONTEXT and the like are passed on.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from slipway_server.errors import HelmFailed
from slipway_server.release.state import Revision, State

QUERY_SECONDS = 120.0
HISTORY_LENGTH = 50
REASON_LENGTH = 800
HINT = "Use --debug"
PREFIX = r"^Error: (?:[A-Z ]+: )?(?:execution error at \(\S+\): )?"
"""What Helm puts before the reason: that it failed, and where the template is."""
LIVE = "deployed"
"""Helm's word for the revision that is live."""


class Helm:
    """One release. `namespace`: that of Helm's context where empty. `timeout`: of a change, as Helm writes it."""

    def __init__(
        self, release: str, namespace: str = "", *, chart: str = "", timeout: str = "10m", program: str = "helm"
    ) -> None:
        self.release = release
        self.namespace = namespace
        self._chart = chart
        self._timeout = timeout
        self._program = program

    # ---- what it knows

    def values(self, revision: int | None = None) -> dict[str, Any]:
        """The values that were given, live or at a revision. Raises HelmFailed, also where there is no such release."""
        at = str(self.live() if revision is None else revision)
        found: dict[str, Any] | None = self._asked_json("get", "values", self.release, "--revision", at)
        return found or {}

    def history(self) -> list[Revision]:
        """Revisions that were live at some time, newest first. Raises HelmFailed."""
        live = [(number, status) for number, status in self._listed() if status in (LIVE, "superseded")]
        return [Revision(number, status == LIVE) for number, status in live]

    def live(self) -> int:
        """The revision that the next upgrade begins from: the live one, past those that failed after it; the newest
        where none ever was. Raises HelmFailed."""
        listed = self._listed()
        return next((number for number, status in listed if status == LIVE), listed[0][0])

    def newest(self) -> int:
        """The last revision that was tried. Raises HelmFailed."""
        return self._listed()[0][0]

    def state(self, revision: int | None = None) -> State:
        """Which artifacts it serves. Raises HelmFailed."""
        return State.of(self.values(revision))

    def manifest(self, revision: int | None = None) -> str:
        """The objects that it consists of, as YAML. Raises HelmFailed."""
        at = str(self.live() if revision is None else revision)
        return self._ask("get", "manifest", self.release, "--revision", at)

    def tried(self, words: Sequence[str]) -> str:
        """The objects that it would consist of after an upgrade, as the API server's version has them rendered."""
        given = [word for word in words[1:] if word != "--wait"]
        return str(self._json([*given, "--dry-run=server"])["manifest"])

    # ---- words that change it

    def upgrade(self, options: Sequence[str], *, hooks: bool = True, wait: bool = True) -> list[str]:
        """`helm upgrade` on top of the values that were given before."""
        more = [*(["--wait", "--timeout", self._timeout] if wait else ()), *(() if hooks else ["--no-hooks"])]
        return [
            self._program,
            "upgrade",
            self.release,
            self._chart,
            *self._where,
            "--reset-then-reuse-values",
            *more,
            *options,
        ]

    def rollback(self, revision: int) -> list[str]:
        """`helm rollback`."""
        return [
            self._program,
            "rollback",
            self.release,
            str(revision),
            *self._where,
            "--wait",
            "--timeout",
            self._timeout,
        ]

    def apply(self, words: Sequence[str]) -> None:
        """Run such words; what Helm prints goes to standard error, as it comes. Raises HelmFailed."""
        self._there()
        heard: list[str] = []
        with subprocess.Popen(list(words), stdout=sys.stderr.fileno(), stderr=subprocess.PIPE, text=True) as helm:
            assert helm.stderr
            for line in helm.stderr:
                heard.append(line)
                sys.stderr.write(line)
                sys.stderr.flush()
        if helm.returncode:
            raise HelmFailed(f"helm {words[1]} failed, its own words are above: {reason(''.join(heard))}")

    # ----

    def _listed(self) -> list[tuple[int, str]]:
        """Revision and status, newest first."""
        listed = self._asked_json("history", self.release, "--max", str(HISTORY_LENGTH))
        if not listed:
            raise HelmFailed(f"helm history: {self.release} has no revisions")
        return [(int(one["revision"]), str(one["status"])) for one in reversed(listed)]

    @property
    def _where(self) -> list[str]:
        return ["--namespace", self.namespace] if self.namespace else []

    def _ask(self, *words: str) -> str:
        return self._run([*words, *self._where])

    def _asked_json(self, *words: str) -> Any:
        return self._json([*words, *self._where])

    def _json(self, words: Sequence[str]) -> Any:
        try:
            return json.loads(self._run([*words, "--output", "json"]))
        except json.JSONDecodeError:
            raise HelmFailed(
                f"helm {words[0]}: its answer is no JSON; is {self._program} Helm 3.14 or newer?"
            ) from None

    def _run(self, words: Sequence[str]) -> str:
        self._there()
        try:
            done = subprocess.run(
                [self._program, *words], capture_output=True, text=True, timeout=QUERY_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise HelmFailed(f"helm {words[0]} does not answer within {QUERY_SECONDS:g} s") from None
        if done.returncode:
            raise HelmFailed(f"helm {words[0]}: {reason(done.stderr)}")
        return done.stdout

    def _there(self) -> None:
        if shutil.which(self._program) is None:
            raise HelmFailed(f"there is no command {self._program}: install Helm 3.14 or newer, or name it with --helm")


def reason(printed: str) -> str:
    """Why Helm failed, in one line of what it printed: what the schema says of each value, or a guard's sentence."""
    lines = [line.strip() for line in printed.splitlines() if line.strip() and not line.startswith(HINT)]
    values = [line.removeprefix("- ") for line in lines if line.startswith("- at ")]
    last = lines[-1] if lines else "no reason given"
    return ("; ".join(values) or re.sub(PREFIX, "", last))[:REASON_LENGTH]
