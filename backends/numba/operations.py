"""The operations of the `numba` backend: NumPy's GEMMs, and everything between them compiled by Numba.

Each kernel runs on one thread and releases the GIL; rows, and elements of the arena, are divided among cores here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...kernels.formula import Formula
from ..contract import Array, Random, Scalar, Unavailable
from ..defaults.formulas import check_update
from ..numpy.backend import NumpyBackend
from ..profiling import Label
from ..segments import Segments
from ..threads import num_threads

if TYPE_CHECKING:
    from .replay import Replay

LEAST_ELEMENTS = 32_768
"""Elements of the arena below which a further thread is not worth its hand-over; also the chunk of its sums."""


class NumbaOperations(NumpyBackend):
    """NumPy arrays with kernels compiled for this CPU."""

    name: ClassVar[str] = "numba"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float64")
    splits_rows = True
    own_products: ClassVar[int] = 2**23

    @classmethod
    def unavailable(cls) -> Unavailable | None:
        """The compiler may be missing."""
        try:
            import llvmlite.binding  # noqa: F401
        except ImportError as error:
            return Unavailable(f"llvmlite cannot be imported ({error})", 'pip install "llvmlite>=0.45"', error)
        return None

    def __init__(self) -> None:
        super().__init__()
        from ...kernels.rows import cpu as kernels
        from ...kernels.targets import cpu as target
        from ...kernels.targets.blas import blas

        self.blas = blas().name  # loaded here, before the BLAS libraries of this process are listed
        self._kernels = kernels
        self._target = target
        self.row_table = kernels.ROWS

    def run(self, function: Callable[..., Any], *arguments: Any) -> None:
        """One of the kernels of kernels/rows/cpu.py, on arrays of the type of the first one."""
        self._kernels.kernel(function, arguments[0].dtype)(*arguments)

    def _map(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Random | None) -> None:
        self._target.run_map(formula, outputs, arguments, random)

    def products(self, precision: str, deterministic: bool = False) -> AbstractContextManager[Any]:
        """See Backend.products; its steps limit the BLAS themselves."""
        del precision, deterministic
        return nullcontext()

    def update(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Segments, random: Random | None = None
    ) -> None:
        """See Backend.update; arrays are checked once, where what runs it is made."""
        if type(scalars) is not np.ndarray:
            self.require(scalars)
        threads = num_threads()

        def make() -> Replay:
            check_update(self, formula, arrays, scalars, random)
            return self._update_program(formula, arrays, scalars, segments, threads)

        segments.made((formula, threads), arrays, make).run((scalars,), threads)

    def update_calls(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Segments, threads: int
    ) -> Iterator[tuple[int, list[int], Label, Any]]:
        """What `Replay.call` takes, for each thread that is worth its hand-over."""
        from ...kernels.targets.native import words_of

        kernel = self._target.update_kernel(formula, arrays[0].dtype)
        for part in cut_segments(segments.table, min(threads, max(1, segments.elements // LEAST_ELEMENTS))):
            words = words_of(kernel.parameters, (*arrays, scalars, part))
            elements = int((part[:, 1] - part[:, 0]).sum())
            moved = elements * arrays[0].itemsize * (len(arrays) + len(formula.overwrites))
            yield kernel.entry.address, words, Label(formula.name, "parameters", "update", 0, moved), part

    def _update_program(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Segments, threads: int
    ) -> Replay:
        from .replay import Replay

        program = Replay([scalars])
        for call in self.update_calls(formula, arrays, scalars, segments, threads):
            program.call(*call)
            program.end_task()
        program.end_phase()
        return program.finish()

    def random_bits(self, rows: int, width: int, random: Random) -> Array:
        """See Backend.random_bits."""
        out = np.empty((rows, width), np.uint32)
        self._target.random_bits(out, random.state, random.stream)
        return out

    def argmax(self, x: Array) -> Array:
        """See Backend.argmax."""
        self.require(x)
        if not x.flags.c_contiguous or x.shape[1] == 0:
            return super().argmax(x)
        out = self.empty((x.shape[0],), "int64")
        self.run(self._kernels.argmax, x, out)
        return out

    def total(self, x: Array) -> Scalar:
        """See Backend.total."""
        self.require(x)
        out = np.empty(1)
        self.run(self._kernels.total, x, out)
        return out[0]

    def sum_of_squares(self, x: Array) -> Scalar:
        """See Backend.sum_of_squares."""
        self.require(x)
        return self.fold([x])

    def fold(self, parts: Sequence[Array]) -> Scalar:
        """Adds the flat arrays parts[1:] to parts[0] and returns the sum of the squares of the result.

        The squares are summed in chunks of a fixed size, so the result does not depend on the number of threads.
        """
        first = parts[0]
        chunks = max(1, -(-first.size // LEAST_ELEMENTS))
        squares = np.empty(chunks)
        count = min(num_threads(), chunks)
        edges = [chunks * k // count for k in range(count + 1)]
        from .thread_pool import thread_pool

        thread_pool().map([partial(self._fold, parts, squares, edges[k], edges[k + 1]) for k in range(count)])
        return squares.sum()

    def _fold(self, parts: Sequence[Array], squares: Array, low: int, high: int) -> None:
        first, size = parts[0], LEAST_ELEMENTS
        add = self._kernels.kernel(self._kernels.add_to, first.dtype)
        sum_of_squares = self._kernels.kernel(self._kernels.sum_of_squares, first.dtype)
        for chunk in range(low, high):
            here = slice(chunk * size, min((chunk + 1) * size, first.size))
            for other in parts[1:]:
                add(first[here], other[here])
            sum_of_squares(first[here], squares[chunk : chunk + 1])


def cut_segments(segments: Array, count: int) -> list[Array]:
    """(start, stop, group) rows cut into `count` lists of about equally many elements, at multiples of 64."""
    total = int((segments[:, 1] - segments[:, 0]).sum())
    elements = -(-total // count // 64) * 64 + 64
    cuts: list[list[tuple[int, int, int]]] = [[]]
    room = elements
    for start, stop, group in segments.tolist():
        while start < stop:
            end = min(stop, start + room)
            cuts[-1].append((start, end, group))
            room -= end - start
            start = end
            if room <= 0:
                cuts.append([])
                room = elements
    return [np.array(cut, np.int64).reshape(-1, 3) for cut in cuts if cut]
