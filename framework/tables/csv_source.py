"""Reading of delimited text files (.csv, .tsv, .txt, plain, gzipped or zipped), through pyarrow.

Their layout is inferred in `text_layout.py`; what is wrong with a file that pyarrow cannot read is found in `csv_errors.py`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataFileError, EmptyDataError, UnknownColumn
from ..optional import require
from ..sources.names import unknown_column
from ..sources.unpacked import allowed_bytes
from .arrow_columns import column_of
from .cells import MISSING, has_leading_zero, missing_tokens
from .columns import Column, is_text
from .csv_errors import cause, require_closed_quotes
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
    try:
        try:
            return _Reader(file, options, tokens, only, text, drop).table()
        except _NotUtf8:
            encoding = other_encoding(file)
            reader = _Reader(file, replace(options, encoding=encoding), tokens, only, text, drop)
            reader.layout = reader.layout.noted(not_utf8(encoding))
            return reader.table()
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
        there = set(names)
        absent = [name for name in self.only or () if name not in there]
        expected = {*(self.only or ()), *self.text}
        if len(names) == 1 and expected and there.isdisjoint(expected) and (self.only is None or len(self.only) > 1):
            raise UnknownColumn(
                f"{path}: expected several columns, found only {names[0]!r}, with {self.layout.delimiter!r} as delimiter; "
                "state the character between the cells with --delimiter (in Python delimiter=)"
            )
        if absent:
            raise unknown_column(absent, names, path.name)
        chosen = there if self.only is None else set(self.only)
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

    def columns(self, wanted: Collection[int], as_text: Collection[int]) -> dict[int, Column]:
        """The columns of these numbers, some of them as text."""
        types, parts = self.arrow.types, self.read(wanted, as_text)
        whole = [j for j in wanted if types.is_integer(parts[j].type)] if self.zeros else []
        unsure = [j for j in wanted if types.is_null(parts[j].type) or types.is_time(parts[j].type)]
        sure = sorted(set(wanted).difference(unsure))
        with ThreadPoolExecutor() as pool:
            in_threads = len(sure) <= _MOST_IN_THREADS
            made = (pool.map if in_threads else map)(lambda j: self.column(j, parts.pop(j)), sure)  # none is in memory twice
            found = dict(zip(sure, made, strict=True))
        unsure += [*whole, *(j for j, column in found.items() if _has_large_floats(column))]
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

    def column(self, j: int, part: Any) -> Column:
        """One column of a table."""
        return column_of(part, self.layout.names[j], str(self.file.path), strip=True)

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

    def attempt(self, wanted: Collection[int], as_text: Collection[int], breaks: bool, block: int) -> dict[int, Any]:
        """One pass over the file; pyarrow.ArrowInvalid if it fails."""
        layout, text = self.layout, self.arrow.dictionary(self.arrow.int32(), self.arrow.string())
        seen = Seen(layout.quote.encode(), layout.delimiter.encode())
        with self.file.utf8(layout.encoding, layout.start, layout.delimiter == " ", seen) as stream:
            if stream.empty:
                raise EmptyDataError(
                    f"{self.file.path}: expected data rows after the header, found none; check how the file was made"
                )
            table = self.csv.read_csv(
                stream,
                self.csv.ReadOptions(column_names=[str(j) for j in range(len(layout.names))], block_size=block),
                self.csv.ParseOptions(
                    delimiter=layout.delimiter, quote_char=layout.quote, newlines_in_values=breaks,
                    invalid_row_handler=lambda row: "skip" if row.text[:1] == "#" or not row.text.strip() else "error",
                ),
                self.csv.ConvertOptions(
                    include_columns=[str(j) for j in wanted] if len(wanted) < len(layout.names) else [],
                    column_types={str(j): text for j in wanted if j in as_text},
                    null_values=self.gaps(),
                    decimal_point=layout.decimal, auto_dict_encode=True, auto_dict_max_cardinality=2**31 - 1,
                ),
            )  # fmt: skip
        self.zeros = seen.zeros
        if seen.quotes % 2 and not seen.end.rstrip().endswith(layout.quote.encode()):
            require_closed_quotes(self.file, layout)
        if table.num_rows == 0:
            raise EmptyDataError(f"{self.file.path}: expected data rows, found none; check how the file was made")
        return dict(zip(wanted, table.columns, strict=True))


def _has_large_floats(column: Column) -> bool:
    return not is_text(column) and column.dtype == np.float64 and bool((np.abs(column) >= _TOO_LARGE).any())


def _changes_as_number(cell: str) -> bool:
    """Whether a number is not printed as it is written: 007, and whole numbers that int64 does not hold."""
    too_large = _MANY_DIGITS.fullmatch(cell) is not None and not -(2**63) <= int(cell[:40]) < 2**63
    return too_large or has_leading_zero(cell)


