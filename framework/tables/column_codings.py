"""How each kind of column is written as numbers: numbers and booleans, text, dates; fitted, and stored as plain values.

They are fitted in `column_fit.py` and put together in `encoder.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...errors import DtypeError
from ..sources.blocks import row_blocks
from .columns import Column, is_text
from .moments import FloatArray, plain_number
from .text_column import TextColumn

CLIP = 3.0
"""The largest absolute value of a number that is smoothly clipped."""
PERIODS = {"month": 12.0, "day": 31.0, "weekday": 7.0, "hour": 24.0}
"""Part of a date -> its period, in its own unit."""
MICROSECONDS_A_DAY = 86_400_000_000
_PER_ROW = 16
"""Numbers in memory for each row while a column of text or dates is written."""
_BOOLEANS = ("false", "true")


@dataclass(frozen=True)
class NumberCoding:
    """(x − center) / scale, and with `clip` the smooth clipping u / √(1 + (u/3)²) of it; 0/1 of booleans.

    Args: center, scale, clip; fill – what a missing number counts as; indicator – whether a second column is 1 where the
        number is missing; boolean – whether the column held booleans.
    """

    center: float
    scale: float
    fill: float
    clip: bool = False
    indicator: bool = False
    boolean: bool = False

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return 1 + self.indicator

    def output_names(self, name: str) -> list[str]:
        """Names of the encoded columns."""
        return [name, f"{name} is missing"] if self.indicator else [name]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "kind": "boolean" if self.boolean else "number", "center": self.center, "scale": self.scale, "fill": self.fill,
            "clip": self.clip, "indicator": self.indicator,
        }  # fmt: skip

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> NumberCoding:
        """Restore the result of `to_json`; KeyError, TypeError or ValueError if a part is missing or wrong."""
        return cls(
            plain_number(stored["center"]), plain_number(stored["scale"], above_zero=True), plain_number(stored["fill"]),
            _flag(stored["clip"]), _flag(stored["indicator"]), stored["kind"] == "boolean",
        )  # fmt: skip


@dataclass(frozen=True)
class TextCoding:
    """One column of 0 and 1 per category, or one column of integer codes.

    A value that is no category, and one that is missing if none was missing in fit, is all zeros, or code 0; category k has
    code k + 1. Where only one of "missing" and the empty text is a category, it stands for both.

    Args: categories – different ones, sorted, None first, which stands for missing; codes – whether integer codes are written.
    """

    categories: tuple[str | None, ...]
    codes: bool = False
    _number: dict[str | None, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._number.update((category, number) for number, category in enumerate(self.categories))
        for one, other in ((None, ""), ("", None)):
            if one in self._number:
                self._number.setdefault(other, self._number[one])

    @property
    def numbered(self) -> Mapping[str | None, int]:
        """The number of the category of each value that has one; None is missing."""
        return self._number

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return 1 if self.codes else len(self.categories)

    def output_names(self, name: str) -> list[str]:
        """Names of the encoded columns."""
        if self.codes:
            return [name]
        return [f"{name} is missing" if entry is None else f"{name}={entry}" for entry in self.categories]

    def numbers(self, column: TextColumn) -> NDArray[np.int64]:
        """[K + 1]: the number of the category of each value of a column, and of missing at the end; -1 for none."""
        values: list[str | None] = [*column.values.tolist(), None]
        return np.fromiter((self._number.get(value, -1) for value in values), np.int64, len(values))

    def encode(self, column: TextColumn, out: NDArray[Any], start: int) -> None:
        """Write into the columns of `out` from `start` on, which hold zeros."""
        numbers = self.numbers(column)
        codes = (numbers + 1).astype(out.dtype)
        for rows in row_blocks(len(column), _PER_ROW):
            if self.codes:
                out[rows, start] = codes[column.codes[rows]]
                continue
            chosen = numbers[column.codes[rows]]
            there = np.flatnonzero(chosen >= 0)
            out[there + rows.start, chosen[there] + start] = 1.0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "text", "categories": list(self.categories), "codes": self.codes}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TextCoding:
        """Restore the result of `to_json`; KeyError, TypeError or ValueError if a part is missing or wrong."""
        categories = stored["categories"]
        require_different_texts([entry for entry in categories if entry is not None] if isinstance(categories, list) else None)
        if categories.count(None) > 1:
            raise ValueError("a category occurs twice")
        return cls(tuple(categories), _flag(stored["codes"]))


@dataclass(frozen=True)
class DateCoding:
    """Days since 1970 as a number, the year as a number, and sine and cosine of the parts that repeat.

    Args: days – with `fill` for missing dates, and the indicator; year – None if all were in one year; parts – those of
        `PERIODS` that differed between rows.
    """

    days: NumberCoding
    year: NumberCoding | None
    parts: tuple[str, ...]

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return self.days.width + (self.year is not None) + 2 * len(self.parts)

    def output_names(self, name: str) -> list[str]:
        """Names of the encoded columns."""
        years = [] if self.year is None else [f"{name} year"]
        waves = [f"{name} {part} {wave}" for part in self.parts for wave in ("sin", "cos")]
        first, *indicator = self.days.output_names(name)
        return [f"{first} days", *indicator, *years, *waves]

    def encode(self, column: NDArray[Any], out: NDArray[Any], start: int) -> None:
        """Write into the columns of `out` from `start` on."""
        for rows in row_blocks(len(column), _PER_ROW):
            self._encode(column[rows], out[rows], start)

    def _encode(self, column: NDArray[Any], out: NDArray[Any], start: int) -> None:
        missing = np.isnat(column)
        if missing.any():
            column = np.where(missing, np.datetime64(round(self.days.fill * MICROSECONDS_A_DAY), "us"), column)
        out[:, start] = scaled(days_of(column), self.days.center, self.days.scale, self.days.clip)
        start += 1
        if self.days.indicator:
            out[:, start] = missing
            start += 1
        if self.year is not None:
            out[:, start] = scaled(year_of(column), self.year.center, self.year.scale, self.year.clip)
            start += 1
        for part in self.parts:
            angle = part_of(column, part) * (2.0 * np.pi / PERIODS[part])
            out[:, start], out[:, start + 1] = np.sin(angle), np.cos(angle)
            start += 2

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        year = None if self.year is None else self.year.to_json()
        return {"kind": "date", "days": self.days.to_json(), "year": year, "parts": list(self.parts)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> DateCoding:
        """Restore the result of `to_json`; KeyError, TypeError or ValueError if a part is missing or wrong."""
        year, parts = stored["year"], stored["parts"]
        require_different_texts(parts)
        if not set(parts) <= set(PERIODS):
            raise ValueError(f"parts of a date are {', '.join(PERIODS)}")
        days = NumberCoding.from_json(stored["days"])
        if abs(days.fill) > 1e8:
            raise ValueError("a date beyond what can be represented")
        return cls(days, None if year is None else NumberCoding.from_json(year), tuple(parts))


Coding: TypeAlias = NumberCoding | TextCoding | DateCoding
Kind: TypeAlias = Literal["number", "boolean", "text", "date"]
KINDS: dict[str, type[NumberCoding] | type[TextCoding] | type[DateCoding]] = {
    "number": NumberCoding, "boolean": NumberCoding, "text": TextCoding, "date": DateCoding,
}  # fmt: skip


def scaled(values: FloatArray, center: Any, scale: Any, clip: bool) -> FloatArray:
    """The formula of `NumberCoding`, in place; hypot, because squares of large numbers overflow."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        values -= center
        values /= scale
        if clip:
            values /= np.hypot(1.0, values / CLIP)
    return values


