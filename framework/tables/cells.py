"""What a cell of text says: a number, a date, a boolean, or that the value is missing.

What a whole column holds is decided in `kinds.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from math import isinf
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

MISSING: tuple[str, ...] = (
    "", "NA", "N/A", "n.a.", "#N/A", "#N/A N/A", "#NA", "<NA>", "NaN", "-NaN", "1.#QNAN", "-1.#IND", "NaT", "null", "(null)",
    "None", "nil", "\\N", "?", "-", "--", "---", ".",
)  # fmt: skip
"""Cells that stand for a missing value among numbers, dates, booleans and labels, in upper or lower case."""

DateForm: TypeAlias = Literal["Y-m-d", "d.m.Y", "d/m/Y", "m/d/Y", "d Mon Y", "Mon d Y"]
"""Order of year, month and day; a time of day may follow."""

_NAMES = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_MONTHS = {name[:letters]: month for month, name in enumerate(_NAMES, 1) for letters in (3, len(name))} | {"sept": 9}
_TIME = (
    r"(?:(?:T|\s+)(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?:\s?(?P<half>[AaPp][Mm]))?\s?(?P<zone>Z|UTC|[+-]\d\d:?(?:\d\d)?)?)?"
)
_DAY, _MONTH, _YEAR, _NAME = r"(?P<day>\d{1,2})", r"(?P<month>\d{1,2})", r"(?P<year>\d{4})", r"(?P<name>[A-Za-z]{3,9})"
_DAYS: dict[DateForm, str] = {
    "Y-m-d": rf"{_YEAR}([-/.]){_MONTH}\2{_DAY}",
    "d.m.Y": rf"{_DAY}\.{_MONTH}\.{_YEAR}",
    "d/m/Y": rf"{_DAY}([-/]){_MONTH}\2{_YEAR}",
    "m/d/Y": rf"{_MONTH}([-/]){_DAY}\2{_YEAR}",
    "d Mon Y": rf"{_DAY}[- /.]{{0,2}}{_NAME}[- /.,]{{1,2}}{_YEAR}",
    "Mon d Y": rf"{_NAME}[- /.]{{1,2}}{_DAY}(?:,? |-|/){_YEAR}",
}
_DATES = {form: re.compile(day + _TIME, re.ASCII) for form, day in _DAYS.items()}
DATE_FORMS: tuple[DateForm, ...] = get_args(DateForm)
_SHORT = "(?:" + "|".join(name[:3] for name in _NAMES) + ")"
_LIKE_A_DATE = re.compile(
    rf"\d{{4}}[-/.]\d|\d\d?(?:[-/.]\d\d?[-/.]\d{{4}}|[- /.]{{0,2}}{_SHORT})|{_SHORT}[a-z]*[- /.]{{1,2}}\d",
    re.ASCII | re.IGNORECASE,
)

_BOOLEANS = {"true": True, "false": False}


def parse_missing(given: str | None) -> tuple[str, ...]:
    """The missing tokens of a command line: those of a list separated by commas, or, after a `+`, the usual ones and these."""
    if given is None:
        return MISSING
    tokens = tuple(token.strip() for token in given.removeprefix("+").split(","))
    return (*MISSING, *tokens) if given.startswith("+") else ("", *tokens)


def missing_tokens(missing: Collection[str]) -> frozenset[str]:
    """The tokens as cells are compared with them: without blanks at the ends, in lower case; the empty cell is one of them."""
    return frozenset(token.strip().lower() for token in missing) | {""}


def is_missing(values: Iterable[str], tokens: frozenset[str]) -> NDArray[np.bool_]:
    """Which of these values are one of the `missing_tokens`."""
    return np.array([value.strip().lower() in tokens for value in values], dtype=np.bool_)


def numbers(values: Sequence[str], decimal: str = ".") -> NDArray[np.float64]:
    """The numbers that these values say, NaN for those that say none.

    Args: values; decimal – the decimal point. There are no thousands separators, and no `_` as in Python.
    """
    if decimal == "." and not _UNLIKE_NUMBERS.search("".join(values)):
        try:
            plain = np.array(list(map(float, values)), dtype=np.float64)
        except ValueError:
            plain = np.full(1, np.inf)
        if np.isfinite(plain).all():
            return plain
    pattern, found = _number_pattern(decimal), np.full(len(values), np.nan)
    for index, value in enumerate(values):
        cell = value.strip()
        if pattern.fullmatch(cell):
            number = float(cell.replace(decimal, "."))
            if not isinf(number) or "n" in cell or "N" in cell:  # 1e999 is not infinite
                found[index] = number
    return found


def integers(values: Iterable[str]) -> NDArray[np.int64] | None:
    """The whole numbers that these values say, exactly; None if one is no whole number, or one that int64 cannot hold."""
    cells = [value.strip() for value in values]
    if not all(_INTEGER.fullmatch(cell) for cell in cells):
        return None
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    except (OverflowError, ValueError):  # ValueError: more than 4,300 digits
        return None


def booleans(values: Iterable[str]) -> list[bool | None]:
    """True and False for these words in upper or lower case, None for other values."""
    return [_BOOLEANS.get(value.strip().lower()) for value in values]


def like_dates(values: Iterable[str]) -> NDArray[np.bool_]:
    """Which of these values begin like a date; a quick look before `dates`."""
    return np.array([_LIKE_A_DATE.match(value.strip()) is not None for value in values], dtype=np.bool_)


def dates(values: Sequence[str], form: DateForm) -> NDArray[np.datetime64]:
    """The dates that these values say in this form, NaT for those that say none; times with an offset become UTC."""
    pattern, found = _DATES[form], np.full(len(values), "NaT", "datetime64[us]")
    for index, value in enumerate(values):
        parts = pattern.fullmatch(value.strip())
        if parts is not None:
            found[index] = _date(parts)
    return found


def has_leading_zero(value: str) -> bool:
    """Whether a value is a whole number such as 007, which may be a code."""
    return _LEADING_ZERO.fullmatch(value.strip()) is not None


def is_decorated(value: str) -> bool:
    """Whether a value is a number with a percent or currency sign, a decimal comma, thousands separators or a printed minus."""
    return _DECORATED.fullmatch(value.strip().replace("\u2212", "-")) is not None


_UNLIKE_NUMBERS = re.compile(r"[^0-9+\-.eE]")
"""What only cells have that are no numbers, or numbers to look at one by one."""
_LEADING_ZERO = re.compile(r"[+-]?0\d+", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_GROUPED = r"(?:\d+|\d{1,3}(?:[., '\u2019\u00a0\u202f]\d{3})+)?(?:[.,]\d*)?"
_SIGN = r"(?:[$€£¥₹]|USD|EUR|GBP|CHF)"
_DECORATED = re.compile(
    rf"[+-]?\s?{_SIGN}?\s?[+-]?(?=[.,]?\d){_GROUPED}(?:[eE][+-]?\d+)?\s?(?:%|-|{_SIGN})?|"
    rf"\({_SIGN}?(?=[.,]?\d){_GROUPED}\)",
    re.ASCII,
)


@lru_cache(maxsize=8)
def _number_pattern(decimal: str) -> re.Pattern[str]:
    point = re.escape(decimal)
    return re.compile(
        rf"[+-]?(?:(?:\d+(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)", re.ASCII
    )


def _date(found: re.Match[str]) -> datetime | None:
    given = found.groupdict()

    def number(part: str) -> int:
        return int(given.get(part) or 0)

    hour = number("hour")
    month = _MONTHS.get(given["name"].lower(), 0) if "name" in given else number("month")
    if given["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if given["half"].lower() == "pm" else 0)
    try:
        moment = datetime(
            number("year"), month, number("day"), hour, number("minute"), number("second"),
            int((given["part"] or "0").ljust(6, "0")[:6]),
        )  # fmt: skip
        return moment - _offset(given["zone"])
    except (ValueError, OverflowError):
        return None


def _offset(zone: str | None) -> timedelta:
    if zone in (None, "Z", "UTC"):
        return timedelta(0)
    assert zone is not None
    digits = zone[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -offset if zone[0] == "-" else offset
