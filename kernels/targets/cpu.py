"""The CPU target: loops around traced formulas, compiled by Numba, one thread, the GIL released.

Executors divide rows among cores; row kernels are in kernels/rows/cpu.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from ...errors import ShapeError
from ..formula import Formula, trace
from ..formulas.mathematics import SINGLE_PRECISION
from .compiling import compiled
from .native import compile_entry, entry_text
from .source import PHILOX_INPUTS, Lines, Spelling, build, indent, module_text, philox_program

FLOAT32 = np.dtype(np.float32)
WORDS = np.dtype(np.uint32)


def expansions(dtype: np.dtype[Any]) -> tuple[tuple[str, Callable[..., Any]], ...]:
    """What Numba's own mathematics does too slowly: in float32 all of it, in float64 (used for checks) nothing."""
    return SINGLE_PRECISION if dtype == FLOAT32 else ()


def array_type(dtype: np.dtype[Any], dimensions: int, written: bool) -> types.Array:
    """A C-contiguous array; those that are only read may be read-only."""
    return types.Array(numba.from_dtype(dtype), dimensions, "C", readonly=not written)


class CpuKernel:
    """A compiled function, to be called with arrays and numbers, or entered with its arguments as words of memory.

    Each of the two is compiled when it is first asked for, for exactly these types of arguments: a call with anything else
    is an error, never another compilation.

    Args: name – of the function; text – of its module, where it comes last; parameters – its arguments and their types;
        globals_ – what the module refers to beyond itself; fastmath – what the compiler may do to the function's own
        arithmetic, such as "reassoc" to sum in another order than is written.
    """

    def __init__(
        self,
        name: str,
        text: str,
        parameters: Mapping[str, types.Type],
        globals_: Mapping[str, Any] | None = None,
        fastmath: frozenset[str] = frozenset(),
    ) -> None:
        self.name = name
        self.parameters = dict(parameters)
        # The options are part of the text, because Numba's cache looks at nothing else.
        self._options = "{" + ", ".join(map(repr, sorted(fastmath))) + "}" if fastmath else "False"
        self._text = f"# fastmath: {self._options}\n{text}" if fastmath else text
        self._globals = globals_ or {}
        self._fastmath = set(fastmath) or False
        # No cached_property: before Python 3.12 it has a lock, which a child that is forked meanwhile would never get.
        self._function: Callable[..., None] | None = None
        self._entry: Any = None

    @property
    def function(self) -> Callable[..., None]:
        """Takes arrays and numbers; releases the GIL."""
        if self._function is None:
            made = build(self.name, self._text, self._globals)
            signature = types.void(*self.parameters.values())
            options = {"nogil": True, "error_model": "numpy", "fastmath": self._fastmath}
            self._function = compiled(made, lambda saved: numba.njit([signature], cache=saved, **options)(made))
        return self._function

    def __call__(self, *arguments: Any) -> None:
        """Runs on these arrays and numbers."""
        self.function(*arguments)

    @property
    def entry(self) -> Any:
        """Takes the address of its words; see kernels/targets/native.py."""
        if self._entry is None:
            text = entry_text(self.name, self._text, self.parameters, self._options)
            self._entry = compile_entry(self.name, text, self._globals)
        return self._entry

    def written(self, arguments: Sequence[Any]) -> list[Any]:
        """Those of the arguments that it writes to."""
        kinds = self.parameters.values()
        return [a for a, k in zip(arguments, kinds, strict=True) if isinstance(k, types.Array) and k.mutable]


def generate(
    name: str,
    parameters: Mapping[str, types.Type],
    lines: Sequence[str],
    constants: Mapping[str, str],
    globals_: Mapping[str, Any] | None = None,
) -> CpuKernel:
    """A compiled kernel from generated statements.

    The names of the modules of what it calls go into its text: a change there makes it a new kernel, for Numba's cache
    looks at nothing but the kernel's own file.
    """
    called = [f"# calls {value.py_func.__module__}" for value in (globals_ or {}).values() if hasattr(value, "py_func")]
    return CpuKernel(name, module_text(name, list(parameters), [*called, *lines], constants), parameters, globals_)


@cache
def fill_row_bits() -> Callable[..., None]:
    """A compiled function (bits, width, row, stream, step, key0, key1) that fills one row with random bits.

    `bits` has room for 4 ceil(width / 4) words; the layout is that of `random_bits` in kernels/targets/numpy.py.
    """
    text = Lines(philox_program(), Spelling(FLOAT32), {n: n for n in PHILOX_INPUTS})
    stores = [f"bits[{k} * quarter + q] = {word}" for k, word in enumerate(text.results)]
    lines = [
        "quarter = (width + 3) // 4",
        "for q in range(quarter):",
        *indent(["block = u32(q)", *text.body, *stores], 1),
    ]
    parameters = {"bits": array_type(WORDS, 1, True), "width": types.intp, **dict.fromkeys(PHILOX_INPUTS[1:], types.uint32)}
    return generate("fill_row_bits", parameters, lines, text.constants).function


@cache
def _map_kernel(formula: Formula, dtype: np.dtype[Any], aliases: tuple[int, ...]) -> CpuKernel:
    """The loop for one formula and dtype.

    Args: aliases – for each output the position of the argument that is the same array, or -1. The compiler is told,
        because a loop that might overlap itself does not vectorise.
    """
    real = numba.from_dtype(dtype)
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

    parameters: dict[str, types.Type] = {}
    for name, kind in zip(outputs, formula.outputs, strict=True):
        if name not in arguments:
            parameters[name] = array_type(dtype, dimensions[kind], True)
    for position, (name, kind) in enumerate(zip(arguments, kinds, strict=True)):
        parameters[name] = real if kind == "scalar" else array_type(dtype, dimensions[kind], position in aliases)

    whole = next(n for n, k in zip([*outputs, *arguments], [*formula.outputs, *kinds], strict=True) if k == "each")
    stores, sums = [], []
    for k, (name, kind, result) in enumerate(zip(outputs, formula.outputs, text.results, strict=True)):
        stores.append(f"sum{k} += {result}" if kind == "rowsum" else f"{name}{here} = {result}")
        sums += [(f"sum{k}", name)] if kind == "rowsum" else []

    globals_: dict[str, Any] = {}
    if flat:
        lines = [*text.uniform, f"for i in range({whole}.shape[0]):", *indent([*text.body, *stores], 1)]
    else:
        before, each_row = [f"rows, width = {whole}.shape", *text.uniform], []
        if formula.random:
            globals_["fill_row_bits"] = fill_row_bits()
            parameters |= {"state": array_type(WORDS, 1, False), "stream": types.uint32}
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
    return generate(formula.name, parameters, lines, text.constants, globals_)


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
    kernel.function(*given)


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
    parameters = {f"{a}__": array_type(dtype, 1, a in formula.overwrites) for a in arrays}
    parameters |= {"scalars": array_type(dtype, 2, False), "segments": array_type(np.dtype(np.int64), 2, False)}
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
    parameters = {"out": array_type(WORDS, 2, True), "state": array_type(WORDS, 1, False), "stream": types.uint32}
    return generate("random_bits", parameters, lines, {}, {"fill_row_bits": fill_row_bits()})


def random_bits(out: Any, state: Any, stream: int) -> None:
    """Random bits for all rows of `out`; see kernels/targets/numpy.py."""
    _bits_kernel()(out, state, stream)
