"""Named feature columns or a named matrix, in memory or read block by block, and, with a target, a `Dataset`.

Files are read by the `*_source.py` modules; nothing here changes values other than their dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DtypeError, ShapeError
from ..sources.names import unknown_column
from ..sources.row_source import RowSource
from .cells import MISSING
from .column_kind import ColumnKind
from .columns import Column, array_of, as_column
from .own_parts import OwnPart
from .targets import Target, as_target, rows_of, take
from .text_layout import TextLayout

Task: TypeAlias = Literal["classification", "regression"]
Rows: TypeAlias = NDArray[np.intp] | NDArray[np.int64] | NDArray[np.bool_] | slice | Sequence[int]


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of equal length, of any types.

    Args: columns – name -> 1-D array or TextColumn, converted by `as_column`; source – where it came from, for error messages;
        layout – of a text file.
    Raises: ShapeError for columns of different lengths; DtypeError for a column that is neither numbers, dates nor text.
    """

    columns: dict[str, Column]
    source: str = ""
    layout: TextLayout | None = None

    def __post_init__(self) -> None:
        columns = {name: as_column(values, f"column {name!r}") for name, values in self.columns.items()}
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ShapeError(f"expected columns of equal length, got {lengths}; pad or drop rows")
        object.__setattr__(self, "columns", columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, in order."""
        return tuple(self.columns)

    def column(self, name: str) -> Column:
        """One column [N]; UnknownColumn if there is none of that name."""
        _require_names([name], self.names, self.source)
        return self.columns[name]

    def select(self, names: Sequence[str]) -> Table:
        """Only these columns, in this order; UnknownColumn if one is not there."""
        _require_names(names, self.names, self.source)
        return Table({name: self.columns[name] for name in names}, self.source, self.layout)

    def take(self, rows: Rows) -> Table:
        """Only these rows, given as indices, a mask or a slice."""
        return Table({name: column[rows] for name, column in self.columns.items()}, self.source, self.layout)


@dataclass(frozen=True, eq=False)
class Matrix:
    """Numeric features [N, d] in one block, with a name for each of the d columns.

    Args: values – [N, d], kept as float64 and C-contiguous; names – d names, by default x0, x1, …;
        source – where it came from, for error messages.
    Raises: ShapeError if values are not 2-D or the names are not d different ones; DtypeError if not numbers.
    Differs from: `Table`, which may hold text and stores column by column.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        values = array_of(self.values, "features")
        if values.ndim != 2:
            raise ShapeError(f"features: expected a matrix [rows, columns], got shape {values.shape}; reshape it")
        if values.dtype.kind not in "biuf":
            raise DtypeError(f"features: expected a matrix of numbers, got {values.dtype}; put text in a Table")
        names = tuple(self.names) or tuple(f"x{index}" for index in range(values.shape[1]))
        if len(names) != values.shape[1] or len(set(names)) != len(names):
            raise ShapeError(
                f"features: expected {values.shape[1]} different column names, got {len(names)} "
                f"({len(set(names))} different); give one name per column"
            )
        object.__setattr__(self, "values", np.ascontiguousarray(values, dtype=np.float64))
        object.__setattr__(self, "names", names)

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def column(self, name: str) -> Column:
        """One column [N], a strided view; UnknownColumn if there is none of that name."""
        _require_names([name], self.names, self.source)
        return self.values[:, self.names.index(name)]

    def select(self, names: Sequence[str]) -> Matrix:
        """Only these columns, in this order; UnknownColumn if one is not there."""
        if tuple(names) == self.names:
            return self
        _require_names(names, self.names, self.source)
        index = {name: position for position, name in enumerate(self.names)}
        return Matrix(self.values[:, [index[name] for name in names]], tuple(names), self.source)

    def take(self, rows: Rows) -> Matrix:
        """Only these rows, given as indices, a mask or a slice."""
        return Matrix(self.values[rows], self.names, self.source)


Features: TypeAlias = Table | Matrix


class StreamedTable:
    """A table of which blocks of rows are read when they are needed. A subclass defines `block`.

    Args: names – of the columns; source – where it comes from, for error messages; edges – the first row of each block, and N
        at the end; blocks without rows are allowed; window – number of blocks that are shuffled together.
    Attributes: all of these.
    """

    def __init__(self, names: Sequence[str], source: str, edges: NDArray[np.int64], window: int) -> None:
        self.names = tuple(names)
        self.source = source
        self.edges = edges
        self.window = window

    def __len__(self) -> int:
        return int(self.edges[-1])

    def block(self, number: int) -> Table:
        """All rows of a block that has some, with columns of the same types in each block."""
        raise NotImplementedError(f"{type(self).__name__} must define block(number)")

    def blocks(self) -> Iterator[Table]:
        """All rows in order."""
        return (self.block(number) for number in np.flatnonzero(np.diff(self.edges)).tolist())

    def take(self, rows: NDArray[np.int64]) -> StreamedTable:
        """Only these rows, given as ascending indices."""
        return _ChosenRows(self, rows)


class _ChosenRows(StreamedTable):
    """Some rows of another table."""

    def __init__(self, table: StreamedTable, rows: NDArray[np.int64]) -> None:
        super().__init__(table.names, table.source, np.searchsorted(rows, table.edges).astype(np.int64), table.window)
        self.table = table
        self.rows = rows

    def block(self, number: int) -> Table:
        """See StreamedTable.block."""
        chosen = self.rows[self.edges[number] : self.edges[number + 1]]
        return self.table.block(number).take(chosen - self.table.edges[number])


@dataclass(frozen=True, eq=False)
class SplitColumn:
    """What divides the rows of a data set into parts: no group is in two parts, or the test part is the latest.

    Args: by – "group" or "time"; name – of the column; values – [N].
    """

    by: Literal["group", "time"]
    name: str
    values: Column


@dataclass(frozen=True, eq=False)
class WeightColumn:
    """The weights of the rows of a data set.

    Args: name – of the column; values – [N] >= 0.
    """

    name: str
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Features and target as read, before any preprocessing.

    Args: features – `Table` or `Matrix` of N rows, or a RowSource or StreamedTable that reads them on demand; target – a column
        [N], or several of them by name; name – of the data set; target_name – of a single target column; task – if the source
        specifies it, otherwise None; split_by – the column by which rows are divided, which is not among the features; None: at
        random; kinds – what the columns of a table file were taken for, also those that were dropped; notes – on the target;
        missing – texts that stand for a missing value; layout – of a text file; own – which rows are its own validation and
        test part; first_index – the index of the first column of an svmlight file; weights – of the rows, which are not among
        the features; None: all count alike.
    Raises: ShapeError if features, target, split column and weights differ in length.
    """

    features: Features | RowSource | StreamedTable
    target: Target
    name: str = ""
    target_name: str = "target"
    task: Task | None = None
    split_by: SplitColumn | None = None
    kinds: tuple[ColumnKind, ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = MISSING
    layout: TextLayout | None = None
    own: Mapping[str, OwnPart] = field(default_factory=dict)
    first_index: int | None = None
    weights: WeightColumn | None = None

    def __post_init__(self) -> None:
        single = f"target {self.target_name!r}"
        object.__setattr__(self, "target", as_target(self.target, "target" if isinstance(self.target, dict) else single))
        if len(self.features) != len(self):
            raise ShapeError(
                f"expected one target per row, got {len(self.features)} rows of features and "
                f"{len(self)} targets; drop the rows that lack one"
            )
        if self.split_by is not None and len(self.split_by.values) != len(self):
            raise ShapeError(
                f"expected one {self.split_by.by} per row, got {len(self)} rows and {len(self.split_by.values)} in "
                f"{self.split_by.name!r}; give one for each row"
            )
        if self.weights is not None and len(self.weights.values) != len(self):
            raise ShapeError(
                f"expected one weight per row, got {len(self)} rows and {len(self.weights.values)} in {self.weights.name!r}; "
                "give one for each row"
            )

    def __len__(self) -> int:
        return rows_of(self.target)

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the targets, in order."""
        return tuple(self.target) if isinstance(self.target, dict) else (self.target_name,)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the feature columns, in order."""
        return self.features.names

    def take(self, rows: Rows) -> Dataset:
        """Only these rows, given as indices (ascending ones, of streamed features), a mask or a slice."""
        features = self.features
        if isinstance(features, RowSource | StreamedTable):
            rows = np.arange(len(self))[rows]
            taken: Features | RowSource | StreamedTable = features.take(rows)
        else:
            taken = features.take(rows)
        by, weights = self.split_by, self.weights
        return replace(
            self,
            features=taken,
            target=take(self.target, rows),
            own={},
            split_by=None if by is None else replace(by, values=by.values[rows]),
            weights=None if weights is None else replace(weights, values=weights.values[rows]),
        )


def as_features(features: Features | Mapping[str, ArrayLike] | ArrayLike) -> Features:
    """Accept a Table, a Matrix, a mapping of columns, or a bare [N, d] array (columns then called x0, x1, …)."""
    if isinstance(features, (Table, Matrix)):
        return features
    if isinstance(features, Mapping):
        return Table({str(name): as_column(column, f"column {name!r}") for name, column in features.items()})
    return Matrix(array_of(features, "features"))


def _require_names(wanted: Sequence[str], known: Sequence[str], source: str) -> None:
    there = set(known)
    missing = [name for name in wanted if name not in there]
    if missing:
        raise unknown_column(missing, known, source)
