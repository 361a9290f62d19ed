"""The NumPy target: a traced formula as a list of ufunc calls on cache-sized blocks, with no temporaries.

The registers that hold intermediate values are reused as soon as their value is dead.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
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

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments, the array to write to last."""

_BITS: dict[int, np.dtype[Any]] = {4: np.dtype(np.int32), 8: np.dtype(np.int64)}


def _select(condition: Any, if_true: Any, if_false: Any, out: Array) -> None:
    """if_true where the condition holds, else if_false, by masks of bits: `np.where` takes several times as long."""
    if np.ndim(if_true) == 0 and np.ndim(if_false) == 0 and if_false == 0.0 and math.isfinite(if_true):
        np.multiply(condition, out.dtype.type(if_true), out=out)
        return
    kind = _BITS[out.dtype.itemsize]
    size = out.size
    mask, spare = (r[:size].reshape(out.shape) for r in _scratch.take([kind, kind], size))
    np.negative(condition.view(np.int8), out=mask, dtype=kind, casting="unsafe")
    a, b = (np.asarray(x, out.dtype).view(kind) for x in (if_true, if_false))
    if np.ndim(if_false) == 0 and if_false == 0.0 and not np.signbit(if_false):
        np.bitwise_and(a, mask, out=out.view(kind))
        return
    np.bitwise_xor(a, b, out=spare)
    np.bitwise_and(spare, mask, out=spare)
    np.bitwise_xor(spare, b, out=out.view(kind))


def _copy(x: Any, out: Array) -> None:
    out[...] = x


def _exponent(x: Any, out: Array) -> None:
    np.copyto(out, np.frexp(x)[1] - 1, casting="unsafe")


def _mantissa(x: Any, out: Array) -> None:
    np.multiply(np.frexp(x)[0], 2.0, out=out)


def _power_of_two(n: Any, out: Array) -> None:
    np.ldexp(out.dtype.type(1.0), np.asarray(n).astype(np.int32), out=out)


def _maximum(a: Any, b: Any, out: Array) -> None:
    np.maximum(a, b, out=out)  # takes it by name only


def _minimum(a: Any, b: Any, out: Array) -> None:
    np.minimum(a, b, out=out)


_WORDS: dict[str, Callable[..., Any]] = {
    "select": _select,
    "uint32": _copy,
    "uint64": _copy,
    "real": _copy,
    "abs": np.absolute,
    "exponent": _exponent,
    "mantissa": _mantissa,
    "maximum": _maximum,
    "minimum": _minimum,
    "power_of_two": _power_of_two,
}
_SLOW_WITH_NUMBERS = (_maximum, _minimum)
"""Functions that take four times as long between an array and one number as between two arrays."""
_NOT_IN_PLACE = frozenset({"select", "mantissa"})


def _is_fixed(x: Any) -> bool:
    """Whether this is a number, and no array that holds one for now."""
    return not isinstance(x, np.ndarray)


class Registers(threading.local):
    """Block buffers: the n-th one of a type is the same array each time, in each thread its own."""

    def __init__(self) -> None:
        self._pool: dict[tuple[int, np.dtype[Any]], Array] = {}

    def take(self, dtypes: Sequence[np.dtype[Any]], size: int, first: int = 0) -> list[Array]:
        """One flat array per type, of at least that size, counted from the `first` one."""
        found = []
        for key in enumerate(dtypes, first):
            buffer = self._pool.get(key)
            if buffer is None or buffer.size < size:
                buffer = self._pool[key] = aligned_empty((max(size, BLOCK),), key[1])
            found.append(buffer)
        return found


_registers = Registers()
_scratch = Registers()


_constants: dict[tuple[bytes, np.dtype[Any]], Array] = {}


def _repeated(number: Any, like: Array) -> Array:
    """An array of that shape and type that holds one number everywhere; it is never written to."""
    value = like.dtype.type(number)
    key = (value.tobytes(), like.dtype)
    found = _constants.get(key)
    if found is None or found.size < like.size:
        found = aligned_empty((max(like.size, BLOCK),), like.dtype)
        found.fill(value)
        _constants[key] = found
    return found[: like.size].reshape(like.shape)


