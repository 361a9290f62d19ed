"""What each column of a table is taken for: number, text, date or boolean, or dropped and why.

What a single cell says is in `cells.py`, encoding for a network in `encoder.py`. No value is changed in silence: a
column is converted as a whole, or not at all; what could be meant otherwise is said in `ColumnKind.note`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError, HyperparameterError
from ..sources.names import unknown_column
from .cells import (
    DATE_FORMS,
    MISSING,
    DateForm,
    booleans,
    dates,
    has_leading_zero,
    integers,
    is_decorated,
    like_dates,
    missing_tokens,
    numbers,
)
from .column_kind import KINDS, ColumnKind, Kind, kinds_from_json, kinds_to_json
from .column_values import FEW_ROWS, TextCells, absent_rows, as_text, counts_rows, describe, like_an_index, quoted, short
from .columns import Column, is_text
from .table import Table
from .text_column import TextColumn

__all__ = ["KINDS", "MISSING", "ColumnKind", "Kind", "apply_kinds", "find_kinds", "kinds_from_json", "kinds_to_json"]

_UNNAMED = re.compile(r"|Unnamed: \d+(_level_\d+)?|__index_level_\d+__|index")
"""What libraries call an index; readers here call a column without a name by its number: c0, c1, …."""
_NUMBERED = re.compile(r"c\d+")
_EXACT = 2**53


def find_kinds(
    table: Table,
    text: Collection[str] = (),
    number: Collection[str] = (),
    drop: Collection[str] = (),
    missing: Collection[str] = MISSING,
    typed: bool = False,
    decimal: str = ".",
) -> tuple[Table, tuple[ColumnKind, ...]]:
    """Decide what each column is, and convert it.

    number: numbers by their type, or text of which each cell is a number or missing
    date, boolean: likewise; "2020-12-31", "31.12.2020 14:05", "31 Dec 2020" and the like; "true" and "false" in any case.
        Dates like 12/31/2020 are read if only one order of day and month is possible.
    dropped: no values; the same value in every row; text that differs in every row; whole numbers that count the rows, in a
        column without a name
    text: everything else

    Args: table – of features; text, number, drop – names of columns for which this is decided by the caller; among `number`
        cells that are no numbers become missing; missing – texts that stand for a missing value, in upper or lower case; in
        text they are ordinary values; typed – whether the source has types of its own, so that text of numbers stays text;
        decimal – the decimal point of the source.
    Returns: a table of float64, int64, bool, datetime64[us] and TextColumn without the dropped columns; a kind for each column.
    Raises: DataFileError for a column of which more than half, but not all cells are numbers (or dates), and for one of
        numbers with signs or thousands separators, with column, row and cell; UnknownColumn for names that are not there;
        HyperparameterError for a name that is given twice; EmptyDataError if no column is left.
    """
    require_names(table.names, text, number, drop, table.source)
    unnamed = table.layout.unnamed if table.layout else None
    read, source = table.columns.__getitem__, table.source
    found = dict(each_kind(table.names, read, text, number, drop, missing, typed, decimal, source, unnamed))
    require_used(found, table.source)
    return Table({kind.name: column for kind, column in found.items() if column is not None}, table.source), tuple(found)


def each_kind(
    names: Sequence[str],
    read: Callable[[str], Column],
    text: Collection[str] = (),
    number: Collection[str] = (),
    drop: Collection[str] = (),
    missing: Collection[str] = MISSING,
    typed: bool = False,
    decimal: str = ".",
    source: str = "",
    unnamed: frozenset[str] | None = None,
) -> Iterator[tuple[ColumnKind, Column | None]]:
    """As `find_kinds`, for one column after the other: its kind, and the column of that kind, None if it is dropped.

    Args: names – of all columns; read – the column of a name, of which it is not called for those that are dropped on request;
        source – where they came from, for messages; unnamed – names that the source does not have, by default those like c0,
        unless it is typed; others as for `find_kinds`.
    """
    tokens = missing_tokens(missing)
    if unnamed is None:
        unnamed = frozenset() if typed else frozenset(filter(_NUMBERED.fullmatch, names))
    has_names = not unnamed.issuperset(names)
    for name in names:
        if name in drop:
            yield ColumnKind(name, "dropped", "on request"), None
            continue
        asked: Kind | None = "text" if name in text else "number" if name in number else None
        kind, made = _ColumnReader(name, tokens, typed, decimal, name in unnamed, has_names, source).find(read(name), asked)
        yield kind, None if kind.kind == "dropped" else made


def require_used(kinds: Collection[ColumnKind], source: str = "") -> None:
    """Raises EmptyDataError if every column was dropped."""
    if kinds and all(one.kind == "dropped" for one in kinds):
        reasons = "; ".join(f"{one.name}: {one.detail}" for one in list(kinds)[:5])
        raise EmptyDataError(
            f"{source or 'table'}: expected feature columns, found none that can be used ({reasons}); add columns, or "
            f"keep one as text with --text COLUMN (in Python text=)"
        )


def apply_kinds(
    table: Table, kinds: Iterable[ColumnKind], missing: Collection[str] = MISSING, decimal: str = ".", before: int = 0
) -> Table:
    """Read the columns of a new table as those of the training data were read.

    Args: table – with the columns of `kinds` that are not dropped; others are left out; kinds – of the training data; missing,
        decimal – as for `find_kinds`; before – rows of the source before those of the table, for messages.
    Returns: the columns in the order of `kinds`; missing values stay missing.
    Raises: DataFileError with column, row and cell for a column that cannot be read as it was; UnknownColumn.
    """
    tokens = missing_tokens(missing)
    used = [one for one in kinds if one.kind != "dropped"]
    chosen = table.select([one.name for one in used])
    columns: dict[str, Column] = {}
    for one in used:
        reader = _ColumnReader(one.name, tokens, decimal=decimal, source=table.source, before=before)
        columns[one.name] = reader.read(chosen.columns[one.name], one)
    return Table(columns, table.source)


def as_numbers(column: Column, decimal: str = ".") -> Column:
    """Text of which each cell is a number or missing as numbers, other columns as they are."""
    if not is_text(column):
        return column
    cells = TextCells(column, missing_tokens(MISSING))
    found = numbers(cells.values, decimal)
    return column if np.isnan(found).any() or not cells.present else cells.spread(found)


def require_names(
    known: Sequence[str], text: Collection[str], number: Collection[str], drop: Collection[str], source: str = ""
) -> None:
    """Raises UnknownColumn for names that are not known, HyperparameterError for a name in two of the three."""
    there, decided = set(known), dict[str, str]()
    for option, names in (("text", text), ("number", number), ("drop", drop)):
        if isinstance(names, str):
            raise HyperparameterError(f"{option}: expected a list of column names, got the text {names!r}; give [{names!r}]")
        unknown = [name for name in names if name not in there]
        if unknown:
            raise unknown_column(unknown, known, source, f"--{option} column")
        for name in names:
            other = decided.setdefault(name, option)
            if other != option:
                raise HyperparameterError(
                    f"column {name!r}: expected one of --text, --number and --drop, got --{other} and --{option}; leave out one"
                )


@dataclass(frozen=True)
class _ColumnReader:
    """Decides about one column; arguments as of `find_kinds` and `apply_kinds`, and whether it, and any column, has a name."""

    name: str
    tokens: frozenset[str]
    typed: bool = False
    decimal: str = "."
    unnamed: bool = False
    has_names: bool = True
    source: str = ""
    before: int = 0

    @property
    def where(self) -> str:
        """The column, for messages."""
        return f"{self.source}, column {self.name!r}" if self.source else f"column {self.name!r}"

    def find(self, column: Column, asked: Kind | None) -> tuple[ColumnKind, Column]:
        """Its kind, and the column of that kind."""
        if asked == "text":
            made: Column = as_text(column)
            return self._described("text", made, useful=True), made
        if asked == "number":
            made, note = self._forced(column)
            return replace(self._described("number", made, note, useful=True), forced=True), made
        if not is_text(column):
            kind: Kind = {"b": "boolean", "M": "date"}.get(column.dtype.kind, "number")  # type: ignore[assignment]
            return self._described(kind, column), column
        return self._find_in_text(TextCells(column, self.tokens))

    def read(self, column: Column, kind: ColumnKind) -> Column:
        """The column as one of this kind, which was found before."""
        if kind.kind == "text":
            return as_text(column)
        if kind.kind == "boolean":
            return self._read_booleans(column)
        if is_text(column):
            cells = TextCells(column, self.tokens)
            if kind.kind == "number":
                truths = booleans(cells.values)
                found = numbers(cells.values, self.decimal) if None in truths else np.array(truths, np.float64)
                return cells.spread(found) if kind.forced else self._require_all(cells, found, "numbers")
            return self._require_all(cells, dates(cells.values, kind.form or "Y-m-d"), "dates")
        if (column.dtype.kind == "M") == (kind.kind == "date"):
            return column.astype(np.float64) if column.dtype == np.bool_ else column
        if absent_rows(column).all():
            return np.full(len(column), "NaT", "datetime64[us]") if kind.kind == "date" else np.full(len(column), np.nan)
        raise DataFileError(
            f"{self.where}: expected {kind.kind}s as in the training data, found "
            f"{'dates' if column.dtype.kind == 'M' else 'numbers'}; convert the column"
        )

    def _find_in_text(self, cells: TextCells) -> tuple[ColumnKind, Column]:
        """The kind of a column of text that nobody decided about."""
        if cells.present == 0:
            return ColumnKind(self.name, "dropped", "no values"), cells.column
        truths = booleans(cells.values)
        if None not in truths:
            made = _booleans(cells, cast(list[bool], truths))
            return self._described("boolean", made), made
        found = numbers(cells.values, self.decimal)
        rows = cells.rows_of(~np.isnan(found))
        if self.typed:
            note = f"{self.name!r} is text of numbers; --number reads them" if rows == cells.present else ""
        else:
            if rows == cells.present:
                whole = integers(cells.values) if not cells.missing else None
                made = cells.spread(found if whole is None else whole)
                return self._described("number", made, self._rounded(cells, made) or self._zeros(cells)), made
            self._require_no_signs(cells, found)
            if 2 * rows > cells.present:
                raise self._few_bad_cells(cells, np.isnan(found), "numbers")
            note = ""
        form, moments, date_note = self._dates(cells)
        if form is not None:
            made = cells.spread(moments)
            return self._described("date", made, form=form), made
        made = as_text(cells.column)
        return self._described("text", made, note or date_note), made

    def _described(
        self, kind: Kind, column: Column, note: str = "", form: DateForm | None = None, useful: bool = False
    ) -> ColumnKind:
        """The kind with its values in words; `useful` – it is not dropped."""
        reason = None if useful else self._useless(column)
        if reason:
            return ColumnKind(self.name, "dropped", reason, note)
        if not note and kind == "number" and counts_rows(column):
            note = f"{self.name!r} counts the rows; if it only identifies them, leave it out with --drop"
        gaps = int(np.count_nonzero(absent_rows(column)))
        return ColumnKind(self.name, kind, describe(column, kind == "boolean"), note, form, gaps)

    def _useless(self, column: Column) -> str:
        """Why a column is of no use as an input, or an empty text."""
        if not len(column):
            return ""
        absent = absent_rows(column)
        present = len(column) - int(np.count_nonzero(absent))
        if present == 0:
            return "no values"
        if not is_text(column) and self._is_index(column):
            return f"has no name and {f'counts the rows from {int(column[0])}' if counts_rows(column) else 'numbers the rows'}"
        if len(column) < FEW_ROWS:
            return ""
        if is_text(column):
            different = int(np.count_nonzero(column.counts()))
            if different == present and 2 * present > len(column):
                return "every value differs"
            constant = present == len(column) and different == 1
            return f"always {quoted(column.values[column.codes[0]])}" if constant else ""
        if present == len(column) and bool((column == column[0]).all()):
            return f"always {short(column[0])}"
        return ""

    def _is_index(self, column: NDArray[Any]) -> bool:
        """Whether a column without a name numbers the rows, like the index that pandas and R write along with a table."""
        if not (self.unnamed or _UNNAMED.fullmatch(self.name)) or len(column) < FEW_ROWS:
            return False
        nameless = self.has_names if self.unnamed else self.name != "index"
        return counts_rows(column) or (nameless and like_an_index(column))

    def _dates(self, cells: TextCells) -> tuple[DateForm | None, NDArray[Any], str]:
        """The form of the dates and the dates of the values, or why text that looks like dates stays text.

        Raises: DataFileError if more than half of the cells are dates, and others are not.
        """
        nothing = np.zeros(0, "datetime64[us]")
        if 2 * cells.rows_of(like_dates(cells.values)) <= cells.present:
            return None, nothing, ""
        read = {form: dates(cells.values, form) for form in DATE_FORMS}
        rows = {form: cells.rows_of(~np.isnat(moments)) for form, moments in read.items()}
        whole = [form for form in DATE_FORMS if rows[form] == cells.present]
        both = min(rows["d/m/Y"], rows["m/d/Y"])
        if len(whole) == 1:
            return whole[0], read[whole[0]], ""
        if len(whole) > 1 or 2 * both > cells.present:
            first = cells.first(~np.isnat(read["d/m/Y"]))[2]
            why = "may be day/month or month/day" if len(whole) > 1 else "mix day/month and month/day"
            note = f"dates such as {quoted(first)} in {self.name!r} {why} and stay text; write them as YYYY-MM-DD"
            return None, nothing, note
        best = max(DATE_FORMS, key=lambda form: rows[form])
        if 2 * rows[best] > cells.present:
            raise self._few_bad_cells(cells, np.isnat(read[best]), "dates")
        first = cells.first(like_dates(cells.values))[2]
        note = f"cells such as {quoted(first)} in {self.name!r} look like dates, but not in one form, and stay text"
        return None, nothing, f"{note}; write them as YYYY-MM-DD"

    def _forced(self, column: Column) -> tuple[Column, str]:
        """The column as numbers because the caller says so, and how many cells became missing."""
        if not is_text(column):
            if column.dtype.kind == "M":
                raise DataFileError(f"{self.where}: expected numbers (--number), found dates; leave out --number")
            return (column.astype(np.float64) if column.dtype == np.bool_ else column), ""
        cells = TextCells(column, self.tokens)
        found = numbers(cells.values, self.decimal)
        bad = np.isnan(found)
        if cells.present and bad.all():
            raise DataFileError(
                f"{self.where}: expected numbers (--number), found none among {cells.present:,} cells; the first is "
                f"{quoted(cells.values[0])}; leave out --number"
            )
        whole = integers(cells.values) if not (cells.missing or bad.any()) else None
        made = cells.spread(found if whole is None else whole)
        if not bad.any():
            return made, self._rounded(cells, made)
        count, row, cell = cells.first(bad)
        return made, f"{_count(count)} of {self.name!r} taken as missing (--number), the first {quoted(cell)} in row {row:,}"

    def _rounded(self, cells: TextCells, made: Column) -> str:
        """A note on whole numbers that float64 does not hold exactly."""
        if is_text(made) or made.dtype != np.float64 or not bool((np.abs(made) >= _EXACT).any()):
            return ""
        found = numbers(cells.values, self.decimal)
        changed = np.array(
            [abs(number) >= _EXACT and value.strip().lstrip("+-").isdecimal() and int(value) != int(number)
             for value, number in zip(cells.values, found, strict=True)], dtype=np.bool_,
        )  # fmt: skip
        if not changed.any():
            return ""
        _, row, cell = cells.first(changed)
        return f"whole numbers of more than 15 digits in {self.name!r} are rounded, the first {quoted(cell)} in row {row:,}"

    def _zeros(self, cells: TextCells) -> str:
        """A note on numbers that begin with 0, which may be codes."""
        coded = np.array([has_leading_zero(value) for value in cells.values], dtype=np.bool_)
        if not coded.any():
            return ""
        return f"numbers of {self.name!r} such as {quoted(cells.first(coded)[2])} begin with 0; if they are codes, give --text"

    def _read_booleans(self, column: Column) -> Column:
        if not is_text(column) and column.dtype == np.bool_:
            return column
        cells = TextCells(as_text(column), self.tokens)
        words, found = {1.0: "true", 0.0: "false"}, numbers(cells.values, self.decimal).tolist()
        truths = booleans(words.get(number, value) for number, value in zip(found, cells.values, strict=True))
        bad = np.array([value is None for value in truths], dtype=np.bool_)
        if bad.any():
            raise self._other_kind(cells, bad, "booleans (true, false)")
        return _booleans(cells, cast(list[bool], truths))

    def _require_all(self, cells: TextCells, found: NDArray[Any], what: str) -> Column:
        """The values in their rows; an error for those that could not be read."""
        bad = np.isnan(found)
        if bad.any():
            raise self._other_kind(cells, bad, what)
        return cells.spread(found)

    def _other_kind(self, cells: TextCells, bad: NDArray[np.bool_], what: str) -> DataFileError:
        count, row, cell = cells.first(bad)
        more = f", and {_count(count - 1)} more" if count > 1 else ""
        return DataFileError(
            f"{self.where}, row {self.before + row:,}: expected {what} as in the training data, found {quoted(cell)}{more}; "
            f"correct the cells, or leave them empty if the value is missing"
        )

    def _few_bad_cells(self, cells: TextCells, bad: NDArray[np.bool_], what: str) -> DataFileError:
        count, row, cell = cells.first(bad)
        good = cells.present - count
        others = f", the first of {count:,} that are not" if count > 1 else ""
        name = shlex.quote(self.name)
        force = f" --number {name} (such cells are missing)," if what == "numbers" else ""
        token = "" if "," in cell or len(cell) > 30 else f" --missing {shlex.quote('+' + cell)} (it stands for no value),"
        return DataFileError(
            f"{self.where}, row {row:,}: expected {what}, found {quoted(cell)}{others}; {good:,} of {cells.present:,} cells "
            f"are {what}; correct it, or choose{token}{force} --text {name} or --drop {name} "
            f"(in Python missing=,{' number=,' if force else ''} text=, drop=)"
        )

    def _require_no_signs(self, cells: TextCells, found: NDArray[np.float64]) -> None:
        """Raises DataFileError if most cells are numbers, half of the cells or more with signs or thousands separators."""
        signs = decorated(cells, found)
        plain = cells.rows_of(~np.isnan(found))
        if 2 * plain > cells.present or 2 * (plain + cells.rows_of(signs)) <= cells.present:
            return
        _, row, cell = cells.first(signs)
        raise DataFileError(
            f"{self.where}, row {row:,}: expected numbers such as 1.5 or 1234.5, without signs and thousands "
            f"separators, found {quoted(cell)}; write plain numbers (--decimal , reads decimal commas), or keep the column as "
            f"text with --text {shlex.quote(self.name)} (in Python text=)"
        )


def _booleans(cells: TextCells, truths: Sequence[bool]) -> Column:
    """bool [N], or text of true and false if some are missing."""
    if not cells.missing:
        return cells.spread(np.array(truths, dtype=np.bool_))
    rows = cells.spread(np.array(truths, dtype=np.float64))
    return TextColumn(np.where(np.isnan(rows), -1, rows).astype(np.int32), np.array(["false", "true"], dtype=object))


def decorated(cells: TextCells, found: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[K]: which values are numbers with signs or thousands separators; `found` – those that are plain numbers."""
    plain = ~np.isnan(found)
    return np.array([not ok and is_decorated(value) for value, ok in zip(cells.values, plain, strict=True)], dtype=np.bool_)


def _count(count: int) -> str:
    return "1 cell" if count == 1 else f"{count:,} cells"
