"""What each column of a table was taken for, as text for the terminal; decided in `tables/kinds.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tables.column_values import absent_rows
from ..tables.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from ..tables.column_kind import ColumnKind
    from ..tables.table import Dataset

FEW_COLUMNS = 12
"""Up to so many columns are listed one by one."""
_NOTES = 10
_NAMES = 100


def print_columns(console: Console, dataset: Dataset) -> None:
    """A table of few columns or a summary of many, the columns that were dropped and why, and notes; nothing for arrays."""
    from rich.markup import escape
    from rich.table import Table as Grid

    kinds = dataset.kinds
    if not kinds:
        return
    if len(kinds) <= FEW_COLUMNS:
        table = Grid(title="Columns", title_justify="left", title_style="bold")
        gaps = any(one.missing for one in kinds)
        for heading in ("column", "taken for", "values", *(("missing",) if gaps else ())):
            table.add_column(heading, justify="right" if heading == "missing" else "left")
        for one in kinds:
            dropped = one.kind == "dropped"
            detail = f"({one.detail})" if dropped else one.detail
            count = [f"{one.missing:,}" if one.missing else ""] if gaps else []
            table.add_row(printable(one.name), one.kind, printable(detail), *count, style="yellow" if dropped else "")
        console.print(table)
    else:
        console.print(f"Columns: {summary(kinds)}")
        for kind, heading in (("text", "Text"), ("date", "Dates")):
            details = {one.name: one.detail.partition(": ")[0] for one in kinds if one.kind == kind}
            named = [f"{name!r} ({detail})" for name, detail in details.items()]
            if named:
                console.print(f"{heading}: {escape(_listed(named, _NOTES))}")
        for line in dropped_columns(kinds):
            console.print(f"[yellow]Dropped:[/yellow] {escape(line)}")
    for note in notes(dataset):
        console.print(f"[yellow]Note:[/yellow] {escape(note)}")


def quiet_notes(dataset: Dataset) -> list[str]:
    """What has to be known even without a report: dropped columns, and notes."""
    return [*(f"dropped {line}" for line in dropped_columns(dataset.kinds)), *notes(dataset)]


def summary(kinds: Sequence[ColumnKind]) -> str:
    """How many columns are of each kind, such as "18 numbers, 3 text, 1 date"."""
    words = {"number": "numbers", "text": "text", "date": "dates", "boolean": "booleans", "dropped": "dropped"}
    counts = {kind: sum(one.kind == kind for one in kinds) for kind in words}
    missing = sum(one.missing > 0 for one in kinds)
    text = ", ".join(f"{count:,} {words[kind] if count > 1 else kind}" for kind, count in counts.items() if count)
    return text + (f"; missing values in {missing:,} of them" if missing else "")


def dropped_columns(kinds: Sequence[ColumnKind]) -> list[str]:
    """The dropped columns, one line for each reason."""
    reasons: dict[str, list[str]] = {}
    for one in kinds:
        if one.kind == "dropped":
            reason = "the same value in every row" if one.detail.startswith("always ") else one.detail
            reasons.setdefault(reason, []).append(repr(one.name))
    return [f"{_listed(names)} ({reason})" for reason, names in reasons.items()]


def notes(dataset: Dataset) -> list[str]:
    """What could be meant otherwise, for the first columns."""
    found = [*dataset.notes, *(one.note for one in dataset.kinds if one.note)]
    more = [f"{len(found) - _NOTES:,} more notes of this kind"] if len(found) > _NOTES else []
    return [*found[:_NOTES], *more]


def missing_counts(features: Any) -> dict[str, int]:
    """Missing values in each column of a table; nothing for arrays."""
    columns = features.columns if isinstance(features, Table) else {}
    return {name: int(np.count_nonzero(absent_rows(column))) for name, column in columns.items()}


def missing_values(counts: Mapping[str, int], rows: int) -> list[str]:
    """A note on missing values, if there are any; `counts` – of each column."""
    found = [f"{name!r} in {count:,} of {rows:,} rows" for name, count in counts.items() if count]
    more = f" and {len(found) - _NOTES:,} more columns" if len(found) > _NOTES else ""
    return [f"missing values: {', '.join(found[:_NOTES])}{more}; they are treated as in the training"] if found else []


def printable(text: str) -> str:
    """A text of a file as rich prints it: as it is, or in quotes if it has characters that control the terminal."""
    from rich.markup import escape

    return escape(text if text.isprintable() else repr(text))


def _listed(names: Sequence[str], most: int = _NAMES) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
