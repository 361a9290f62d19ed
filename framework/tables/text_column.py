"""A column of text in memory: each different value once, and one small integer a row.

Reading of files into such columns is in the `*_source.py` modules, their encoding for a network in `column_codings.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.intp] | NDArray[np.int64] | NDArray[np.bool_] | slice | Sequence[int]


@dataclass(frozen=True, eq=False)
class TextColumn:
    """Text [N]: the text of row i is `values[codes[i]]`; it is missing where the code is -1.

    Args: codes – [N] int32; values – [K] object array of different `str`, in any order; some may occur in no row.
    """

    codes: NDArray[np.int32]
    values: NDArray[Any]

    @classmethod
    def of(cls, cells: Iterable[str | None]) -> TextColumn:
        """The column of these cells, its values in the order of their first occurrence; None is missing."""
        number: dict[str, int] = {}
        codes = [-1 if cell is None else number.setdefault(cell, len(number)) for cell in cells]
        values = np.empty(len(number), dtype=object)
        values[:] = list(number)
        return cls(np.array(codes, dtype=np.int32), values)

    @classmethod
    def absent(cls, rows: int) -> TextColumn:
        """A column of so many rows, all of them missing."""
        return cls(np.full(rows, -1, dtype=np.int32), np.empty(0, dtype=object))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Rows) -> TextColumn:
        return TextColumn(self.codes[rows], self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """[N] object array of the cells, for NumPy."""
        return np.append(self.values, [None])[self.codes].astype(dtype or object, copy=False)

    def take(self, rows: Rows) -> TextColumn:
        """Only these rows, given as indices, a mask or a slice, as column[rows]; the values stay as they are."""
        return self[rows]

    def tolist(self) -> list[str | None]:
        """The cells, None where they are missing."""
        return list(self.__array__())

    @property
    def missing(self) -> NDArray[np.bool_]:
        """[N]: whether the text of a row is missing."""
        return self.codes < 0

    def counts(self) -> NDArray[np.int64]:
        """[K]: in how many rows each value occurs."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))
