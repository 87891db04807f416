"""An SVG of the whole stacks: CPU per request by kind, and latency against rate. Plain text, no library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = (
    *("#8c8c8c", "#b9a77c", "#d9ccae", "#2f8f5b", "#1f5fa8", "#17becf", "#6ea3dc", "#c4c4c4"),
    *("#c0392b", "#d98b2b", "#8e5aa8"),
)
"""By place in the table, so that a stack has the same one in every run."""

WIDTH, ROW, LEFT, TOP = 980, 11, 110, 74
GROUP_GAP = 12

Bars = Mapping[str, Mapping[str, float]]
"""kind → stack → microseconds."""

Lines = Mapping[str, Sequence[tuple[float, float, float]]]
"""stack → (requests per second, p50 ms, p99 ms)."""


def draw(bars: Bars, lines: Lines, stacks: Sequence[str], caption: str) -> str:
    """The whole picture. `stacks`: all there are, in order; the legend names those that were measured."""
    if len(stacks) > len(COLOURS):
        raise ValueError(f"{len(stacks)} stacks, {len(COLOURS)} colours")
    colour = dict(zip(stacks, COLOURS, strict=False))
    parts, height = _bars(bars, stacks, colour)
    more, total = _lines(lines, colour, height + 60)
    legend = [
        f'<g transform="translate({LEFT + (number % 4) * 215},{28 + number // 4 * 14 - 12})">'
        f'<rect width="9" height="9" fill="{colour[name]}"/><text x="13" y="8">{escape(name)}</text></g>'
        for number, name in enumerate(name for name in stacks if any(row.get(name) for row in bars.values()))
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total + 30}" '
            'font-family="sans-serif" font-size="10">',
            f'<rect width="{WIDTH}" height="{total + 30}" fill="white"/>',
            *legend,
            *parts,
            *more,
            f'<text x="{LEFT}" y="{total + 20}" fill="#666">{escape(caption)}</text>',
            "</svg>",
            "",
        ]
    )


def _bars(bars: Bars, stacks: Sequence[str], colour: Mapping[str, str]) -> tuple[list[str], int]:
    values = [value for row in bars.values() for value in row.values() if value > 0]
    low, high = math.floor(math.log10(min(values))), math.log10(max(values))
    scale = (WIDTH - LEFT - 70) / max(0.1, high - low)
    parts = [f'<text x="{LEFT}" y="{TOP + 4}" font-weight="bold">CPU per request, all processes, µs (log)</text>']
    y = TOP + 12
    for kind, row in bars.items():
        shown = [name for name in stacks if row.get(name, 0) > 0]
        middle = y + len(shown) * ROW / 2 + 3
        parts.append(f'<text x="{LEFT - 6}" y="{middle:.0f}" text-anchor="end">{escape(kind)}</text>')
        for name in shown:
            length = (math.log10(row[name]) - low) * scale
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{ROW - 2}" fill="{colour[name]}"/>')
            parts.append(f'<text x="{LEFT + length + 4:.1f}" y="{y + 8}" font-size="8">{row[name]:,.0f}</text>')
            y += ROW
        y += GROUP_GAP
    return parts, y


def _lines(lines: Lines, colour: Mapping[str, str], top: int) -> tuple[list[str], int]:
    points = [point for line in lines.values() for point in line]
    if not points:
        return [], top - 40
    bottom, width = top + 220, (WIDTH - LEFT - 40) / 2 - 40
    rates = max(rate for rate, _, _ in points)
    parts: list[str] = []
    for number, (place, title) in enumerate(((1, "p50"), (2, "p99"))):
        left = LEFT + number * (width + 70)
        logs = [math.log10(max(point[place], 0.01)) for point in points]
        low, high = min(logs), max(max(logs), min(logs) + 0.1)
        parts.append(
            f'<text x="{left}" y="{top - 12}" font-weight="bold">latency {title}, ms (log), against requests/s</text>'
        )
        parts.append(f'<path d="M{left},{top}V{bottom}H{left + width:.0f}" fill="none" stroke="#999"/>')
        for value in (low, high):
            y = bottom - (value - low) / (high - low) * (bottom - top)
            parts.append(f'<text x="{left - 5}" y="{y + 3:.0f}" text-anchor="end">{10**value:.2g}</text>')
        for name, line in lines.items():
            spots = [
                (
                    left + rate / rates * width,
                    bottom - (math.log10(max(point[place], 0.01)) - low) / (high - low) * (bottom - top),
                )
                for point in line
                for rate in (point[0],)
            ]
            path = "L".join(f"{x:.1f},{y:.1f}" for x, y in spots)
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour[name]}" stroke-width="1.6"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="{colour[name]}"/>' for x, y in spots]
        parts.append(f'<text x="{left + width:.0f}" y="{bottom + 12}" text-anchor="end">{rates:.0f}/s</text>')
    return parts, bottom + 16
