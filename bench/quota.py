# SPDX-License-Identifier: Apache-2.0
"""How well pods share one provider key: real processes, real HTTP, the provider's own ledger as the judge.

    python bench/quota.py                                  # twelve cells of a minute each, a table and a plot
    python bench/quota.py --cells four-even,four-even-dspy --seconds 60
    python bench/quota.py --list

The provider allows 900 requests a minute and answers after 0.4 s. Load is Poisson, as a multiple of that limit: "even"
1.5 on all pods alike, "skew" 1.5 with 60 % of it on one pod, "under" 0.95, "churn" 1.5 with pods joining and leaving
(4, then 8, then 2; the others learn of it 7 s later), "classes" 0.3 interactive under 1.2 of batch. Buckets of 6 s or
60 s start 40 % full; "charged": rejected requests count against the quota. The first quarter of the time is warm-up and
is not counted.

quota used   answers admitted by the provider, of those that its bucket could have admitted in the time
429          share of the requests that reached the provider and were refused by it
attempts     requests that reached the provider per admitted one
waits        time that a call took beyond the LM's 0.4 s; interactive calls where there are classes
lost         calls that ended neither with an answer nor with a refusal that says when to come back
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway_server.simulate import Behaviour, Entry, Provider, SimulatorConfig

RPM = 900.0
RATE = RPM / 60
LATENCY_SECONDS = 0.4
CHURN = ((0.0, 4), (0.45, 8), (0.75, 2))
"""Pods from each part of the time on."""
PLOT = Path(__file__).parents[1] / "docs" / "img" / "quota.png"


@dataclass(frozen=True)
class Cell:
    """One experiment."""

    name: str
    pods: int
    load: str
    burst_seconds: float = 6.0
    charged: bool = False
    client: str = "slipway"


CELLS = (
    Cell("one-even", 1, "even"),
    Cell("four-even", 4, "even"),
    Cell("four-skew", 4, "skew"),
    Cell("four-under", 4, "under"),
    Cell("four-churn", 4, "churn"),
    Cell("eight-even-60s", 8, "even", burst_seconds=60),
    Cell("eight-skew-charged", 8, "skew", charged=True),
    Cell("eight-classes-60s", 8, "classes", burst_seconds=60),
    Cell("four-even-dspy", 4, "even", client="dspy"),
    Cell("four-charged-tenacity", 4, "even", charged=True, client="tenacity"),
    Cell("four-skew-aiolimiter", 4, "skew", client="aiolimiter"),
    Cell("four-even-aws", 4, "even", client="aws-adaptive"),
)


@dataclass(frozen=True)
class Figures:
    """What one cell gave."""

    cell: Cell
    used: float
    limited: float
    attempts: float
    answered: int
    refused: int
    lost: int
    p50_seconds: float
    p95_seconds: float


def plans(cell: Cell, base_url: str, seconds: float) -> list[dict[str, Any]]:
    """One plan per pod."""
    common = {
        "client": cell.client,
        "base_url": base_url,
        "rpm": RPM,
        "burst_seconds": cell.burst_seconds,
        "pods": cell.pods,
        "peers": [(part * seconds, count) for part, count in CHURN] if cell.load == "churn" else [],
    }
    lives = _lives(seconds) if cell.load == "churn" else [(0.0, seconds)] * cell.pods
    return [
        {**common, "seed": pod, "joins": joins, "leaves": leaves, "rates": _rates(cell, pod)}
        for pod, (joins, leaves) in enumerate(lives)
    ]


def _lives(seconds: float) -> list[tuple[float, float]]:
    """(joins, leaves) of each pod so that CHURN's numbers are alive."""
    most = max(count for _, count in CHURN)
    edges = [*(part * seconds for part, _ in CHURN), seconds]
    lives: list[tuple[float, float]] = []
    for pod in range(most):
        alive = [index for index, (_, count) in enumerate(CHURN) if pod < count]
        lives.append((edges[alive[0]], edges[alive[-1] + 1]))
    return lives


def _rates(cell: Cell, pod: int) -> dict[str, float]:
    if cell.load == "classes":
        return {"interactive": 0.3 * RATE / cell.pods, "batch": 1.2 * RATE / cell.pods}
    offered = {"under": 0.95}.get(cell.load, 1.5) * RATE
    if cell.load == "skew":
        return {"interactive": offered * (0.6 if pod == 0 else 0.4 / (cell.pods - 1))}
    return {"interactive": offered / cell.pods}


async def run(cell: Cell, seconds: float) -> Figures:
    """Start the provider and the pods, let them work, judge by ledger and reports."""
    behaviour = Behaviour(
        rpm=RPM,
        burst_seconds=cell.burst_seconds,
        rejects_charged=cell.charged,
        initial_fill=0.4,
        latency_seconds=LATENCY_SECONDS,
        answer="text",
        text="Paris.",
    )
    async with Provider(SimulatorConfig(behaviour=behaviour)) as provider:
        pods = [await _start(plan) for plan in plans(cell, provider.base_url, seconds)]
        try:
            await asyncio.gather(*(_ready(pod) for pod in pods))
            start = provider.state.now()
            outputs = await asyncio.gather(*(pod.communicate(b"go\n") for pod in pods))
        finally:
            for pod in pods:
                if pod.returncode is None:
                    pod.kill()
        results = [row for output, _ in outputs for row in json.loads(output)]
        if problems := Counter(row[2] for row in results if row[2].startswith("failed")):
            print(f"{cell.name}: {dict(problems.most_common(3))}", file=sys.stderr)
        window = (start + seconds / 4, start + seconds)
        return _judge(cell, list(provider.ledger.entries), window, results, seconds)


