"""The tables of classes that `fusedstep train` ends with: figures of each class, and which classes are confused."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from .class_figures import LARGEST_MATRIX, ClassFigures
from .column_report import printable
from .training import PreparedData, judged_part

MOST_CLASSES = 40
"""Largest number of classes in a table."""
LONGEST_NAME = 24
"""Characters of a class's name that are printed."""


def class_names(data: PreparedData) -> list[str]:
    """The classes, as they are written."""
    return [str(name) for name in data.preprocessor.classes]


def print_classes(console: Console, data: PreparedData, figures: ClassFigures) -> None:
    """Precision, recall and F1 of each class, their means and the area under the ROC curve, and confusions."""
    names, part, weighted = [_shown(name) for name in class_names(data)], judged_part(data), data.dataset.weights is not None
    _print_figures(console, names, part, figures, weighted)
    area = "undefined" if math.isnan(figures.area) else f"{figures.area:.4f}"
    how = f"{names[1]} against {names[0]}" if len(names) == 2 else "mean over the classes, each against the rest"
    console.print(f"ROC AUC of the {part} part: {area} ({how})")
    if len(names) <= LARGEST_MATRIX:
        _print_matrix(console, names, part, figures, weighted)
    else:
        _print_worst(console, names, part, figures, weighted)


def _print_figures(console: Console, names: Sequence[str], part: str, figures: ClassFigures, weighted: bool) -> None:
    table = Table(title=f"Classes ({part} part)", title_justify="left", title_style="bold")
    table.add_column("class")
    for heading in ("rows", *(("weight",) if weighted else ()), "precision", "recall", "F1"):
        table.add_column(heading, justify="right")
    by_class, support = figures.by_class, figures.counts.support
    chosen = list(range(len(names)))
    if len(names) > MOST_CLASSES:
        chosen = np.argsort(by_class["f1"], kind="stable")[:MOST_CLASSES].tolist()
    for k in chosen:
        weight = [f"{support[k]:.4g}"] if weighted else []
        table.add_row(names[k], f"{figures.rows[k]:,}", *weight, *(f"{values[k]:.4f}" for values in by_class.values()))
    table.add_section()
    weight = [f"{support.sum():.4g}"] if weighted else []
    table.add_row("total and mean", f"{figures.rows.sum():,}", *weight, *(f"{value:.4f}" for value in figures.means().values()))
    console.print(table)
    if len(names) > MOST_CLASSES:
        console.print(f"… and {len(names) - MOST_CLASSES:,} more classes with a larger F1, whose figures are in the model file")


def _print_matrix(console: Console, names: Sequence[str], part: str, figures: ClassFigures, weighted: bool) -> None:
    """The confusion matrix; its columns are numbered if their names would not fit."""
    counts = [[_count(value) for value in row] for row in figures.confusion]
    widths = [max(map(len, (name, *(row[k] for row in counts)))) + 3 for k, name in enumerate(names)]
    corner = "class ↓  predicted as →"
    numbered = sum(widths) + max(map(len, (corner, *names))) + 4 > console.width
    unit = ", weights" if weighted else ""
    table = Table(title=f"Confusion matrix ({part} part{unit})", title_justify="left", title_style="bold")
    table.add_column(corner)
    for k, name in enumerate(names):
        table.add_column(f"{k + 1}" if numbered else name, justify="right", no_wrap=True)
    for k, name in enumerate(names):
        cells = [f"[bold]{cell}[/bold]" if k == column else cell for column, cell in enumerate(counts[k])]
        table.add_row(f"{k + 1}: {name}" if numbered else name, *cells)
    console.print(table)


def _print_worst(console: Console, names: Sequence[str], part: str, figures: ClassFigures, weighted: bool) -> None:
    """The most frequent confusions."""
    table = Table(title=f"Most frequent confusions ({part} part)", title_justify="left", title_style="bold")
    for heading in ("class", "predicted as", "weight" if weighted else "rows", "of the class"):
        table.add_column(heading, justify="left" if heading in ("class", "predicted as") else "right")
    for true, answer, rows in figures.worst():
        fraction = rows / figures.counts.support[true]
        table.add_row(names[true], names[answer], _count(rows), f"{100.0 * fraction:.1f} %")
    console.print(table)


def _count(value: float) -> str:
    """A number of rows, or a weight; a dot for 0."""
    return "·" if value == 0.0 else f"{value:,.0f}" if value == int(value) else f"{value:.4g}"


def _shown(name: str) -> str:
    return printable(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…")
