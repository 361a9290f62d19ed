"""The CPU target: loops around traced formulas, compiled by LLVM, one thread, the GIL released.

Executors divide rows among cores; row kernels are in kernels/rows/cpu.py.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ...errors import ShapeError
from ..formula import Formula, trace
from ..formulas.mathematics import SINGLE_PRECISION
from .llvm.compiler import Module
from .llvm.kinds import U32, ArrayOf, Kind, scalar_of
from .llvm.machine import Native, functions
from .native import words_of
from .source import PHILOX_INPUTS, Lines, Spelling, indent, module_text, philox_program

FLOAT32 = np.dtype(np.float32)
WORDS = np.dtype(np.uint32)


def expansions(dtype: np.dtype[Any]) -> tuple[tuple[str, Callable[..., Any]], ...]:
    """What Numba's own mathematics does too slowly: in float32 all of it, in float64 (used for checks) nothing."""
    return SINGLE_PRECISION if dtype == FLOAT32 else ()


class CpuKernel:
    """A compiled function, to be called with arrays and numbers, or entered with its arguments as words of memory.

    It is compiled when it is first used, for exactly these types of arguments: a call with anything else is an error, never
    another compilation.

    Args: name – of the function; text – of its module, where it comes last; parameters – its arguments and their kinds;
        reassociates – whether the compiler may take its sums in another order than is written: in vector lanes, the same order
        in every call.
    """

    def __init__(self, name: str, text: str, parameters: Mapping[str, Kind], reassociates: bool = False) -> None:
        self.name = name
        self.parameters = dict(parameters)
        self.reassociates = reassociates
        self._text = text
        # No cached_property: before Python 3.12 it has a lock, which a child that is forked meanwhile would never get.
        self._entry: Native | None = None

    @property
    def entry(self) -> Native:
        """Takes the address of its words; see kernels/targets/native.py."""
        if self._entry is None:
            described = f"{self.name}{tuple(self.parameters.values())} {self.reassociates}\n{self._text}"
            self._entry = Native(functions(self.name, described, (self.name,), self._assembly)[self.name])
        return self._entry

    def _assembly(self, unique: Callable[[str], str]) -> str:
        module = Module(self._text, reassociated=(self.name,) if self.reassociates else ())
        module.entry(unique(self.name), self.name, tuple(self.parameters.values()))
        return module.assembly

    def __call__(self, *arguments: Any) -> None:
        """Runs on these arrays and numbers; releases the GIL."""
        words = words_of(self.parameters, arguments)
        memory = (ctypes.c_int64 * len(words))(*words)
        self.entry(ctypes.addressof(memory))

    def written(self, arguments: Sequence[Any]) -> list[Any]:
        """Those of the arguments that it writes to."""
        kinds = self.parameters.values()
        return [a for a, k in zip(arguments, kinds, strict=True) if isinstance(k, ArrayOf) and k.written]


def generate(
    name: str, parameters: Mapping[str, Kind], lines: Sequence[str], constants: Mapping[str, str], helpers: str = ""
) -> CpuKernel:
    """A compiled kernel from generated statements.

    Args: helpers – source of the functions that it calls.
    """
    return CpuKernel(name, module_text(name, list(parameters), lines, constants, helpers), parameters)


@cache
def fill_row_bits() -> str:
    """The source of a function (bits, width, row, stream, step, key0, key1) that fills one row with random bits.

    `bits` has room for 4 ceil(width / 4) words; the layout is that of `random_bits` in kernels/targets/numpy.py.
    """
    text = Lines(philox_program(), Spelling(FLOAT32), {n: n for n in PHILOX_INPUTS}, prefix="p")
    stores = [f"bits[{k} * quarter + q] = {word}" for k, word in enumerate(text.results)]
    lines = [
        "quarter = (width + 3) // 4",
        "for q in range(quarter):",
        *indent(["block = u32(q)", *text.body, *stores], 1),
    ]
    head = f"def fill_row_bits(bits, width, {', '.join(PHILOX_INPUTS[1:])}):"
    return "\n".join([*(f"{key} = {value}" for key, value in text.constants.items()), "", "", head, *indent(lines, 1)])


