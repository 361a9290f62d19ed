"""A report as one self-contained HTML page, with styles and figures."""

from __future__ import annotations

import io
import json
import re
from html import escape
from typing import Any

from ..results import BenchReport
from .bar_figures import floor_figure, peer_figure, profile_figure
from .line_figures import memory_points, scaling_figure, throughput_figure
from .tables import (
    KERNEL_NOTE,
    ReportTable,
    absences,
    case_table,
    cautions,
    kernel_table,
    machine_line,
    number,
    overview_table,
    profile_table,
    sentences,
)
from .wording import WORDING

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: 0.2rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 1px solid #bbb; }
p.where { color: #555; margin-top: 0; } p.result { font-size: 1.1rem; font-weight: 600; margin: 0.4rem 0; }
p.warning { background: #fff3cd; border-left: 4px solid #e69f00; padding: 0.4rem 0.8rem; }
figure { margin: 1.2rem 0; } figure svg { width: 100%; height: auto; } figcaption { color: #555; font-size: 0.9rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 0.6rem 0 1.4rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0.3rem 0; }
th, td { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid #e3e3e3; white-space: nowrap; }
th { border-bottom: 1.5px solid #555; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
table.words th:nth-child(-n+2), table.words td:nth-child(-n+2) { text-align: left; }
tr.strong td { font-weight: 650; background: #eef5fa; } li { margin: 0.2rem 0; } pre { overflow-x: auto; font-size: 0.8rem; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } figure, table, tr { break-inside: avoid; } }
"""

METHOD = """Every contender starts from the same weights and uses the same minibatches; the first losses were compared before
timing. Contenders and limits are timed in turn: in each round, each runs one burst of calls, after a pause and (except for
trainings and starts) one untimed call. Ratios are computed within each round, and their median is shown. The limit ("floor") is
the time of the matrix products of a step (or epoch, or prediction) alone (GEMMs) in NumPy, with the BLAS library's threads or
with the rows split over cores, whichever is faster. GFLOP/s counts only the matrix products. In the tables, "of floor" is the
time of the limit divided by that of the contender, "/ peer" the time divided by that of the best peer, "/ GEMMs" the time
divided by that of the limit, and "GEMMs / peer" the time of the limit divided by that of the best peer."""

GROWTH = (
    "How time and memory of a step grow. Dashed: the matrix products alone. Dotted: computed memory; markers: measured memory."
)


def html(report: BenchReport) -> str:
    """The page; raises MissingDependency without matplotlib."""
    workloads = [workload for workload in WORDING if any(case.workload == workload for case in report.cases)] or ["step"]
    subject = ", ".join(WORDING[workload].section.lower() for workload in workloads)
    parts = [
        "<!DOCTYPE html>", '<html lang="en"><head><meta charset="utf-8"><title>fusedstep bench</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">', f"<style>{STYLE}</style></head><body>",
        f"<h1>How fast are {subject}?</h1>",
        f'<p class="where">{escape(machine_line(report))}; {escape(str(report.machine.get("date")))}</p>',
    ]  # fmt: skip
    parts += [f'<p class="warning">{escape(caution)}</p>' for caution in cautions(report)]
    parts += [f'<p class="result">{escape(sentence)}</p>' for sentence in sentences(report)]
    parts += _figures(report)
    for workload in workloads if report.cases else ():
        parts.append(f"<h2>{WORDING[workload].section}</h2>")
        overview = overview_table(report, workload)
        parts += [_table(overview)] if overview else []
        for case in report.cases:
            if case.workload == workload:
                parts += [_table(case_table(case)), _list("Left out", absences(case.left_out))]
    if report.kernels:
        parts.append("<h2>Memory-bound kernels</h2>")
        parts.append(f"<p>{escape(KERNEL_NOTE)}</p>")
        parts += [_table(kernel_table(case)) for case in report.kernels]
    if report.profiles:
        parts.append("<h2>One step, part by part</h2>")
        parts += [_table(profile_table(profile), "words") for profile in report.profiles]
    parts.append(_memory(report))
    parts.append(_list("Left out everywhere", absences(report.left_out)))
    parts.append(f"<h2>How it was measured</h2><p>{escape(METHOD)}</p>")
    parts += [f"<p>{escape(method)}</p>" for workload in workloads if (method := WORDING[workload].method)]
    details = json.dumps({"settings": report.settings, "machine": report.machine}, indent=1)
    parts.append(f"<details><summary>Settings and machine</summary><pre>{escape(details)}</pre></details></body></html>")
    return "\n".join(part for part in parts if part) + "\n"


def _figures(report: BenchReport) -> list[str]:
    made = [
        ("floor", floor_figure(report), "Fraction of the limit. The dashed line is the matrix products alone."),
        ("peers", peer_figure(report), "Time compared with the best other library, by round."),
        ("fit", peer_figure(report, "fit"), "Time of an epoch compared with the best other library, by round."),
        ("predict", peer_figure(report, "predict"), "Time of a prediction compared with the best other library, by round."),
        ("start", peer_figure(report, "start"), "Time of a new process compared with the import of PyTorch, by round."),
        ("ranks", peer_figure(report, "ranks"), "Time of a step compared with PyTorch in as many processes."),
        ("ranks-fit", peer_figure(report, "ranks-fit"), "Time of an epoch compared with PyTorch in as many processes."),
        ("throughput", throughput_figure(report), "Throughput by minibatch size."),
        ("scaling", scaling_figure(report), GROWTH),
        ("profile", profile_figure(report.profiles), "Time of a step by part."),
    ]
    found = [
        f'<figure id="{name}">{svg(figure, name, caption)}<figcaption>{escape(caption)}</figcaption></figure>'
        for name, figure, caption in made
        if figure is not None
    ]
    return ["<h2>At a glance</h2>", *found] if found else []


def svg(figure: Any, name: str, label: str) -> str:
    """A matplotlib figure as an SVG element for a page that may hold several: names inside are made its own."""
    from .style import settings

    text = io.StringIO()
    with settings():
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    found = text.getvalue()
    found = found[found.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.S)
    found = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", found)
    found = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", found)
    return found.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)


def _table(table: ReportTable, kind: str = "") -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in table.headings)
    rows = [
        f"<tr{' class=strong' * (place in table.strong)}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for place, row in enumerate(table.rows)
    ]
    return (
        f'<div class="wide"><table class="{kind}"><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _list(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    return f"<p>{escape(title)}:</p><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _memory(report: BenchReport) -> str:
    """A table of what steps say of their memory; nothing where none does."""
    rows = [
        [f"{network}, {name}", number(1e-6 * size)]
        for name, points in memory_points(report).items()
        for network, size in points
    ]
    return "<h2>Memory of a step</h2>" + _table(ReportTable("", ["", "MB"], rows, [])) if rows else ""
