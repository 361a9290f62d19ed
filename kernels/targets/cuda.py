"""The CUDA target: loops around traced formulas, compiled by Numba for the GPU or run by its simulator.

Arrays, streams and launches belong to the backend; hand-written row kernels are in kernels/rows/cuda.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
from numba import cuda, types
from numba.core import config

from ...errors import DtypeError
from ..formula import Formula, trace
from ..formulas.random import philox4x32
from ..symbols import UINT32, Program
from . import cache as disk
from .cpu import FLOAT32, WORDS, expansions
from .segments import COUNT_MASK, GROUP_SHIFT
from .source import Lines, Spelling, build, indent, module_text
from .storage import NARROW, Storage, computed_in

SIMULATED = bool(config.ENABLE_CUDASIM)
"""Whether kernels run in Numba's simulator, on NumPy arrays, one Python thread per CUDA thread."""

BLOCK = 8 if SIMULATED else 256
"""Threads per block; a power of two, written into the generated modules."""
WARP = 4 if SIMULATED else 32
"""Most threads side by side in a row of a two-dimensional block."""
LONG = 4 if SIMULATED else 64
"""Elements of a row for each thread of a warp, beyond which a whole block takes the row."""
MOST_BLOCKS = 2 if SIMULATED else 4096
"""Blocks along x; threads stride over what is left."""
MOST_ROW_BLOCKS = 2 if SIMULATED else 1024
"""Blocks along y."""

BOUND = {"math": "quiet_math"} if SIMULATED else {"floor": "math.floor"}
"""What generated modules bind differently: Numba CUDA has no `np.floor`, but its `math.floor` gives a real; and in the
simulator Python's `math` would raise an error where a device gives infinity or NaN."""
_QUIET_MATH = SimpleNamespace(
    exp=np.exp, expm1=np.expm1, log=np.log, log1p=np.log1p, sqrt=np.sqrt, tanh=np.tanh, sin=np.sin, cos=np.cos, erf=math.erf
)

Geometry = tuple[tuple[int, ...], tuple[int, ...]]
"""Blocks of the grid and threads of the block, as (x, y)."""


def array_type(dtype: np.dtype[Any], dimensions: int) -> types.Array:
    """A C-contiguous array on the device."""
    return types.Array(numba.from_dtype(dtype), dimensions, "C")


@dataclass(frozen=True)
class Generated:
    """A kernel before compilation: its module's source and the types of its parameters.

    Attributes: stored – by position, the type of arrays that the kernel sees as another one of bits.
    """

    name: str
    text: str
    parameters: tuple[types.Type, ...]
    stored: Mapping[int, str]

    def function(self) -> Any:
        """The Python function, ready for `numba.cuda`."""
        return build(self.name, self.text, {"cuda": cuda, "quiet_math": _QUIET_MATH})


