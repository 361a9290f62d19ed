"""`FittedColumns`: the encodings of all columns of a table side by side, of whole tables and of rows as they are read.

The encodings of single columns are in `column_codings.py`, their fitting is in `column_fit.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...errors import DtypeError, EmptyDataError, ShapeError
from ..sources.block_rows import BlockRows
from ..sources.blocks import row_blocks
from ..sources.names import listed
from ..sources.row_source import RowNumbers, RowSource
from .column_codings import (
    KINDS,
    Coding,
    NumberCoding,
    TextCoding,
    as_dates,
    as_numbers,
    as_text,
    encode_numbers,
    require_different_texts,
)
from .column_fit import ENTRIES
from .column_statistics import gathered
from .frames import NamedColumns, named_columns
from .table import StreamedTable
from .validation import refuse_infinity


@dataclass(frozen=True)
class FittedColumns:
    """Names and encodings of the input columns, in order."""

    columns: tuple[tuple[str, Coding], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the input columns."""
        return tuple(name for name, _ in self.columns)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The first encoded column of each input column, and how many there are."""
        return np.cumsum([0, *(coding.width for _, coding in self.columns)])

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return int(self._starts[-1])

    @property
    def output_names(self) -> tuple[str, ...]:
        """Of the encoded columns."""
        return tuple(made for name, coding in self.columns for made in coding.output_names(name))

    @property
    def text(self) -> dict[str, TextCoding]:
        """Name -> encoding of the columns of text."""
        return {name: coding for name, coding in self.columns if isinstance(coding, TextCoding)}

    @property
    def categories(self) -> dict[int, int]:
        """Encoded column -> number of its codes, for text of many categories."""
        found: dict[int, int] = {}
        start = 0
        for _, coding in self.columns:
            if isinstance(coding, TextCoding) and coding.codes:
                found[start] = len(coding.categories) + 1
            start += coding.width
        return found

    def encode(self, table: NamedColumns, dtype: DTypeLike) -> NDArray[Any]:
        """Encode a table of exactly these columns as [N, width].

        Raises: EmptyDataError for no rows; DtypeError for columns of another kind; NonFiniteDataError for infinity.
        """
        require_rows(table)
        out = np.zeros((len(table), self.width), dtype)
        self.encode_into(table, out)
        return out

    def encode_into(self, table: NamedColumns, out: NDArray[Any], finite: bool = True) -> None:
        """As `encode`, into zeros of any dtype; `finite` – whether infinity is refused."""
        starts = self._starts
        numbers: dict[bool, list[int]] = {False: [], True: []}
        for number, (name, coding) in enumerate(self.columns):
            if isinstance(coding, NumberCoding):
                numbers[coding.clip].append(number)
            elif isinstance(coding, TextCoding):
                coding.encode(as_text(table.column(number), name), out, int(starts[number]))
            else:
                coding.encode(as_dates(table.column(number), name), out, int(starts[number]))
        for chosen in numbers.values():
            for group in _groups(chosen, len(table)):
                self._encode_numbers(table, group, starts[group], out, finite)

    def _encode_numbers(
        self, table: NamedColumns, group: Sequence[int], starts: NDArray[np.int64], out: NDArray[Any], finite: bool
    ) -> None:
        named = [self.columns[number] for number in group]
        codings = [coding for _, coding in named if isinstance(coding, NumberCoding)]
        columns = [
            as_numbers(table.column(number), name, coding.boolean)
            for number, (name, _), coding in zip(group, named, codings, strict=True)
        ]
        for rows in row_blocks(len(table), len(group) * 4):
            block = gathered(columns, rows)
            if finite and np.isinf(block).any():  # of all columns at once; which of them it is only matters then
                refuse_infinity(zip([name for name, _ in named], columns, strict=True))
            encode_numbers(block, codings, starts, out[rows])

    def rows_of(self, data: Any, dtype: DTypeLike) -> RowSource:
        """The rows of a RowSource of numbers, or of a table with exactly these columns, encoded as they are read."""
        if isinstance(data, StreamedTable):
            return EncodedBlocks(data, self, dtype)
        if isinstance(data, RowSource):
            require_matrix(data)
            if data.shape[1] != len(self.columns):
                raise ShapeError(
                    f"features: expected a source of {len(self.columns)} columns ({listed(self.names)}), got {data.shape[1]}; "
                    "give the columns that were fitted"
                )
            others = [name for name, coding in self.columns if not isinstance(coding, NumberCoding)]
            if others:
                raise DtypeError(
                    f"features: expected columns of numbers only, which can be streamed; fitted with others: {listed(others)}"
                )
            return EncodedRows(data, self, dtype)
        require_rows(data)
        self._require_kinds(data)
        return EncodedTable(data, self, dtype)

    def _require_kinds(self, table: NamedColumns) -> None:
        """Raises what `encode` raises, before anything is encoded."""
        for number, (name, coding) in enumerate(self.columns):
            if isinstance(coding, NumberCoding):
                refuse_infinity([(name, as_numbers(table.column(number), name, coding.boolean))], table.source or "features")
            elif isinstance(coding, TextCoding):
                as_text(table.column(number), name)
            else:
                as_dates(table.column(number), name)

    def unseen(self, data: Any) -> dict[str, int]:
        """Text column -> rows whose value did not occur in fit; columns without such rows are left out."""
        text = self.text
        if not text:
            return {}
        table, _ = named_columns(data).select(self.names)
        counts: dict[str, int] = {}
        for number, name in enumerate(self.names):
            if name in text:
                column = as_text(table.column(number), name)
                counts[name] = int(np.count_nonzero(text[name].numbers(column)[column.codes] < 0))
        return {name: count for name, count in counts.items() if count}

    def to_json(self) -> list[dict[str, Any]]:
        """One plain dict for each input column."""
        return [{"name": name, **coding.to_json()} for name, coding in self.columns]

    @classmethod
    def from_json(cls, stored: Sequence[Mapping[str, Any]]) -> FittedColumns:
        """Restore the result of `to_json`; KeyError, TypeError or ValueError if a part is missing or wrong."""
        made = cls(tuple((column["name"], KINDS[column["kind"]].from_json(column)) for column in stored))
        require_different_texts(list(made.names))
        if not made.columns:
            raise ValueError("there is no column")
        return made


class EncodedRows(RowSource):
    """The rows of another source, encoded as they are read; infinity stays what it is, or becomes NaN, for others to refuse."""

    def __init__(self, source: RowSource, columns: FittedColumns, dtype: DTypeLike) -> None:
        shape = (len(source), columns.width)
        super().__init__(shape, dtype, source.name, columns.output_names, source.edges, source.window)
        self.source = source
        self.columns = columns

    def read(self, rows: RowNumbers, out: NDArray[Any]) -> None:
        """See RowSource.read."""
        wide = np.empty((len(out), self.source.shape[1]))
        self.source.read(rows, wide)
        out[...] = 0.0
        table = NamedColumns(self.columns.names, len(wide), lambda number: wide[:, number])
        self.columns.encode_into(table, out, finite=False)


class EncodedTable(RowSource):
    """The rows of a table in memory, encoded as they are read."""

    def __init__(self, table: NamedColumns, columns: FittedColumns, dtype: DTypeLike) -> None:
        super().__init__((len(table), columns.width), dtype, table.source, columns.output_names)
        self.table = table
        self.columns = columns

    def read(self, rows: RowNumbers, out: NDArray[Any]) -> None:
        """See RowSource.read."""
        out[...] = 0.0
        self.columns.encode_into(self.table.take(rows), out, finite=False)


class EncodedBlocks(RowSource):
    """The rows of a table that is read block by block.

    Each text of a block in memory is one code; it becomes columns of 0 and 1 when rows are read.
    """

    def __init__(self, table: StreamedTable, columns: FittedColumns, dtype: DTypeLike) -> None:
        coded = [
            (name, replace(coding, codes=True) if isinstance(coding, TextCoding) else coding)
            for name, coding in columns.columns
        ]
        self.source = table
        self.rows = _CodedBlocks(table, FittedColumns(tuple(coded)), dtype)
        shape = (len(table), columns.width)
        super().__init__(shape, dtype, table.source, columns.output_names, self.rows.edges, table.window)
        widths = [(coding.width, short.width) for (_, coding), (_, short) in zip(columns.columns, coded, strict=True)]
        starts = np.cumsum([(0, 0), *widths], axis=0).tolist()
        self._spread, same = [], [np.zeros((2, 0), np.int64)]
        for (start, first), (_, coding) in zip(starts, columns.columns, strict=False):
            if isinstance(coding, TextCoding) and not coding.codes:
                self._spread.append((start, first))
            else:
                same.append(np.arange(coding.width) + np.array([[start], [first]]))
        self._same = np.concatenate(same, axis=1)

    def read(self, rows: RowNumbers, out: NDArray[Any]) -> None:
        """See RowSource.read."""
        coded = np.empty((len(out), self.rows.shape[1]), self.dtype)
        self.rows.read(rows, coded)
        out[...] = 0.0
        out[:, self._same[0]] = coded[:, self._same[1]]
        for start, first in self._spread:
            codes = coded[:, first].astype(np.int64)
            there = np.flatnonzero(codes)
            out[there, codes[there] - 1 + start] = 1.0


class _CodedBlocks(BlockRows):
    """The rows of a table, each block encoded when it is read."""

    def __init__(self, table: StreamedTable, columns: FittedColumns, dtype: DTypeLike) -> None:
        names = columns.output_names
        super().__init__((len(table), columns.width), dtype, table.source, names, table.edges, table.window)
        self.table = table
        self.columns = columns

    def read_block(self, number: int) -> NDArray[Any]:
        """See BlockRows.read_block."""
        table, _ = named_columns(self.table.block(number)).select(self.columns.names)
        return self.columns.encode(table, self.dtype)


def require_rows(table: NamedColumns) -> None:
    """Raises EmptyDataError for no rows or columns."""
    if len(table) == 0 or not table.names:
        raise EmptyDataError(
            f"features: expected at least one row and one column, got {len(table)} rows of {len(table.names)} "
            f"columns; check the source and the split"
        )


def require_matrix(source: RowSource) -> None:
    """Raises ShapeError for a source of single values."""
    if len(source.shape) != 2:
        raise ShapeError(f"{source.name or 'features'}: expected rows [N, d], got {list(source.shape)}; give several columns")


def _groups(numbers: Sequence[int], rows: int) -> Iterator[list[int]]:
    """Column numbers, together so many that their rows are about a million entries."""
    step = max(1, ENTRIES // max(1, rows))
    for start in range(0, len(numbers), step):
        yield list(numbers[start : start + step])
