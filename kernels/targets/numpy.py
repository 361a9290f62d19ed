"""The NumPy target: a traced formula as ufunc calls on cache-sized blocks of arrays, and the random bits that formulas take.

Intermediate values are in a few registers, which are reused as soon as their value is no longer needed.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from ..formula import Formula, trace
from ..formulas.mathematics import ERROR_FUNCTION
from ..formulas.random import philox4x32
from ..symbols import BOOL, REAL, UINT32, UINT64, Program
from .memory import aligned_empty
from .storage import is_narrow

Array = np.ndarray[Any, Any]

BLOCK = 32_768
"""Elements per block: a few registers of that size stay in the cache of a core, and the calls are few."""

MOST_SHAPES = 64
"""Sets of registers that are kept ready."""

_BITS: dict[int, np.dtype[Any]] = {4: np.dtype(np.int32), 8: np.dtype(np.int64)}
_SINGLE, _WORD = np.dtype(np.float32), np.dtype(np.uint32)
_COMPUTED = (_SINGLE, np.dtype(np.float64))


class _Registers(threading.local):
    """Buffers for one block: the n-th one of a type lies in the same place each time, in each thread its own."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[int, np.dtype[Any]], Array] = {}
        self._taken: dict[Any, list[Array]] = {}

    def take(self, dtypes: tuple[np.dtype[Any], ...], shape: tuple[int, ...]) -> list[Array]:
        """One array of that shape per type."""
        key = (dtypes, shape)
        if key not in self._taken:
            if len(self._taken) >= MOST_SHAPES:
                self._taken.clear()
            self._taken[key] = [self._view(*numbered, shape) for numbered in enumerate(dtypes)]
        return self._taken[key]

    def _view(self, number: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        size = math.prod(shape)
        buffer = self._buffers.get((number, dtype))
        if buffer is None or buffer.size < size:
            buffer = self._buffers[number, dtype] = aligned_empty((max(size, BLOCK),), dtype)
        return buffer[:size].reshape(shape)


_registers, _scratch = _Registers(), _Registers()


def _select(condition: Any, if_true: Any, if_false: Any, out: Array) -> Array:
    """if_true where the condition holds, else if_false, by masks of bits: `np.where` takes several times as long."""
    if not isinstance(if_true, np.ndarray) and not isinstance(if_false, np.ndarray) and (
        if_false == 0.0 and math.isfinite(if_true)
    ):
        out[...] = condition
        return out if if_true == 1.0 else np.multiply(out, if_true, out=out)
    kind = _BITS[out.dtype.itemsize]
    mask, spare = _scratch.take((kind, kind), out.shape)
    np.negative(condition.view(np.int8), out=mask, dtype=kind, casting="unsafe")
    a, b = (np.asarray(x, out.dtype).view(kind) for x in (if_true, if_false))
    if np.ndim(if_false) == 0 and if_false == 0.0 and not np.signbit(if_false):
        np.bitwise_and(a, mask, out=out.view(kind))
        return out
    np.bitwise_xor(a, b, out=spare)
    np.bitwise_and(spare, mask, out=spare)
    np.bitwise_xor(spare, b, out=out.view(kind))
    return out


@lru_cache(maxsize=16)
def _repeated(number: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """An array that holds one number everywhere; it is never written to."""
    return np.full(shape, number, dtype)


def _extreme(ufunc: np.ufunc) -> Callable[..., Array]:
    """Maximum or minimum, which take four times as long between an array and one number as between two arrays."""

    def word(a: Any, b: Any, out: Array) -> Array:
        a = a if isinstance(a, np.ndarray) else _repeated(a, out.dtype, out.shape)
        b = b if isinstance(b, np.ndarray) else _repeated(b, out.dtype, out.shape)
        ufunc(a, b, out=out)
        return out

    return word


def _scaled(factor: Any, x: Array, out: Array) -> Array:
    """factor x, which is x itself where the factor is 1, as that of a gradient is in most steps."""
    return x if factor == 1.0 else np.multiply(factor, x, out=out)


def _copy(x: Any, out: Array) -> Array:
    out[...] = x
    return out


def _exponent(x: Any, out: Array) -> Array:
    return _copy(np.frexp(x)[1] - 1, out)


def _mantissa(x: Any, out: Array) -> Array:
    return np.multiply(np.frexp(x)[0], 2.0, out=out)


def _power_of_two(n: Any, out: Array) -> Array:
    return _copy(np.ldexp(out.dtype.type(1.0), np.asarray(n).astype(np.int32)), out)


_WORDS: dict[str, Callable[..., Any]] = {
    "select": _select,
    "uint32": _copy,
    "uint64": _copy,
    "real": _copy,
    "abs": np.absolute,
    "maximum": _extreme(np.maximum),
    "minimum": _extreme(np.minimum),
    "exponent": _exponent,
    "mantissa": _mantissa,
    "power_of_two": _power_of_two,
}
"""Operations that are no ufunc of the same name; each writes to `out` and returns what holds the result."""


class _Places:
    """Where the results of a program go: to outputs, and to registers, which are used again when their value is dead.

    A result goes to an output where no input that may be the same array is read any more, and an intermediate one as well,
    until the output is computed.

    Args: program; dtypes – by kind; stored – which outputs are arrays to write to; overwrites – by output the position of the
        input that is the same array; () where any may be.
    Attributes: of – the name of the place of each operation, "o0" for an output and "r0" for a register; registers – their
        types; scaled – products of an input with a number that may be 1.
    """

    def __init__(
        self, program: Program, dtypes: dict[str, np.dtype[Any]], stored: Sequence[int], overwrites: Sequence[int]
    ) -> None:
        nodes, outputs = program.nodes, program.outputs
        self.of: dict[int, str] = {}
        self.registers: list[np.dtype[Any]] = []
        inputs = [i for i, n in enumerate(nodes) if n.operation == "input"]
        arrays = {i for i in inputs if not nodes[i].uniform}
        self.scaled = {
            i for i, n in enumerate(nodes)
            if n.operation == "multiply" and i not in outputs and n.arguments[1] in arrays
            and nodes[n.arguments[0]].uniform and n.arguments[0] in inputs
        }  # fmt: skip
        reads = {i: i for i in arrays} | {i: nodes[i].arguments[1] for i in self.scaled}
        last_use, last_read = dict.fromkeys(outputs, len(nodes)), dict.fromkeys(arrays, -1)
        for index, node in enumerate(nodes):
            for argument in node.arguments:
                last_use[argument] = max(last_use.get(argument, 0), index)
                if argument in reads:
                    last_read[reads[argument]] = index
        written: dict[int, int] = {}  # output -> the first operation whose result may go there
        for k in stored:
            rivals = [inputs[overwrites[k]]] if overwrites else arrays
            if outputs.count(outputs[k]) == 1 and not (len(outputs) > 1 and arrays & set(outputs)):
                written[k] = max((last_read.get(i, -1) for i in rivals), default=-1)
        busy: dict[str, int] = {}  # place -> the last use of what is there
        for index, node in enumerate(nodes):
            if node.uniform or not node.arguments:
                continue
            busy = {place: last for place, last in busy.items() if last > index}
            dtype = dtypes[node.kind]
            places = [
                f"o{k}" for k, first in written.items()
                if first <= index and (index == outputs[k] or last_use[index] <= outputs[k])
                and dtypes[nodes[outputs[k]].kind] == dtype
            ]  # fmt: skip
            places += [f"r{k}" for k, saved in enumerate(self.registers) if saved == dtype]
            place = next((p for p in places if p not in busy), None)
            if place is None:
                place = f"r{len(self.registers)}"
                self.registers.append(dtype)
            self.of[index], busy[place] = place, last_use[index]


def _function(
    name: str, program: Program, dtype: np.dtype[Any], kinds: Sequence[str], outputs: Sequence[str],
    overwrites: Sequence[int] = (),
) -> Callable[..., None]:  # fmt: skip
    """A program as a Python function of (*outputs, *inputs), as written directly in NumPy, for one real dtype."""
    dtypes = {REAL: dtype, BOOL: np.dtype(bool), UINT32: _WORD, UINT64: np.dtype(np.uint64)}
    places = _Places(program, dtypes, [k for k, kind in enumerate(outputs) if kind == "each"], overwrites)
    names: dict[str, Any] = {"np": np, "take": _registers.take, "types": tuple(places.registers), "scaled": _scaled, **_WORDS}
    names |= {f"t_{kind}": saved for kind, saved in dtypes.items()}
    inputs = [i for i, n in enumerate(program.nodes) if n.operation == "input"]
    parameters = [f"o{k}" for k in range(len(outputs))] + [f"v{i}" for i in inputs]
    lines = [f"v{i} = v{i}[:, None]" for i, kind in zip(inputs, kinds, strict=True) if kind == "column"]
    whole = next(p for p, kind in zip(parameters, (*outputs, *kinds), strict=True) if kind in ("each", "bits"))
    if places.registers:
        lines.append(f"{', '.join(f'r{k}' for k in range(len(places.registers)))}, = take(types, {whole}.shape)")
    for index, node in enumerate(program.nodes):
        if node.operation == "constant":
            names[f"v{index}"] = dtypes[node.kind].type(node.value)
        elif node.operation != "input":
            word = "scaled" if index in places.scaled else node.operation
            names.setdefault(word, getattr(np, word, None))
            room = f"np.empty((), t_{node.kind})" if node.uniform else places.of[index]
            lines.append(f"v{index} = {word}({', '.join(f'v{a}' for a in node.arguments)}, {room})")
    if len(outputs) > 1:  # what is written next may be one of the inputs
        lines += [f"v{i} = v{i}.copy()" for i in dict.fromkeys(program.outputs) if i in inputs]
    for k, (index, kind) in enumerate(zip(program.outputs, outputs, strict=True)):
        if kind == "rowsum":
            lines.append(f"np.sum(v{index}, axis=1, out=o{k})")
        elif places.of.get(index) != f"o{k}":
            lines.append(f"o{k}[...] = v{index}")
    text = "\n    ".join([f"def {name}_({', '.join(parameters)}):", *lines])
    exec(compile(text, f"<fusedstep {name} for numpy>", "exec"), names)
    made: Callable[..., None] = names[f"{name}_"]
    return made


@cache
def function_of(formula: Formula, dtype: np.dtype[Any]) -> Callable[..., None]:
    """The formula as a function of arrays: outputs, then inputs."""
    program = trace(formula, ERROR_FUNCTION)
    return _function(formula.name, program, dtype, formula.kinds, formula.outputs, formula.overwritten)


def _run(formula: Formula, values: Sequence[Any]) -> list[tuple[Array, Array]]:
    """Evaluates a formula for one block.

    Args: values – outputs, then all arguments.
    Returns: for each output of 16 bits the output, and its values, which have to be rounded to it.
    """
    given = values[0].dtype
    if given in _COMPUTED:
        for value in values:
            if getattr(value, "dtype", given) not in (given, _WORD):
                break
        else:
            function_of(formula, given)(*values)
            return []
    dtype, count = _SINGLE if is_narrow(values[0]) else given, len(formula.outputs)
    outputs = [o if o.dtype == dtype else np.empty(o.shape, dtype) for o in values[:count]]
    inputs = [v.astype(dtype) if getattr(v, "dtype", dtype) not in (dtype, _WORD) else v for v in values[count:]]
    function_of(formula, dtype)(*outputs, *inputs)
    return [(to, value) for to, value in zip(values[:count], outputs, strict=True) if value is not to]


def run_map(
    formula: Formula, outputs: Sequence[Array], arguments: Sequence[Any], random: tuple[Array, int] | None
) -> None:
    """Evaluates a formula over arrays [rows, width] (or of one shape, where rows do not matter), block by block.

    Args: outputs – one array per output, sums over rows as [rows]; they may be inputs as well; arguments – arrays and numbers
        in the order of the formula, without the bits; random – (state, stream).
    """
    kinds, values = formula.places, [*outputs, *arguments]
    if formula.random:
        values.insert(kinds.index("bits"), None)
    whole = values[kinds.index("each")]
    if whole.size <= BLOCK:
        _run_block(formula, values, random, 0)
        return
    # Flattening an output with gaps would copy it, and what is written would be lost.
    if formula.flat and all(o.flags.c_contiguous for o in outputs):
        values = [v.reshape(-1) if kind == "each" else v for v, kind in zip(values, kinds, strict=True)]
        whole = whole.reshape(-1)
    rows = whole.shape[0]
    step = max(1, BLOCK * rows // whole.size)
    for low in range(0, rows, step):
        parts = [v[low : low + step] if kind in _BY_ROW else v for v, kind in zip(values, kinds, strict=True)]
        _run_block(formula, parts, random, low)


def _run_block(formula: Formula, values: list[Any], random: tuple[Array, int] | None, first_row: int) -> None:
    """Evaluates a formula for one block, which begins at that row; its random bits are made here."""
    if formula.random:
        assert random is not None
        kinds = formula.places
        rows, width = values[kinds.index("each")].shape
        values[kinds.index("bits")] = random_bits(rows, width, *random, first_row)
    for out, values_of in _run(formula, values):
        out[...] = values_of


_BY_ROW = frozenset({"each", "column", "rowsum"})
"""Kinds of arrays that have a part for each block."""


def run_update(
    formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Array, random: tuple[Array, int] | None
) -> None:
    """Applies an update formula to flat arrays, segment by segment, in blocks; changes nothing where the first scalar is NaN.

    Args: arrays – in the order of the formula, all of one length; scalars – [scalars, groups]; segments – int64 [segments, 3]:
        start, stop, group; random – (state, stream) of the bits that round new values of bfloat16, see Backend.update.
    """
    if math.isnan(scalars[0, 0]):
        return
    for start, stop, group in segments.tolist():
        numbers = scalars[:, group].tolist()
        for low in range(start, stop, BLOCK):
            parts = [a[low : min(low + BLOCK, stop)] for a in arrays]
            narrow = _run(formula, [*[parts[k] for k in formula.overwritten], *parts, *numbers])
            if narrow:
                assert random is not None
                bits = random_bits(-(-parts[0].size // 4), 4, *random, low // 4).reshape(-1)[: parts[0].size]
                for n, (out, values) in enumerate(narrow):
                    _round_at_random(values, bits, 16 * n, out)


def _round_at_random(values: Array, bits: Array, shift: int, out: Array) -> None:
    """Values as bfloat16, rounded up with the probability of what is cut off; see Storage.rounded."""
    upper = (values.view(np.uint32).astype(np.uint64) + ((bits >> np.uint32(shift)) & np.uint32(0xFFFF))) >> np.uint64(16)
    np.copyto(out.view(np.uint16), upper.astype(np.uint16))
    np.copyto(out, np.nan, where=np.isnan(values))


@cache
def _philox() -> Callable[..., None]:
    """(w0, w1, w2, w3, column, row, stream, step, key0, key1), all words of 32 bits."""
    program = Program()
    kinds = {"column": "row", "row": "each", "stream": "scalar", "step": "scalar", "key0": "scalar", "key1": "scalar"}
    column, row, *rest = (program.input(name, UINT32, uniform=kind == "scalar") for name, kind in kinds.items())
    return _function("philox", program.finish(philox4x32(column, row, *rest)), _SINGLE, [*kinds.values()], ("each",) * 4)


def random_bits(rows: int, width: int, state: Array, stream: int, first_row: int = 0) -> Array:
    """Philox words, uint32 [rows, width], for rows first_row … first_row + rows of a matrix of that width.

    Column j of a row is word j // q of the block with counter (j % q, row, stream, step), where q = ceil(width / 4):
    four runs of neighbouring columns, so that every target reads and writes contiguously.

    Args: state – uint32 [4]: key, key, step, number of the first row.
    """
    out = np.empty((rows, width), _WORD)
    quarter = -(-width // 4)
    columns = np.arange(quarter, dtype=_WORD)
    key0, key1, step, offset = state
    block = max(1, BLOCK // max(quarter, 1))
    for low in range(0, rows, block):
        high = min(low + block, rows)
        row = np.arange(first_row + low, first_row + high, dtype=_WORD)[:, None] + offset
        words = np.empty((4, high - low, quarter), _WORD)
        _philox()(*words, columns, row, _WORD.type(stream), step, key0, key1)
        out[low:high] = words.swapaxes(0, 1).reshape(high - low, 4 * quarter)[:, :width]
    return out
