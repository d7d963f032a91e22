# SPDX-License-Identifier: Apache-2.0
"""The loop's newest figures as metrics of every server: a CronJob's own metrics are gone before they are scraped.

show_quality(Path("…/loop"), now=time.time())
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from slipway_server.telemetry import metrics

LATEST = "latest.json"
VERDICTS = ("BASELINING", "HEALTHY", "WATCH", "DEGRADED", "INCONCLUSIVE", "JUDGE_MOVED")


def show_quality(loop: Path, now: float) -> None:
    """Set the gauges from the newest report; without one, or by one that is damaged, they stay as they are."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        _show(orjson.loads((loop / LATEST).read_bytes()), now)


def _show(found: dict[str, Any], now: float) -> None:
    for verdict in VERDICTS:
        metrics.QUALITY_VERDICT.labels(verdict).set(verdict == found.get("verdict"))
    for kind in ("score", "low", "high", "baseline"):
        if found.get(kind) is not None:
            metrics.QUALITY_SCORE.labels(kind).set(found[kind])
    metrics.QUALITY_CUSUM.set(found.get("cusum_ratio") or 0.0)
    metrics.QUALITY_AGE.set(max(0.0, now - found.get("time", now)))
