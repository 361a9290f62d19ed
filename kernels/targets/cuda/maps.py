"""Maps: kernels that evaluate a formula for every element, with sums over rows and random bits where it has them.

Two kinds of source: element by element, and four neighbouring elements at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np

from ....errors import DtypeError
from ...formula import Formula, trace
from ..cpu import expansions
from ..source import Lines, Spelling, indent
from ..storage import Storage, computed_in
from .geometry import BLOCK, flat_geometry, matrix_geometry, quarter, team_geometry
from .kernel import Generated, Kernel, Launch, array_type, generate
from .loops import QUARTER, RANDOM_PARAMETERS, for_columns, for_rows, philox, strides
from .words import Words, aligned, storages, words_fit


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
            *strides("i", "u64(cuda.grid(1))", "count", "stride", [*text.body, *stores]),
        ]
        return generate(formula.name, parameters, lines, constants, stored)
    lines = [f"rows, width = u64({whole}.shape[0]), u64({whole}.shape[1])", *text.uniform]
    if formula.random:
        parameters |= RANDOM_PARAMETERS
        constants |= philox().constants
        lines += QUARTER
    columns = for_columns([*text.body, *stores], formula.random)
    if not sums:
        lines += for_rows(columns)
        return generate(formula.name, parameters, lines, constants, stored)
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
        *strides("first", "u64(cuda.blockIdx.x) * teams", "rows", "stride", row),
    ]
    return generate(formula.name, parameters, lines, constants, stored)


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
    held = {n: Words(n, stored[n], rows[kind], n) for n, kind in kinds.items() if kind in rows}
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
            *strides("q", "u64(cuda.grid(1))", "quads", "stride", turn),
        ]
    else:
        lines = [
            f"rows, quads = u64({whole}.shape[0]), u64({whole}.shape[1]) >> u64({halves})",
            *uniform,
            *for_rows(strides("q", "left", "quads", "across", turn)),
        ]
    dimensions = {"each": 1 if formula.flat else 2, "row": 1, "column": 1}
    words = np.dtype(np.uint64)
    parameters = {
        n: numba.from_dtype(dtype) if kind == "scalar"
        else array_type(words if n in held else stored[n].seen, dimensions[kind])
        for n, kind in kinds.items()
    }  # fmt: skip
    return generate(formula.name, parameters, lines, text.constants, stored)


@cache
def _map_kernel(formula: Formula, dtypes: tuple[Any, ...], wide: bool) -> Kernel:
    return Kernel(map_source(formula, dtypes, wide))


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
        wide = fits and count % 4 == 0 and aligned(given)
        if count:
            launch(_map_kernel(formula, dtypes, wide), flat_geometry(quarter(count) if wide else count), given)
        return
    rows, width = shape
    wide = fits and width % 4 == 0 and aligned(a for a, k in zip(given, kinds, strict=True) if k in ("each", "row"))
    kernel = _map_kernel(formula, dtypes, wide)
    sums = "rowsum" in formula.outputs
    if rows == 0 or (width == 0 and not sums):
        return
    columns = quarter(width) if formula.random or wide else width
    given += [] if random is None else list(random)
    launch(kernel, (team_geometry if sums else matrix_geometry)(rows, columns), given)