class Kernel:
    """A compiled kernel that refuses arrays of any other type than its own.

    Attributes: compiled – what `compiled[grid, block, stream](*arguments)` launches; arity – how many arguments it takes;
        seen – by position, the type that an array has to be shown as.
    """

    def __init__(self, generated: Generated) -> None:
        self.name = generated.name
        function = generated.function()
        if SIMULATED:
            self.compiled = cuda.jit(function)
        else:
            kept = disk.holds(function)
            self.compiled = cuda.jit(types.void(*generated.parameters), cache=kept)(function)
        self.arity = len(generated.parameters)
        self.seen: dict[int, np.dtype[Any]] = {}
        self._arrays: list[tuple[int, str, int]] = []
        self._numbers: list[tuple[int, Callable[[Any], Any]]] = []
        for position, kind in enumerate(generated.parameters):
            if isinstance(kind, types.Array):
                dtype = np.dtype(str(kind.dtype))
                stored = generated.stored.get(position, str(dtype))
                self._arrays.append((position, stored, kind.ndim))
                if stored != str(dtype):
                    self.seen[position] = dtype
            else:
                self._numbers.append((position, np.dtype(str(kind)).type))

    def check(self, arguments: Sequence[Any]) -> list[Any]:
        """The arguments with numbers in the kernel's own types; raises DtypeError for an array of another type."""
        given = list(arguments)
        for position, dtype, dimensions in self._arrays:
            array = given[position]
            if array.dtype.name != dtype or array.ndim != dimensions or not array.flags.c_contiguous:
                raise DtypeError(
                    f"expected row-major {dtype} in {dimensions} dimensions as argument {position} of kernel "
                    f"{self.name!r}; got {array.dtype} of shape {tuple(array.shape)}"
                    f"{'' if array.flags.c_contiguous else ', not contiguous'}; convert it with backend.asarray"
                )
        for position, convert in self._numbers:
            given[position] = convert(given[position])
        return given

    def shown(self, position: int, array: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """(shape, type) as which the kernel sees an argument: words of bits where that differs from what it is."""
        seen = self.seen.get(position)
        if seen is None:
            return array.shape, array.dtype
        return (*array.shape[:-1], array.shape[-1] * array.dtype.itemsize // seen.itemsize), seen


Launch = Callable[[Kernel, Geometry, Sequence[Any]], None]
"""What the backend does with a kernel: wraps the arrays, picks the stream, launches."""


def _blocks(count: int, per_block: int, most: int) -> int:
    return max(1, min(-(-count // per_block), most))


def _power_of_two(count: int, most: int) -> int:
    """The smallest power of two >= count, within 1 … most."""
    return min(most, 1 << max(count - 1, 0).bit_length())


def flat_geometry(count: int) -> Geometry:
    """One thread per element, then in strides."""
    return (_blocks(count, BLOCK, MOST_BLOCKS),), (BLOCK,)


def matrix_geometry(rows: int, columns: int) -> Geometry:
    """Columns along x and rows along y, then in strides."""
    across = _power_of_two(columns, WARP)
    grid = _blocks(columns, across, MOST_BLOCKS), _blocks(rows, BLOCK // across, MOST_ROW_BLOCKS)
    return grid, (across, BLOCK // across)


def team_geometry(rows: int, width: int) -> Geometry:
    """A team of threads per row, side by side along x, with as many teams in a block as there is room for.

    A team is at most a warp, which needs no barrier, until a thread would have more than LONG elements of a row. Its size
    depends on the width alone, so that sums over a row always come out the same.
    """
    lanes = _power_of_two(-(-width // 4), WARP if width <= LONG * WARP else BLOCK)
    return (_blocks(rows, BLOCK // lanes, MOST_BLOCKS),), (lanes, BLOCK // lanes)


@cache
def _philox(columns: bool = True) -> Lines:
    """Four random words: for a column block of row i of a matrix, or for row q of one that is four columns wide."""
    names = ("block", "row", "stream", "step", "key0", "key1")
    program = Program()
    program = program.finish(philox4x32(*(program.input(n, UINT32) for n in names)))
    inputs = {
        "block": "u32(q)" if columns else "u32(0)", "row": f"u32(u64(state[3]) + {'i' if columns else 'q'})",
        "stream": "stream",
        "step": "state[2]", "key0": "state[0]", "key1": "state[1]",
    }  # fmt: skip
    return Lines(program, Spelling(FLOAT32), inputs, prefix="w")


def _strides(name: str, start: str, stop: str, stride: str, lines: Sequence[str]) -> list[str]:
    """A loop in unsigned steps: Numba checks signed indices for being negative, and divides to count a `range`."""
    return [f"{name} = {start}", f"while {name} < {stop}:", *indent([*lines, f"{name} += {stride}"], 1)]


def _for_columns(lines: Sequence[str], random: bool) -> list[str]:
    """A loop over the columns j of row i; with random bits, four columns per turn, a quarter of the width apart."""
    if not random:
        return _strides("j", "left", "width", "across", lines)
    philox = _philox()
    w0, w1, w2, w3 = philox.results
    turn = [
        *philox.body,
        "for part in range(4):",
        "    j = u64(part) * quarter + q",
        "    if j < width:",
        f"        bits = {w0} if part == 0 else ({w1} if part == 1 else ({w2} if part == 2 else {w3}))",
        *indent(lines, 2),
    ]
    return _strides("q", "left", "quarter", "across", turn)


def _for_rows(columns: Sequence[str]) -> list[str]:
    """A loop over the rows of a two-dimensional grid."""
    return [
        "x, y = cuda.grid(2)",
        "dx, dy = cuda.gridsize(2)",
        "left, across, down = u64(x), u64(dx), u64(dy)",
        *_strides("i", "u64(y)", "rows", "down", columns),
    ]


_RANDOM_PARAMETERS = {"state": array_type(WORDS, 1), "stream": types.uint32}
_QUARTER = ["quarter = (width + u64(3)) >> u64(2)"]


def _generated(
    name: str, parameters: Mapping[str, types.Type], lines: Sequence[str], constants: Mapping[str, str],
    stored: Mapping[str, Storage] | None = None,
) -> Generated:  # fmt: skip
    text = module_text(name, list(parameters), lines, {**BOUND, **constants})
    seen = {k: stored[p].name for k, p in enumerate(parameters) if stored and p in stored}
    return Generated(name, text, tuple(parameters.values()), seen)


def storages(names: Sequence[str], dtypes: Sequence[Any], compute: np.dtype[Any]) -> dict[str, Storage]:
    """How each array is stored: in 16 bits where it is, else as what the kernel computes in, which Kernel.check insists on."""
    kept = (str(d) if str(d) in NARROW and compute == FLOAT32 else str(compute) for d in dtypes)
    return {n: Storage(k) for n, k in zip(names, kept, strict=True)}


def map_source(formula: Formula, dtypes: Sequence[Any], wide: bool = True) -> Generated:
    """The kernel (outputs …, arguments …, [state, stream]) of a formula.

    An output may be the same array as an argument: each thread reads all of an element before it writes it.

    Args: dtypes – of the arrays, outputs first; one for all of them, or one for each; wide – whether memory is read and
        written in words of 8 bytes where the formula lets it, for arrays that start at multiples of 8 bytes and whose rows
        hold a multiple of 4 elements.
    """
    flat = formula.flat
    here = "[i]" if flat else "[i, j]"
    access = {"each": here, "row": "[j]", "column": "[i]", "scalar": ""}
    dimensions = {"each": 1 if flat else 2, "row": 1, "column": 1, "rowsum": 1}
    kinds = {f"o{k}": kind for k, kind in enumerate(formula.outputs)}
    kinds |= {f"a{k}": kind for k, kind in enumerate(formula.kinds) if kind != "bits"}
    arrays = [n for n, kind in kinds.items() if kind != "scalar"]
    dtypes = list(dtypes) * (len(arrays) if len(dtypes) == 1 else 1)
    dtype = computed_in(dtypes)
    stored = storages(arrays, dtypes, dtype)
    if wide and takes_words(formula) and words_fit(stored[n].name for n in arrays if kinds[n] in ("each", "row")):
        return _wide_map(formula, kinds, stored, dtype)
    parameters = {
        n: numba.from_dtype(dtype) if kind == "scalar" else array_type(stored[n].seen, dimensions[kind])
        for n, kind in kinds.items()
    }  # fmt: skip
    values = {}
    for k, (name, kind) in enumerate(zip(formula.parameters, formula.kinds, strict=True)):
        place = f"a{k}{access.get(kind, '')}"
        values[name] = "bits" if kind == "bits" else place if kind == "scalar" else stored[f"a{k}"].load(place)
    whole = next(n for n, kind in kinds.items() if kind == "each")
    text = Lines(trace(formula, expansions(dtype)), Spelling(dtype), values)
    stores, sums = [], []
    for k, (kind, result) in enumerate(zip(formula.outputs, text.results, strict=True)):
        stores += [f"sum{k} += {result}"] if kind == "rowsum" else stored[f"o{k}"].store(f"o{k}{here}", result)
        sums += [k] if kind == "rowsum" else []

    constants = dict(text.constants)
    if flat:
        lines = [
            *text.uniform,
            f"count, stride = u64({whole}.shape[0]), u64(cuda.gridsize(1))",
            *_strides("i", "u64(cuda.grid(1))", "count", "stride", [*text.body, *stores]),
        ]
        return _generated(formula.name, parameters, lines, constants, stored)
    lines = [f"rows, width = u64({whole}.shape[0]), u64({whole}.shape[1])", *text.uniform]
    if formula.random:
        parameters |= _RANDOM_PARAMETERS
        constants |= _philox().constants
        lines += _QUARTER
    columns = _for_columns([*text.body, *stores], formula.random)
    if not sums:
        lines += _for_rows(columns)
        return _generated(formula.name, parameters, lines, constants, stored)
    constants |= {"BLOCK": str(BLOCK), "zero": f"{Spelling(dtype).real}(0.0)"}
    row = [
        "i = first + team",
        *(f"sum{k} = zero" for k in sums),
        "if i < rows:",
        *indent(columns, 1),
        *(f"part{k}[slot] = sum{k}" for k in sums),
        "cuda.syncthreads()",
        "half = across >> u64(1)",
        "while half > u64(0):",
        "    if left < half:",
        *(f"        part{k}[slot] += part{k}[slot + half]" for k in sums),
        "    cuda.syncthreads()",
        "    half >>= u64(1)",
        "if left == u64(0) and i < rows:",
        *(f"    total{k} = part{k}[slot]" for k in sums),
        *indent([line for k in sums for line in stored[f"o{k}"].store(f"o{k}[i]", f"total{k}")], 1),
        "cuda.syncthreads()",
    ]
    lines += [
        *(f"part{k} = cuda.shared.array(BLOCK, {Spelling(dtype).real})" for k in sums),
        "left, team = u64(cuda.threadIdx.x), u64(cuda.threadIdx.y)",
        "across, teams = u64(cuda.blockDim.x), u64(cuda.blockDim.y)",
        "slot, stride = team * across + left, u64(cuda.gridDim.x) * teams",
        *_strides("first", "u64(cuda.blockIdx.x) * teams", "rows", "stride", row),
    ]
    return _generated(formula.name, parameters, lines, constants, stored)


def takes_words(formula: Formula) -> bool:
    """Whether a map may take four neighbouring elements at a time: those with random bits take columns that lie apart."""
    return not formula.random and "rowsum" not in formula.outputs


def _wide_map(
    formula: Formula, kinds: Mapping[str, str], stored: Mapping[str, Storage], dtype: np.dtype[Any]
) -> Generated:  # fmt: skip
    """A map whose threads take four neighbouring elements of a row at a time.

    Args: kinds – of the parameters by name; stored – how each array lies in memory; dtype – what it computes in.
    """
    row = "" if formula.flat else "i, "
    rows = {"each": row, "row": ""}
    held = {n: _Words(n, stored[n], rows[kind], n) for n, kind in kinds.items() if kind in rows}
    outputs = [f"o{k}" for k in range(len(formula.outputs))]
    inputs = {name: f"a{k}" for k, name in enumerate(formula.parameters)}
    whole = next(n for n, kind in kinds.items() if kind == "each")
    uniform: list[str] = []
    elements: list[str] = []
    for k in range(4):
        values = {}
        for name, n in inputs.items():
            kind = kinds[n]
            values[name] = held[n].load(k) if n in held else n if kind == "scalar" else stored[n].load(f"{n}[i]")
        text = Lines(trace(formula, expansions(dtype)), Spelling(dtype), values)
        uniform = text.uniform
        elements += text.body
        for o, result in zip(outputs, text.results, strict=True):
            elements += held[o].keep(k, result, None)
    turn = [line for n in held if n not in outputs for line in held[n].begin()]
    turn += [*elements, *(line for o in outputs for line in held[o].whole())]
    halves = int(held[whole].each == 2)
    if formula.flat:
        lines = [
            f"quads, stride = u64({whole}.shape[0]) >> u64({halves}), u64(cuda.gridsize(1))",
            *uniform,
            *_strides("q", "u64(cuda.grid(1))", "quads", "stride", turn),
        ]
    else:
        lines = [
            f"rows, quads = u64({whole}.shape[0]), u64({whole}.shape[1]) >> u64({halves})",
            *uniform,
            *_for_rows(_strides("q", "left", "quads", "across", turn)),
        ]
    dimensions = {"each": 1 if formula.flat else 2, "row": 1, "column": 1}
    words = np.dtype(np.uint64)
    parameters = {
        n: numba.from_dtype(dtype) if kind == "scalar"
        else array_type(words if n in held else stored[n].seen, dimensions[kind])
        for n, kind in kinds.items()
    }  # fmt: skip
    return _generated(formula.name, parameters, lines, text.constants, stored)


def update_source(formula: Formula, dtypes: Sequence[Any], wide: bool = True) -> Generated:
    """The kernel (arrays …, scalars, table, [state, stream]) of an update: one launch over the whole arena.

    A thread takes four neighbouring elements at a time, which belong to one group. Where NaN gates it, nothing happens.

    Args: dtypes – of the arrays, one for all of them or one for each; wide – whether memory is read and written in words of
        8 bytes, for arrays of float32 and bfloat16 that start at multiples of 8 bytes and hold a multiple of 4 elements.
    Args of the kernel: table – from kernels/targets/segments.py; state, stream – of the random bits by which new values are
        rounded that go to arrays of 16 bits.
    """
    arrays = [p for p, k in zip(formula.parameters, formula.kinds, strict=True) if k == "each"]
    groups = [p for p, k in zip(formula.parameters, formula.kinds, strict=True) if k == "group"]
    dtypes = list(dtypes) * (len(arrays) if len(dtypes) == 1 else 1)
    dtype = computed_in(dtypes)
    stored = storages([f"{a}_" for a in arrays], dtypes, dtype)
    wide = wide and words_fit(s.name for s in stored.values())
    narrow = [a for a in formula.overwrites if stored[f"{a}_"].name in NARROW]
    if len(narrow) > 2:
        raise DtypeError(f"{formula!r} expected at most two arrays of 16 bits to overwrite; got {', '.join(narrow)}")
    held = {a: _Words(a, stored[f"{a}_"]) if wide else _Elements(a, stored[f"{a}_"]) for a in arrays}
    philox = _philox(columns=False)
    program = trace(formula, expansions(dtype))
    uniform: list[str] = []
    elements: list[str] = []
    for k in range(4):
        values = {a: held[a].load(k) for a in arrays} | {g: f"scalars[{r}, group]" for r, g in enumerate(groups)}
        text = Lines(program, Spelling(dtype), values)
        uniform = text.uniform
        stores: list[str] = []
        for a, result in zip(formula.overwrites, text.results, strict=True):
            word = philox.results[k]
            bits = None if a not in narrow else f"{word} & u32(65535)" if a == narrow[0] else f"{word} >> u32(16)"
            stores += held[a].keep(k, result, bits)
        part = [*text.body, *stores]
        elements += part if wide else [f"if place + u64({k}) < inside:", *indent(part, 1)]
    turn = [
        "entry = u64(table[q >> u64(4)])",
        f"place, inside = (q & u64(15)) << u64(2), entry & u64({COUNT_MASK})",
        "if place < inside:",
        *indent(
            [
                f"group = entry >> u64({GROUP_SHIFT})",
                *uniform,
                *(philox.body if narrow else []),
                *(line for a in arrays for line in held[a].begin()),
                *elements,
                *(line for a in formula.overwrites for line in held[a].end()),
            ],
            1,
        ),
    ]
    lines = [
        "gate = scalars[0, 0]",
        "if gate == gate:",
        f"    count = min(u64({arrays[0]}_.shape[0]) << u64({int(wide)}), u64(table.shape[0]) << u64(6))",
        "    stride = u64(cuda.gridsize(1))",
        *indent(_strides("q", "u64(cuda.grid(1))", "(count + u64(3)) >> u64(2)", "stride", turn), 1),
    ]
    seen = dict.fromkeys(stored, np.dtype(np.uint64)) if wide else {n: s.seen for n, s in stored.items()}
    parameters = {n: array_type(d, 1) for n, d in seen.items()}
    parameters |= {"scalars": array_type(dtype, 2), "table": array_type(np.dtype(np.int32), 1)}
    constants = dict(text.constants)
    if narrow:
        parameters |= _RANDOM_PARAMETERS
        constants |= philox.constants
    return _generated(formula.name, parameters, lines, constants, stored)


def words_fit(names: Iterable[str]) -> bool:
    """Whether arrays stored so can be read and written in words of 8 bytes."""
    return all(name in ("float32", "bfloat16") for name in names)


class _Elements:
    """Access to an array in an update, element by element."""

    def __init__(self, name: str, storage: Storage) -> None:
        self._array, self._storage = f"{name}_", storage

    def begin(self) -> list[str]:
        """Statements before the four elements."""
        return []

    def load(self, k: int) -> str:
        """The expression of the value of element k."""
        return self._storage.load(f"{self._array}[(q << u64(2)) + u64({k})]")

    def keep(self, k: int, value: str, random: str | None) -> list[str]:
        """Statements that write a variable's value to element k."""
        return self._storage.store(f"{self._array}[(q << u64(2)) + u64({k})]", value, random)

    def end(self) -> list[str]:
        """Statements after the four elements."""
        return []


class _Words:
    """Access to four elements of an array in words of 8 bytes: two float32 or four bfloat16 each."""

    def __init__(self, name: str, storage: Storage, row: str = "", array: str = "") -> None:
        """Args: name – what its variables begin with; storage; row – index of the row, if any; array – name_ unless given.

        Attributes: each – elements of a word.
        """
        self._name, self._storage = name, storage
        self.each = 4 if storage.name in NARROW else 2
        places = ["q"] if self.each == 4 else [f"(q << u64(1)) + u64({w})" for w in (0, 1)]
        self._places = [f"{array or f'{name}_'}[{row}{place}]" for place in places]

    def begin(self) -> list[str]:
        """Reads the words."""
        return [f"{self._name}_word{w} = {place}" for w, place in enumerate(self._places)]

    def _part(self, k: int) -> str:
        word, position = f"{self._name}_word{k // self.each}", k % self.each
        return f"u32({word} >> u64({position * 64 // self.each}))"

    def load(self, k: int) -> str:
        """The expression of the value of element k."""
        bits = self._part(k)
        return f"{bits}.view(np.float32)" if self.each == 2 else self._storage.load(f"{bits} & u32(65535)")

    def keep(self, k: int, value: str, random: str | None) -> list[str]:
        """Rounds a variable's value for element k; `end` writes it."""
        before, bits = self._storage.rounded(value, random)
        return [*before, f"{self._name}_new{k} = {f'f32({value}).view(np.uint32)' if self.each == 2 else f'u32({bits})'}"]

    def whole(self) -> list[str]:
        """Writes the words."""
        lines = []
        for w, place in enumerate(self._places):
            parts = [f"(u64({self._name}_new{w * self.each + n}) << u64({n * 64 // self.each}))" for n in range(self.each)]
            lines.append(f"{place} = {' | '.join(parts)}")
        return lines

    def end(self) -> list[str]:
        """Writes the words; elements beyond the group's last one, which share a word with it, stay what they were."""
        lines = ["if place + u64(4) > inside:"]
        lines += [f"    {self._name}_word{w} = {place}" for w, place in enumerate(self._places)]
        mask = "" if self.each == 2 else " & u32(65535)"
        for k in range(1, 4):
            new = f"{self._name}_new{k}"
            lines.append(f"    {new} = {new} if place + u64({k}) < inside else u32({self._part(k)}{mask})")
        return [*lines, *self.whole()]


def bits_source() -> Generated:
    """The kernel (out, state, stream) that fills a matrix of words with random bits."""
    lines = [
        "rows, width = u64(out.shape[0]), u64(out.shape[1])",
        *_QUARTER,
        *_for_rows(_for_columns(["out[i, j] = bits"], True)),
    ]
    parameters = {"out": array_type(WORDS, 2), **_RANDOM_PARAMETERS}
    return _generated("random_bits", parameters, lines, _philox().constants)


@cache
def _map_kernel(formula: Formula, dtypes: tuple[Any, ...], wide: bool) -> Kernel:
    return Kernel(map_source(formula, dtypes, wide))


@cache
def _update_kernel(formula: Formula, dtypes: tuple[Any, ...], wide: bool) -> Kernel:
    return Kernel(update_source(formula, dtypes, wide))


@lru_cache(maxsize=1)
def _bits_kernel() -> Kernel:
    return Kernel(bits_source())


def _quarter(width: int) -> int:
    return -(-width // 4)


def _flattened(array: Any) -> Any:
    """A one-dimensional view; a copy would lose what is written to it."""
    if not array.flags.c_contiguous:
        raise DtypeError(
            f"expected a row-major array; got one of shape {tuple(array.shape)} that is not contiguous; "
            "convert it with backend.asarray"
        )
    return array.reshape(-1)


def run_map(
    formula: Formula, outputs: Sequence[Any], arguments: Sequence[Any], random: tuple[Any, int] | None, launch: Launch
) -> None:
    """Evaluates a formula over device arrays in one launch; arguments as in kernels/targets/numpy.py."""
    kinds = (*formula.outputs, *(k for k in formula.kinds if k != "bits"))
    given = [*outputs, *arguments]
    shape = next(a.shape for a, k in zip(given, kinds, strict=True) if k == "each")
    dtypes = tuple(a.dtype for a, k in zip(given, kinds, strict=True) if k != "scalar")
    fits = takes_words(formula) and all(str(d) != "float64" for d in dtypes) and words_fit(
        str(a.dtype) for a, k in zip(given, kinds, strict=True) if k in ("each", "row")
    )
    if formula.flat:
        given = [a if k == "scalar" or a.ndim == 1 else _flattened(a) for a, k in zip(given, kinds, strict=True)]
        count = given[0].shape[0]
        wide = fits and count % 4 == 0 and _aligned(given)
        if count:
            launch(_map_kernel(formula, dtypes, wide), flat_geometry(_quarter(count) if wide else count), given)
        return
    rows, width = shape
    wide = fits and width % 4 == 0 and _aligned(a for a, k in zip(given, kinds, strict=True) if k in ("each", "row"))
    kernel = _map_kernel(formula, dtypes, wide)
    sums = "rowsum" in formula.outputs
    if rows == 0 or (width == 0 and not sums):
        return
    columns = _quarter(width) if formula.random or wide else width
    given += [] if random is None else list(random)
    launch(kernel, (team_geometry if sums else matrix_geometry)(rows, columns), given)


def run_update(
    formula: Formula, arrays: Sequence[Any], scalars: Any, table: Any, random: tuple[Any, int] | None, launch: Launch
) -> None:
    """Applies an update to the flat arrays in one launch; `table` is that of kernels/targets/segments.py on the device."""
    count = arrays[0].shape[0]
    if not count or not table.shape[0]:
        return
    wide = count % 4 == 0 and _aligned(arrays)
    kernel = _update_kernel(formula, tuple(a.dtype for a in arrays), wide)
    given = [*arrays, scalars, table, *(random or ())]
    launch(kernel, flat_geometry(_quarter(count)), given[: kernel.arity])


def _aligned(arguments: Iterable[Any]) -> bool:
    """Whether all arrays among the arguments begin at multiples of 8 bytes."""
    for array in arguments:
        if hasattr(array, "dtype") and getattr(array, "ndim", False):
            # NumPy has no `data` of bfloat16, which the simulator meets.
            place = array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array.data.ptr
            if place % 8:
                return False
    return True


def random_bits(out: Any, state: Any, stream: int, launch: Launch) -> None:
    """Random bits for all of `out`; see kernels/targets/numpy.py."""
    rows, width = out.shape
    if rows and width:
        launch(_bits_kernel(), matrix_geometry(rows, _quarter(width)), [out, state, stream])
