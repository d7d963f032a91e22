# SPDX-License-Identifier: Apache-2.0
"""The provider's quota from its replies' headers: OpenAI's style (also Groq, Azure, gateways) and Anthropic's.

    levels_of(response.headers, wall_seconds=time.time())["requests"].remaining

Values that make no sense are left out; a reply without such headers gives an empty mapping.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime
from email.utils import parsedate_to_datetime

from slipway_server.lm.pacing.types import Level, Levels

_NAMES = {
    **{
        f"x-ratelimit-{field}-{unit}": (unit, field)
        for field in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens")
    },
    **{
        f"anthropic-ratelimit-{unit}-{field}": (unit.replace("-", "_"), field)
        for field in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens", "input-tokens", "output-tokens")
    },
}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNIT_SECONDS = (86400.0, 3600.0, 60.0, 1.0, 0.001)


def levels_of(headers: Iterable[tuple[str, str]], wall_seconds: float) -> Levels:
    """Levels by dimension. `wall_seconds`: the time of day, for resets that are given as such."""
    found: dict[str, dict[str, str]] = {}
    date = ""
    for name, value in headers:
        lowered = name.lower()
        known = _NAMES.get(lowered)
        if known is not None:
            found.setdefault(known[0], {})[known[1]] = value
        elif lowered == "date":
            date = value
    levels = {}
    for unit, fields in found.items():
        remaining = _number(fields.get("remaining"))
        if remaining is not None:
            reset = _reset(fields.get("reset"), date, wall_seconds)
            limit = _number(fields.get("limit"))
            # With less than one a minute a call would wait for hours.
            levels[unit] = Level(remaining, limit if limit is not None and limit >= 1.0 else None, reset)
    return levels


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _reset(text: str | None, date: str, wall_seconds: float) -> float | None:
    """Seconds from "1s", "6m0s", "12ms", "7.66" or a time of day, by the provider's own clock where it is sent."""
    if not text:
        return None
    if text[-1] in "smhd":
        return _duration(text)
    plain = _number(text)
    if plain is not None:
        # Some gateways give the time as Unix seconds.
        return plain if plain < 1e9 else max(0.0, plain - wall_seconds)
    try:
        now = parsedate_to_datetime(date).timestamp() if date else wall_seconds
        return max(0.0, datetime.fromisoformat(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _duration(text: str) -> float | None:
    # Nearly every reply has one of these two; the expression costs ten times as much.
    simple = _number(text[:-2]) if text.endswith("ms") else _number(text[:-1]) if text.endswith("s") else None
    if simple is not None:
        return simple * 0.001 if text.endswith("ms") else simple
    matched = _DURATION.fullmatch(text)
    if matched is None:
        return None
    return sum(float(part) * unit for part, unit in zip(matched.groups(), _UNIT_SECONDS, strict=True) if part)
