"""Sources of rows that are read as they are needed, so that data may be larger than memory: the protocol and arrays.

Files are opened in memory_map.py and parquet_rows.py; in what order the rows are taken is decided in order.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...backends.entries import require_unmasked
from ...errors import DtypeError, EmptyDataError, ShapeError
from ..settings import whole
from ..suggestions import suggests_arguments
from .blocks import row_blocks
from .names import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

RowNumbers = slice | np.ndarray[Any, np.dtype[np.int64]]
"""Which rows: slice(start, stop), or their numbers in any order."""


class RowSource:
    """Rows of numbers that are read on demand; Trainer.fit, TrainStep.evaluate and models accept it for x and y.

    A custom source derives from this class, calls __init__ and defines `read`.

    Args: shape – [N, d], or [N] for labels and single targets; dtype – of the stored rows, real numbers; name – its name in
        error messages; names – of the d columns, x0, x1, … by default; edges – the first row of each block, and N at the end,
        if rows can be read efficiently only in blocks; None if single rows can be read; window – number of randomly chosen
        blocks that are shuffled together and must be in memory at the same time.
    Attributes: all of these.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, name: str = "", names: tuple[str, ...] = (),
        edges: NDArray[np.int64] | None = None, window: int = 1,
    ) -> None:  # fmt: skip
        self.shape = tuple(int(n) for n in shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.name = name
        label = name or type(self).__name__
        if len(self.shape) not in (1, 2):
            raise ShapeError(f"{label}: expected rows of shape [N, d] or [N]; got {list(self.shape)}; reshape them")
        if self.dtype.kind not in "biuf":
            raise DtypeError(f"{label}: expected numbers; got {self.dtype}; code other values as numbers first")
        if self.shape[0] == 0:
            raise EmptyDataError(f"{label}: expected at least one row; got none; check how the source was made")
        width = self.shape[1] if len(self.shape) == 2 else 1
        self.names = names or tuple(f"x{k}" for k in range(width))
        self.edges = edges
        self.window = window

    def read(self, rows: RowNumbers, out: NDArray[Any]) -> None:
        """Writes rows into `out` [len(rows), …] in the given order, converted to the dtype of `out`.

        It is called from a thread other than the one that created the source; by two threads at a time only if a callback
        evaluates the data that are being trained on.
        """
        raise NotImplementedError(f"{type(self).__name__} must define read(rows, out)")

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(d,), or () for single values."""
        return self.shape[1:]

    def blocks(self, dtype: Any = None) -> Iterator[tuple[slice, NDArray[Any]]]:
        """All rows in order, about a million entries at a time; the array is reused for the next block."""
        width = int(np.prod(self.row_shape, dtype=np.int64))
        buffer: NDArray[Any] | None = None
        for rows in row_blocks(len(self), width):
            if buffer is None:
                buffer = np.empty((rows.stop - rows.start, *self.row_shape), dtype or self.dtype)
            part = buffer[: rows.stop - rows.start]
            self.read(rows, part)
            yield rows, part

    def whole(self) -> NDArray[Any]:
        """Everything in memory; meant for targets."""
        out = np.empty(self.shape, self.dtype)
        self.read(slice(0, len(self)), out)
        return out

    def take(self, rows: NDArray[np.int64]) -> RowSource:
        """Some of the rows as a separate source; `rows` – ascending row indices, as returned by `split`."""
        return ChosenRows(self, rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {list(self.shape)}, {self.dtype})"


@suggests_arguments
class ArrayRows(RowSource):
    """The rows of a NumPy array, which may be memory-mapped; see `memory_map`.

    Args: array – [N], [N, d], or [N, …] whose later axes are flattened; name, names – as for RowSource; block_rows – None to
        shuffle all rows (8 bytes of memory per row, 24 while the order is drawn), or the number of adjacent rows in a block
        that is read together; window – number of such blocks that are shuffled together.
    Raises: ShapeError, DtypeError, EmptyDataError.
    """

    def __init__(
        self, array: NDArray[Any], name: str = "", names: tuple[str, ...] = (), block_rows: int | None = None, window: int = 8
    ) -> None:
        if not isinstance(array, np.ndarray):
            raise DtypeError(f"expected a NumPy array; got {type(array).__name__}; convert it with np.asarray")
        if isinstance(array, np.ma.MaskedArray):
            require_unmasked(array)
            array = np.asarray(array)
        if array.ndim > 1 and not array.flags.c_contiguous and _is_mapped(array) and array.flags.f_contiguous:
            raise ShapeError(
                f"{name or 'array'}: expected rows one after the other; got columns one after the other (Fortran order), of "
                "which a row cannot be read alone; write it again with np.save(path, np.ascontiguousarray(x))"
            )
        if array.ndim > 2:
            array = array.reshape(array.shape[0], -1)
        edges = None
        whole(window, "window")
        if block_rows is not None:
            whole(block_rows, "block_rows")
            edges = np.append(np.arange(0, len(array), block_rows), len(array)).astype(np.int64)
        super().__init__(array.shape, array.dtype, name, names, edges, window)
        self.array = array

    def read(self, rows: RowNumbers, out: NDArray[Any]) -> None:
        """See RowSource.read; rows of a file are read in ascending order, independent of the requested order."""
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
            if isinstance(rows, slice) or not _is_mapped(self.array):
                out[...] = self.array[rows]
                return
            ascending = np.argsort(rows)
            out[ascending] = self.array[rows[ascending]]


class ChosenRows(RowSource):
    """Some rows of another source; see RowSource.take."""

    def __init__(self, source: RowSource, rows: NDArray[np.int64]) -> None:
        rows = np.asarray(rows, np.int64)
        if rows.ndim != 1 or np.any(rows[1:] <= rows[:-1]) or (rows.size and not 0 <= rows[0] <= rows[-1] < len(source)):
            raise ShapeError(f"expected ascending row numbers from 0 to {len(source) - 1}; got others; sort them")
        edges = None
        if source.edges is not None:
            edges = np.unique(np.searchsorted(rows, source.edges)).astype(np.int64)
        super().__init__((rows.size, *source.row_shape), source.dtype, source.name, source.names, edges, source.window)
        self.source = source
        self.rows = rows

    def read(self, rows: RowNumbers, out: NDArray[Any]) -> None:
        """See RowSource.read."""
        self.source.read(self.rows[rows], out)


class JoinedRows(RowSource):
    """The rows of several sources of the same columns, one after the other; see `joined_rows`."""

    def __init__(self, sources: Sequence[RowSource]) -> None:
        first = sources[0]
        self.sources = tuple(sources)
        self.starts = np.cumsum([0, *map(len, sources)])
        edges = None
        if any(source.edges is not None for source in sources):
            own = (source.edges if source.edges is not None else np.array([0, len(source)]) for source in sources)
            shifted = [edge + start for edge, start in zip(own, self.starts[:-1], strict=True)]
            edges = np.unique(np.concatenate(shifted)).astype(np.int64)
        dtype = np.result_type(*(source.dtype for source in sources))
        shape = (int(self.starts[-1]), *first.row_shape)
        super().__init__(shape, dtype, first.name, first.names, edges, max(source.window for source in sources))

    def read(self, rows: RowNumbers, out: NDArray[Any]) -> None:
        """See RowSource.read."""
        numbers = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        source_of = np.searchsorted(self.starts, numbers, side="right") - 1
        for number in np.unique(source_of).tolist():
            chosen = source_of == number
            part = np.empty((int(chosen.sum()), *self.row_shape), out.dtype)
            self.sources[number].read(numbers[chosen] - self.starts[number], part)
            out[chosen] = part


def joined_rows(sources: Sequence[RowSource]) -> RowSource:
    """One source of all rows; raises ShapeError for sources of other columns than the first."""
    for source in sources:
        if source.row_shape != sources[0].row_shape or source.names != sources[0].names:
            raise ShapeError(
                f"{source.name}: expected the columns of {sources[0].name} ({listed(sources[0].names)}); got "
                f"{listed(source.names)}; make the parts alike"
            )
    return sources[0] if len(sources) == 1 else JoinedRows(sources)


def _is_mapped(array: Any) -> bool:
    return isinstance(array, np.memmap) and getattr(array, "_mmap", None) is not None


def as_source(data: Any) -> RowSource | None:
    """A source for what is one already or is mapped from a file; None for everything else."""
    if isinstance(data, RowSource):
        return data
    return ArrayRows(data) if _is_mapped(data) and data.ndim > 0 else None
