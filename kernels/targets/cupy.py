"""The CuPy target: traced formulas as CUDA C in `cupy.ElementwiseKernel`s, which write in place and allocate nothing.

Only `build` imports CuPy; everything that produces C text works without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from ..formula import Formula, trace
from ..symbols import BOOL, REAL, UINT32, UINT64, Node, Program
from .segments import COUNT_MASK, GROUP_SHIFT
from .source import philox_program

TEAM = 128
"""Threads that add up one row, in kernels with sums over rows."""

_INFIX = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "less": "<", "less_equal": "<=", "greater": ">",
    "greater_equal": ">=", "bitwise_xor": "^", "bitwise_and": "&", "right_shift": ">>",
}  # fmt: skip
_CALLS = {"exp", "expm1", "log", "log1p", "sqrt", "tanh", "sin", "cos", "erf", "floor"}


class CupySpelling:
    """How one real dtype is written in CUDA C."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.single = dtype == np.dtype(np.float32)
        self.real = "float" if self.single else "double"
        self.types = {REAL: self.real, BOOL: "bool", UINT32: "unsigned int", UINT64: "unsigned long long"}
        self.mantissa_bits, self.bias = (23, 127) if self.single else (52, 1023)
        if self.single:
            self.signed, self.unsigned = "int", "unsigned int"
            self.to_bits, self.from_bits = "__float_as_uint", "__uint_as_float"
        else:
            self.signed, self.unsigned = "long long", "unsigned long long"
            self.to_bits, self.from_bits = "__double_as_longlong", "__longlong_as_double"

    def function(self, name: str) -> str:
        """The name of a mathematical function in this precision."""
        return f"{'fabs' if name == 'abs' else name}{'f' if self.single else ''}"

    def constant(self, node: Node) -> str:
        """A constant in the type of its kind, so that nothing is promoted."""
        value = node.value
        if node.kind == REAL:
            assert isinstance(value, float)
            if math.isinf(value):
                bits = (2 * self.bias + 1) << self.mantissa_bits
                text = f"{self.from_bits}({hex(bits)})"
                return text if value > 0.0 else f"(-{text})"
            exact = float(np.float32(value)) if self.single else value
            text = f"{str(np.float32(value)) if self.single else repr(value)}{'f' if self.single else ''}"
            return text if exact >= 0.0 else f"({text})"
        return f"{value}{'U' if node.kind == UINT32 else 'ULL'}"

    def operation(self, node: Node, a: Sequence[str]) -> str:
        """One operation on operands that are names or constants."""
        name = node.operation
        if name == "select":
            return f"{a[0]} ? {a[1]} : {a[2]}"
        if name == "maximum":
            return f"{a[0]} < {a[1]} ? {a[1]} : {a[0]}"
        if name == "minimum":
            return f"{a[1]} < {a[0]} ? {a[1]} : {a[0]}"
        if name in _INFIX:
            return f"{a[0]} {_INFIX[name]} {a[1]}"
        if name == "negative":
            return f"-{a[0]}"
        if name in ("uint32", "uint64", "real"):
            return f"({self.types[node.kind]}){a[0]}"
        if name in _CALLS or name == "abs":
            return f"{self.function(name)}({a[0]})"
        bits = f"({self.unsigned}){self.to_bits}({a[0]})"
        if name == "exponent":
            return f"({self.real})(({self.signed})({bits} >> {self.mantissa_bits}) - {self.bias})"
        if name == "mantissa":
            saved = f"({bits} & {hex((1 << self.mantissa_bits) - 1)})"
            return f"{self.from_bits}({saved} | {hex(self.bias << self.mantissa_bits)})"
        if name == "power_of_two":
            return f"{self.from_bits}(({self.unsigned})(({self.signed}){a[0]} + {self.bias}) << {self.mantissa_bits})"
        raise KeyError(f"the CuPy target has no word for {name!r}; add it to kernels/targets/cupy.py")


def statements(
    program: Program, spelling: CupySpelling, inputs: Mapping[str, str], prefix: str = "t"
) -> tuple[list[str], list[str]]:
    """(declarations of constants of type C, expressions of the outputs); all inputs are read first.

    Args: inputs – the expression that gives each input its value, by name; prefix – of all names made here.
    """
    lines, names = [], []
    for index, node in enumerate(program.nodes):
        if node.operation == "constant":
            names.append(spelling.constant(node))
            continue
        name = f"{prefix}{index}"
        right = (
            inputs[str(node.value)]
            if node.operation == "input"
            else spelling.operation(node, [names[a] for a in node.arguments])
        )
        lines.append(f"const {spelling.types[node.kind]} {name} = {right};")
        names.append(name)
    return lines, [names[o] for o in program.outputs]


