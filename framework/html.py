"""HTML for notebooks: a table, and curves as an SVG drawing.

The fragments are self-contained. They set no colours of text or background, so they are readable on light and dark pages, and
style is in attributes, which notebooks keep where they remove style sheets.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

COLOURS = ("#1f9e89", "#e07b39", "#7a68c9", "#c2478f")
"""Of curves; each has a contrast of at least 3 with white and with the dark grey of notebooks."""
WIDTH, HEIGHT = 360.0, 120.0
_CELL = "padding: 0.15em 0.7em; white-space: nowrap; border: 0; border-bottom: 1px solid rgba(128, 128, 128, 0.35); "


def _escape(text: str) -> str:
    from html import escape  # its table of all characters is for notebooks only

    return escape(text)


def table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], strong: Collection[int] = (), texts: int = 1
) -> str:
    """A table as HTML.

    Args: title; headings; rows – of text, which is escaped; strong – indices of rows in bold type; texts – number of columns at
        the left that are text; the others are numbers.
    """

    def line(cells: Sequence[str], tag: str, more: str = "") -> str:
        sides = ("left" if place < texts else "right" for place in range(len(cells)))
        made = (
            f'<{tag} style="{_CELL}text-align: {side}{more}">{_escape(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line(row, "td", "; font-weight: bold" if place in strong else "") for place, row in enumerate(rows))
    return (
        '<div style="overflow-x: auto"><table style="border-collapse: collapse; font-variant-numeric: tabular-nums">'
        f'<caption style="text-align: left; font-weight: bold; padding: 0.3em 0; color: inherit">{_escape(title)}</caption>'
        f"<thead>{line(headings, 'th')}</thead><tbody>{body}</tbody></table></div>"
    )


def curves(series: Mapping[str, Sequence[float]], label: str) -> str:
    """Curves over 1, 2, … in one drawing, on a logarithmic axis if they fall by more than a factor of 30.

    Args: series – name -> values, NaN and infinity for gaps; label – what is drawn, for those who do not see it.
    Returns: an SVG element, "" where there are fewer than two finite values.
    """
    finite = [value for values in series.values() for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = min(finite), max(finite)
    scale = math.log if low > 0.0 and high > 30.0 * low else float
    bottom, top = scale(low), scale(high)
    longest = max(len(values) for values in series.values())

    def place(index: int, value: float) -> str:
        x = 6.0 + (WIDTH - 76.0) * index / max(longest - 1, 1)
        y = 8.0 + (HEIGHT - 32.0) * ((top - scale(value)) / (top - bottom) if top > bottom else 0.5)
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<svg role="img" aria-label="{_escape(label)}" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" width="{WIDTH:g}" '
        f'height="{HEIGHT:g}" style="display: block" font-family="sans-serif" font-size="10" fill="currentColor">'
    ]
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        for run in _runs(values):
            points = " ".join(place(index, values[index]) for index in run)
            if len(run) == 1:
                x, y = points.split(",")
                parts.append(f'<circle cx="{x}" cy="{y}" r="2" fill="{colour}"/>')
            else:
                parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        left = 6 + 100 * number
        parts.append(f'<rect x="{left}" y="{HEIGHT - 14:g}" width="9" height="9" fill="{colour}"/>')
        parts.append(f'<text x="{left + 13}" y="{HEIGHT - 6:g}">{_escape(name)}</text>')
    parts += [f'<text x="{WIDTH - 64:g}" y="{y:g}">{value:.3g}</text>' for y, value in ((12.0, high), (HEIGHT - 20.0, low))]
    return "".join([*parts, "</svg>"])


def _runs(values: Sequence[float]) -> list[list[int]]:
    """The indices of finite values, in parts without gaps."""
    found: list[list[int]] = [[]]
    for index, value in enumerate(values):
        if math.isfinite(value):
            found[-1].append(index)
        elif found[-1]:
            found.append([])
    return [run for run in found if run]