def encode_numbers(
    values: FloatArray, codings: Sequence[NumberCoding], starts: NDArray[np.int64], out: NDArray[Any]
) -> None:
    """Write columns of numbers, all clipped or none, into `out`.

    Args: values – [k, n] without infinity, overwritten; codings – k; starts – [k], the first column in `out` of each,
        ascending; out – [n, width].
    """
    missing = np.isnan(values)
    if missing.any():
        np.copyto(values, np.array([[coding.fill] for coding in codings]), where=missing)
        marked = [number for number, coding in enumerate(codings) if coding.indicator]
        out[:, starts[marked] + 1] = missing[marked].T
    center = np.array([[coding.center] for coding in codings])
    scale = np.array([[coding.scale] for coding in codings])
    scaled(values, center, scale, codings[0].clip)
    with np.errstate(over="ignore", under="ignore"):
        if len(starts) == 1 or starts[-1] - starts[0] == len(starts) - 1:
            out[:, starts[0] : starts[-1] + 1] = values.T
        else:
            out[:, starts] = values.T


def days_of(column: NDArray[Any]) -> FloatArray:
    """Days since 1970, with fractions; NaN where a date is missing."""
    days = column.astype("datetime64[us]").astype(np.int64) / float(MICROSECONDS_A_DAY)
    days[np.isnat(column)] = np.nan
    return days


