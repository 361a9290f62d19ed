"""A backend that computes nothing, but records the kernel calls of a pass and their arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...kernels.formula import Formula
from ...kernels.targets.cpu import CpuKernel
from ...kernels.targets.native import address_of, gemm_entry, gemm_words, words_of
from ...kernels.targets.products import GemmLayout
from ..contract import Array, Random
from ..executors.base import NotCapturable
from .operations import NumbaOperations


def _refuse(*_: Any, **__: Any) -> Any:
    """In place of operations whose results a pass would look at, or that a plan does not hold."""
    raise NotCapturable("an operation that is not captured")


def _require_rows(arrays: Sequence[Any]) -> None:
    """Raises NotCapturable where an array has gaps, because flattening it would make a copy."""
    for array in arrays:
        if isinstance(array, np.ndarray) and not array.flags.c_contiguous:
            raise NotCapturable(f"an array with strides {array.strides}")


@dataclass(frozen=True)
class Factor:
    """An operand of a product: op(array), op being the transpose where asked for, and where its rows lie in memory."""

    array: Array
    transposed: bool
    row: int

    @classmethod
    def of(cls, array: Array) -> Factor:
        """From an array whose rows have no gaps, such as some columns of a matrix, or from the transpose of one."""
        line = GemmLayout(array.shape, array.strides, array.dtype).line
        if line is None:
            raise NotCapturable(f"a matrix with strides {array.strides}")
        form, row = line
        return cls(array if form == "N" else array.T, form == "T", row)


@dataclass
class Call:
    """One kernel and its arguments.

    Attributes: name – of the kernel, or "matmul"; written – the arrays that it changes; place, stage – the layer and the
        part of the step that asked for it.
    """

    name: str
    arguments: tuple[Any, ...]
    written: list[Array]
    place: str
    stage: str
    kernel: CpuKernel | None = None

    @property
    def entry(self) -> int:
        """The address of the compiled code."""
        address: int = (gemm_entry() if self.kernel is None else self.kernel.entry).address
        return address

    @property
    def words(self) -> list[int]:
        """Its arguments, as that code takes them."""
        if self.kernel is not None:
            return words_of(self.kernel.parameters, self.arguments)
        a, b, out, accumulate = self.arguments
        return gemm_words(
            out.dtype, (address_of(a.array), a.row, a.transposed), (address_of(b.array), b.row, b.transposed),
            (address_of(out), Factor.of(out).row), (*out.shape, b.array.shape[b.transposed]), accumulate,
        )  # fmt: skip

    @property
    def arrays(self) -> list[Array]:
        """Every array among its arguments."""
        return [a.array if isinstance(a, Factor) else a for a in self.arguments if isinstance(a, np.ndarray | Factor)]

    @property
    def flop(self) -> int:
        """Floating-point operations of a product; 0 for the others, whose time goes into memory."""
        if self.kernel is not None:
            return 0
        _, b, out, _ = self.arguments
        return int(2 * out.size * b.array.shape[b.transposed])

    @property
    def bytes(self) -> int:
        """What it has to read and write at least."""
        written = {id(array) for array in self.written}
        read = [a for a in self.arrays if id(a) not in written or self.kernel is not None]
        return sum(int(a.nbytes) for a in read)


class Capture(NumbaOperations):
    """Takes the calls of one pass.

    Attributes: calls – in order; tape – the tape of the pass, which knows the place of each call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.tape: Any = None

    def _add(self, name: str, arguments: Sequence[Any], written: list[Array], kernel: CpuKernel | None = None) -> None:
        self.calls.append(Call(name, tuple(arguments), written, self.tape.place, self.tape.stage, kernel))

    def run(self, function: Callable[..., Any], *arguments: Any) -> None:
        """See NumbaOperations.run."""
        _require_rows(arguments)
        kernel = self._kernels.kernel(function, arguments[0].dtype)
        self._add(kernel.name, arguments, kernel.written(arguments), kernel)

    def _map(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Random | None) -> None:
        _require_rows((*outputs, *arguments))
        kernel, given = self._target.bind_map(formula, outputs, arguments, random)
        self._add(kernel.name, given, kernel.written(given), kernel)

    def _matmul(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        if Factor.of(out).transposed:
            raise NotCapturable(f"a product into an array with strides {out.strides}")
        if not a.dtype == b.dtype == out.dtype:
            raise NotCapturable(f"a product of {a.dtype} and {b.dtype} into {out.dtype}")
        self._add("matmul", (Factor.of(a), Factor.of(b), out, accumulate), [out])

    def fill(self, array: Array, value: float) -> None:
        """See Backend.fill."""
        if not array.flags.c_contiguous:
            raise NotCapturable(f"filling an array with strides {array.strides}")
        self.run(self._kernels.fill, array.reshape(-1), value)

    def argmax(self, x: Array) -> Array:
        """See Backend.argmax."""
        _require_rows((x,))
        return super().argmax(x)

    def sum_up(self, x: Array, out: Array) -> None:
        """The sum of x goes to out [1]."""
        self.run(self._kernels.total, x, out)

    def zeros(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """A buffer that is filled with zeros in every pass."""
        array = self.empty(shape, dtype)
        self.fill(array, 0.0)
        return array

    def asarray(self, values: Any, dtype: str | None = None) -> Array:
        """Numbers as an array, made once; arrays only where they stay what they are."""
        array = super().asarray(values, dtype)
        if hasattr(values, "dtype") and array is not values:
            raise NotCapturable("a conversion of an array")
        return array

    copy = take_rows = item = to_numpy = random_bits = permutation = total = sum_of_squares = limit_norm = _refuse
    update = fold = _refuse
