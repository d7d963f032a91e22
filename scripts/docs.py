# SPDX-License-Identifier: Apache-2.0
"""Writes docs/errors.md and docs/metrics.md from the code. `scripts/docs.py verify` fails where they are stale."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from slipway_server import errors
from slipway_server.telemetry import metrics

DOCS = Path(__file__).parents[1] / "docs"
GENERATED = "<!-- Generated from {source} by `make generate`; change it there. -->"

ERRORS_HEAD = """# Errors

Look up the reason of your error in the tables below: they say what it means and whether a retry can help. Every call
that a server fails carries a `google.rpc.Status` in the trailer `grpc-status-details-bin`, with:

- `ErrorInfo`, always: the reason, the domain `slipway`, and the variable parts of the message;
- `RetryInfo`, if the server knows when another try may succeed;
- `QuotaFailure` if something is overloaded, `BadRequest` if a field of the request is at fault.

The message is one line: the cause and the remedy. Exception texts stay in the server's log, under the request id, which
every call gets back in the trailer `x-request-id`.

Errors that gRPC itself raises have no `ErrorInfo`: a deadline that passes in the client, a connection that cannot be
made, a request above the [hard limit](client.md#from-any-other-language).

*Retry* says what gRPC's own retries do if they are configured as in [the client](client.md): **yes** (after the time in
the trailer `grpc-retry-pushback-ms`, if there is one) or **no** (the trailer says -1). They do not retry if the wait
would outlast the caller's deadline either. On the command line, an error is one line and exit code 2.
"""

METRICS_HEAD = """# Metrics

Every server exposes these metrics for Prometheus at `/metrics` on `SLIPWAY_METRICS_PORT` (9090). Label values come from
the configuration and the contract, never from a request. A histogram has `_bucket`, `_sum` and `_count` series.

For which metric answers which question, see [the governor](governor.md#which-metric-says-what) for LM calls and
[the cache](cache.md#for-on-call). The alerts and their runbook are in [operations](operations.md#alerts).
"""


def errors_page() -> str:
    parts = [GENERATED.format(source="server/src/slipway_server/errors.py"), "", ERRORS_HEAD]
    for family in errors.SlipwayError.__subclasses__():
        rows = [
            (f"`{cls.reason}`", f"`{cls.code}`", "yes" if cls.retryable else "no", cls.meaning)
            for cls in errors.catalogue()
            if issubclass(cls, family)
        ]
        parts += [f"## {_words(family.__name__)}", "", str(family.__doc__), ""]
        parts += [*_table(("Reason", "Code", "Retry", "Meaning"), rows), ""]
    return "\n".join(parts).rstrip() + "\n"


def metrics_page() -> str:
    parts = [GENERATED.format(source="server/src/slipway_server/telemetry/metrics.py"), "", METRICS_HEAD]
    for room, found in _rooms():
        rows = [_metric_row(metric) for metric in found]
        parts += [
            f"## {'LM' if room == 'lm' else room.capitalize()}",
            "",
            *_table(("Metric", "Type", "Labels", "Meaning"), rows),
            "",
        ]
    return "\n".join(parts).rstrip() + "\n"


def _rooms() -> Iterator[tuple[str, list[MetricWrapperBase]]]:
    """The sections of telemetry/metrics.py, with the metrics that each defines."""
    _, *sections = re.split(r"^# ---- (.+)$", Path(str(metrics.__file__)).read_text(), flags=re.MULTILINE)
    for room, text in zip(sections[::2], sections[1::2], strict=True):
        names = re.findall(r"^([A-Z][A-Z0-9_]*) = ", text, re.MULTILINE)
        values = [getattr(metrics, name) for name in names]
        yield room.strip(), [value for value in values if isinstance(value, MetricWrapperBase)]


def _metric_row(metric: MetricWrapperBase) -> tuple[str, ...]:
    # The library has no public way to read the labels of a metric that has no samples yet.
    name = metric._name + ("_total" if metric._type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"`{name}`", metric._type, labels, metric._documentation


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _words(name: str) -> str:
    """CallerError → Caller errors."""
    return re.sub(r"(?<=[a-z])([A-Z])", lambda match: f" {match[1].lower()}", name) + "s"


def main(action: str) -> int:
    stale = 0
    for name, text in (("errors.md", errors_page()), ("metrics.md", metrics_page())):
        path = DOCS / name
        if action == "generate":
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            print(f"docs/{name} is not what the code gives: run 'make generate'", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "generate"))
