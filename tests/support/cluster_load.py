# SPDX-License-Identifier: Apache-2.0
"""Callers in pods of a cluster, and what they report.

    callers = Callers(kubectl, "search", image)
    run = callers.start("load", target="answers-slipway-headless:50051", callers=50)     # the fields of caller.Plan
    …change something…
    report = run.stop()
    assert not report.failed

`kubectl` is called with the arguments of the command, and `input=…` for what it reads; it returns what was printed.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

SCRIPT = Path(__file__).parents[1] / "cluster" / "caller.py"
START_SECONDS = 120
END_SECONDS = 120

Kubectl = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its caller saw it. In the order of a row of caller.py; times in seconds since the epoch."""

    started: float
    ended: float
    attempts: int
    code: str
    reason: str
    digest: str
    variant: str
    server: str
    cache: str
    key: str
    question: str
    answer: str

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started


@dataclass(frozen=True, repr=False)
class Report:
    """Every call of one run, in the order of their ends."""

    calls: Sequence[Call]

    @property
    def failed(self) -> list[Call]:
        """The calls without an answer."""
        return [call for call in self.calls if call.code != "OK"]

    def count(self, field: str) -> Counter[str]:
        """Calls by one of their fields, such as `server` or `code`."""
        return Counter(getattr(call, field) for call in self.calls)

    def within(self, start: float, end: float) -> Report:
        """The calls that began in [start, end)."""
        return Report([call for call in self.calls if start <= call.started < end])

    def under_way(self, at: float) -> Report:
        """The calls that had begun and not ended at a moment."""
        return Report([call for call in self.calls if call.started <= at <= call.ended])

    def percentile_seconds(self, share: float) -> float:
        """The duration that this share (0 to 1) of the answered calls did not exceed."""
        times = sorted(call.seconds for call in self.calls if call.code == "OK")
        return times[min(len(times) - 1, int(share * len(times)))]

    def __repr__(self) -> str:
        """What there was, for the message of a failed test."""
        first = [f"{call.code} {call.reason} {call.started:.2f}-{call.ended:.2f}" for call in self.failed[:8]]
        return f"{len(self.calls)} calls, {dict(self.count('code'))}, by server {dict(self.count('server'))} {first}"


def joined(reports: Iterable[Report]) -> Report:
    """Several reports as one."""
    return Report(sorted((call for report in reports for call in report.calls), key=lambda call: call.ended))


def parse(printed: str) -> Report:
    """What caller.py printed. Raises AssertionError where it is not whole."""
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    strings = [text for line in lines for text in line.get("strings", ())]
    rows = [row for line in lines for row in line.get("rows", ())]
    assert [line["done"] for line in lines if "done" in line] == [len(rows)], f"an incomplete report: {printed[:500]}"
    return Report([Call(*row[:3], *(strings[index] for index in row[3:])) for row in rows])


class Run:
    """One pod of callers."""

    def __init__(self, kubectl: Kubectl, namespace: str, pod: str) -> None:
        self._kubectl = kubectl
        self._where = ("--namespace", namespace)
        self.pod = pod

    def running(self) -> Run:
        """Wait until every caller has had its first result."""
        deadline = time.monotonic() + START_SECONDS
        while '{"running":true}' not in self._logs():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{self.pod} is not running: {self._kubectl('describe', 'pod', self.pod, *self._where)}"
                )
            time.sleep(0.5)
        return self

    def stop(self) -> Report:
        """No further calls, and the report."""
        self._kubectl("exec", self.pod, *self._where, "--", "sh", "-c", "kill -TERM 1")
        return self.report()

    def report(self, seconds: float = END_SECONDS) -> Report:
        """The report of callers that end by themselves within so long."""
        ended = "--for=jsonpath={.status.phase}=Succeeded"
        self._kubectl("wait", f"pod/{self.pod}", ended, f"--timeout={seconds:.0f}s", *self._where)
        found = parse(self._logs())
        self._kubectl("delete", "pod", self.pod, "--now", "--wait=false", *self._where)
        return found

    def _logs(self) -> str:
        try:
            return self._kubectl("logs", self.pod, *self._where)
        except Exception:
            return ""  # not started yet


class Callers:
    """Starts pods of callers in a namespace, with the image that is tested."""

    def __init__(self, kubectl: Kubectl, namespace: str, image: str) -> None:
        self._kubectl, self._namespace, self._image = kubectl, namespace, image
        script = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "caller", "namespace": namespace},
            "data": {"caller.py": SCRIPT.read_text("utf-8")},
        }
        kubectl("apply", "-f", "-", input=json.dumps(script))

    def start(self, name: str, *, node: str = "", **plan: Any) -> Run:
        """Start a pod; `plan` are the fields of caller.Plan, `node` the name of the node that it must run on."""
        pod = caller_pod(name, self._namespace, self._image, plan, node)
        self._kubectl("apply", "-f", "-", input=json.dumps(pod))
        return Run(self._kubectl, self._namespace, name)


def caller_pod(name: str, namespace: str, image: str, plan: dict[str, Any], node: str = "") -> dict[str, Any]:
    """A pod that runs caller.py, within the restricted Pod Security Standard."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "caller"}},
        "spec": restricted(
            {
                "name": "caller",
                "image": image,
                "imagePullPolicy": "Never",
                "command": ["python3", "/caller/caller.py", json.dumps(plan)],
                "volumeMounts": [{"name": "caller", "mountPath": "/caller"}],
            },
            volumes=[{"name": "caller", "configMap": {"name": "caller"}}],
            restartPolicy="Never",
            terminationGracePeriodSeconds=1,
            **({"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}),
        ),
    }


def restricted(container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """The spec of a pod with one container that a namespace with the restricted standard admits."""
    own = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    security = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    rest = {"automountServiceAccountToken": False, "enableServiceLinks": False, "securityContext": security}
    return cast(dict[str, Any], {"containers": [container | {"securityContext": own}], **rest, **spec})
