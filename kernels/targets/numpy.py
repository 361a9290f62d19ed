"""The NumPy target: a traced formula as a list of ufunc calls on cache-sized blocks, with no temporaries.

The registers that hold intermediate values are reused as soon as their value is dead.
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

Array = np.ndarray[Any, Any]

BLOCK = 16_384
"""Elements per block: a few registers of that size stay in a 1 MiB cache in float32 and float64."""


def _select(condition: Any, if_true: Any, if_false: Any, out: Array) -> None:
    if np.ndim(if_true) == 0 and np.ndim(if_false) == 0 and if_false == 0.0 and math.isfinite(if_true):
        np.multiply(condition, out.dtype.type(if_true), out=out)
    else:
        np.copyto(out, np.where(condition, if_true, if_false))


def _cast(x: Any, out: Array) -> None:
    np.copyto(out, x, casting="unsafe")


def _exponent(x: Any, out: Array) -> None:
    np.copyto(out, np.frexp(x)[1] - 1, casting="unsafe")


def _mantissa(x: Any, out: Array) -> None:
    np.multiply(np.frexp(x)[0], 2.0, out=out)


def _power_of_two(n: Any, out: Array) -> None:
    np.ldexp(out.dtype.type(1.0), np.asarray(n).astype(np.int32), out=out)


_WORDS: dict[str, Callable[..., Any]] = {
    "select": _select,
    "uint32": _cast,
    "uint64": _cast,
    "real": _cast,
    "abs": np.absolute,
    "exponent": _exponent,
    "mantissa": _mantissa,
    "power_of_two": _power_of_two,
}
_NOT_IN_PLACE = frozenset({"select", "mantissa"})

_local = threading.local()


def _registers(dtypes: Sequence[np.dtype[Any]], size: int) -> list[Array]:
    """This thread's block buffers: one flat array per register."""
    pool: dict[tuple[int, np.dtype[Any]], Array] = _local.__dict__.setdefault("pool", {})
    found = []
    for index, dtype in enumerate(dtypes):
        key = (index, dtype)
        buffer = pool.get(key)
        if buffer is None or buffer.size < size:
            buffer = pool[key] = np.empty(max(size, BLOCK), dtype)
        found.append(buffer)
    return found


class Plan:
    """A formula compiled for one real dtype: steps that run once per call, steps that run once per block."""

    def __init__(self, program: Program, dtype: np.dtype[Any], stored: frozenset[int]) -> None:
        """Args: program; dtype – of reals; stored – positions of the outputs that are written to arrays as they are."""
        self.dtype = dtype
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
        last_read = max((i for i in body if arrays & set(program.nodes[i].arguments)), default=-1)
        self._passed_on = arrays & set(program.outputs)
        if self._passed_on:
            last_read = len(program.nodes)
        free: dict[np.dtype[Any], list[int]] = {}
        for index in body:
            node = program.nodes[index]
            word = _WORDS.get(node.operation) or getattr(np, node.operation)
            dtype = self._dtypes[node.kind]
            # Results go straight to the output once no input, which may be the same array, is read any more.
            if index >= last_read and program.outputs.count(index) == 1:
                position = program.outputs.index(index)
                if position in self._stored:
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

    def run(self, slots: list[Any], outputs: Sequence[Array | None], shape: tuple[int, ...]) -> None:
        """One block of that shape; an output of None is left in its slot for the caller to reduce."""
        size = math.prod(shape)
        views = [r[:size].reshape(shape) for r in _registers(self.register_dtypes, size)]
        for word, arguments, index in self.steps:
            out = outputs[self.direct[index]] if index in self.direct else views[self.register_of[index]]
            word(*[slots[a] for a in arguments], out=out)
            slots[index] = out
        if len(self.outputs) > 1:
            for index in self._passed_on:  # the copies below may overwrite these inputs
                slots[index] = slots[index].copy()
        for position, index in enumerate(self.outputs):
            target = outputs[position]
            if target is not None and slots[index] is not target:
                np.copyto(target, slots[index])


@cache
def plan(formula: Formula, dtype: np.dtype[Any]) -> Plan:
    """The compiled formula."""
    stored = frozenset(i for i, kind in enumerate(formula.outputs) if kind == "each")
    return Plan(trace(formula, ERROR_FUNCTION), dtype, stored)


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
        compiled.run(slots, [None] * 4, (count, quarter))
        for word, index in enumerate(compiled.outputs):
            size = min(quarter, width - word * quarter)
            if size > 0:
                out[start : start + count, word * quarter : word * quarter + size] = slots[index][:, :size]


def run_map(
    formula: Formula, outputs: Sequence[Array], arguments: Sequence[Any], random: tuple[Array, int] | None
) -> None:
    """Evaluates a formula over arrays [rows, width] (or of any one shape, where rows do not matter), block by block.

    Args: outputs – one array per output, sums over rows as [rows]; they may be inputs as well;
        arguments – arrays and numbers in the order of the formula, without the bits; random – (state, stream).
    """
    shape = next(o.shape for o, k in zip(outputs, formula.outputs, strict=True) if k == "each") if (
        "each" in formula.outputs
    ) else next(a.shape for a, k in zip(arguments, formula.kinds, strict=False) if k == "each")
    compiled = plan(formula, outputs[0].dtype)
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
        rows, block, tail = shape[0], max(1, BLOCK // max(shape[1], 1)), shape[1:]
        flat_outputs = list(outputs)
    for start in range(0, rows, block):
        stop = min(start + block, rows)
        for index, value, kind in varying:
            if kind == "each":
                slots[index] = value[start:stop]
            elif kind == "row":
                slots[index] = value
            elif kind == "column":
                slots[index] = value[start:stop, None]
            else:
                assert random is not None
                bits = np.empty((stop - start, shape[1]), np.uint32)
                random_bits(stop - start, shape[1], random[0], random[1], start, bits)
                slots[index] = bits
        parts = [
            o[start:stop] if k == "each" else None for o, k in zip(flat_outputs, formula.outputs, strict=True)
        ]
        compiled.run(slots, parts, (stop - start, *tail))
        for position, kind in enumerate(formula.outputs):
            if kind == "rowsum":
                np.sum(slots[compiled.outputs[position]], axis=1, out=flat_outputs[position][start:stop])


def run_update(formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Array) -> None:
    """Applies an update to the flat arrays, segment by segment, in blocks.

    Args: arrays – in the order of the formula, all of one length; scalars – [scalars, groups];
        segments – int64 [segments, 3]: start, stop, group.
    """
    compiled = plan(formula, arrays[0].dtype)
    targets = [formula.parameters.index(name) for name in formula.overwrites]
    groups = [index for index, kind in zip(compiled.inputs, formula.kinds, strict=True) if kind == "group"]
    for start, stop, group in segments.tolist():
        slots = compiled.prepare(dict(zip(groups, scalars[:, group].tolist(), strict=True)))
        for low in range(start, stop, BLOCK):
            high = min(low + BLOCK, stop)
            for index, array in zip(compiled.inputs, arrays, strict=False):
                slots[index] = array[low:high]
            compiled.run(slots, [arrays[t][low:high] for t in targets], (high - low,))
