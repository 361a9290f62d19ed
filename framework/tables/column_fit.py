"""Fits the encodings of all columns of a table, in memory or in blocks of rows.

What is counted of single columns is in `column_statistics.py`, the encodings are in `column_codings.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .column_codings import Coding, is_all_missing, kind_of
from .column_statistics import DateStatistics, NumberStatistics, Settings, Statistics, TextStatistics
from .columns import Column
from .frames import NamedColumns, named_columns
from .validation import refuse_infinity

ENTRIES = 1 << 20
"""Numbers that are in memory as float64 at a time."""


def fit_table(table: NamedColumns, settings: Settings) -> dict[str, Coding]:
    """The encodings of columns in memory: numbers in groups, other columns one by one."""
    found: dict[str, Coding] = {}
    together = max(1, ENTRIES // len(table))
    waiting: dict[str, list[tuple[str, Column]]] = {"number": [], "boolean": []}

    def fit(columns: list[tuple[str, Column]]) -> None:
        names, values = [name for name, _ in columns], [column for _, column in columns]
        refuse_infinity(columns, table.source or "features")
        statistics = _statistics(names, values[0], streamed=False)
        statistics.add(values)
        found.update(zip(names, statistics.codings(settings), strict=True))
        columns.clear()

    for number, name in enumerate(table.names):
        column = table.column(number)
        group = waiting.get(kind_of(column), [])
        group.append((name, column))
        if len(group) >= together or kind_of(column) not in waiting:
            fit(group)
    for group in waiting.values():
        if group:
            fit(group)
    return found


def fit_stream(blocks: Iterable[Any], settings: Settings) -> dict[str, Coding]:
    """The encodings of columns that come in blocks of rows; the first block with an entry of a column decides what it is."""
    collected: list[Statistics] = []
    names: tuple[str, ...] = ()
    unknown: set[str] = set()
    row = 0
    for given in blocks:
        block = named_columns(given)
        block, _ = block.select(names or block.names)
        names = block.names
        columns = {name: block.column(number) for number, name in enumerate(names)}
        if row == 0:
            unknown = set(names)
        of_kind: dict[str, list[str]] = {}
        for name in [name for name in names if name in unknown and not is_all_missing(columns[name])]:
            kind = kind_of(columns[name])
            of_kind.setdefault(kind if kind in ("number", "boolean") else name, []).append(name)
            unknown.remove(name)
        for group in of_kind.values():
            collected.append(_statistics(group, columns[group[0]], streamed=True))
            if row:
                collected[-1].add([np.full(row, np.nan)] * len(group))
        label = block.source or "features"
        refuse_infinity(columns.items(), f"{label}, from row {row + 1} on" if row else label)
        for statistics in collected:
            statistics.add([columns[name] for name in statistics.names])
        row += len(block)
    if unknown:
        collected.append(NumberStatistics(sorted(unknown), streamed=True))
        collected[-1].add([np.full(row, np.nan)] * len(unknown))
    found: dict[str, Coding] = {}
    for statistics in collected:
        found.update(zip(statistics.names, statistics.codings(settings), strict=True))
    return found


def _statistics(names: Sequence[str], column: Column, streamed: bool) -> Statistics:
    """What to collect of columns that are all of the kind of this one, which are numbers if there are several."""
    kind = kind_of(column)
    if kind == "text":
        return TextStatistics(names)
    if kind == "date":
        return DateStatistics(names, streamed)
    return NumberStatistics(names, kind == "boolean", streamed)
