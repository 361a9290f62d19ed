"""Encoding of feature columns: standardised numbers and one-hot text, with statistics of the training part.

Encoding of the target is in `target_coding.py`; `Preprocessor` combines both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DataFileError, DtypeError, EmptyDataError, ShapeError
from ..sources.names import listed
from ..sources.row_source import RowNumbers, RowSource
from .columns import is_text
from .moments import FloatArray, column_moments, plain_number, source_moments
from .table import Features, Matrix, Table, as_features
from .text_column import TextColumn
from .validation import require_finite_features

_ALWAYS_ALLOWED = 100
_NEVER_EXCEEDED = 10_000


def most_categories(rows: int) -> int:
    """Largest number of categories of a text column: half the training rows, but at least 100 and at most 10,000.

    With more, most categories occur only once (identifiers, free text), and one-hot encoding needs too much memory.
    """
    return min(max(_ALWAYS_ALLOWED, rows // 2), _NEVER_EXCEEDED)


@dataclass(frozen=True, eq=False)
class FeatureCoding:
    """The fitted encoding of the feature columns.

    Args: names – input columns, in order; mean, scale – one entry per numeric column, in that order;
        categories – text column -> its sorted categories.
    """

    names: tuple[str, ...]
    mean: FloatArray
    scale: FloatArray
    categories: dict[str, tuple[str, ...]]

    @classmethod
    def fit(cls, features: Features) -> FeatureCoding:
        """Compute means, scales and categories.

        Raises: EmptyDataError for no rows or columns; NonFiniteDataError for NaN; DataFileError for a text column of more
            than `most_categories`.
        """
        _require_rows(features)
        require_finite_features(features)
        if isinstance(features, Matrix):
            return cls(features.names, *column_moments(features.values, features.names), {})
        moments: list[tuple[FloatArray, FloatArray]] = []
        categories: dict[str, tuple[str, ...]] = {}
        for name, column in features.columns.items():
            if is_text(column):
                categories[name] = _categories(name, column)
            elif column.dtype.kind == "M":
                raise DtypeError(
                    f"column {name!r}: expected numbers, booleans or text, got dates; turn it into numbers or drop it"
                )
            else:
                moments.append(column_moments(column[:, np.newaxis].astype(np.float64, copy=False), [name]))
        mean = np.array([mean[0] for mean, _ in moments], dtype=np.float64)
        scale = np.array([scale[0] for _, scale in moments], dtype=np.float64)
        return cls(features.names, mean, scale, categories)

    @classmethod
    def fit_source(cls, source: RowSource) -> FeatureCoding:
        """As `fit`, for streamed numbers, in one pass."""
        _require_matrix(source)
        return cls(source.names, *source_moments(source, source.name or "features"), {})

    def transform_source(self, source: RowSource) -> RowSource:
        """A source that encodes rows when they are read."""
        _require_matrix(source)
        if self.categories or source.shape[1] != len(self.names):
            raise ShapeError(
                f"features: expected a source of {len(self.names)} columns of numbers ({listed(self.names)}), got "
                f"{source.shape[1]}; text cannot be streamed; give the columns that were fitted"
            )
        return StandardizedRows(source, self.mean, self.scale)

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return self.mean.size + sum(len(entries) for entries in self.categories.values())

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the encoded columns: the column name for numbers, `column=category` for text."""
        made: list[str] = []
        for name in self.names:
            entries = self.categories.get(name)
            made.extend([name] if entries is None else [f"{name}={entry}" for entry in entries])
        return tuple(made)

    def transform(self, features: Features | ArrayLike) -> FloatArray:
        """Encode features as [N, width] float64, C-contiguous; errors as in `Preprocessor.transform`."""
        table = self._selected(features)
        _require_rows(table)
        self._require_kinds(table)
        require_finite_features(table)
        out = np.empty((len(table), self.width))
        if isinstance(table, Matrix):
            np.subtract(table.values, self.mean, out=out)
            out /= self.scale
            return out
        start = number = 0
        for name, column in table.columns.items():
            if is_text(column):
                entries = self.categories[name]
                _one_hot(column, entries, out[:, start : start + len(entries)])
                start += len(entries)
            else:
                np.subtract(column, self.mean[number], out=out[:, start])
                out[:, start] /= self.scale[number]
                start, number = start + 1, number + 1
        return out

    def unseen(self, features: Features | ArrayLike) -> dict[str, int]:
        """Text column -> number of rows with a category that did not occur in `fit`; columns without such rows are left out."""
        if not self.categories:
            return {}
        table = self._selected(features)
        counts: dict[str, int] = {}
        for name, entries in self.categories.items():
            column = table.column(name)
            if is_text(column):
                counts[name] = int(np.count_nonzero(_positions(column, entries) < 0))
        return {name: count for name, count in counts.items() if count}

    def to_json(self) -> list[dict[str, Any]]:
        """One plain dict per input column."""
        columns: list[dict[str, Any]] = []
        numeric = zip(self.mean.tolist(), self.scale.tolist(), strict=True)
        for name in self.names:
            if name in self.categories:
                columns.append({"name": name, "kind": "text", "categories": list(self.categories[name])})
            else:
                mean, scale = next(numeric)
                columns.append({"name": name, "kind": "numeric", "mean": mean, "scale": scale})
        return columns

    @classmethod
    def from_json(cls, columns: Sequence[Mapping[str, Any]]) -> FeatureCoding:
        """Restore the result of `to_json`; KeyError, TypeError or ValueError if a part is missing or wrong."""
        numeric = [column for column in columns if column["kind"] == "numeric"]
        text = {column["name"]: column["categories"] for column in columns if column["kind"] == "text"}
        names = [column["name"] for column in columns]
        _require_different_texts(names)
        for categories in text.values():
            _require_different_texts(categories)
        if len(numeric) + len(text) != len(columns) or not columns:
            raise ValueError("a column is neither numeric nor text, or there is none")
        return cls(
            tuple(names),
            np.array([plain_number(column["mean"]) for column in numeric], dtype=np.float64),
            np.array([plain_number(column["scale"], above_zero=True) for column in numeric], dtype=np.float64),
            {name: tuple(categories) for name, categories in text.items()},
        )

    def _selected(self, features: Features | ArrayLike) -> Features:
        if isinstance(features, (Table, Matrix, Mapping)):
            table = as_features(features).select(self.names)
        else:
            values = np.asarray(features)
            if values.ndim != 2 or values.shape[1] != len(self.names):
                raise ShapeError(
                    f"features: expected shape [N, {len(self.names)}] with the columns {listed(self.names)}, "
                    f"got {values.shape}; give the columns that were fitted"
                )
            table = Matrix(values, self.names)
        if isinstance(table, Matrix) and self.categories:
            return Table({name: table.column(name) for name in table.names}, table.source)
        return table

    def _require_kinds(self, table: Features) -> None:
        if isinstance(table, Matrix):
            return
        for name, column in table.columns.items():
            if name in self.categories and not is_text(column):
                raise DtypeError(
                    f"column {name!r}: expected text as in fit, got numbers; "
                    f"load it with text=preprocessor.text_columns"
                )
            if name not in self.categories and (is_text(column) or column.dtype.kind == "M"):
                found = f"text{_first_non_number(column)}" if is_text(column) else "dates"
                raise DtypeError(f"column {name!r}: expected numbers as in fit, got {found}; fix or drop it")


