"""A backend that computes nothing: it writes down which NumPy calls a pass would make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...kernels.formula import Formula
from ...kernels.rows import blocks
from ...kernels.targets import numpy as target
from ...kernels.targets.products import multipliers
from ...kernels.targets.storage import is_narrow
from ..contract import Array, Random
from ..executors.capturing import recorded_asarray, recorded_zeros, refuse, require_rows
from ..profiling import Label
from .operations import NumpyOperations


class CallCapture(NumpyOperations):
    """Takes the calls of one pass.

    Attributes: calls – functions and their arguments, in order; labels – what each is; tape – whose place they get.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[target.Call] = []
        self.labels: list[Label] = []
        self.tape: Any = None
        self._registers = target.Registers()
        self._products: list[tuple[int, tuple[Array, Array, Array], bool]] = []

    def _add(self, name: str, calls: Iterable[target.Call], moved: int, flop: int = 0) -> None:
        """Takes calls that together are one operation; the first one carries its work."""
        first = True
        for call in calls:
            self.calls.append(call)
            work = (flop, moved) if first else (0, 0)
            self.labels.append(Label(name, self.tape.place, self.tape.stage, *work))
            first = False

    def rows(self, operation: str, *arguments: Any) -> bool:
        """See Backend.rows; call by call where that is possible, else as it is."""
        moved = sum(int(a.nbytes) for a in arguments if isinstance(a, np.ndarray))
        if operation == "column_sum":
            self._column_sum(*arguments)
        elif operation == "softmax_cross_entropy" and self._call_by_call(arguments):
            self._add(operation, blocks.bind_softmax_cross_entropy(*(*arguments[:8], self._registers)), moved)
        else:
            self._add(operation, [(super().rows, (operation, *arguments))], moved)
        return False

    @staticmethod
    def _call_by_call(arguments: Sequence[Any]) -> bool:
        """Whether softmax_cross_entropy is a list of calls: not in 16 bits, nor where the host may not know the scale yet."""
        return not any(map(is_narrow, (arguments[0], arguments[7]))) and not any(a is not None for a in arguments[10:])

    def _map(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Random | None) -> None:
        require_rows((*outputs, *arguments))
        moved = sum(int(a.nbytes) for a in (*outputs, *arguments) if isinstance(a, np.ndarray))
        self._add(formula.name, target.bind_map(formula, outputs, arguments, random, self._registers), moved)

    def _matmul(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        call: target.Call
        if is_narrow(a) or is_narrow(b) or is_narrow(out):
            # NumPy would round the result to the type of the factors, whatever `out` is.
            call = (super()._matmul, (a, b, out, accumulate))
        elif accumulate:
            call = (_add_product, (a, b, np.empty_like(out), out))
        else:
            call = (np.matmul, (a, b, out))
        self._multiply("matmul", call, (a, b, out), accumulate, 2 * int(out.size) * int(a.shape[1]))

    def _multiply(
        self, name: str, call: target.Call, factors: tuple[Array, Array, Array], accumulate: bool, flop: int = 0
    ) -> None:
        """Takes a call of NumPy's that multiplies factors a b into `out`; `settle` may put MKL's in its place."""
        self._products.append((len(self.calls), factors, accumulate))
        self._add(name, [call], sum(int(array.nbytes) for array in factors), flop)

    def settle(self) -> None:
        """Leaves the products to MKL where that is the quicker way for all of them together."""
        bound = multipliers([(*factors, accumulate) for _, factors, accumulate in self._products])
        for (place, factors, _), by_mkl in zip(self._products, bound, strict=True):
            if by_mkl is not None:
                self.calls[place] = (by_mkl, factors)

    def fill(self, array: Array, value: float) -> None:
        """See Backend.fill."""
        self._add("fill", [(array.fill, (value,))], int(array.nbytes))

    def _column_sum(self, x: Array, out: Array, accumulate: bool = True) -> None:
        """Written at once where nothing has to be added and x need not be widened."""
        rows = blocks.ones(x.shape[0], x.dtype)
        call: target.Call
        if accumulate or x.dtype != out.dtype:
            call = (super().rows, ("column_sum", x, out, accumulate))
        else:
            call = (rows.dot, (x, out))
        self._multiply("column_sum", call, (rows[None], x, out[None]), accumulate)

    def sum_up(self, x: Array) -> Array:
        """An array [] that will hold the sum."""
        out = np.empty(())
        self._add("total", [(np.add.reduce, (x, None, np.float64, out))], int(x.nbytes))
        return out

    zeros = recorded_zeros
    asarray = recorded_asarray
    copy = take_rows = item = to_numpy = random_bits = permutation = argmax = total = sum_of_squares = limit_norm = refuse
    update = refuse


def _add_product(a: Array, b: Array, spare: Array, out: Array) -> None:
    """out += a b."""
    np.matmul(a, b, spare)
    np.add(out, spare, out)
