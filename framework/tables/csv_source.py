"""Reading of delimited text files (.csv, .tsv, .txt, plain or gzipped) into columns of numbers or text.

Choosing the target among the columns lives in `sources.py`.
"""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError
from ..sources.names import listed, unknown_column
from ..sources.unpacked import allowed_bytes, opened
from .columns import Column, is_text
from .text_column import TextColumn

_DELIMITERS = (",", ";", "\t")
_SAMPLE_LINES = 50
_BLOCK_ROWS = 256
_COMMA_NUMBER = re.compile(
    r"[+-]?(\d+|\d{1,3}([. '\u00a0\u202f]\d{3})+)?,\d+([eE][+-]?\d+)?|[+-]?\d{1,3}(,\d{3})+(\.\d*)?"
)
"""1,5 and 1.234,5 and 1,234,567.8: numbers with commas, which this program does not read."""
_ABSENT = frozenset({"", "-", "?", "na", "n/a", "nan", "null", "none"})


class Layout(NamedTuple):
    """The delimiter, the column names, and whether the first row holds them."""

    delimiter: str
    names: tuple[str, ...]
    has_header: bool


def read_csv(
    path: Path, only: Collection[str] | None = None, text: Collection[str] = (), max_unpacked: int | str | None = None
) -> dict[str, Column]:
    """Read a delimited text file.

    The delimiter is comma, semicolon or tab, whichever splits the first lines into equally many cells. The first row names the
    columns; if each of its cells is a number there is no header, and the columns are called c0, c1, …. A column without a name
    is named by its number in the same way. A column is numeric if each cell that is not empty is a number (decimal point, no
    thousands mark); its empty cells become NaN, and so do -, ?, NA, N/A, null and none among numbers. Numbers with decimal
    commas or thousands separators raise an error, so that such a column does not silently become text. In text columns,
    whitespace at both ends of a cell is removed. Blank lines are skipped.

    Args: path – of an UTF-8 file; only – names of the columns to keep, all by default; text – names of columns to read as text
        even if every cell is a number; max_unpacked – see `allowed_bytes`.
    Returns: name -> [N] float64 or TextColumn, in the order of the file.
    Raises: DataFileError for rows of unequal length, decimal commas, and files that are not text; EmptyDataError for no data
        rows; UnknownColumn if one of `only` does not exist.
    """
    try:
        file = _File(path, allowed_bytes(path, max_unpacked))
        layout = _layout(file)
        if only is not None:
            missing = [name for name in only if name not in layout.names]
            if missing:
                raise unknown_column(missing, layout.names, path.name)
        wanted = [j for j, name in enumerate(layout.names) if only is None or name in only]
        as_text = {j for j in wanted if layout.names[j] in text}
        columns, found_later = _convert(file, layout, wanted, as_text)
        if found_later:
            columns, _ = _convert(file, layout, wanted, as_text | found_later)
        for j, column in columns.items():
            if is_text(column) and j not in as_text:
                _require_no_comma_numbers([cell or "" for cell in column.tolist()], f"{path}, column {layout.names[j]!r}")
                columns[j] = _numbers_with_gaps(column)
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{path}: expected UTF-8 text, found other bytes ({error}); save the file as UTF-8"
        ) from error
    except (csv.Error, OSError, EOFError, zlib.error) as error:
        raise DataFileError(
            f"{path}: expected a readable text table, reading failed ({error}); check the file"
        ) from error
    return {layout.names[j]: column for j, column in columns.items()}


class _File(NamedTuple):
    """A file, and how many bytes it may become if it is gzipped."""

    path: Path
    allowed: int

    @contextmanager
    def opened(self) -> Iterator[TextIO]:
        """Its text."""
        with (
            opened(self.path, self.allowed, self.path.suffix.lower() == ".gz") as stream,
            io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text,
        ):
            yield text