async def _start(plan: dict[str, Any]) -> asyncio.subprocess.Process:
    pod = Path(__file__).with_name("quota_pod.py")
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, str(pod), json.dumps(plan), stdin=pipe, stdout=pipe, limit=2**26
    )


async def _ready(pod: asyncio.subprocess.Process) -> None:
    assert pod.stdout is not None
    if await pod.stdout.readline() != b"ready\n":
        raise SystemExit("a pod did not start; its message is above")


def _judge(
    cell: Cell, entries: Sequence[Entry], window: tuple[float, float], results: list[list[Any]], seconds: float
) -> Figures:
    begin, end = window
    seen = [entry for entry in entries if begin <= entry.arrived_seconds < end]
    limited = sum(entry.status == 429 for entry in seen)
    admitted = len(seen) - limited
    possible = RATE * (end - begin) + _left(entries, begin, cell) - _left(entries, end, cell)
    counted = [row for row in results if row[0] >= seconds / 4]
    answered = [row for row in counted if row[2] == "answered"]
    refused = sum(row[2] == "refused" for row in counted)
    waits = sorted(max(0.0, row[3] - LATENCY_SECONDS) for row in answered if row[1] == "interactive") or [0.0]
    return Figures(
        cell=cell,
        used=admitted / possible,
        limited=limited / max(1, len(seen)),
        attempts=len(seen) / max(1, admitted),
        answered=len(answered),
        refused=refused,
        lost=len(counted) - len(answered) - refused,
        p50_seconds=waits[len(waits) // 2],
        p95_seconds=waits[int(len(waits) * 0.95)],
    )


def _left(entries: Sequence[Entry], at: float, cell: Cell) -> float:
    """Requests left in the bucket at a time, from the last entry before it."""
    before = [entry for entry in entries if entry.arrived_seconds < at and entry.remaining_requests is not None]
    if not before:
        return 0.0
    last = before[-1]
    left = (last.remaining_requests or 0.0) + (at - last.arrived_seconds) * RATE
    return min(left, RATE * cell.burst_seconds)


COLUMNS = (
    ("cell", lambda f: f.cell.name),
    ("client", lambda f: f.cell.client),
    ("pods", lambda f: str(f.cell.pods)),
    ("load", lambda f: f.cell.load),
    ("bucket", lambda f: f"{f.cell.burst_seconds:.0f} s{', charged' if f.cell.charged else ''}"),
    ("quota used", lambda f: f"{f.used:.1%}"),
    ("429", lambda f: f"{f.limited:.1%}"),
    ("attempts", lambda f: f"{f.attempts:.2f}"),
    ("answered", lambda f: str(f.answered)),
    ("refused", lambda f: str(f.refused)),
    ("lost", lambda f: str(f.lost)),
    ("wait p50", lambda f: f"{f.p50_seconds:.2f} s"),
    ("wait p95", lambda f: f"{f.p95_seconds:.2f} s"),
)


def line(texts: Sequence[str]) -> str:
    """One line of the table."""
    return f"| {' | '.join(texts)} |"


def plot(found: Sequence[Figures], path: Path) -> None:
    """Bars: quota used and share of 429s, cell by cell."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = [figures.cell.name for figures in found]
    colours = ["#2b6cb0" if figures.cell.client == "slipway" else "#a0aec0" for figures in found]
    figure, axes = plt.subplots(1, 2, figsize=(11, 0.4 * len(found) + 1.5), sharey=True)
    values = ([100 * f.used for f in found], [100 * f.limited for f in found])
    for axis, numbers, title in zip(axes, values, ("quota used, %", "answered with 429, %"), strict=True):
        bars = axis.barh(names, numbers, color=colours)
        axis.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        axis.set_xlim(0, 115)
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.suptitle(f"One key of {RPM:.0f} requests a minute (blue: Slipway)", fontsize=11)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run the cells that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default=",".join(cell.name for cell in CELLS), help="names, comma-separated")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a cell, warm-up included")
    parser.add_argument("--plot", type=Path, default=None, help=f"PNG to write; {PLOT.name} for all cells")
    parser.add_argument("--list", action="store_true", help="list the cells and stop")
    options = parser.parse_args()
    if options.list:
        print("\n".join(str(cell) for cell in CELLS))
        return
    known = {cell.name: cell for cell in CELLS}
    wanted = [name.strip() for name in options.cells.split(",")]
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"{unknown[0]}: no such cell; --list lists them")
    print(line([title for title, _ in COLUMNS]), line(["---"] * len(COLUMNS)), sep="\n", flush=True)
    found: list[Figures] = []
    for name in wanted:
        found.append(asyncio.run(run(known[name], options.seconds)))
        print(line([show(found[-1]) for _, show in COLUMNS]), flush=True)
    path = options.plot or (PLOT if len(wanted) == len(CELLS) else None)
    if path:
        plot(found, path)


if __name__ == "__main__":
    main()
