# SPDX-License-Identifier: Apache-2.0
"""Small plots as SVG text, with nothing from outside: a report must open anywhere, for years.

chart(Line([0.8, 0.9], "#345995", band=([0.7, 0.8], [0.9, 1.0])), ["1 May", "2 May"], {"baseline": 0.85})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 210, 46, 12, 14, 26


@dataclass(frozen=True, slots=True)
class Line:
    """Values by position; None leaves a gap. `band`: lower and upper ends of intervals. `notes`: texts on hover."""

    values: Sequence[float | None]
    colour: str
    band: tuple[Sequence[float | None], Sequence[float | None]] | None = None
    dots: bool = True
    notes: Sequence[str] = ()


def chart(line: Line, labels: Sequence[str], rules: Mapping[str, float], *, bottom: float | None = None) -> str:
    """One line over labelled positions, with horizontal rules by name. `bottom`: where the scale begins."""
    known = [value for value in [*line.values, *rules.values()] if value is not None]
    if line.band:
        known += [value for ends in line.band for value in ends if value is not None]
    if not known:
        return "<p>Nothing was measured yet.</p>"
    low = min(known) if bottom is None else bottom
    high = max(max(known), low + 1e-9)
    pad = 0.06 * (high - low) or 0.05
    low, high = (low if bottom is not None else low - pad), high + pad

    def x(position: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (position + 0.5) / max(1, len(labels))

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [_scale(low, high, y)]
    if line.band:
        parts += [
            f'<line x1="{x(i):.1f}" x2="{x(i):.1f}" y1="{y(a):.1f}" y2="{y(b):.1f}" stroke="{line.colour}" '
            'stroke-opacity=".3" stroke-width="3"/>'
            for i, (a, b) in enumerate(zip(*line.band, strict=True))
            if a is not None and b is not None
        ]
    for name, value in rules.items():
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="rule"/>'
            f'<text x="{WIDTH - RIGHT}" y="{y(value) - 3:.1f}" text-anchor="end">{escape(name)}</text>'
        )
    points = [(x(i), y(value), i) for i, value in enumerate(line.values) if value is not None]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="1.5"/>')
    if line.dots:
        parts += [
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{line.colour}">'
            f"<title>{escape(line.notes[i] if i < len(line.notes) else labels[i])}</title></circle>"
            for px, py, i in points
        ]
    parts.append(_labels(labels, x))
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'


def _scale(low: float, high: float, y: Callable[[float], float]) -> str:
    rows = [low + (high - low) * share for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}" class="grid"/>'
        f'<text x="{LEFT - 6}" y="{y(v) + 3:.1f}" text-anchor="end">{v:.3g}</text>'
        for v in rows
    )


def _labels(labels: Sequence[str], x: Callable[[int], float]) -> str:
    every = max(1, -(-len(labels) // 10))
    return "".join(
        f'<text x="{x(i):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(label)}</text>'
        for i, label in enumerate(labels)
        if i % every == 0
    )
