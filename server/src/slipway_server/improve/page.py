# SPDX-License-Identifier: Apache-2.0
"""A re-evaluation's report as one HTML page: no scripts, nothing loaded from anywhere, every user text escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import orjson

from slipway_server.improve.svg import Line, chart

BLUE, RED = "#345995", "#c0392b"
COLOURS = {
    "HEALTHY": "#2e7d32",
    "BASELINING": "#546e7a",
    "WATCH": "#b26a00",
    "DEGRADED": RED,
    "INCONCLUSIVE": "#546e7a",
    "JUDGE_MOVED": "#6a1b9a",
}
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:820px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.25em .6em .25em 0;vertical-align:top;border-bottom:1px solid #eee}
.verdict{display:inline-block;padding:.1em .6em;border-radius:.3em;color:#fff}
svg{width:100%;height:auto}svg text{font:10px system-ui,sans-serif;fill:#555}.grid{stroke:#eee}
.rule{stroke:#c0392b;stroke-dasharray:4 3}pre{white-space:pre-wrap;margin:0;font-size:13px}.dim{color:#666}
"""


def page(report: dict[str, Any]) -> str:
    """The page of a report (improve/findings.py)."""
    verdict = str(report["verdict"])
    body = [
        f"<h1>{escape(report['artifact'] or 'uncompiled program')} "
        f'<span class="verdict" style="background:{COLOURS.get(verdict, BLUE)}">{escape(verdict)}</span></h1>',
        f"<p>{escape(report['reason'])}</p>",
        _diagnosis(report["diagnosis"]),
        "<h2>Score of live answers</h2>",
        _scores(report),
        "<h2>Evidence of a drop (CUSUM)</h2>",
        _cusum(report),
        "<h2>Figures</h2>",
        _table(_figures(report)),
        "<h2>Windows</h2>",
        _windows(report["series"]),
        "<h2>Lowest scores of the newest window</h2>",
        _examples(report["examples"]),
    ]
    title = f"{verdict}: {report['artifact'] or 'uncompiled'}"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><body>{''.join(body)}</body></html>\n"
    )


def _diagnosis(found: dict[str, str] | None) -> str:
    if found is None:
        return ""
    return (
        f"<p><b>Likely cause: {escape(found['cause'])}.</b> {escape(found['words'])}. "
        f"<b>What to do:</b> {escape(found['remedy'])}.</p>"
    )


def _scores(report: dict[str, Any]) -> str:
    series = report["series"]
    rules = {"baseline": report["baseline"]["mean"]} if report["baseline"] else {}
    notes = [f"{point['window']}: {_number(point['mean'])} of {point['n']}" for point in series]
    band = ([point.get("low") for point in series], [point.get("high") for point in series])
    return chart(Line([point["mean"] for point in series], BLUE, band, notes=notes), _days(series), rules)


def _cusum(report: dict[str, Any]) -> str:
    series = report["series"]
    notes = [f"{point['window']}: {point['cusum']:.2f}, {point['verdict']}" for point in series]
    line = Line([point["cusum"] for point in series], RED, notes=notes)
    return chart(line, _days(series), {"threshold": report["threshold"]}, bottom=0.0)


def _figures(report: dict[str, Any]) -> Iterable[tuple[str, str]]:
    judge, baseline = report["judge"], report["baseline"]
    yield "run", report["time"]
    yield "artifact", report["digest"] or "none"
    yield "judge", f"{judge['metric']} by {judge['model']}, temperature {judge['temperature']}, {judge['digest'][:12]}"
    yield "preset", f"{report['preset']['name']}: {report['preset']['promise']}"
    if baseline:
        shown = f"{baseline['mean']:.3f} ± {1.96 * baseline['error']:.3f}"
        yield "baseline", f"{shown}, {baseline['n']} answers in {baseline['windows']} windows"
        yield "windows differ beyond chance by", f"{baseline['day_sd']:.3f} (standard deviation)"
    if report["guard"]:
        yield "judge's guard", report["guard"]["words"]
    if report["anchors"]:
        yield "replayed anchors", _compared(report["anchors"])
    if report["shadow"]:
        yield f"shadow {report['shadow']['digest'][:8]}", _compared(report["shadow"])
    recompile = report["recompile"]
    if recompile["wanted"]:
        yield "recompilation", recompile.get("reason", "wanted")


def _compared(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f}), p = {found['p']:.3f}, n = {found['n']}"


def _windows(series: list[dict[str, Any]]) -> str:
    rows = [
        f"<tr><td>{escape(p['window'])}<td>{_number(p['mean'])}<td>{p['n']}<td>{p['recorded']}<td>{p['cusum']:.1f}"
        f"<td>{escape(p['verdict'])}<td class=dim>{escape(p['reason'])}"
        for p in reversed(series[-60:])
    ]
    head = "<tr><th>window<th>score<th>judged<th>recorded<th>CUSUM<th>verdict<th>"
    return f"<table>{head}{''.join(rows)}</table>"


def _examples(examples: list[dict[str, Any]]) -> str:
    if not examples:
        return "<p class=dim>None.</p>"
    rows = [
        f"<tr><td>{item['score']:.2f}<td><pre>{_fields(item['inputs'])}</pre><td><pre>{_fields(item['outputs'])}</pre>"
        f"<div class=dim>{escape(item['request_id'])}</div>"
        for item in examples
    ]
    return f"<table><tr><th>score<th>asked<th>answered{''.join(rows)}</table>"


def _fields(values: dict[str, Any]) -> str:
    shown = (value if isinstance(value, str) else orjson.dumps(value).decode() for value in values.values())
    return "\n".join(f"{escape(name)}: {escape(text[:1000])}" for name, text in zip(values, shown, strict=True))


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><td>{escape(a)}<td>{escape(b)}" for a, b in rows) + "</table>"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _days(series: list[dict[str, Any]]) -> list[str]:
    return [str(point["window"])[5:] for point in series]
