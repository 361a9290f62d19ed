"""What a fit needs to know of the columns, collected block by block in one pass, and the encodings that follow from it.

The encodings are in `column_codings.py`, means and deviations in `moments.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError
from .column_codings import (
    PERIODS,
    Coding,
    DateCoding,
    NumberCoding,
    TextCoding,
    as_dates,
    as_numbers,
    as_text,
    days_of,
    part_of,
    year_of,
)
from .columns import Column
from .moments import FloatArray, Moments, first_shift

Scaling: TypeAlias = Literal["robust", "standard"]
LARGEST_CODE = 1 << 24
"""float32 holds every whole number up to here."""


@dataclass(frozen=True)
class Settings:
    """How columns are encoded; see `TableEncoder`."""

    scaling: Scaling
    max_one_hot: int | None
    min_frequency: int


class RowSample:
    """A uniform sample of the rows of a stream: those whose numbers have the smallest hashes, whatever the blocks.

    Args: columns – k; from up to 131,072 rows all are taken, of tables wider than 32 columns up to 2²² / k, but at least 1,024.
    """

    def __init__(self, columns: int) -> None:
        self._most = max(1 << 10, min(1 << 17, (1 << 22) // max(1, columns)))
        self._limit = (1 << 64) - 1
        self._hashes: list[NDArray[np.uint64]] = []
        self._values: list[FloatArray] = []

    def add(self, values: FloatArray, first: int) -> None:
        """Take some of the rows `values` [n, k], of which the first has the number `first`."""
        hashes = _hashes(first, len(values))
        chosen = hashes <= np.uint64(self._limit)
        self._hashes.append(hashes[chosen])
        self._values.append(values[chosen])
        while sum(map(len, self._hashes)) > self._most:
            self._limit //= 2
            masks = [part <= np.uint64(self._limit) for part in self._hashes]
            self._hashes = [part[mask] for part, mask in zip(self._hashes, masks, strict=True)]
            self._values = [part[mask] for part, mask in zip(self._values, masks, strict=True)]

    def values(self) -> FloatArray:
        """The rows that were taken."""
        return np.concatenate(self._values)


class NumberStatistics:
    """Of columns of numbers: moments, median and quartiles.

    Args: names – of the k columns; boolean – whether they hold booleans, which are not scaled; streamed – whether `add` is
        called for several blocks; median and quartiles are then those of a `RowSample`.
    """

    def __init__(self, names: Sequence[str], boolean: bool = False, streamed: bool = False) -> None:
        self.names = list(names)
        self.boolean = boolean
        self._sample = RowSample(len(names)) if streamed else None
        self._moments: Moments | None = None
        self._rows = 0
        self._quartiles = np.zeros((3, len(names)))

    def add(self, columns: Sequence[Column]) -> None:
        """Take in some rows of the columns."""
        numbers = [as_numbers(column, name, self.boolean) for name, column in zip(self.names, columns, strict=True)]
        self.add_matrix(gathered(numbers, slice(None)).T)

    def add_matrix(self, values: FloatArray) -> None:
        """As `add`, for rows [n, k]."""
        if self._sample is None:
            self._moments = Moments.of(values)
            self._quartiles = _quartiles(values)
        else:
            self._moments = self._moments or Moments.none(first_shift(values))
            self._moments = self._moments.with_rows(values)
            self._sample.add(values, self._rows)
        self._rows += len(values)

    def number_codings(self, scaling: Scaling) -> list[NumberCoding]:
        """The encoding of each column."""
        assert self._moments is not None
        low, median, high = self._quartiles if self._sample is None else _quartiles(self._sample.values())
        moments = self._moments
        if self.boolean:
            center, scale, median = np.zeros_like(median), np.ones_like(median), np.round(median)
        else:
            center, scale = moments.finished(self.names)
            if scaling == "robust":
                spread = np.where(high > low, high - low, (moments.high - moments.low) / 2.0)
                center, scale = median, np.where(moments.constant | ~(spread > 0.0), 1.0, spread)
        missing = (moments.rows < self._rows).tolist()
        clip = scaling == "robust" and not self.boolean
        return [
            NumberCoding(middle, spread, fill, clip, indicator, self.boolean)
            for middle, spread, fill, indicator in zip(
                center.tolist(), scale.tolist(), median.tolist(), missing, strict=True
            )
        ]

    def codings(self, settings: Settings) -> list[Coding]:
        """The encoding of each column."""
        return [*self.number_codings(settings.scaling)]


class TextStatistics:
    """Of a column of text: in how many rows each value occurs."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        (self.name,) = names
        self._counts: Counter[str] = Counter()
        self._missing = False

    def add(self, columns: Sequence[Column]) -> None:
        """Take in some rows of the column."""
        column = as_text(columns[0], self.name)
        counts = column.counts()
        self._missing |= bool(counts.sum() < len(column))
        there = np.flatnonzero(counts)
        self._counts.update(dict(zip(column.values[there].tolist(), counts[there].tolist(), strict=True)))

    def codings(self, settings: Settings) -> list[Coding]:
        """The encoding of the column."""
        found, missing = sorted(self._counts), [None] * self._missing
        if settings.max_one_hot is None or len(found) + len(missing) <= settings.max_one_hot:
            return [TextCoding((*missing, *found))]
        frequent = [value for value in found if self._counts[value] >= settings.min_frequency]
        if len(frequent) + len(missing) >= LARGEST_CODE:
            raise DataFileError(
                f"column {self.name!r}: expected fewer than {LARGEST_CODE:,} categories, because codes are float32, found "
                f"{len(frequent):,}; raise min_frequency={settings.min_frequency}, or drop the column"
            )
        return [TextCoding((*missing, *frequent), codes=True)]


