"""The contract of a backend, on one page: all that a step asks of arrays, products, formulas, rows and random numbers.

Backend runs it on any NumPy-like array library. A subclass overrides what its library does better; what takes more than a few
lines here is in backends/defaults, and row operations are in kernels/rows.
"""

from __future__ import annotations

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
from .arrays import c_order, cast, describe, on_host
from .defaults import dense, formulas
from .executors.base import Executor, Work
from .executors.plain import PlainExecutor
from .slots import Kind, Slot

Array = Any
"""An array of the backend's library."""
Scalar = Any
"""A number that may still be on the device; `float(backend.item(s))` waits for it."""


class Unavailable(NamedTuple):
    """Why a backend cannot run here.

    Attributes: reason; remedy – how to fix it; cause – the original error, if there was one; expected – whether somebody who
        lets `auto` choose may expect this backend and has to be told; False where nothing of it is installed.
    """

    reason: str
    remedy: str
    cause: BaseException | None = None
    expected: bool = True


class Random(NamedTuple):
    """Where random bits come from: state – uint32 [4] on the backend (key, key, step, first row); stream – which use."""

    state: Array
    stream: int


class Backend:
    """Arrays, products and kernels on one device; this class runs on any array library that follows the array API.

    Contract: matrices are [rows, columns] in row-major order; every operation writes into arrays that the caller gives
    (`out`), which may be the same as an elementwise input; reals are float32 or float64, labels int32, the winners of
    maxout uint8. Where `precisions` names a type of 16 bits, matrices, and vectors with one number per column, may have
    that type as well: their values are computed with in float32, and results are rounded to nearest when they are
    written. Operations refuse arrays of another library with MixedBackends.

    Attributes: name; device – such as "cpu"; precisions – types that a step may compute in; xp – the array library;
        array_type – the class of its arrays; row_table – row operation -> what runs it, a function of the backend and the
        arguments of the operation; what a library does better than the reference goes there, such as
        {**Backend.row_table, "softmax": own_softmax}; fuses – whether operations of dense layers may do several things in one
        call, which are then timed as one; splits_rows – whether `map` and `rows` run on the calling thread alone, so that
        threads may share the rows.

    Args: xp – the module of the array library.
    """

    name: ClassVar[str] = "base"
    device: ClassVar[str] = "cpu"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float64")
    row_table: Mapping[str, Callable[..., Any]] = reference.ROWS
    fuses: bool = False
    splits_rows: ClassVar[bool] = False
    _dense: Any = dense
    """What does the operations of dense layers, given the backend and their arguments: the functions of defaults/dense.py."""
    _find: ClassVar[Callable[[str], Any]]
    """Finds the backend of a name, where a pickle is read; selection.py gives it."""

    def __init__(self, xp: Any = np) -> None:
        self.xp = xp
        self.array_type: type = type(xp.zeros(1))

    @classmethod
    def unavailable(cls) -> Unavailable | None:
        """None where this backend can run, else the reason; must not raise."""
        return None

    @property
    def on_host(self) -> bool:
        """Whether arrays lie in the memory of the host, and results are there when a call returns."""
        return self.device == "cpu"

    def __repr__(self) -> str:
        return f"<fusedstep backend {self.name}>"

    def __deepcopy__(self, _: Any) -> Backend:
        return self  # it holds no numbers

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle names it: where it is read, the backend of that name must be known."""
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

    def require(self, *arrays: Array) -> None:
        """Raises MixedBackends unless all arrays are this backend's own."""
        for array in arrays:
            if not isinstance(array, self.array_type):
                raise MixedBackends(
                    f"expected arrays of backend {self.name!r}; got a {describe(array)}; "
                    f'convert it with fs.asarray(array, backend="{self.name}")'
                )

    def wide(self, array: Array) -> Array:
        """The array in a type that is computed in: float32 where it has 16 bits, else itself."""
        return self.xp.astype(array, self.xp.float32) if is_narrow(array) else array

    def copy(self, source: Array, out: Array) -> None:
        """Overwrites `out` with the values of `source`, an array of this backend or of the host, or a list of numbers."""
        out[...] = source if self.is_array(source) else self.xp.asarray(source, dtype=out.dtype)

    def sender(self, out: Array) -> Callable[[Any], None]:
        """A function that overwrites `out`, a row-major array, with numbers of the host, for what is said in every step."""
        return partial(self.copy, out=out)

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
        formulas.put(self.xp, out + product if accumulate else product, out)

    def products(self, precision: str, deterministic: bool = False) -> AbstractContextManager[Any]:
        """Within it products of float32 matrices are computed as that precision wants them: only "tf32" differs.

        Args: deterministic – the same bits in every run, whatever is faster now; a backend that times nothing does so anyway.
        """
        del precision, deterministic
        return nullcontext()

    # Dense layers

    def mask_bytes(self, activation: Activation, width: int, dtype: str) -> int:
        """Bytes a row of the mask that `dense_forward` writes for `dense_input_gradient`; 0 where it needs none."""
        count: int = self._dense.mask_bytes(self, activation, width, dtype)
        return count

    def dense_forward(
        self, x: Array, weight: Array, bias: Array | None, activation: Activation, settings: Sequence[float], out: Array,
        kept: Array | None = None, mask: Array | None = None,
    ) -> bool:  # fmt: skip
        """out = activation(x weight + bias, *settings).

        Args: kept – where x weight + bias goes, for activations whose slope is written in their input; mask – uint8
            [rows, mask_bytes], for those that have one.
        Returns: whether the mask was written.
        """
        done: bool = self._dense.forward(self, x, weight, bias, activation, settings, out, kept, mask)
        return done

    def dense_input_gradient(
        self, dz: Array, weight: Array, activation: Activation, settings: Sequence[float], kept: Array, out: Array,
        mask: Array | None = None, bias_gradient: Array | None = None,
    ) -> bool:  # fmt: skip
        """out = (dz weight^T) slope(kept, *settings): back through a weight and the activation before it.

        Args: kept – what the slope is written in; mask – as `dense_forward` wrote it; bias_gradient – where the sum of the
            rows of `out` may go.
        Returns: whether it went there.
        """
        done: bool = self._dense.input_gradient(self, dz, weight, activation, settings, kept, out, mask, bias_gradient)
        return done

    def dense_weight_gradient(
        self, x: Array, dz: Array, out: Array, accumulate: bool = False, bias_gradient: Array | None = None
    ) -> bool:
        """out = x^T dz, or added to `out`.

        Args: bias_gradient – where the sum of the rows of dz may go.
        Returns: whether it went there.
        """
        done: bool = self._dense.weight_gradient(self, x, dz, out, accumulate, bias_gradient)
        return done

    # Formulas

    def map(self, formula: Formula, out: Array | tuple[Array, ...], *arguments: Any, random: Random | None = None) -> None:
        """Evaluates a formula for every element.

        Args: out – one array per output (a vector [rows] for sums over rows); arguments – in the formula's order,
            without the random bits: matrices, vectors and Python numbers; random – where its bits come from.
        """
        outputs = out if isinstance(out, tuple) else (out,)
        formulas.check_map(self, formula, outputs, arguments)
        self._map(formula, outputs, arguments, random)

    def _map(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Random | None) -> None:
        formulas.run_map(self, formula, outputs, arguments, random)

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
        formulas.check_update(self, formula, arrays, scalars, random)
        self._update(formula, arrays, scalars, segments, random)

    def _update(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any, random: Random | None
    ) -> None:
        del random
        formulas.run_update(self, formula, arrays, scalars, segments)

    def segments(self, ranges: Sequence[tuple[int, int, int]]) -> Any:
        """What `update` needs to know which elements belong to which group, prepared once.

        Args: ranges – (start, stop, group); starts are multiples of 64.
        """
        return list(ranges)

    # Rows and columns

    def rows(self, operation: str, *arguments: Any) -> bool:
        """Runs a row operation.

        Args: operation – a name of kernels/rows/reference.py; arguments – in its order, the arrays that it writes among them.
        Returns: whether the operation wrote `sums`, of those that have it; else False.
        Raises: MixedBackends; ValueError for an unknown name; ShapeError for a wrong number of arguments.
        """
        known = reference.ROWS.get(operation)
        if known is None:
            raise ValueError(f"expected a row operation out of {', '.join(reference.ROWS)}; got {operation!r}")
        self.require(*known.arrays(arguments))
        return bool(self.row_table[operation](self, *arguments))

    def argmax(self, x: Array) -> Array:
        """The column of the largest value of each row, the first among equals."""
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

    def limit_norm(self, scales: Array, squares: Scalar, largest: float) -> None:
        """scales *= min(1, largest / sqrt(squares)), and NaN where squares is not finite: clipping by global norm."""
        norm = float(squares) ** 0.5
        if not norm < float("inf"):
            scales[...] = scales * float("nan")
        elif norm > largest:
            scales[...] = scales * (largest / norm)

    # Random numbers

    def random_state(self, seed: int, step: int = 0, first_row: int = 0) -> Array:
        """uint32 [4]: the two words of the seed, the step, and the number of the first row of the matrices to come."""
        words = np.array([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, step & 0xFFFFFFFF, first_row], np.uint32)
        return self.asarray(words)

    def set_step(self, state: Array, step: int) -> None:
        """Moves a random state to another step."""
        state[2] = step & 0xFFFFFFFF

    def advance(self, state: Array) -> None:
        """Moves a random state to the next step; unlike `set_step` it is work of the device, which a graph can do again."""
        word = state[2:3]
        word += 1

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

    # Steps

    def exclusive(self) -> AbstractContextManager[Any]:
        """Within it no other thread captures, replays or plans work on the same device; a thread may enter it again."""
        return nullcontext()

    def quiet(self) -> AbstractContextManager[Any]:
        """Within it the array library does not warn of overflow: a step checks its loss and gradient itself."""
        return nullcontext()

    def executor(self, work: Work) -> Executor:
        """What carries out the steps of a TrainStep on this backend."""
        return PlainExecutor(self, work)


def _method(name: str) -> Callable[..., bool]:
    """What a row operation was in 0.2.0: a method."""

    def method(self: Backend, *arguments: Any, **named: Any) -> bool:
        warnings.warn(
            f"Backend.{name} is deprecated since 0.3.0; call backend.rows({name!r}, ...)", DeprecationWarning, stacklevel=2
        )
        return self.rows(name, *reference.ROWS[name].in_order(*arguments, **named))

    return method


for _name in reference.ROWS:
    setattr(Backend, _name, _method(_name))