class StandardizedRows(RowSource):
    """(x - mean) / scale of the rows of another source, computed in float64 as they are read."""

    def __init__(self, source: RowSource, mean: FloatArray, scale: FloatArray) -> None:
        super().__init__(source.shape, np.float64, source.name, source.names, source.edges, source.window)
        self.source = source
        self.mean, self.scale = mean, scale

    def read(self, rows: RowNumbers, out: NDArray[Any]) -> None:
        """See RowSource.read."""
        wide = np.empty(out.shape)
        self.source.read(rows, wide)
        wide -= self.mean
        wide /= self.scale
        out[...] = wide


def _require_different_texts(names: Any) -> None:
    """Raises TypeError or ValueError unless this is a list of different texts."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("names and categories are lists of texts")
    if len(set(names)) < len(names):
        raise ValueError("a name or a category occurs twice")


def _require_matrix(source: RowSource) -> None:
    if len(source.shape) != 2:
        raise ShapeError(f"{source.name or 'features'}: expected rows [N, d], got {list(source.shape)}; give several columns")


def _require_rows(features: Features) -> None:
    if len(features) == 0 or not features.names:
        raise EmptyDataError(
            f"features: expected at least one row and one column, got {len(features)} rows of {len(features.names)} "
            f"columns; check the source and the split"
        )


def _categories(name: str, column: TextColumn) -> tuple[str, ...]:
    found = set(column.values[column.counts() > 0].tolist()) | ({""} if column.missing.any() else set())
    most = most_categories(len(column))
    if len(found) > most:
        raise DataFileError(
            f"column {name!r}: expected at most {most:,} categories for {len(column):,} training rows (half the rows, but "
            f"{_ALWAYS_ALLOWED:,} to {_NEVER_EXCEEDED:,}), found {len(found):,}, such as {min(found)!r}; remove the column if "
            f"it is an identifier or free text, put its values into fewer groups, or write them as numbers"
        )
    return tuple(sorted(found))


def _positions(column: TextColumn, categories: tuple[str, ...]) -> NDArray[np.int64]:
    """[N]: the position of each cell among the categories, where "" is the missing one; -1 if it is not among them."""
    index = {entry: number for number, entry in enumerate(categories)}
    of_value = np.array([index.get(entry, -1) for entry in (*column.values.tolist(), "")], dtype=np.int64)
    return of_value[column.codes]


def _one_hot(column: TextColumn, categories: tuple[str, ...], out: FloatArray) -> None:
    codes = _positions(column, categories)
    out[:] = 0.0
    seen = np.flatnonzero(codes >= 0)
    out[seen, codes[seen]] = 1.0


def _first_non_number(column: TextColumn) -> str:
    for row, entry in enumerate(column.tolist()):
        try:
            float(entry or "nan")
        except ValueError:
            return f" such as {entry!r} in row {row + 1}"
    return ""
