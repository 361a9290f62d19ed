"""The contract of a backend in one file: arrays, matrix products, formulas, row operations and random numbers.

Backend implements it for any NumPy-like array library; subclasses override what their library does better. Longer default
implementations are in backends/defaults, row operations in kernels/rows.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..errors import DtypeError, MixedBackends, ShapeError
from ..kernels.formula import Formula
from ..kernels.formulas.activations import Activation
from ..kernels.rows import reference
from ..kernels.targets.storage import bfloat16, is_narrow
from .arrays import c_order, cast, on_host, stable_order
from .defaults import dense, formulas
from .defaults.evaluator import EvaluationWork, Evaluator
from .entries import describe
from .executors.base import Executor, Work
from .executors.plain import PlainExecutor
from .slots import Kind, Slot

Array = Any
"""An array of the backend's library."""
Scalar = Any
"""A number that may still be on the device; `float(backend.item(s))` waits for it."""


class Unavailable(NamedTuple):
    """Why a backend cannot run here.

    Attributes: reason; remedy – how to fix it; cause – the original error, if any; expected – whether users of `auto` may
        expect this backend, so that its absence is reported; False if none of its packages is installed.
    """

    reason: str
    remedy: str
    cause: BaseException | None = None
    expected: bool = True


class Random(NamedTuple):
    """A source of random bits: state – uint32 [4] on the backend (key, key, step, first row); stream – number of the use."""

    state: Array
    stream: int