class Plan:
    """A formula compiled for one real dtype: steps that run once per call, steps that run once per block."""

    def __init__(
        self, program: Program, dtype: np.dtype[Any], stored: frozenset[int], overwrites: Sequence[int] | None = None
    ) -> None:
        """Args: program; dtype – of reals; stored – positions of the outputs that are written to arrays as they are;
        overwrites – by output the number of the input that is the same array; None where any may be.
        """  # fmt: skip
        self.dtype = dtype
        self._overwrites = overwrites
        self._stored = stored
        self._dtypes = {REAL: dtype, BOOL: np.dtype(bool), UINT32: np.dtype(np.uint32), UINT64: np.dtype(np.uint64)}
        self.inputs = [i for i, n in enumerate(program.nodes) if n.operation == "input"]
        self.outputs = program.outputs
        self.template: list[Any] = [None] * len(program.nodes)
        self.uniform: list[tuple[Callable[..., Any], tuple[int, ...], int, np.dtype[Any]]] = []
        self.steps: list[tuple[Callable[..., Any], tuple[int, ...], int]] = []
        self.register_of: dict[int, int] = {}
        self.register_dtypes: list[np.dtype[Any]] = []
        self.direct: dict[int, int] = {}
        self._plan(program)

    def _plan(self, program: Program) -> None:
        body: list[int] = []
        last_use = dict.fromkeys(program.outputs, len(program.nodes))
        for index, node in enumerate(program.nodes):
            for argument in node.arguments:
                last_use[argument] = max(last_use.get(argument, 0), index)
            if node.operation == "constant":
                self.template[index] = node.value if node.kind in (REAL, BOOL) else self._dtypes[node.kind].type(node.value)
            elif node.operation == "input":
                continue
            elif node.uniform:
                word = _WORDS.get(node.operation) or getattr(np, node.operation)
                self.uniform.append((word, node.arguments, index, self._dtypes[node.kind]))
            else:
                body.append(index)
        arrays = {i for i in self.inputs if not program.nodes[i].uniform}
        self._whole = arrays
        self._uniform = {i for i, n in enumerate(program.nodes) if n.uniform and n.operation == "input"}
        last_read = max((i for i in body if arrays & set(program.nodes[i].arguments)), default=-1)
        final = {a: max((i for i in body if a in program.nodes[i].arguments), default=-1) for a in self.inputs}
        self._passed_on = arrays & set(program.outputs)
        if self._passed_on:
            last_read = len(program.nodes)
        free: dict[np.dtype[Any], list[int]] = {}
        for index in body:
            node = program.nodes[index]
            word = _WORDS.get(node.operation) or getattr(np, node.operation)
            dtype = self._dtypes[node.kind]
            # Results go straight to the output once no input, which may be the same array, is read any more.
            if program.outputs.count(index) == 1:
                position = program.outputs.index(index)
                own = None if self._overwrites is None else final[self.inputs[self._overwrites[position]]]
                if position in self._stored and index >= (last_read if own is None or self._passed_on else own):
                    self.direct[index] = position
            dying = [a for a in node.arguments if last_use[a] == index and a in self.register_of]
            if node.operation not in _NOT_IN_PLACE:
                self._release(dying, free)
            if index not in self.direct:
                candidates = free.setdefault(dtype, [])
                if candidates:
                    register = candidates.pop()
                else:
                    register = len(self.register_dtypes)
                    self.register_dtypes.append(dtype)
                self.register_of[index] = register
            if node.operation in _NOT_IN_PLACE:
                self._release(dying, free)
            self.steps.append((word, node.arguments, index))

    def _release(self, dying: list[int], free: dict[np.dtype[Any], list[int]]) -> None:
        for register in dict.fromkeys(self.register_of[a] for a in dying):
            free.setdefault(self.register_dtypes[register], []).append(register)

    def prepare(self, uniform_inputs: dict[int, Any]) -> list[Any]:
        """The slots with constants and everything that is the same for all blocks filled in."""
        slots = self.template.copy()
        for index, value in uniform_inputs.items():
            slots[index] = value if isinstance(value, np.ndarray) else self.dtype.type(value)
        for word, arguments, index, dtype in self.uniform:
            out = np.empty(1, dtype)
            word(*(slots[a] for a in arguments), out=out)
            slots[index] = out
        return slots

    def bind(
        self, slots: list[Any], outputs: Sequence[Array | None], shape: tuple[int, ...], registers: Registers
    ) -> list[Call]:
        """The calls for one block of that shape; an output of None is left in its slot for the caller to reduce."""
        size = math.prod(shape)
        views = [r[:size].reshape(shape) for r in registers.take(self.register_dtypes, size)]
        calls: list[Call] = []
        for word, arguments, index in self.steps:
            if word is np.multiply and self._keeps(slots, arguments):
                slots[index] = slots[arguments[1]]
                continue
            out = outputs[self.direct[index]] if index in self.direct else views[self.register_of[index]]
            given = [slots[a] for a in arguments]
            if word is _select and all(_is_fixed(x) and x == y for x, y in zip(given[1:], (1.0, 0.0), strict=True)):
                assert out is not None
                calls.append((out.__setitem__, (..., given[0])))
            elif word in _SLOW_WITH_NUMBERS and out is not None and out.size:
                calls.append((word, (*(_repeated(x, out) if _is_fixed(x) else x for x in given), out)))
            else:
                calls.append((word, (*given, out)))
            slots[index] = out
        if len(self.outputs) > 1:
            for index in self._passed_on:  # the copies below may overwrite these inputs
                kept = np.empty_like(slots[index])
                calls.append((_copy, (slots[index], kept)))
                slots[index] = kept
        for position, index in enumerate(self.outputs):
            target = outputs[position]
            if target is not None and slots[index] is not target:
                calls.append((_copy, (slots[index], target)))
        return calls

    def _keeps(self, slots: list[Any], arguments: tuple[int, ...]) -> bool:
        """Whether a product is 1 times an input, which is that input."""
        factor, array = arguments
        return array in self._whole and factor in self._uniform and float(np.ravel(slots[factor])[0]) == 1.0


