"""A report as Markdown, for issues and for the README."""

from __future__ import annotations

from ..results import BenchReport
from .tables import (
    ReportTable,
    absences,
    case_table,
    cautions,
    kernel_table,
    machine_line,
    overview_table,
    profile_table,
    sentences,
)
from .wording import WORDING


def markdown(report: BenchReport) -> str:
    """The whole report."""
    parts = ["# fusedstep bench", machine_line(report), f"{report.machine.get('date')}"]
    parts += [f"**{caution}**" for caution in cautions(report)]
    parts += [f"- {sentence}" for sentence in sentences(report)]
    parts += [markdown_table(table) for workload in WORDING if (table := overview_table(report, workload))]
    for case in report.cases:
        parts.append(markdown_table(case_table(case)))
        parts += [f"- left out: {line}" for line in absences(case.left_out)]
    for kernel in report.kernels:
        parts.append(markdown_table(kernel_table(kernel)))
    parts += [markdown_table(profile_table(profile)) for profile in report.profiles]
    parts += [f"- left out: {line}" for line in absences(report.left_out)]
    return "\n\n".join(parts) + "\n"


def markdown_table(table: ReportTable, level: int = 2) -> str:
    """One table under its title, a heading of that level; numbers to the right."""
    width = len(table.headings)
    lines = [f"{'#' * level} {table.title}", "", _line(table.headings), _line(["---", *["---:"] * (width - 1)])]
    for place, row in enumerate(table.rows):
        cells = [cell.replace("|", "\\|") for cell in row]
        lines.append(_line([f"**{cell}**" if cell and place in table.strong else cell for cell in cells]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