class Backend:
    """Arrays, products and kernels on one device; this base class runs on any library that follows the array API.

    Contract: matrices are [rows, columns] in row-major order; every operation writes to arrays provided by the caller (`out`),
    which may be the same as an elementwise input; real numbers are float32 or float64, labels int32, indices of maxout pieces
    uint8. If `precisions` contains a 16-bit type, matrices and vectors with one number per column may have that type as well:
    computations use float32, and results are rounded to nearest when written. Operations raise MixedBackends for arrays of
    another library.

    Attributes: name; device – such as "cpu"; precisions – types that a step may compute in; xp – the array library;
        array_type – the class of its arrays; row_table – row operation -> implementation, a function of the backend and the
        arguments of the operation; enter implementations that are better than the reference, such as {**Backend.row_table,
        "softmax": own_softmax}; fuses – whether an operation of dense layers may combine several computations in one call,
        which is then timed as one; splits_rows – whether `map` and `rows` run only on the calling thread, so that threads may
        divide the rows.

    Args: xp – the module of the array library.
    """

    name: ClassVar[str] = "base"
    device: ClassVar[str] = "cpu"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float64")
    row_table: Mapping[str, Callable[..., Any]] = reference.ROWS
    fuses: bool = False
    splits_rows: ClassVar[bool] = False
    _dense: Any = dense
    """Implementation of the dense-layer operations, with the functions of defaults/dense.py."""
    _find: ClassVar[Callable[[str], Any]]
    """Finds a backend by name when a pickle is read; set by selection.py."""

    def __init__(self, xp: Any = np) -> None:
        self.xp = xp
        self.array_type: type = type(xp.zeros(1))

    @classmethod
    def unavailable(cls) -> Unavailable | None:
        """None if this backend can run, otherwise the reason; must not raise."""
        return None

    @property
    def on_host(self) -> bool:
        """Whether arrays are in host memory, and results are available when a call returns."""
        return self.device == "cpu"

    def __repr__(self) -> str:
        return f"<fusedstep backend {self.name}>"

    def __deepcopy__(self, _: Any) -> Backend:
        return self  # it holds no numbers

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles contain only the name; a backend of that name must be known when they are read."""
        return type(self)._find, (self.name,)

    # Arrays

    def dtype(self, name: str) -> Any:
        """The array library's data type of that name."""
        if name == "bfloat16":
            return bfloat16()
        try:
            return getattr(self.xp, name)
        except AttributeError:
            raise DtypeError(
                f"expected the name of a data type such as 'float32'; got {name!r}; see Backend.precisions"
            ) from None

    def dtype_name(self, array: Array) -> str:
        """The plain name of an array's data type, such as "float32", without a prefix of the library."""
        return str(array.dtype).rpartition(".")[2]

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """An array with arbitrary content."""
        return self.xp.empty(tuple(shape), dtype=self.dtype(dtype))

    def zeros(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """An array of zeros."""
        return self.xp.zeros(tuple(shape), dtype=self.dtype(dtype))

    def asarray(self, values: Any, dtype: str | None = None) -> Array:
        """`values` (numbers, NumPy, this backend's or any CPU DLPack array) as a row-major array of this backend.

        Args: dtype – name of the type; None keeps the type of `values`.
        Returns: an array of this backend; the same object if no conversion was needed.
        Raises: DtypeError for text and objects; MixedBackends for an array of another device.
        """
        if isinstance(values, self.array_type) and not isinstance(values, np.ndarray):
            return self._convert(values, dtype)
        host = on_host(values, self.name)
        return self.xp.asarray(c_order(cast(host, dtype)))

    def with_rows(self, values: Any, name: str) -> Array:
        """`values` as an array in its own type, where it is if possible: one of which rows can be taken for `asarray`.

        Args: name – with which errors begin, those of `asarray`.
        """
        try:
            values = self._adopted(values)
            own = isinstance(values, self.array_type) and not isinstance(values, np.ndarray)
            return values if own else on_host(values, self.name)
        except (DtypeError, MixedBackends) as error:
            raise type(error)(f"{name}: {error}") from error

    def _adopted(self, values: Any) -> Any:
        """An array of another library, if this one can use its memory; everything else as it is."""
        return values

    def _convert(self, array: Array, dtype: str | None) -> Array:
        return array if dtype is None or array.dtype == self.dtype(dtype) else self.xp.astype(array, self.dtype(dtype))

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        """A copy on the host."""
        return np.array(np.from_dlpack(array))

    def is_array(self, values: Any) -> bool:
        """Whether `values` belongs to this backend's array library."""
        return isinstance(values, self.array_type)

    def require(self, *arrays: Array) -> None:
        """Raises MixedBackends unless all arrays belong to this backend."""
        for array in arrays:
            if not isinstance(array, self.array_type):
                raise MixedBackends(
                    f"expected arrays of backend {self.name!r}; got a {describe(array)}; "
                    f'convert it with fs.asarray(array, backend="{self.name}")'
                )

    def wide(self, array: Array) -> Array:
        """The array in a type for computation: float32 for 16-bit types, otherwise unchanged."""
        return self.xp.astype(array, self.xp.float32) if is_narrow(array) else array

    def copy(self, source: Array, out: Array) -> None:
        """Overwrites `out` with the values of `source`, an array of this backend or of the host, or a list of numbers."""
        out[...] = source if self.is_array(source) else self.xp.asarray(source, dtype=out.dtype)

    def sender(self, out: Array) -> Callable[[Any], None]:
        """A function that overwrites `out`, a row-major array, with numbers from the host in every step."""
        return partial(self.copy, out=out)

    def fill(self, array: Array, value: float) -> None:
        """Overwrites all elements with one number."""
        self.require(array)
        array[...] = value

    def take_rows(self, array: Array, indices: Array, out: Array | None = None) -> Array:
        """The rows of `array` at `indices` (integers of this backend), in `out` or in a new array."""
        taken = self.xp.take(array, indices, axis=0)
        if out is None:
            return taken
        out[...] = taken
        return out

    def all_below(self, array: Array, bound: int) -> bool:
        """Whether all numbers (at least one) are in [0, bound - 1]; waits for the device."""
        return bool(self.xp.all((array >= 0) & (array <= bound - 1)))

    def item(self, scalar: Scalar) -> float:
        """The value of a scalar of this backend; waits for the device."""
        return float(scalar)

    def synchronize(self) -> None:
        """Waits until all submitted work is finished."""

    # Memory

    def slot(self, kinds: Sequence[Kind]) -> Slot:
        """A buffer for a minibatch that is filled by the thread of a loader; `kinds` – (shape, dtype) of its arrays."""
        return Slot(self, kinds)

    def free_memory(self) -> int | None:
        """Bytes available for arrays on the device; None if arrays are in host memory."""
        return None

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether an error means that memory ran out, so that smaller parts may succeed."""
        return isinstance(error, MemoryError)

    def trim_memory(self) -> None:
        """Releases cached memory that is not in use."""

    # Products

    def matmul(
        self, a: Array, b: Array, out: Array, transpose_a: bool = False, transpose_b: bool = False,
        accumulate: bool = False,
    ) -> None:  # fmt: skip
        """out = op(a) op(b), where op is the transpose if requested; with `accumulate` the product is added to `out`.

        Args: a, b, out – matrices, or stacks [count, …, …] of as many matrices, which are multiplied in pairs.
        """
        self.require(a, b, out)
        if len(out.shape) == 3:
            a, b = (self.xp.permute_dims(x, (0, 2, 1)) if turn else x for x, turn in ((a, transpose_a), (b, transpose_b)))
        else:
            a, b = a.T if transpose_a else a, b.T if transpose_b else b
        stack = tuple(out.shape[:-2])
        wanted = ((*stack, out.shape[-2], a.shape[-1]), (*stack, a.shape[-1], out.shape[-1]))
        if (tuple(a.shape), tuple(b.shape)) != wanted:
            raise ShapeError(
                f"expected a product [m, k] [k, n] into [m, n]; got {tuple(a.shape)} {tuple(b.shape)} into "
                f"{tuple(out.shape)}; check the widths"
            )
        self._matmul(a, b, out, accumulate)

    def _matmul(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        product = self.xp.matmul(self.wide(a), self.wide(b))
        formulas.put(self.xp, out + product if accumulate else product, out)

    def products(self, precision: str, deterministic: bool = False) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Context in which products of float32 matrices have that precision; only "tf32" makes a difference.

        Args: deterministic – the same bits in every run, without selection by timing; backends that do not time algorithms
            ignore it.
        """
        return nullcontext()

    # Dense layers

    def mask_bytes(self, activation: Activation, width: int, dtype: str) -> int:
        """Bytes per row of the mask that `dense_forward` writes for `dense_input_gradient`; 0 if it needs none."""
        return int(self._dense.mask_bytes(self, activation, width, dtype))

    def dense_forward(
        self, x: Array, weight: Array, bias: Array | None, activation: Activation, settings: Sequence[float], out: Array,
        saved: Array | None = None, mask: Array | None = None,
    ) -> bool:  # fmt: skip
        """out = activation(x weight + bias, *settings).

        Args: saved – output for x weight + bias, for activations whose derivative depends on their input; mask – uint8 [rows,
            mask_bytes], for activations that have one.
        Returns: whether the mask was written.
        """
        return bool(self._dense.forward(self, x, weight, bias, activation, settings, out, saved, mask))

    def dense_input_gradient(
        self, dz: Array, weight: Array, activation: Activation, settings: Sequence[float], saved: Array, out: Array,
        mask: Array | None = None, bias_gradient: Array | None = None,
    ) -> bool:  # fmt: skip
        """out = (dz weight^T) derivative(saved, *settings): backward through a weight and the activation before it.

        Args: saved – the argument of the derivative; mask – as written by `dense_forward`; bias_gradient – optional output for
            the sum of the rows of `out`.
        Returns: whether it was written there.
        """
        return bool(self._dense.input_gradient(self, dz, weight, activation, settings, saved, out, mask, bias_gradient))

    def dense_weight_gradient(
        self, x: Array, dz: Array, out: Array, accumulate: bool = False, bias_gradient: Array | None = None
    ) -> bool:
        """out = x^T dz, or added to `out`.

        Args: bias_gradient – optional output for the sum of the rows of dz.
        Returns: whether it was written there.
        """
        return bool(self._dense.weight_gradient(self, x, dz, out, accumulate, bias_gradient))

    # Formulas

    def map(self, formula: Formula, out: Array | tuple[Array, ...], *arguments: Any, random: Random | None = None) -> None:
        """Evaluates a formula for every element.

        Args: out – one array per output (a vector [rows] for sums over rows); arguments – in the formula's order, without the
            random bits: matrices, vectors and Python numbers; random – source of its random bits.
        """
        outputs = out if isinstance(out, tuple) else (out,)
        formulas.check_map(self, formula, outputs, arguments)
        self._map(formula, outputs, arguments, random)

    def _map(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Random | None) -> None:
        formulas.run_map(self, formula, outputs, arguments, random)

    def update(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any, random: Random | None = None
    ) -> None:
        """Applies an update formula to flat arrays in place: one kernel call for any number of parameters.

        Args: arrays – in the formula's order; scalars – [scalars, groups], in its order; segments – from `segments`. If the
            first scalar is NaN, nothing is changed. random – needed if it overwrites bfloat16 arrays (at most two, on backends
            with that precision): their new values are rounded stochastically, so that they are correct on average. Element i
            uses the bits of row i // 4, column i % 4 of `random_bits` with four columns: the lower 16 bits for the first such
            array, the upper 16 for the second.
        """
        formulas.check_update(self, formula, arrays, scalars, random)
        self._update(formula, arrays, scalars, segments, random)

    def _update(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any, random: Random | None  # noqa: ARG002
    ) -> None:
        formulas.run_update(self, formula, arrays, scalars, segments)

    def segments(self, ranges: Sequence[tuple[int, int, int]]) -> Any:
        """The assignment of elements to groups for `update`, prepared once.

        Args: ranges – (start, stop, group); starts are multiples of 64.
        """
        return list(ranges)

    # Rows and columns

    def rows(self, operation: str, *arguments: Any) -> bool:
        """Runs a row operation.

        Args: operation – a name of kernels/rows/reference.py; arguments – in its order, including output arrays.
        Returns: whether the operation wrote `sums`, if it has that argument; otherwise False.
        Raises: MixedBackends; ValueError for an unknown name; ShapeError for a wrong number of arguments.
        """
        known = reference.ROWS.get(operation)
        if known is None:
            raise ValueError(f"expected one of the row operations {', '.join(reference.ROWS)}; got {operation!r}")
        self.require(*known.arrays(arguments))
        return bool(self.row_table[operation](self, *arguments))

    def argmax(self, x: Array) -> Array:
        """The column of the largest value of each row; the first one if several are equal."""
        self.require(x)
        return self.xp.argmax(self.wide(x), axis=1)

    # Sums

    def total(self, x: Array) -> Scalar:
        """The sum of all elements, at least in float64 on the host and in float32 on a device."""
        self.require(x)
        return self.xp.sum(self.wide(x), dtype=self.xp.float64)

    def sum_of_squares(self, x: Array) -> Scalar:
        """The sum of the squares of all elements of a flat array; infinite or NaN if any element is."""
        self.require(x)
        wide = self.xp.astype(x, self.xp.float64)
        return self.xp.sum(wide * wide)

    def limit_norm(self, scales: Array, squares: Scalar, largest: float, most: float = sys.float_info.max) -> None:
        """scales *= min(1, largest / sqrt(squares)), and NaN unless squares <= most: clipping by global norm."""
        norm = float(squares) ** 0.5
        if not float(squares) <= most:
            scales[...] = scales * float("nan")
        elif norm > largest:
            scales[...] = scales * (largest / norm)

    # Random numbers

    def random_state(self, seed: int, step: int = 0, first_row: int = 0) -> Array:
        """uint32 [4]: both words of the seed, the step, and the index of the first row of the next matrices."""
        words = np.array([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, step & 0xFFFFFFFF, first_row], np.uint32)
        return self.asarray(words)

    def set_step(self, state: Array, step: int) -> None:
        """Sets a random state to another step."""
        state[2] = step & 0xFFFFFFFF

    def advance(self, state: Array) -> None:
        """Advances a random state to the next step; unlike `set_step` it runs on the device, so a graph can replay it."""
        word = state[2:3]
        word += 1

    def set_first_row(self, state: Array, row: int) -> None:
        """Sets a random state to matrices that start at another row."""
        state[3] = row

    def random_bits(self, rows: int, width: int, random: Random) -> Array:
        """uint32 [rows, width]: the bits that a formula with these (state, stream) gets."""
        return reference.random_bits(self.xp, rows, width, random.state, random.stream)

    def permutation(self, count: int, random: Random) -> Array:
        """The numbers 0 to count - 1 in random order: sorted by 64 random bits each, equal ones by number."""
        words = self.to_numpy(self.random_bits(count, 2, random)).astype(np.uint64)
        return self.asarray(stable_order((words[:, 0] << np.uint64(32)) | words[:, 1]))

    # Steps

    def exclusive(self) -> AbstractContextManager[Any]:
        """Context in which no other thread captures, replays or plans work on the same device; reentrant."""
        return nullcontext()

    def quiet(self) -> AbstractContextManager[Any]:
        """Context in which the array library does not warn of overflow: a step checks loss and gradient itself."""
        return nullcontext()

    def executor(self, work: Work) -> Executor:
        """The executor that runs the steps of a TrainStep on this backend."""
        return PlainExecutor(self, work)

    # Evaluation

    def evaluator(self, work: EvaluationWork) -> Evaluator:
        """The evaluator that runs a pass in evaluation mode, for predictions and metrics, over any number of rows."""
        return Evaluator(self, work)


def _method(name: str) -> Callable[..., bool]:
    """A row operation as a method, as in 0.2.0."""

    def method(self: Backend, *arguments: Any, **named: Any) -> bool:
        warnings.warn(
            f"Backend.{name} is deprecated since 0.3.0; call backend.rows({name!r}, ...)", DeprecationWarning, stacklevel=2
        )
        return self.rows(name, *reference.ROWS[name].in_order(*arguments, **named))

    return method


for _name in reference.ROWS:
    setattr(Backend, _name, _method(_name))