@cache
def plan(formula: Formula, dtype: np.dtype[Any]) -> Plan:
    """The compiled formula."""
    stored = frozenset(i for i, kind in enumerate(formula.outputs) if kind == "each")
    overwrites = [formula.parameters.index(name) for name in formula.overwrites] or None
    return Plan(trace(formula, ERROR_FUNCTION), dtype, stored, overwrites)


@lru_cache(maxsize=1)
def _philox_plan() -> Plan:
    program = Program()
    names = ("column", "row", "stream", "step", "key0", "key1")
    column, row, stream, step, key0, key1 = (program.input(n, UINT32, uniform=n not in ("column", "row")) for n in names)
    return Plan(program.finish(philox4x32(column, row, stream, step, key0, key1)), np.dtype(np.float32), frozenset())


def random_bits(rows: int, width: int, state: Array, stream: int, first_row: int, out: Array) -> None:
    """Philox words for rows first_row … first_row + rows of a matrix of that width.

    Column j of a row is word j // q of the block with counter (j % q, row, stream, step), where q = ceil(width / 4):
    four runs of neighbouring columns, so that every target reads and writes contiguously.

    Args: state – uint32 [4]: key, key, step, number of the first row; out – uint32 [rows, width].
    """
    quarter = -(-width // 4)
    columns = np.arange(quarter, dtype=np.uint32)[None, :]
    block_rows = max(1, BLOCK // max(quarter, 1))
    compiled = _philox_plan()
    key0, key1, step, offset = (state[i : i + 1].reshape(1, 1) for i in range(4))
    uniform = dict(zip(compiled.inputs[2:], (np.full((1, 1), stream, np.uint32), step, key0, key1), strict=True))
    for start in range(0, rows, block_rows):
        count = min(block_rows, rows - start)
        numbers = np.arange(first_row + start, first_row + start + count, dtype=np.uint32)[:, None] + offset
        slots = compiled.prepare(uniform)
        slots[compiled.inputs[0]], slots[compiled.inputs[1]] = columns, numbers
        for function, arguments in compiled.bind(slots, [None] * 4, (count, quarter), _registers):
            function(*arguments)
        for word, index in enumerate(compiled.outputs):
            size = min(quarter, width - word * quarter)
            if size > 0:
                out[start : start + count, word * quarter : word * quarter + size] = slots[index][:, :size]


def bind_map(
    formula: Formula,
    outputs: Sequence[Array],
    arguments: Sequence[Any],
    random: tuple[Array, int] | None,
    registers: Registers,
) -> Iterator[Call]:
    """The calls that evaluate a formula over arrays [rows, width] (or of one shape, where rows do not matter), in order.

    Args: outputs – one array per output, sums over rows as [rows]; they may be inputs as well;
        arguments – arrays and numbers in the order of the formula, without the bits; random – (state, stream), which are
        read when the calls are made; registers – buffers that nobody else uses meanwhile.
    """
    shape = next(o.shape for o, k in zip(outputs, formula.outputs, strict=True) if k == "each") if (
        "each" in formula.outputs
    ) else next(a.shape for a, k in zip(arguments, formula.kinds, strict=False) if k == "each")
    compiled = plan(formula, _computed_in(outputs[0]))
    given = list(arguments)
    if formula.random:
        given.insert(formula.kinds.index("bits"), None)
    uniform = {
        index: value for index, value, kind in zip(compiled.inputs, given, formula.kinds, strict=True) if kind == "scalar"
    }
    slots = compiled.prepare(uniform)
    varying = [(i, a, k) for i, a, k in zip(compiled.inputs, given, formula.kinds, strict=True) if k != "scalar"]
    # Flattening an output with gaps would copy it, and what is written would be lost.
    if formula.flat and (len(shape) == 1 or all(o.flags.c_contiguous for o in outputs)):
        rows, block, tail = math.prod(shape), BLOCK, ()
        flat_outputs = [o.reshape(-1) for o in outputs]
        varying = [(i, a.reshape(-1), k) for i, a, k in varying]
    else:
        flat_outputs = list(outputs)
        many = _rows_together(formula, shape, [*outputs, *(a for _, a, _ in varying)])
        if many > 1:
            shape = (shape[0] // many, many * shape[1])
            flat_outputs = [o.reshape(shape) for o in outputs]
            for position, (index, array, kind) in enumerate(varying):
                if kind == "row":
                    tile = aligned_empty((shape[1],), array.dtype)
                    yield tile.reshape(many, -1).__setitem__, (..., array)
                    varying[position] = (index, tile, kind)
                else:
                    varying[position] = (index, array.reshape(shape), kind)
        rows, block, tail = shape[0], max(1, BLOCK // max(shape[1], 1)), shape[1:]
    for start in range(0, rows, block):
        stop = min(start + block, rows)
        wide, widening = Wide(registers), list[Call]()
        for index, value, kind in varying:
            if kind == "each":
                slots[index] = wide.read(value[start:stop], widening)
            elif kind == "row":
                slots[index] = wide.read(value, widening)
            elif kind == "column":
                slots[index] = wide.read(value[start:stop, None], widening)
            else:
                assert random is not None
                count = (stop - start) * shape[1]
                bits = registers.take([WORD], count, FOR_BITS)[0][:count].reshape(stop - start, shape[1])
                yield random_bits, (stop - start, shape[1], random[0], random[1], start, bits)
                slots[index] = bits
        yield from widening
        wanted = [wide.written(o[start:stop]) for o in flat_outputs]
        parts = [w if k == "each" else None for w, k in zip(wanted, formula.outputs, strict=True)]
        yield from compiled.bind(slots, parts, (stop - start, *tail), registers)
        for position, kind in enumerate(formula.outputs):
            if kind == "rowsum":
                yield np.sum, (slots[compiled.outputs[position]], 1, None, wanted[position])
        yield from wide.rounded


WORD, _SINGLE = np.dtype(np.uint32), np.dtype(np.float32)
FOR_BITS, FOR_WIDE = 1000, 2000
"""The registers of random bits and of widened arrays, which no plan counts up to."""

LONG = 2048
"""Elements that a loop over a row should have; NumPy takes 50 ns to begin one."""


def _rows_together(formula: Formula, shape: tuple[int, ...], arrays: Sequence[Array]) -> int:
    """How many short rows can be worked on as one, beside that many copies of each row vector; 1 where that is not possible."""
    kinds = {*formula.kinds, *formula.outputs}
    if not {"row"} < kinds <= {"each", "row", "scalar"} or any(is_narrow(a) or not a.flags.c_contiguous for a in arrays):
        return 1
    return math.gcd(shape[0], 1 << (max(1, LONG // max(shape[1], 1)).bit_length() - 1))


def _computed_in(array: Array) -> np.dtype[Any]:
    """The type that arrays like this one are computed in."""
    return _SINGLE if is_narrow(array) else array.dtype


class Wide:
    """Stands float32 buffers in for the parts of arrays of 16 bits, for one block.

    Attributes: rounded – the calls that write the results to where they belong.
    """

    def __init__(self, registers: Registers) -> None:
        self._registers = registers
        self._taken = FOR_WIDE
        self.rounded: list[Call] = []

    def _buffer(self, part: Array) -> Array:
        (buffer,) = self._registers.take([_SINGLE], part.size, self._taken)
        self._taken += 1
        return buffer[: part.size].reshape(part.shape)

    def read(self, part: Array, calls: list[Call]) -> Array:
        """What to read in place of a part of an array; the call that fills it is appended."""
        if not is_narrow(part):
            return part
        buffer = self._buffer(part)
        calls.append((_copy, (part, buffer)))
        return buffer

    def written(self, part: Array) -> Array:
        """What to write in place of a part of an array."""
        if not is_narrow(part):
            return part
        buffer = self._buffer(part)
        self.rounded.append((_copy, (buffer, part)))
        return buffer


def run_map(
    formula: Formula, outputs: Sequence[Array], arguments: Sequence[Any], random: tuple[Array, int] | None
) -> None:
    """Evaluates a formula over arrays, block by block; arguments as in `bind_map`."""
    for function, given in bind_map(formula, outputs, arguments, random, _registers):
        function(*given)