@dataclass(frozen=True)
class Source:
    """The parts of a `cupy.ElementwiseKernel`.

    Attributes: broadcast – whether the loop's shape has to stay two-dimensional.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operation: str
    loop_prep: str = ""
    matrix: bool = False


@lru_cache(maxsize=1)
def _bits_lines() -> tuple[str, ...]:
    """C that declares `bits` for the element (row, column) of a matrix of `width` columns."""
    inputs = {
        "block": "block", "row": "(unsigned int)_ind.get()[0] + state[3]", "stream": "stream",
        "step": "state[2]", "key0": "state[0]", "key1": "state[1]",
    }  # fmt: skip
    lines, (w0, w1, w2, w3) = statements(philox_program(), CupySpelling(np.dtype(np.float32)), inputs, "w")
    return (
        "const unsigned int quarter = (unsigned int)((width + 3) / 4);",
        "const unsigned int part = (unsigned int)_ind.get()[1] / quarter;",
        "const unsigned int block = (unsigned int)_ind.get()[1] - part * quarter;",
        *lines,
        f"const unsigned int bits = part == 0 ? {w0} : part == 1 ? {w1} : part == 2 ? {w2} : {w3};",
    )


_RANDOM_INPUTS = ("raw uint32 state", "uint32 stream", "int64 width")


def map_source(formula: Formula, dtype: np.dtype[Any]) -> Source:
    """The kernel (arguments …, [state, stream, width], outputs …) of a formula; with sums over rows it is `_sum_source`.

    Row and column vectors come as broadcasting views.
    """
    if "rowsum" in formula.outputs:
        return _sum_source(formula, dtype)
    spelling = CupySpelling(dtype)
    named = zip(formula.parameters, formula.kinds, strict=True)
    values = {name: "bits" if kind == "bits" else f"a{i}" for i, (name, kind) in enumerate(named)}
    lines, results = statements(trace(formula), spelling, values)
    inputs = [f"{dtype.name} {v}" for v in values.values() if v != "bits"]
    if formula.random:
        inputs += _RANDOM_INPUTS
        lines = [*_bits_lines(), *lines]
    lines += [f"o{k} = {result};" for k, result in enumerate(results)]
    outputs = tuple(f"{dtype.name} o{k}" for k in range(len(results)))
    return Source(formula.name, tuple(inputs), outputs, "\n".join(lines), matrix=formula.random)


def _sum_source(formula: Formula, dtype: np.dtype[Any]) -> Source:
    """The kernel (arguments …, rows, width, outputs …) of a formula with sums over rows, on TEAM threads per row.

    The loop of the ElementwiseKernel runs over rows * TEAM elements in blocks of TEAM threads, so a block has one row.
    """
    if formula.random:
        raise NotImplementedError(f"formula {formula.name!r} has both random bits and sums over rows: split it in two")
    spelling = CupySpelling(dtype)
    access = {"each": "[row * width + j]", "row": "[j]", "column": "[row]", "scalar": ""}
    values, inputs = {}, []
    for i, (name, kind) in enumerate(zip(formula.parameters, formula.kinds, strict=True)):
        values[name] = f"a{i}{access[kind]}"
        inputs.append(f"{'' if kind == 'scalar' else 'raw '}{dtype.name} a{i}")
    lines, results = statements(trace(formula), spelling, values)
    sums = [k for k, kind in enumerate(formula.outputs) if kind == "rowsum"]
    for k, result in enumerate(results):
        lines.append(f"sum{k} += {result};" if k in sums else f"o{k}[row * width + j] = {result};")
    zero = "0.0f" if spelling.single else "0.0"
    operation = [
        f"const ptrdiff_t row = i / {TEAM};",
        *(f"{spelling.real} sum{k} = {zero};" for k in sums),
        "for (ptrdiff_t j = threadIdx.x; j < width; j += blockDim.x) {",
        *(f"  {line}" for line in lines),
        "}",
        *(f"part{k}[threadIdx.x] = sum{k};" for k in sums),
        "__syncthreads();",
        "for (unsigned int half = blockDim.x / 2; half > 0; half /= 2) {",
        "  if (threadIdx.x < half) {",
        *(f"    part{k}[threadIdx.x] += part{k}[threadIdx.x + half];" for k in sums),
        "  }",
        "  __syncthreads();",
        "}",
        *(f"if (threadIdx.x == 0) o{k}[row] = part{k}[0];" for k in sums),
        "__syncthreads();",
    ]
    outputs = tuple(f"raw {dtype.name} o{k}" for k in range(len(results)))
    shared = "\n".join(f"__shared__ {spelling.real} part{k}[{TEAM}];" for k in sums)
    return Source(formula.name, (*inputs, "int64 width"), outputs, "\n".join(operation), shared)


def update_source(formula: Formula, dtype: np.dtype[Any]) -> Source:
    """The kernel (arrays that are only read …, scalars, groups, table, runs, arrays that change …) of an update.

    Args of the kernel: groups – number of columns of `scalars`; table, runs – from kernels/targets/segments.py.
    """
    spelling = CupySpelling(dtype)
    arrays = [p for p, k in zip(formula.parameters, formula.kinds, strict=True) if k == "each"]
    scalars = [p for p, k in zip(formula.parameters, formula.kinds, strict=True) if k == "group"]
    values = {a: f"{a}_" for a in arrays} | {s: f"scalars[{k} * groups + group]" for k, s in enumerate(scalars)}
    lines, results = statements(trace(formula), spelling, values)
    operation = [
        f"const {spelling.real} gate = scalars[0];",
        "const int entry = i / 64 < runs ? table[i / 64] : 0;",
        f"if (gate == gate && i % 64 < (entry & {COUNT_MASK})) {{",
        f"  const ptrdiff_t group = entry >> {GROUP_SHIFT};",
        *(f"  {line}" for line in lines),
        *(f"  {a}_ = {result};" for a, result in zip(formula.overwrites, results, strict=True)),
        "}",
    ]
    inputs = [f"{dtype.name} {a}_" for a in arrays if a not in formula.overwrites]
    inputs += [f"raw {dtype.name} scalars", "int64 groups", "raw int32 table", "int64 runs"]
    return Source(
        formula.name, tuple(inputs), tuple(f"{dtype.name} {a}_" for a in formula.overwrites), "\n".join(operation)
    )


def bits_source() -> Source:
    """The kernel (state, stream, width, out) that fills a matrix of words with random bits."""
    lines = "\n".join((*_bits_lines(), "out = bits;"))
    return Source("random_bits", _RANDOM_INPUTS, ("uint32 out",), lines, matrix=True)


def limit_source(dtype: np.dtype[Any]) -> Source:
    """The kernel (squares, largest, most, scales) that limits a norm; see Backend.limit_norm."""
    spelling = CupySpelling(dtype)
    real, one = spelling.real, "1.0f" if spelling.single else "1.0"
    infinity = spelling.constant(Node("constant", (), REAL, True, math.inf))
    lines = [
        f"const {real} norm = {spelling.function('sqrt')}(squares);",
        f"const {real} factor = norm > largest ? largest / norm : {one};",
        f"scales = scales * (squares <= most ? factor : {infinity} - {infinity});",
    ]
    inputs = tuple(f"{dtype.name} {name}" for name in ("squares", "largest", "most"))
    return Source("limit_norm", inputs, (f"{dtype.name} scales",), "\n".join(lines))


def build(source: Source) -> Any:
    """The `cupy.ElementwiseKernel`; CuPy compiles it at its first call."""
    import cupy

    extra = {"loop_prep": source.loop_prep} if source.loop_prep else {}
    return cupy.ElementwiseKernel(
        ", ".join(source.inputs), ", ".join(source.outputs), source.operation, f"fusedstep_{source.name}",
        reduce_dims=not source.matrix, no_return=True, **extra,
    )  # fmt: skip


@cache
def _kernel(source: Callable[..., Source], *arguments: Any) -> Any:
    return build(source(*arguments))


def run_map(
    formula: Formula, outputs: Sequence[Any], arguments: Sequence[Any], random: tuple[Any, int] | None
) -> None:
    """Evaluates a formula over device arrays in one launch; arguments as in kernels/targets/numpy.py."""
    kernel = _kernel(map_source, formula, outputs[0].dtype)
    kinds = [k for k in formula.kinds if k != "bits"]
    if "rowsum" in formula.outputs:
        whole = next(
            a for a, k in zip((*outputs, *arguments), (*formula.outputs, *kinds), strict=True) if k == "each"
        )
        rows, width = whole.shape
        if rows:
            kernel(*arguments, width, *outputs, size=rows * TEAM, block_size=TEAM)
        return
    views = {"row": lambda a: a.reshape(1, -1), "column": lambda a: a.reshape(-1, 1)}
    given = [views[k](a) if k in views else a for a, k in zip(arguments, kinds, strict=True)]
    if random is not None:
        given += [random[0], random[1], outputs[0].shape[1]]
    kernel(*given, *outputs)


def run_update(formula: Formula, arrays: Sequence[Any], scalars: Any, table: Any) -> None:
    """Applies an update to the flat arrays in one launch; `table` is that of kernels/targets/segments.py on the device."""
    named = dict(zip(formula.parameters, arrays, strict=False))
    read = [a for name, a in named.items() if name not in formula.overwrites]
    changed = [named[name] for name in formula.overwrites]
    _kernel(update_source, formula, arrays[0].dtype)(*read, scalars, scalars.shape[1], table, table.shape[0], *changed)


def random_bits(out: Any, state: Any, stream: int) -> None:
    """Random bits for all of `out`; see kernels/targets/numpy.py."""
    _kernel(bits_source)(state, stream, out.shape[1], out)


def limit_norm(scales: Any, squares: Any, largest: float, most: float) -> None:
    """scales *= min(1, largest / sqrt(squares)), NaN unless squares <= most; squares – an array of no dimensions."""
    _kernel(limit_source, scales.dtype)(squares, largest, most, scales)