def _layout(file: _File) -> Layout:
    path = file.path
    with file.opened() as stream:
        sample = list(islice(stream, _SAMPLE_LINES))
    delimiters = ("\t",) if path.name.lower().removesuffix(".gz").endswith(".tsv") else _DELIMITERS
    delimiter = max(delimiters, key=lambda candidate: _fit(sample, candidate))
    first = next((row for row in csv.reader(sample, delimiter=delimiter) if row), None)
    if first is None:
        raise EmptyDataError(f"{path}: expected a header row and data rows, the file is empty; check how it was made")
    cells = [cell.strip() for cell in first]
    has_header = not all(cells) or _numbers(cells) is None
    if has_header:
        _require_no_comma_numbers(cells, f"{path}, first row")
    named = cells if has_header else [""] * len(cells)
    names = tuple(cell or f"c{index}" for index, cell in enumerate(named))
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise DataFileError(f"{path}: expected different column names, found {listed(repeated)} repeated; rename them")
    return Layout(delimiter, names, has_header)


def _fit(sample: Sequence[str], delimiter: str) -> tuple[bool, int]:
    try:
        rows = [row for row in csv.reader(sample, delimiter=delimiter) if row]
    except csv.Error:  # for another delimiter, a line of very many cells is one cell that is too long
        return False, 0
    if len(sample) == _SAMPLE_LINES:
        rows = rows[:-1]  # the sample may end inside a quoted cell
    if not rows:
        return False, 0
    widths = {len(row) for row in rows}
    return len(widths) == 1 and len(rows[0]) > 1, len(rows[0])


def _convert(
    file: _File, layout: Layout, wanted: Sequence[int], as_text: set[int]
) -> tuple[dict[int, Column], set[int]]:
    """Read the columns, and return which of them turned out to be text only after their first block."""
    parts: dict[int, list[Any]] = {j: [] for j in wanted}
    text, found_later = set(as_text), set[int]()
    rows = 0
    for block in _blocks(file, layout):
        cells_of = list(zip(*block, strict=True))
        for j in wanted:
            if j in found_later:
                continue
            numbers = None if j in text else _numbers(cells_of[j])
            if numbers is not None:
                parts[j].append(numbers)
            elif j in text or rows == 0:
                text.add(j)
                parts[j].append([cell.strip() or None for cell in cells_of[j]])
            else:
                found_later.add(j)
        rows += len(block)
    if rows == 0:
        raise EmptyDataError(f"{file.path}: expected data rows after the header, found none; check how the file was made")
    if found_later:
        return {}, found_later
    return {
        j: TextColumn.of(chain.from_iterable(blocks)) if j in text else np.concatenate(blocks) for j, blocks in parts.items()
    }, found_later


def _blocks(file: _File, layout: Layout) -> Iterator[list[list[str]]]:
    width = len(layout.names)
    with file.opened() as stream:
        reader = csv.reader(stream, delimiter=layout.delimiter)
        block: list[list[str]] = []
        header_to_skip = layout.has_header
        for row in reader:
            if not row:
                continue
            if header_to_skip:
                header_to_skip = False
                continue
            if len(row) != width:
                raise DataFileError(
                    f"{file.path}, line {reader.line_num}: expected {width} cells, found {len(row)}; "
                    f"fix the line (cells that contain {layout.delimiter!r} need quotes)"
                )
            block.append(row)
            if len(block) == _BLOCK_ROWS:
                yield block
                block = []
        if block:
            yield block


def _require_no_comma_numbers(cells: Sequence[str], where: str) -> None:
    """Raises DataFileError for cells that are all numbers or missing, if some are written with commas."""
    first = ""
    for cell in cells:
        if cell.lower() in _ABSENT:
            continue
        if _COMMA_NUMBER.fullmatch(cell):
            first = first or cell
        elif _numbers([cell]) is None:
            return
    if first:
        raise DataFileError(
            f"{where}: expected numbers with a decimal point and without thousands separators, such as 1.5 or 1234.5, "
            f"found {first!r}; write a decimal point instead of a comma"
        )


def _numbers_with_gaps(column: TextColumn) -> Column:
    """A text column as numbers, NaN where they are absent, if it holds nothing else; otherwise the column as it is."""
    numbers = _numbers(["" if cell is None or cell.lower() in _ABSENT else cell for cell in column.tolist()])
    return column if numbers is None or np.isnan(numbers).all() else numbers


def _numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """The cells as float64, NaN for empty ones; None if one of them is neither empty nor a number."""
    try:
        values = list(map(float, cells))
    except ValueError:
        try:
            values = [float(cell) if cell and not cell.isspace() else float("nan") for cell in cells]
        except ValueError:
            return None
    if "_" in "".join(cells):  # float() reads Python's 1_000, a data file does not mean that
        return None
    return np.array(values, dtype=np.float64)
