"""The contract of a backend, runnable on any NumPy-like array library.

A subclass overrides what its library does better; everything else keeps working through the methods here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..errors import DtypeError, MixedBackends, ShapeError
from ..kernels.formula import Formula
from ..kernels.formulas.activations import Activation, dense_backward, dense_forward
from ..kernels.formulas.elementwise import add_bias
from ..kernels.rows import reference
from ..kernels.targets.storage import bfloat16, is_narrow
from .arrays import c_order, cast, describe, on_host
from .executors import Executor, PlainExecutor, Work
from .slots import Kind, Slot

Array = Any
"""An array of the backend's library."""
Scalar = Any
"""A number that may still be on the device; `float(backend.item(s))` waits for it."""


class Random(NamedTuple):
    """Where random bits come from: state – uint32 [4] on the backend (key, key, step, first row); stream – which use."""

    state: Array
    stream: int


class Unavailable(NamedTuple):
    """Why a backend cannot run here, what would mend it, and the original error if there was one."""

    reason: str
    remedy: str
    cause: BaseException | None = None


class Backend:
    """Arrays, products and kernels on one device; this class runs on any array library that follows the array API.

    Contract: matrices are [rows, columns] in row-major order; every operation writes into arrays that the caller gives
    (`out`), which may be the same as an elementwise input; reals are float32 or float64, labels int32, the winners of
    maxout uint8. Where `precisions` names a type of 16 bits, matrices, and vectors with one number per column, may have
    that type as well: their values are computed with in float32, and results are rounded to nearest when they are
    written. Operations refuse arrays of another library with MixedBackends.

    Args: xp – the module of the array library.
    """

    name: ClassVar[str] = "base"
    device: ClassVar[str] = "cpu"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float64")

    def __init__(self, xp: Any = np) -> None:
        self.xp = xp
        self.array_type: type = type(xp.zeros(1))

    @classmethod
    def unavailable(cls) -> Unavailable | None:
        """None where this backend can run, else the reason; must not raise."""
        return None

    def __repr__(self) -> str:
        return f"<fusedstep backend {self.name}>"

    def __deepcopy__(self, _: Any) -> Backend:
        return self  # it holds no numbers

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
        """The plain name of an array's data type, such as "float32", also where the library shows it with its own name."""
        return str(array.dtype).rpartition(".")[2]

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """An array with arbitrary content."""
        return self.xp.empty(tuple(shape), dtype=self.dtype(dtype))

    def zeros(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """An array of zeros."""
        return self.xp.zeros(tuple(shape), dtype=self.dtype(dtype))

    def asarray(self, values: Any, dtype: str | None = None) -> Array:
        """`values` (numbers, NumPy, this backend's or any CPU DLPack array) as a row-major array of this backend.

        Args: dtype – name of the wanted type; None keeps the type that came.
        Returns: an array of this backend; the same object where nothing had to change.
        Raises: DtypeError for text and objects; MixedBackends for an array of another device.
        """
        if isinstance(values, self.array_type) and not isinstance(values, np.ndarray):
            return self._convert(values, dtype)
        host = on_host(values, self.name)
        return self.xp.asarray(c_order(cast(host, dtype)))

    def _convert(self, array: Array, dtype: str | None) -> Array:
        return array if dtype is None or array.dtype == self.dtype(dtype) else self.xp.astype(array, self.dtype(dtype))

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        """A copy on the host."""
        return np.array(np.from_dlpack(array))

    def is_array(self, values: Any) -> bool:
        """Whether `values` belongs to this backend's array library."""
        return isinstance(values, self.array_type)

    def copy(self, source: Array, out: Array) -> None:
        """Overwrites `out` with the values of `source`, an array of this backend or of the host, or a list of numbers."""
        out[...] = source if self.is_array(source) else self.xp.asarray(source, dtype=out.dtype)

    def fill(self, array: Array, value: float) -> None:
        """Overwrites all elements with one number."""
        self.require(array)
        array[...] = value

    def take_rows(self, array: Array, indices: Array, out: Array | None = None) -> Array:
        """The rows of `array` that `indices` (integers of this backend) name, in `out` or in a new array."""
        taken = self.xp.take(array, indices, axis=0)
        if out is None:
            return taken
        out[...] = taken
        return out

    def all_below(self, array: Array, bound: int) -> bool:
        """Whether all of at least one number lie in [0, bound - 1]; waits for the device."""
        return bool(self.xp.all((array >= 0) & (array <= bound - 1)))

    def item(self, scalar: Scalar) -> float:
        """The value of a scalar of this backend; waits for the device."""
        return float(scalar)

    def synchronize(self) -> None:
        """Waits until all work that was handed out is done."""

    # Memory

    def slot(self, kinds: Sequence[Kind]) -> Slot:
        """Room for a minibatch that a loader's thread fills; `kinds` – (shape, dtype) of its arrays."""
        return Slot(self, kinds)

    def free_memory(self) -> int | None:
        """Bytes that arrays may still take on the device; None where arrays lie in the memory of the host."""
        return None

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether an error says that there was not enough memory, so that a smaller piece of the work may succeed."""
        return isinstance(error, MemoryError)

    def trim_memory(self) -> None:
        """Gives memory back that is kept for later but not in use."""

    def require(self, *arrays: Array) -> None:
        """Raises MixedBackends unless all arrays are this backend's own."""
        for array in arrays:
            if not isinstance(array, self.array_type):
                raise MixedBackends(
                    f"expected arrays of backend {self.name!r}; got a {describe(array)}; "
                    f'convert it with fs.asarray(array, backend="{self.name}")'
                )

    # Products

    def matmul(
        self, a: Array, b: Array, out: Array, transpose_a: bool = False, transpose_b: bool = False,
        accumulate: bool = False,
    ) -> None:  # fmt: skip
        """out = op(a) op(b), op being the transpose where asked for; with `accumulate` it is added to `out`."""
        self.require(a, b, out)
        a, b = a.T if transpose_a else a, b.T if transpose_b else b
        if a.shape[1] != b.shape[0] or (a.shape[0], b.shape[1]) != tuple(out.shape):
            raise ShapeError(
                f"expected a product [m, k] [k, n] into [m, n]; got {tuple(a.shape)} {tuple(b.shape)} into "
                f"{tuple(out.shape)}; check the widths"
            )
        self._matmul(a, b, out, accumulate)

    def _matmul(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        product = self.xp.matmul(self.wide(a), self.wide(b))
        out[...] = self._cast(out + product if accumulate else product, out)

    def products(self, precision: str) -> AbstractContextManager[Any]:
        """Within it products of float32 matrices are computed as that precision wants them: only "tf32" differs."""
        del precision
        return nullcontext()

    # Dense layers: a product and what follows it, which a subclass may do in one call

    def mask_bytes(self, activation: Activation, width: int, dtype: str) -> int:
        """Bytes a row of the mask that `dense_forward` writes for `dense_input_gradient`; 0 where it needs none."""
        del activation, width, dtype
        return 0

    def dense_forward(
        self, x: Array, weight: Array, bias: Array | None, activation: Activation, settings: Sequence[float], out: Array,
        kept: Array | None = None, mask: Array | None = None,
    ) -> bool:  # fmt: skip
        """out = activation(x weight + bias, *settings).

        Args: kept – where x weight + bias goes, for activations whose slope is written in their input; mask – uint8
            [rows, mask_bytes], for those that have one.
        Returns: whether the mask was written.
        """
        del mask
        z = out if kept is None else kept
        self.matmul(x, weight, z)
        biases = () if bias is None else (bias,)
        if activation.name == "identity" and kept is None:
            if bias is not None:
                self.map(add_bias, out, out, bias)
        else:
            formula = dense_forward(activation, bias is not None, False, kept is not None)
            self.map(formula, out if kept is None else (out, z), z, *biases, *settings)
        return False

    def dense_input_gradient(
        self, dz: Array, weight: Array, activation: Activation, settings: Sequence[float], kept: Array, out: Array,
        mask: Array | None = None, bias_gradient: Array | None = None,
    ) -> bool:  # fmt: skip
        """out = (dz weight^T) slope(kept, *settings): back through a weight and the activation before it.

        Args: kept – what the slope is written in; mask – as `dense_forward` wrote it; bias_gradient – where the sum of the
            rows of `out` may go.
        Returns: whether it went there.
        """
        del mask, bias_gradient
        self.matmul(dz, weight, out, transpose_b=True)
        self.map(dense_backward(activation, False), out, out, kept, *settings)
        return False

    def dense_weight_gradient(
        self, x: Array, dz: Array, out: Array, accumulate: bool = False, bias_gradient: Array | None = None
    ) -> bool:
        """out = x^T dz, or added to `out`.

        Args: bias_gradient – where the sum of the rows of dz may go.
        Returns: whether it went there.
        """
        del bias_gradient
        self.matmul(x, dz, out, transpose_a=True, accumulate=accumulate)
        return False

    # Formulas

    def map(self, formula: Formula, out: Array | tuple[Array, ...], *arguments: Any, random: Random | None = None) -> None:
        """Evaluates a formula for every element.

        Args: out – one array per output (a vector [rows] for sums over rows); arguments – in the formula's order,
            without the random bits: matrices, vectors and Python numbers; random – where its bits come from.
        """
        outputs = out if isinstance(out, tuple) else (out,)
        self._check(formula, outputs, arguments)
        self._map(formula, outputs, arguments, random)

    def _check(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any]) -> None:
        """Raises MixedBackends or ShapeError unless all arrays are this backend's and fit: compiled loops do not look."""
        arrays, kinds = (*outputs, *arguments), (*formula.outputs, *formula.given)
        if len(arrays) != len(kinds):
            raise ShapeError(f"{formula!r} expected {len(formula.given)} arguments; got {len(arguments)}")
        whole = next(getattr(a, "shape", ()) for a, kind in zip(arrays, kinds, strict=True) if kind == "each")
        for array, kind in zip(arrays, kinds, strict=True):
            if kind == "scalar":
                continue
            if not isinstance(array, self.array_type):
                self.require(array)
            if kind == "each":
                wanted = whole
            elif len(whole) == 2:
                wanted = whole[1:] if kind == "row" else whole[:1]
            else:
                raise ShapeError(f"{formula!r} expected matrices [rows, columns]; got shape {tuple(whole)}")
            if array.shape != wanted:
                raise ShapeError(f"{formula!r} expected shape {tuple(wanted)}; got {tuple(array.shape)}; check the widths")

    def _map(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Random | None) -> None:
        kinds = (*formula.outputs, *formula.given)
        shape = next(a.shape for a, k in zip((*outputs, *arguments), kinds, strict=True) if k == "each")
        given = iter(arguments)
        values = []
        for kind in formula.kinds:
            if kind == "bits":
                assert random is not None
                values.append(self.random_bits(shape[0], shape[1], random))
                continue
            value = next(given)
            if kind != "scalar":
                value = self.wide(value)
            if kind == "row":
                value = self.xp.reshape(value, (1, -1))
            elif kind == "column":
                value = self.xp.reshape(value, (-1, 1))
            elif kind == "scalar":
                value = self.xp.asarray(value, dtype=self.xp.float32 if is_narrow(outputs[0]) else outputs[0].dtype)
            values.append(value)
        results = formula(*values)
        results = results if isinstance(results, tuple) else (results,)
        for target, result, kind in zip(outputs, results, formula.outputs, strict=True):
            target[...] = self._cast(self.xp.sum(result, axis=1) if kind == "rowsum" else result, target)

    def wide(self, array: Array) -> Array:
        """The array in a type that is computed in: float32 where it has 16 bits, else itself."""
        return self.xp.astype(array, self.xp.float32) if is_narrow(array) else array

    def _cast(self, values: Array, like: Array) -> Array:
        return values if values.dtype == like.dtype else self.xp.astype(values, like.dtype)

    def update(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any, random: Random | None = None
    ) -> None:
        """Applies an update formula to flat arrays in place: one kernel call, whatever the number of parameters.

        Args: arrays – in the formula's order; scalars – [scalars, groups], in its order; segments – from `segments`.
            Where the first scalar is NaN, nothing at all is changed. random – needed where it overwrites arrays of bfloat16
            (at most two, on backends that have that precision): their new values are rounded up or down at random, so that
            they are right on the average. Element i takes its bits from row i // 4, column i % 4 of `random_bits` with four
            columns: the lower 16 of them for the first such array, the upper 16 for the second.
        """
        self.require(*arrays, scalars)
        if any(a.shape != arrays[0].shape for a in arrays) or len(arrays[0].shape) != 1:
            raise ShapeError(f"{formula!r} expected flat arrays of one length; got {[tuple(a.shape) for a in arrays]}")
        narrow = [p for p, a in zip(formula.parameters, arrays, strict=False) if is_narrow(a) and p in formula.overwrites]
        if narrow and ("bfloat16" not in self.precisions or random is None):
            raise DtypeError(
                f"expected {' and '.join(narrow)} in float32 on backend {self.name!r}, or a source of random bits to round "
                f"them with; got {formula!r} with 16 bits; choose another backend, or state_dtype=None"
            )
        self._update(formula, arrays, scalars, segments, random)

    def _update(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any, random: Random | None
    ) -> None:
        del random
        if math.isnan(float(scalars[0, 0])):
            return
        for start, stop, group in segments:
            parts = [a[start:stop] for a in arrays]
            results = formula(*map(self.wide, parts), *(scalars[k, group] for k in range(scalars.shape[0])))
            for name, result in zip(formula.overwrites, results, strict=True):
                part = parts[formula.parameters.index(name)]
                part[...] = self._cast(result, part)

    def segments(self, ranges: Sequence[tuple[int, int, int]]) -> Any:
        """What `update` needs to know which elements belong to which group, prepared once.

        Args: ranges – (start, stop, group); starts are multiples of 64.
        """
        return list(ranges)

    # Random numbers

    def random_state(self, seed: int, step: int = 0, first_row: int = 0) -> Array:
        """uint32 [4]: the two words of the seed, the step, and the number of the first row of the matrices to come."""
        words = np.array([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, step & 0xFFFFFFFF, first_row], np.uint32)
        return self.asarray(words)

    def set_step(self, state: Array, step: int) -> None:
        """Moves a random state to another step."""
        state[2] = step & 0xFFFFFFFF

    def set_first_row(self, state: Array, row: int) -> None:
        """Moves a random state to matrices that begin at another row."""
        state[3] = row

    def random_bits(self, rows: int, width: int, random: Random) -> Array:
        """uint32 [rows, width]: the bits that a formula with these (state, stream) gets."""
        return reference.random_bits(self.xp, rows, width, random.state, random.stream)

    def permutation(self, count: int, random: Random) -> Array:
        """The numbers 0 to count - 1 in random order: sorted by 64 random bits each, equal ones by number."""
        words = self.to_numpy(self.random_bits(count, 2, random)).astype(np.uint64)
        return self.asarray(np.argsort((words[:, 0] << np.uint64(32)) | words[:, 1], kind="stable"))

    # Rows and columns

    def softmax(self, x: Array, out: Array) -> None:
        """Softmax of each row."""
        self.require(x, out)
        reference.softmax(self.xp, self.wide(x), out)

    def softmax_cross_entropy(
        self, logits: Array, labels: Array, weights: Array | None, on: float, off: float, factor: float,
        losses: Array, gradient: Array,
    ) -> None:  # fmt: skip
        """Losses by row and factor times their gradient, for labels; see kernels/rows/reference.py."""
        self.require(logits, labels, losses, gradient)
        reference.softmax_cross_entropy(self.xp, self.wide(logits), labels, weights, on, off, factor, losses, gradient)

    def softmax_cross_entropy_soft(
        self, logits: Array, targets: Array, factor: float, losses: Array, gradient: Array
    ) -> None:
        """As `softmax_cross_entropy`, for target distributions."""
        self.require(logits, targets, losses, gradient)
        reference.softmax_cross_entropy_soft(self.xp, self.wide(logits), targets, factor, losses, gradient)

    def multi_class_hinge(self, scores: Array, labels: Array, factor: float, losses: Array, gradient: Array) -> None:
        """Crammer and Singer's hinge loss by row and factor times its subgradient."""
        self.require(scores, labels, losses, gradient)
        reference.multi_class_hinge(self.xp, self.wide(scores), labels, factor, losses, gradient)

    def layer_norm(
        self, x: Array, gain: Array, offset: Array, epsilon: float, out: Array, mean: Array, scale: Array
    ) -> None:
        """Normalises each row; also gives mean and 1 / standard deviation by row."""
        self.require(x, gain, offset, out, mean, scale)
        reference.layer_norm(self.xp, self.wide(x), self.wide(gain), self.wide(offset), epsilon, out, mean, scale)

    def layer_norm_backward(
        self, dy: Array, x: Array, gain: Array, mean: Array, scale: Array, dx: Array, dgain: Array, doffset: Array
    ) -> None:
        """The gradient of `layer_norm`; adds to dgain and doffset."""
        self.require(dy, x, gain, mean, scale, dx, dgain, doffset)
        reference.layer_norm_backward(self.xp, self.wide(dy), self.wide(x), self.wide(gain), mean, scale, dx, dgain, doffset)

    def column_sum(self, x: Array, out: Array) -> None:
        """Adds the sum of the rows of x to out."""
        self.require(x, out)
        reference.column_sum(self.xp, self.wide(x), out)

    def maxout(self, z: Array, out: Array, winner: Array) -> None:
        """The largest piece of each unit and which one it was."""
        self.require(z, out, winner)
        reference.maxout(self.xp, self.wide(z), out, winner)

    def maxout_spread(self, dy: Array, winner: Array, dz: Array) -> None:
        """The gradient of `maxout`."""
        self.require(dy, winner, dz)
        reference.maxout_spread(self.xp, self.wide(dy), winner, dz)

    def maxout_pick(self, z: Array, winner: Array, out: Array) -> None:
        """The piece of each unit that `winner` names."""
        self.require(z, winner, out)
        reference.maxout_pick(self.xp, self.wide(z), winner, out)

    def take_columns(self, x: Array, table: Array, out: Array) -> None:
        """Column `table[j]` of x as column j of out, and 0 where that is negative: the patches of images."""
        self.require(x, table, out)
        reference.take_columns(self.xp, self.wide(x), table, out)

    def sum_columns(self, x: Array, table: Array, out: Array) -> None:
        """The columns of x that row j of `table` names, added up, as column j of out: the transpose of `take_columns`."""
        self.require(x, table, out)
        reference.sum_columns(self.xp, self.wide(x), table, out)

    def largest_columns(self, x: Array, table: Array, out: Array, winner: Array) -> None:
        """The largest of the columns that row j of `table` names, and which it was: max-pooling."""
        self.require(x, table, out, winner)
        reference.largest_columns(self.xp, self.wide(x), table, out, winner)

    def largest_columns_spread(self, dy: Array, winner: Array, table: Array, dx: Array) -> None:
        """The gradient of `largest_columns`; see kernels/rows/reference.py for this table."""
        self.require(dy, winner, table, dx)
        reference.largest_columns_spread(self.xp, self.wide(dy), winner, table, dx)

    def largest_columns_pick(self, x: Array, table: Array, winner: Array, out: Array) -> None:
        """The columns of x that `winner` names of each row of `table`."""
        self.require(x, table, winner, out)
        reference.largest_columns_pick(self.xp, self.wide(x), table, winner, out)

    def argmax(self, x: Array) -> Array:
        """The column of the largest value of each row, the first among equals."""
        self.require(x)
        return self.xp.argmax(self.wide(x), axis=1)

    # Steps

    def quiet(self) -> AbstractContextManager[Any]:
        """Within it the array library does not warn of overflow: a step checks its loss and gradient itself."""
        return nullcontext()

    def executor(self, work: Work) -> Executor:
        """What carries out the steps of a TrainStep on this backend."""
        return PlainExecutor(self, work)

    # Reductions

    def total(self, x: Array) -> Scalar:
        """The sum of all elements, at least in float64 on the host and in float32 on a device."""
        self.require(x)
        return self.xp.sum(self.wide(x), dtype=self.xp.float64)

    def sum_of_squares(self, x: Array) -> Scalar:
        """The sum of the squares of all elements of a flat array; infinite or NaN if any element is."""
        self.require(x)
        wide = self.xp.astype(x, self.xp.float64)
        return self.xp.sum(wide * wide)

    def limit_norm(self, scales: Array, squares: Scalar, largest: float) -> None:
        """scales *= min(1, largest / sqrt(squares)), and NaN where squares is not finite: clipping by global norm."""
        norm = float(squares) ** 0.5
        scales[...] = scales * (min(1.0, largest / norm) if norm > 0.0 else 1.0 if norm == 0.0 else norm)
        if not norm < float("inf"):
            scales[...] = scales * float("nan")
