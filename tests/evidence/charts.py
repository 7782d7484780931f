"""Bar charts as small SVG files that read well on a light and on a dark page.

Promise: pure functions of the numbers (same numbers, same bytes); bars are to scale from zero, or on a logarithmic axis
that says so when the largest value is more than fifty times the smallest.
"""

from __future__ import annotations

import math
from html import escape

from tests.evidence.registry import Bars

WIDTH, LABEL, VALUE, ROW, TOP = 760, 250, 110, 30, 54
LOGARITHMIC_FROM = 50

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2933 }
  .title { font-weight: 600; font-size: 15px } .note { fill: #66788a; font-size: 12px }
  .bar { fill: #9fb3c8 } .ours { fill: #0f7c8f } .axis { stroke: #cbd2d9 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb } .note { fill: #9aa5b1 } .bar { fill: #52606d } .ours { fill: #2cb1bc }
    .axis { stroke: #3e4c59 }
  }"""


def number(value: float) -> str:
    """Return a number as a reader wants it: thousands apart, three significant digits when small."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value != int(value) else f"{int(value)}"


def is_logarithmic(chart: Bars) -> bool:
    """Tell whether the bars would be too unequal to read on a linear axis."""
    positive = [value for value in chart.bars.values() if value > 0]
    return bool(positive) and max(positive) > LOGARITHMIC_FROM * min(positive)


def lengths(chart: Bars) -> dict[str, float]:
    """Return the length of each bar as a share of the longest, 0 to 1."""
    top = max(chart.bars.values(), default=0)
    if top <= 0:
        return dict.fromkeys(chart.bars, 0.0)
    if not is_logarithmic(chart):
        return {label: max(value, 0) / top for label, value in chart.bars.items()}
    floor = 10 ** math.floor(math.log10(min(value for value in chart.bars.values() if value > 0)))
    decades = math.log10(top / floor)
    return {k: math.log10(v / floor) / decades if v > 0 else 0.0 for k, v in chart.bars.items()}


def svg(chart: Bars) -> str:
    """Return the chart as an SVG document."""
    height = TOP + ROW * len(chart.bars) + 14
    room = WIDTH - LABEL - VALUE
    note = f"{chart.unit} · {chart.better} is better"
    note += " · logarithmic axis" if is_logarithmic(chart) else ""
    box = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(chart.title)}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}>',
        f"<style>{STYLE}\n</style>",
        f'<text class="title" x="8" y="22">{escape(chart.title)}</text>',
        f'<text class="note" x="8" y="40">{escape(note)}</text>',
        f'<line class="axis" x1="{LABEL}" y1="{TOP - 4}" x2="{LABEL}" y2="{height - 8}"/>',
    ]
    shares = lengths(chart)
    for row, (label, value) in enumerate(chart.bars.items()):
        y = TOP + ROW * row
        long = round(shares[label] * room, 1)
        kind = "ours" if label in chart.ours else "bar"
        parts += [
            f'<text x="{LABEL - 10}" y="{y + 16}" text-anchor="end">{escape(label)}</text>',
            f'<rect class="{kind}" x="{LABEL}" y="{y + 2}" width="{long}" height="{ROW - 10}" rx="2"/>',
            f'<text x="{LABEL + long + 8:.1f}" y="{y + 16}">{number(value)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
