"""The calls of a pass as tables that serve any number of rows, for row_walk.py.

A pass is captured with three numbers of rows. Every word of its calls (see kernels/targets/native.py) is either the same in all
of them, or an extent or an address that grows in proportion to the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from ...kernels.targets.gemm.library import element_size
from ...kernels.targets.gemm_choices import planning
from ...kernels.targets.memory import unwritten
from ...kernels.targets.native import Address, address_of
from ..defaults.evaluator import Array, EvaluationWork
from ..executors.base import NotCapturable
from ..threads import single_threaded_blas
from .capture import Call, Capture

MANY, SOME = 256, 96
"""Numbers of rows that are typical of large parts and of small ones: for these the libraries of products are selected."""
CAPTURED_ROWS = MANY, SOME, 64
"""Numbers of rows that a pass is captured with."""


class RowCapture(Capture):
    """A capture that knows where its arrays come from; nothing is computed.

    Attributes: sources – the inputs, the sum, then all buffers, in order; constants – arrays that were made from numbers;
        result – of the pass.
    """

    def __init__(self, work: EvaluationWork, inputs: Sequence[Array], rows: int) -> None:
        super().__init__()
        given = tuple(unwritten((rows, *a.shape[1:]), a.dtype) for a in inputs)
        summed = np.zeros(1)
        self.sources: list[Array] = [*given, summed]
        self.constants: list[Array] = []
        self.tape = work.new_tape(self)
        self.tape.begin(rows, 1)  # one row in the minibatch, because the factor of a mean would depend on the rows
        self.result = work.forward(self.tape, given, partial(self.sum_up, out=summed))
        self.tape = None  # which refers to this object

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """See Backend.empty."""
        self.sources.append(super().empty(shape, dtype))
        return self.sources[-1]

    def asarray(self, values: Any, dtype: str | None = None) -> Array:
        """See Capture.asarray."""
        array = super().asarray(values, dtype)
        if array is not values:
            self.constants.append(array)
        return array

    def words(self, call: Call) -> list[tuple[int, int]]:
        """(number of the source, offset) for an address, negative numbers for constants; (0, word) for any other word."""
        return [self._word(word) for word in call.words]

    def _word(self, word: int) -> tuple[int, int]:
        if isinstance(word, Address):
            for sign, arrays in ((1, self.sources), (-1, self.constants)):
                for number, array in enumerate(arrays, 1):
                    if 0 <= word - address_of(array) < array.nbytes:
                        return sign * number, int(word - address_of(array))
        return 0, int(word)


class Extent(NamedTuple):
    """A number that grows with the rows: its value for no rows, and what each row adds."""

    fixed: int
    per_row: int

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Extent:
        """From the numbers for each of CAPTURED_ROWS; raises NotCapturable where they are not on a line."""
        most, fewer, _ = CAPTURED_ROWS
        per_row = (numbers[0] - numbers[1]) // (most - fewer)
        found = cls(numbers[0] - per_row * most, per_row)
        if any(found.at(rows) != number for rows, number in zip(CAPTURED_ROWS, numbers, strict=True)):
            raise NotCapturable("a number that is not proportional to the rows")
        return found

    def at(self, rows: int) -> int:
        """The number for so many rows."""
        return self.fixed + self.per_row * rows


class Tables(NamedTuple):
    """What row_walk.py walks, with offsets in place of addresses.

    Attributes: largest – multiplications of the largest product of a BLAS library, for each row; 0 without one; own – positions
        of the products that the GEMM of this package computes.
    """

    calls: Array
    words: Array
    moves: Array
    largest: int
    own: Collection[int]


class RowCalls:
    """The calls of a pass.

    Attributes: kinds – (shape of a row, dtype) of the inputs, and of the result; extents – bytes of each source of
        RowCapture; result – which source the result is; flop – floating-point operations of the products, for each row.

    Args: work – see EvaluationWork; inputs – of the shapes and types to come, with any number of rows.
    Raises: NotCapturable.
    """

    def __init__(self, work: EvaluationWork, inputs: Sequence[Array]) -> None:
        captures = [RowCapture(work, inputs, rows) for rows in CAPTURED_ROWS]
        first = captures[0]
        _same(len(c.sources) for c in captures)
        self.extents = [Extent.of([a.nbytes for a in arrays]) for arrays in zip(*(c.sources for c in captures), strict=True)]
        self.result = next((k for k, array in enumerate(first.sources) if array is first.result), 0)
        if self.result <= len(inputs) or self.extents[self.result].fixed:
            raise NotCapturable("a result that is not an array of its own, one row for each row of the inputs")
        self.kinds = [(a.shape[1:], a.dtype) for a in (*inputs, first.result)]
        self.flop = sum(call.flop for call in first.calls) // CAPTURED_ROWS[0]
        self._captures = captures
        self._require_same_constants()

    def _require_same_constants(self) -> None:
        _same(len(c.constants) for c in self._captures)
        for arrays in zip(*(c.constants for c in self._captures), strict=True):
            if any(not np.array_equal(arrays[0], other) for other in arrays[1:]):
                raise NotCapturable("a constant that depends on the number of rows")

    def tables(self, form: Callable[[int, Call], Call], deterministic: bool, rows: int) -> Tables:
        """The tables of all calls, each in the form that the function gives, from its position and what was captured.

        Args: deterministic – whether a fixed rule selects the BLAS libraries; rows – MANY or SOME, for which they are selected.
        """
        typical = CAPTURED_ROWS.index(rows)
        first = self._captures[typical]
        versions = []
        for capture in self._captures:
            # Only for the products of one of them libraries are selected.
            with single_threaded_blas, planning(deterministic or capture is not first):
                versions.append([(call, capture.words(call)) for call in map(form, count(), capture.calls)])
        calls: list[tuple[int, int]] = []
        values: list[int] = []
        moves: list[tuple[int, int, int, int]] = []
        largest, own = 0, set()
        _same(map(len, versions))
        for number, alike in enumerate(zip(*versions, strict=True)):
            calls.append((_same(call.entry for call, _ in alike), len(values)))
            product = alike[0][0].kernel is None
            if product and element_size(alike[typical][1][0][1]):
                own.add(number)
            elif product:
                largest = max(largest, alike[typical][0].flop // 2 // rows)
            for position, words in enumerate(zip(*(words for _, words in alike), strict=True)):
                source, value = words[typical]
                if not (product and position == 0):  # that is the library
                    source = _same(number for number, _ in words)
                    value, per_row = Extent.of([number for _, number in words])
                    if source < 0:
                        source, value = 0, value + address_of(first.constants[-1 - source])
                    if source or per_row:
                        moves.append((len(values), value, per_row, source))
                values.append(value)
        table = np.array(moves, np.int64).reshape(-1, 4)
        return Tables(np.array(calls, np.int64).reshape(-1, 2), np.array(values, np.int64), table, largest, own)


def _same(numbers: Iterable[int]) -> int:
    """The number that all captures agree on."""
    found = set(numbers)
    if len(found) != 1:
        raise NotCapturable("a pass whose calls depend on the number of rows")
    return int(found.pop())