class DateStatistics:
    """Of a column of dates: days and years as numbers, and which of the other parts differ between rows."""

    def __init__(self, names: Sequence[str], streamed: bool = False) -> None:
        self.names = list(names)
        (self.name,) = names
        self._numbers = NumberStatistics([f"{self.name} days", f"{self.name} year"], streamed=streamed)
        self._ranges = dict.fromkeys(("year", *PERIODS), (np.inf, -np.inf))

    def add(self, columns: Sequence[Column]) -> None:
        """Take in some rows of the column."""
        column = as_dates(columns[0], self.name)
        years = year_of(column)
        self._numbers.add([days_of(column), years])
        there = column[~np.isnat(column)]
        parts = {"year": years[~np.isnan(years)]} | {part: part_of(there, part) for part in PERIODS}
        for part, values in parts.items():
            low, high = self._ranges[part]
            self._ranges[part] = float(values.min(initial=low)), float(values.max(initial=high))

    def codings(self, settings: Settings) -> list[Coding]:
        """The encoding of the column."""
        days, year = self._numbers.number_codings(settings.scaling)
        differ = [part for part, (low, high) in self._ranges.items() if low < high]
        parts = tuple(part for part in PERIODS if part in differ)
        return [DateCoding(days, year if "year" in differ else None, parts)]


Statistics: TypeAlias = NumberStatistics | TextStatistics | DateStatistics


def gathered(columns: Sequence[NDArray[Any]], rows: slice) -> FloatArray:
    """Some rows of several columns of numbers, as a new [k, n] float64."""
    out = np.empty((len(columns), len(columns[0][rows])))
    for number, column in enumerate(columns):
        out[number] = column[rows]
    return out


def _quartiles(values: FloatArray) -> FloatArray:
    """[3, k]: lower quartile, median and upper quartile of the entries of each column [n, k] that are there, 0 for none.

    Between two entries they are interpolated, as by np.quantile; sorting is faster than that.
    """
    ordered = np.sort(values.T, axis=1)  # missing entries are last
    count = len(values) - np.count_nonzero(np.isnan(values), axis=0)
    columns = np.arange(values.shape[1])
    made = np.zeros((3, values.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        for row, fraction in enumerate((0.25, 0.5, 0.75)):
            place = fraction * np.maximum(count - 1, 0)
            below = place.astype(np.int64)
            low, high = ordered[columns, below], ordered[columns, np.minimum(below + 1, np.maximum(count - 1, 0))]
            made[row] = np.where(count > 0, low + (high - low) * (place - below), 0.0)
    return made


def _hashes(first: int, count: int) -> NDArray[np.uint64]:
    """A 64-bit hash of each row number from `first` on: the output function of SplitMix64 (Steele, Lea, Flood 2014)."""
    mixed = np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
