"""Prints tables with rich; tables.py provides all content."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from ..results import BenchReport, Case, KernelCase
from .tables import (
    KERNEL_NOTE,
    ReportTable,
    absences,
    case_table,
    cautions,
    kernel_table,
    machine_line,
    overview_table,
    sentences,
)
from .wording import WORDING


def show(console: Console, table: ReportTable, texts: int = 1) -> None:
    """Prints one table.

    Args: texts – how many of the first columns are text, not numbers.
    """
    made = RichTable(
        title=escape(table.title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False,
        padding=(0, 1), collapse_padding=True,
    )  # fmt: skip
    for place, heading in enumerate(table.headings):
        if place < texts:
            made.add_column(heading, overflow="fold")
        else:
            # In a narrow terminal, text is wrapped and numbers are not.
            widest = max(len(row[place]) for row in [table.headings, *table.rows])
            made.add_column(heading, justify="right", no_wrap=True, min_width=widest)
    for place, row in enumerate(table.rows):
        made.add_row(*map(escape, row), style="bold" if place in table.strong else "")
    console.print(made)


def show_case(console: Console, case: Case | KernelCase) -> None:
    """One network or kernel, and who was left out of it."""
    show(console, case_table(case) if isinstance(case, Case) else kernel_table(case))
    for line in absences(case.left_out):
        console.print(f"[yellow]left out:[/yellow] {escape(line)}")


def show_beginning(console: Console, machine: dict[str, Any]) -> None:
    """Where it runs, and a warning where that is no quiet place."""
    report = BenchReport(machine, {})
    console.print(escape(machine_line(report)))
    for caution in cautions(report):
        console.print(f"[yellow]{escape(caution)}[/yellow]")


def show_end(console: Console, report: BenchReport) -> None:
    """The result in words, and who was left out everywhere."""
    if report.kernels:
        console.print(KERNEL_NOTE, markup=False)
    for workload in WORDING:
        table = overview_table(report, workload)
        if table is not None:
            show(console, table)
    for sentence in sentences(report):
        console.print(f"[bold]{escape(sentence)}[/bold]")
    for line in absences(report.left_out):
        console.print(f"[yellow]left out:[/yellow] {escape(line)}")
