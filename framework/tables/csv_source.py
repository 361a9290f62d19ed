"""Reading of delimited text files (.csv, .tsv, .txt, plain, gzipped or zipped), through pyarrow.

Their layout is inferred in `text_layout.py`; what is wrong with a file that pyarrow cannot read is found in `csv_errors.py`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...backends.threads import available_threads
from ...errors import DataFileError, EmptyDataError, UnknownColumn
from ..optional import require
from ..sources.names import unknown_column
from ..sources.unpacked import allowed_bytes
from .arrow_columns import column_of
from .cells import MISSING, has_leading_zero, missing_tokens
from .column_kind import ColumnKind
from .columns import Column, is_text
from .csv_errors import cause, require_closed_quotes
from .kinds import apply_kinds
from .table import Table
from .text_column import TextColumn
from .text_layout import (
    DECIMAL_COMMAS,
    Seen,
    TextFile,
    TextOptions,
    find_decimal,
    find_layout,
    is_typed,
    not_utf8,
    other_encoding,
)
from .validation import refuse_infinity

_BLOCK, _LARGEST_BLOCK, _LINES = 1 << 21, 1 << 30, 128
_GAPS = ("", "NA", "NaN", "nan", "N/A", "null", "NULL", "None", "?", "-")
"""Missing cells that pyarrow is told of even if the first rows have none; it is told of few, since each column takes them in. A
column of numbers with others becomes text here, and numbers in `kinds.py`."""
_MOST_IN_THREADS = 200
"""Columns that are converted by several threads; of more, each is short."""
_TOO_LARGE = 2.0**63
_MANY_DIGITS = re.compile(r"[+-]?\d{19,}", re.ASCII)


def read_csv(
    path: Path,
    only: Collection[str] | None = None,
    text: Collection[str] = (),
    max_unpacked: int | str | None = None,
    options: TextOptions | None = None,
    missing: Collection[str] = MISSING,
    drop: Collection[str] = (),
) -> Table:
    """Read a delimited text file; see `find_layout` for what is inferred.

    A column is int64, float64, bool or datetime64[us] if each of its cells is of that type or missing. All others are text as
    it is written, also integers that int64 does not hold, and those of which one begins with 0, such as 007; in text only
    empty cells are missing, and blanks at both ends of a cell are removed. Blank lines are skipped, and so are lines of another
    length that begin with `#`.

    Args: path – of the file; only – names of the columns to keep, all by default; text – names of columns to read as text
        even if every cell is a number; max_unpacked – see `allowed_bytes`; options – what is known of the layout; missing –
        texts that stand for a missing cell among numbers, dates and booleans, in any case; drop – names of columns that are
        not read, and missing in all rows.
    Returns: the columns, in the order of the file, with the layout.
    Raises: DataFileError for rows of unequal length and files that are not text; EmptyDataError for no data rows; UnknownColumn
        if one of `only` does not exist; MissingDependency without pyarrow.
    """
    require("pyarrow.csv", "tables", "reading CSV")
    options = options or TextOptions()
    file = TextFile(path, allowed_bytes(path, max_unpacked))
    tokens = missing_tokens(missing)
    with _reading(path, options):
        try:
            return _Reader(file, options, tokens, only, text, drop).table()
        except _NotUtf8:
            encoding = other_encoding(file)
            reader = _Reader(file, replace(options, encoding=encoding), tokens, only, text, drop)
            reader.layout = reader.layout.noted(not_utf8(encoding))
            return reader.table()


def csv_blocks(
    paths: Sequence[Path],
    kinds: Sequence[ColumnKind],
    max_unpacked: int | str | None,
    options: TextOptions,
    missing: Collection[str],
) -> Iterator[Table]:
    """The columns of text files, one file after the other, block by block, as `apply_kinds` reads them.

    The layout is what the first rows say of it. Args and errors as of `read_csv`, with a row in a message counted in its file.
    """
    require("pyarrow.csv", "tables", "reading CSV")
    tokens, names = missing_tokens(missing), [one.name for one in kinds]
    for path in paths:
        texts = [one.name for one in kinds if one.kind == "text"]
        with _reading(path, options):
            reader = _Reader(TextFile(path, allowed_bytes(path, max_unpacked)), options, tokens, names, texts, ())
            places = reader.places()
            layout = reader.layout
            options = replace(options, decimal=layout.decimal, header=layout.header)
            numbers = {places[one.name] for one in kinds if one.kind == "number"}
            before = 0
            for block in reader.blocks([places[name] for name in names], numbers):
                table = apply_kinds(block, kinds, missing, layout.decimal, before)
                refuse_infinity(table.columns.items(), table.source, before)
                before += len(table)
                yield Table(table.columns, table.source, layout)


@contextmanager
def _reading(path: Path, options: TextOptions) -> Iterator[None]:
    """Turns what is raised for the bytes of a file into DataFileError."""
    try:
        yield
    except UnicodeError as error:  # not only UnicodeDecodeError, for UTF-16 without a byte order mark
        stated = getattr(error, "encoding", options.encoding)
        raise DataFileError(
            f"{path}: expected {stated} text, found other bytes ({error}); give its encoding with --encoding "
            "(in Python encoding=)"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataFileError(f"{path}: expected a readable text table, reading failed ({error}); check the file") from error


class _NotUtf8(Exception):
    """The file is not UTF-8, which was inferred from its first lines."""


class _Reader:
    """Reads the columns of one file; `tokens` – missing texts in lower case, the other arguments as for `read_csv`."""

    def __init__(
        self, file: TextFile, options: TextOptions, tokens: frozenset[str], only: Collection[str] | None,
        text: Collection[str], drop: Collection[str],
    ) -> None:  # fmt: skip
        self.file, self.options, self.tokens, self.only, self.text, self.drop = file, options, tokens, only, text, drop
        self.layout = find_layout(file, options, tokens, {*(only or ()), *text})
        self.zeros = False
        self.arrow = require("pyarrow", "tables", "reading CSV")
        self.csv = require("pyarrow.csv", "tables", "reading CSV")

    def table(self) -> Table:
        """See `read_csv`."""
        names, path = self.layout.names, self.file.path
        there = self.places()
        chosen = set(there if self.only is None else self.only)
        wanted = [j for j, name in enumerate(names) if name in chosen and name not in self.drop]
        as_text = self.layout.texts.union(j for j in wanted if names[j] in self.text)
        columns = self.columns(wanted, as_text)
        if self.options.decimal is None and self.layout.decimal == "." and self.has_decimal_commas(columns):
            self.layout = self.layout._replace(decimal=",").noted(DECIMAL_COMMAS)
            columns = self.columns(wanted, as_text)
        ends = columns.get(len(names) - 1) if self.layout.trailing and len(columns) > 1 else None
        if ends is not None and is_text(ends) and ends.missing.all():
            del columns[len(names) - 1]
            self.layout = self.layout.noted("each line ends in a delimiter, after which there is no column")
        rows = len(next(iter(columns.values())))
        columns |= {j: TextColumn.absent(rows) for j, name in enumerate(names) if name in chosen and name in self.drop}
        return Table({names[j]: columns[j] for j in sorted(columns)}, path.name, self.layout)

    def places(self) -> dict[str, int]:
        """The numbers of all columns; UnknownColumn if one that is to be read is not there."""
        names = self.layout.names
        there = {name: j for j, name in enumerate(names)}
        absent = [name for name in self.only or () if name not in there]
        expected = {*(self.only or ()), *self.text}
        if len(names) == 1 and expected and expected.isdisjoint(there) and (self.only is None or len(self.only) > 1):
            raise UnknownColumn(
                f"{self.file.path}: expected several columns, found only {names[0]!r}, with {self.layout.delimiter!r} as "
                "delimiter; state the character between the cells with --delimiter (in Python delimiter=)"
            )
        if absent:
            raise unknown_column(absent, names, self.file.path.name)
        return there

    def columns(self, wanted: Collection[int], as_text: Collection[int]) -> dict[int, Column]:
        """The columns of these numbers, some of them as text."""
        types, parts = self.arrow.types, self.read(wanted, as_text)
        whole = [j for j in wanted if types.is_integer(parts[j].type)] if self.zeros else []
        unsure = [j for j in wanted if types.is_null(parts[j].type) or types.is_time(parts[j].type)]
        sure = sorted(set(wanted).difference(unsure))
        numbers = [j for j in sure if types.is_int64(parts[j].type) or types.is_float64(parts[j].type)]
        rows = len(next(iter(parts.values())))
        room = dict(zip(numbers, np.empty((len(numbers), rows), np.float64), strict=True))  # of one piece: on larger pages
        with ThreadPoolExecutor(available_threads()) as pool:
            mapped = pool.map if len(sure) <= _MOST_IN_THREADS else map
            made = mapped(lambda j: self.column(j, parts.pop(j), room.get(j)), sure)  # none is in memory twice
            found = dict(zip(sure, made, strict=True))
            large = mapped(_has_large_floats, found.values())
            unsure += [*whole, *(j for j, is_large in zip(sure, large, strict=True) if is_large)]
        for j, part in self.read(unsure, unsure).items() if unsure else ():
            written = self.column(j, part)
            if j not in found or (is_text(written) and any(map(_changes_as_number, written.values))):
                found[j] = written
        return {j: found[j] for j in wanted}

    def has_decimal_commas(self, columns: dict[int, Column]) -> bool:
        """Whether columns that began with whole numbers go on with decimal commas, and none has points."""
        if any(not is_text(column) and column.dtype == np.float64 for column in columns.values()):
            return False
        late = [column.values for j, column in columns.items() if is_text(column) and j not in self.layout.texts]
        return find_decimal([cell for cell in cells if cell.lower() not in self.tokens] for cells in late) == ","

    def column(self, j: int, part: Any, out: Any = None) -> Column:
        """One column of a table; `out` as for `column_of`."""
        return column_of(part, self.layout.names[j], str(self.file.path), strip=True, out=out)

    def read(self, wanted: Collection[int], as_text: Collection[int]) -> dict[int, Any]:
        """The columns of these numbers as pyarrow reads them; the file is diagnosed if it cannot."""
        block = min(max(_BLOCK, _LINES * self.layout.longest), _LARGEST_BLOCK)
        try:
            return self.attempt(wanted, as_text, self.layout.breaks, block)
        except self.arrow.ArrowInvalid:
            pass  # cells with line breaks, or lines that are longer than a block
        try:
            return self.attempt(wanted, as_text, True, min(_LINES * block, _LARGEST_BLOCK))
        except self.arrow.ArrowInvalid as error:
            if "UTF8" in str(error) and self.options.encoding is None:
                raise _NotUtf8 from error
            raise cause(self.file, self.layout, error) from error

    def gaps(self) -> list[str]:
        """The missing cells that pyarrow is told of: those of the first rows, usual ones, and all that look like a value."""
        like_values = [token for token in self.tokens if is_typed(token, self.layout.decimal)]
        spelled = {spelling for one in like_values for spelling in (one, one.upper(), one.title(), f" {one}")}
        return [gap for gap in self.layout.gaps.union(_GAPS, spelled) if gap.strip().lower() in self.tokens]

    def structure(self, breaks: bool, block: int) -> tuple[Any, Any]:
        """How pyarrow finds the rows and cells of the file; `breaks` – whether cells contain line breaks."""
        layout = self.layout
        return (
            self.csv.ReadOptions(column_names=[str(j) for j in range(len(layout.names))], block_size=block),
            self.csv.ParseOptions(
                delimiter=layout.delimiter, quote_char=layout.quote, newlines_in_values=breaks,
                invalid_row_handler=lambda row: "skip" if row.text[:1] == "#" or not row.text.strip() else "error",
            ),
        )  # fmt: skip

    def blocks(self, wanted: Sequence[int], numbers: Collection[int]) -> Iterator[Table]:
        """These columns, block by block, as text or, if each cell of the block is a number or missing, float64."""
        layout, path = self.layout, self.file.path
        block = min(max(_BLOCK, _LINES * layout.longest), _LARGEST_BLOCK)
        string = self.arrow.string()
        gaps, seen, rows = self.arrow.array(sorted(self.tokens)), Seen(layout.quote.encode(), layout.delimiter.encode()), 0
        try:
            with self.file.utf8(layout.encoding, layout.start, layout.delimiter == " ", seen) as stream:
                self.require_rows(not stream.empty)
                reader = self.csv.open_csv(
                    stream,
                    *self.structure(True, block),
                    self.csv.ConvertOptions(
                        include_columns=[str(j) for j in wanted], column_types={str(j): string for j in wanted}
                    ),
                )
                for batch in reader:
                    rows += batch.num_rows
                    parts = {j: self.arrow.chunked_array([part]) for j, part in zip(wanted, batch.columns, strict=True)}
                    made = {j: self.numbers(part, gaps) if j in numbers else part for j, part in parts.items()}
                    yield Table({layout.names[j]: self.column(j, part) for j, part in made.items()}, path.name, layout)
        except self.arrow.ArrowInvalid as error:
            raise cause(self.file, layout, error) from error
        self.require_closed_quotes(seen)
        self.require_rows(rows > 0)

    def numbers(self, part: Any, gaps: Any) -> Any:
        """Text as float64 if pyarrow reads each cell that is none of these missing ones as a number; else as it is."""
        if self.layout.decimal != ".":
            return part
        compute = require("pyarrow.compute", "tables", "reading CSV")
        cells = compute.utf8_trim_whitespace(part)
        cells = compute.if_else(compute.is_in(compute.utf8_lower(cells), gaps), None, cells)
        try:
            return cells.cast(self.arrow.float64())
        except self.arrow.ArrowInvalid:
            return part

    def attempt(self, wanted: Collection[int], as_text: Collection[int], breaks: bool, block: int) -> dict[int, Any]:
        """One pass over the file; pyarrow.ArrowInvalid if it fails."""
        layout, text = self.layout, self.arrow.dictionary(self.arrow.int32(), self.arrow.string())
        seen = Seen(layout.quote.encode(), layout.delimiter.encode())
        with self.file.utf8(layout.encoding, layout.start, layout.delimiter == " ", seen) as stream:
            self.require_rows(not stream.empty)
            table = self.csv.read_csv(
                stream,
                *self.structure(breaks, block),
                self.csv.ConvertOptions(
                    include_columns=[str(j) for j in wanted] if len(wanted) < len(layout.names) else [],
                    column_types={str(j): text for j in wanted if j in as_text},
                    null_values=self.gaps(),
                    decimal_point=layout.decimal, auto_dict_encode=True, auto_dict_max_cardinality=2**31 - 1,
                ),
            )  # fmt: skip
        self.zeros = seen.zeros
        self.require_closed_quotes(seen)
        self.require_rows(table.num_rows > 0)
        return dict(zip(wanted, table.columns, strict=True))

    def require_rows(self, there: bool) -> None:
        """Raises EmptyDataError if there are none."""
        if not there:
            raise EmptyDataError(
                f"{self.file.path}: expected data rows after the header, found none; check how the file was made"
            )

    def require_closed_quotes(self, seen: Seen) -> None:
        """Raises DataFileError for a cell without an end, after a pass over the file."""
        if seen.quotes % 2 and not seen.end.rstrip().endswith(self.layout.quote.encode()):
            require_closed_quotes(self.file, self.layout)


def _has_large_floats(column: Column) -> bool:
    if is_text(column) or column.dtype != np.float64:
        return False
    return bool(np.fmax.reduce(column) >= _TOO_LARGE or np.fmin.reduce(column) <= -_TOO_LARGE)  # they pass over NaN


def _changes_as_number(cell: str) -> bool:
    """Whether a number is not printed as it is written: 007, and whole numbers that int64 does not hold."""
    too_large = _MANY_DIGITS.fullmatch(cell) is not None and not -(2**63) <= int(cell[:40]) < 2**63
    return too_large or has_leading_zero(cell)


