# SPDX-License-Identifier: Apache-2.0
"""What evaluations and compilations print: JSON values and tables."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from slipway_server.evaluation import Comparison, Evaluation, Interval, Outcome
from slipway_server.improve.compile import Compilation


def evaluation_values(evaluation: Evaluation) -> dict[str, Any]:
    """As JSON values. Floats are exact: they read back as the same number. Means are per example."""
    return {
        "metric": evaluation.metric,
        "score": evaluation.score,
        "interval": list(evaluation.interval),
        "n": evaluation.n,
        "parse_errors": evaluation.count(Outcome.PARSE_ERROR),
        "infrastructure_errors": evaluation.count(Outcome.INFRASTRUCTURE_ERROR),
        "lm_calls": evaluation.lm_calls,
        "prompt_tokens": evaluation.prompt_tokens,
        "completion_tokens": evaluation.completion_tokens,
        "cost_usd": evaluation.cost_usd,
        "latency_seconds": {"p50": evaluation.latency_seconds(0.5), "p95": evaluation.latency_seconds(0.95)},
    }


def compilation_values(done: Compilation) -> dict[str, Any]:
    """A compilation as JSON values."""
    difference = done.comparison
    return {
        "artifact": str(done.path),
        "digest": done.manifest.digest,
        "optimizer": done.manifest.optimizer.model_dump(mode="json"),
        "program_runs": done.runs,
        "failed_runs": done.failed_runs,
        "uncompiled": evaluation_values(done.uncompiled),
        "compiled": evaluation_values(done.compiled),
        "difference": {
            "score": difference.difference,
            "interval": list(difference.interval),
            "p": difference.p,
            "n": difference.n,
            "better": difference.better,
            "worse": difference.worse,
        },
    }


def evaluation_table(evaluation: Evaluation, title: str) -> Table:
    """One program's figures."""
    table = Table("", title, box=None, header_style="bold")
    for label, value in _rows(evaluation):
        table.add_row(label, value)
    return table


def comparison_table(done: Compilation) -> Table:
    """Uncompiled and compiled side by side."""
    table = Table("", "uncompiled", "compiled", box=None, header_style="bold")
    for (label, before), (_, after) in zip(_rows(done.uncompiled), _rows(done.compiled), strict=True):
        table.add_row(label, before, after)
    return table


def difference_line(comparison: Comparison) -> str:
    """The paired difference in words."""
    p = "p < 0.001" if comparison.p < 0.001 else f"p = {comparison.p:.3f}"
    return (
        f"difference {comparison.difference:+.3f} {_range(comparison.interval, '+.3f')}, {p}: "
        f"{comparison.better} better and {comparison.worse} worse of {comparison.n}"
    )


def _rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    parse_errors = evaluation.count(Outcome.PARSE_ERROR)
    left_out = evaluation.count(Outcome.INFRASTRUCTURE_ERROR)
    counted = f"{evaluation.n}" + (f" ({left_out} left out: infrastructure errors)" if left_out else "")
    median, tail = evaluation.latency_seconds(0.5), evaluation.latency_seconds(0.95)
    cost = evaluation.cost_usd
    return [
        (evaluation.metric, f"{evaluation.score:.3f} {_range(evaluation.interval)}"),
        ("examples", counted),
        ("parse errors", str(parse_errors)),
        ("LM calls", f"{evaluation.lm_calls:.1f}"),
        ("prompt tokens", f"{evaluation.prompt_tokens:,.0f}"),
        ("cost of 1,000", "not known" if cost is None else f"${1000 * cost:,.2f}"),
        ("latency p50, p95", f"{_time(median)}, {_time(tail)}"),
    ]


def _range(interval: Interval, form: str = ".3f") -> str:
    return f"({interval.low:{form}} to {interval.high:{form}})"


def _time(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms" if seconds < 10 else f"{seconds:,.1f} s"