def year_of(column: NDArray[Any]) -> FloatArray:
    """Calendar years; NaN where a date is missing."""
    years = column.astype("datetime64[Y]").astype(np.float64) + 1970.0
    years[np.isnat(column)] = np.nan
    return years


def part_of(column: NDArray[Any], part: str) -> FloatArray:
    """A part of dates in the unit of its period, from 0 on: month 0 is January, weekday 0 is Monday, hours have fractions."""
    days = column.astype("datetime64[D]")
    months = column.astype("datetime64[M]")
    if part == "month":
        values = (months.astype(np.int64) % 12).astype(np.float64)
    elif part == "day":
        values = (days - months.astype("datetime64[D]")).astype(np.float64)
    elif part == "weekday":
        values = ((days.astype(np.int64) + 3) % 7).astype(np.float64)
    else:
        values = (column - days).astype("timedelta64[us]").astype(np.float64) * (24.0 / MICROSECONDS_A_DAY)
    return values


def as_numbers(column: Column, name: str, boolean: bool = False) -> NDArray[Any]:
    """A column as the numbers that were fitted; a column without entries is one of missing numbers."""
    if is_text(column):
        if bool((column.codes < 0).all()):
            return np.full(len(column), np.nan)
        if boolean and set(column.values.tolist()) <= set(_BOOLEANS):
            numbers = [float(_BOOLEANS.index(value)) for value in column.values.tolist()]
            return np.array([*numbers, np.nan])[column.codes]
        raise DtypeError(
            f"column {name!r}: expected {'booleans' if boolean else 'numbers'} as in fit, got text{_such_as(column)}; "
            "fix or drop it"
        )
    if column.dtype.kind == "M":
        if bool(np.isnat(column).all()):
            return np.full(len(column), np.nan)
        raise DtypeError(f"column {name!r}: expected numbers as in fit, got dates; fix or drop it")
    return column


def as_text(column: Column, name: str) -> TextColumn:
    """A column as the text that was fitted: booleans as "false" and "true"; a column without entries is one of missing text."""
    if is_text(column):
        return column
    values = np.empty(len(_BOOLEANS), dtype=object)
    values[:] = _BOOLEANS
    if column.dtype.kind == "b":
        return TextColumn(column.astype(np.int32), values)
    if is_all_missing(column):
        return TextColumn(np.full(len(column), -1, dtype=np.int32), values[:0])
    kind = "dates" if column.dtype.kind == "M" else "numbers"
    raise DtypeError(
        f"column {name!r}: expected text as in fit, got {kind}; load it with text=preprocessor.text_columns, "
        "or convert the column to str"
    )


def as_dates(column: Column, name: str) -> NDArray[Any]:
    """A column as the dates that were fitted; a column without entries is one of missing dates."""
    if not is_text(column) and column.dtype.kind == "M":
        return column.astype("datetime64[us]", copy=False)
    if is_all_missing(column):
        return np.full(len(column), np.datetime64("NaT"), dtype="datetime64[us]")
    found = f"text{_such_as(column)}" if is_text(column) else "numbers"
    raise DtypeError(f"column {name!r}: expected dates as in fit, got {found}; convert or drop it")


def is_all_missing(column: Column) -> bool:
    """Whether no row has an entry, so that the type of the column says nothing; False for no rows."""
    if len(column) == 0:
        return False
    if is_text(column):
        return bool((column.codes < 0).all())
    if column.dtype.kind == "M":
        return bool(np.isnat(column).all())
    return column.dtype.kind == "f" and bool(np.isnan(column).all())


def kind_of(column: Column) -> Kind:
    """What a column is encoded as."""
    if is_text(column):
        return "text"
    return {"M": "date", "b": "boolean"}.get(column.dtype.kind, "number")  # type: ignore[return-value]


def require_different_texts(names: Any) -> None:
    """Raises TypeError or ValueError unless this is a list of different texts."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("names and categories are lists of texts")
    if len(set(names)) < len(names):
        raise ValueError("a name or a category occurs twice")


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"expected true or false; found {value!r}")
    return value


def _such_as(column: TextColumn) -> str:
    """The first cell that is no number, for a message."""
    for row, entry in enumerate(column.tolist()):
        try:
            float(entry or 0.0)
        except ValueError:
            return f" such as {entry!r} in row {row + 1}"
    return ""