@cache
def _map_kernel(formula: Formula, dtype: np.dtype[Any], aliases: tuple[int, ...]) -> CpuKernel:
    """The loop for one formula and dtype.

    Args: aliases – for each output the position of the argument that is the same array, or -1. The compiler is told,
        because a loop that might overlap itself does not vectorise.
    """
    real = scalar_of(dtype)
    flat = formula.flat
    here = "[i]" if flat else "[i, j]"
    access = {"each": here, "row": "[j]", "column": "[i]", "scalar": "", "rowsum": "[i]"}
    dimensions = {"each": 1 if flat else 2, "row": 1, "column": 1, "rowsum": 1}

    kinds = [k for k in formula.kinds if k != "bits"]
    arguments = [f"a{position}" for position in range(len(kinds))]
    outputs = [f"a{alias}" if alias >= 0 else f"o{k}" for k, alias in enumerate(aliases)]
    values = {name: "bits[j]" for name, kind in zip(formula.parameters, formula.kinds, strict=True) if kind == "bits"}
    plain = [name for name, kind in zip(formula.parameters, formula.kinds, strict=True) if kind != "bits"]
    values.update({name: a + access[k] for name, a, k in zip(plain, arguments, kinds, strict=True)})
    text = Lines(trace(formula, expansions(dtype)), Spelling(dtype), values)

    parameters: dict[str, Kind] = {}
    for name, kind in zip(outputs, formula.outputs, strict=True):
        if name not in arguments:
            parameters[name] = ArrayOf(dtype, dimensions[kind], True)
    for position, (name, kind) in enumerate(zip(arguments, kinds, strict=True)):
        parameters[name] = real if kind == "scalar" else ArrayOf(dtype, dimensions[kind], position in aliases)

    whole = next(n for n, k in zip([*outputs, *arguments], [*formula.outputs, *kinds], strict=True) if k == "each")
    stores, sums = [], []
    for k, (name, kind, result) in enumerate(zip(outputs, formula.outputs, text.results, strict=True)):
        stores.append(f"sum{k} += {result}" if kind == "rowsum" else f"{name}{here} = {result}")
        sums += [(f"sum{k}", name)] if kind == "rowsum" else []

    helpers = ""
    if flat:
        lines = [*text.uniform, f"for i in range({whole}.shape[0]):", *indent([*text.body, *stores], 1)]
    else:
        before, each_row = [f"rows, width = {whole}.shape", *text.uniform], []
        if formula.random:
            helpers = fill_row_bits()
            parameters |= {"state": ArrayOf(WORDS, 1, False), "stream": U32}
            before.append("bits = np.empty(width + 3, np.uint32)")
            each_row = ["fill_row_bits(bits, width, u32(state[3] + i), stream, state[2], state[0], state[1])"]
        zero = "0.0" if dtype != FLOAT32 else "f32(0.0)"
        lines = [
            *before,
            "for i in range(rows):",
            *indent([*each_row, *(f"{total} = {zero}" for total, _ in sums)], 1),
            *indent(["for j in range(width):", *indent([*text.body, *stores], 1)], 1),
            *indent([f"{name}[i] = {total}" for total, name in sums], 1),
        ]
    return generate(formula.name, parameters, lines, text.constants, helpers)


def bind_map(
    formula: Formula, outputs: Sequence[Any], arguments: Sequence[Any], random: tuple[Any, int] | None
) -> tuple[CpuKernel, tuple[Any, ...]]:
    """The kernel that evaluates a formula over arrays, and its arguments; ours are as in kernels/targets/numpy.py."""
    aliases = tuple([next((i for i, a in enumerate(arguments) if a is o), -1) for o in outputs])
    kernel = _map_kernel(formula, outputs[0].dtype, aliases)
    new = [o for o, alias in zip(outputs, aliases, strict=True) if alias < 0]
    if formula.flat:
        for out in outputs:
            if out.ndim > 1 and not out.flags.c_contiguous:
                raise ShapeError(
                    f"expected outputs in row-major order without gaps; got strides {out.strides} for shape {out.shape}; "
                    "write into an array of its own and copy that"
                )
        new = [o.reshape(-1) for o in new]
        arguments = [a.reshape(-1) if isinstance(a, np.ndarray) else a for a in arguments]
    return kernel, (*new, *arguments, *(random or ()))


def run_map(
    formula: Formula, outputs: Sequence[Any], arguments: Sequence[Any], random: tuple[Any, int] | None
) -> None:
    """Evaluates a formula over arrays; arguments as in kernels/targets/numpy.py."""
    kernel, given = bind_map(formula, outputs, arguments, random)
    kernel(*given)


@cache
def update_kernel(formula: Formula, dtype: np.dtype[Any]) -> CpuKernel:
    """The loop of an update over segments of flat arrays: (arrays, scalars [scalars, groups], segments [segments, 3]).

    Where the first scalar is NaN it does nothing.
    """
    arrays = [p for p, k in zip(formula.parameters, formula.kinds, strict=True) if k == "each"]
    groups = [p for p, k in zip(formula.parameters, formula.kinds, strict=True) if k == "group"]
    values = {a: f"{a}_[i]" for a in arrays} | {g: f"scalars[{k}, group]" for k, g in enumerate(groups)}
    text = Lines(trace(formula, expansions(dtype)), Spelling(dtype), values)
    stores = [f"{a}_[i] = {r}" for a, r in zip(formula.overwrites, text.results, strict=True)]
    lines = [
        "if scalars[0, 0] != scalars[0, 0]:",
        "    return",
        "for s in range(segments.shape[0]):",
        "    start, stop, group = segments[s, 0], segments[s, 1], segments[s, 2]",
        *indent(text.uniform, 1),
        *indent([f"{a}_ = {a}__[start:stop]" for a in arrays], 1),
        "    for i in range(stop - start):",
        *indent([*text.body, *stores], 2),
    ]
    parameters: dict[str, Kind] = {f"{a}__": ArrayOf(dtype, 1, a in formula.overwrites) for a in arrays}
    parameters |= {"scalars": ArrayOf(dtype, 2, False), "segments": ArrayOf(np.dtype(np.int64), 2, False)}
    return generate(formula.name, parameters, lines, text.constants)


@cache
def _bits_kernel() -> CpuKernel:
    lines = [
        "rows, width = out.shape",
        "bits = np.empty(width + 3, np.uint32)",
        "for i in range(rows):",
        "    fill_row_bits(bits, width, u32(state[3] + i), stream, state[2], state[0], state[1])",
        "    for j in range(width):",
        "        out[i, j] = bits[j]",
    ]
    parameters: dict[str, Kind] = {"out": ArrayOf(WORDS, 2, True), "state": ArrayOf(WORDS, 1, False), "stream": U32}
    return generate("random_bits", parameters, lines, {}, fill_row_bits())


def random_bits(out: Any, state: Any, stream: int) -> None:
    """Random bits for all rows of `out`; see kernels/targets/numpy.py."""
    _bits_kernel()(out, state, stream)
