"""Maps: kernels that evaluate a formula for every element, optionally with sums over rows and random bits.

A thread processes one element at a time, or four adjacent ones in words of 8 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np

from ....errors import DtypeError
from ...formula import Formula, trace
from ..cpu import expansions
from ..source import Lines, Spelling, indent
from ..storage import Storage, computed_in
from .geometry import BLOCK, flat_geometry, matrix_geometry, quarter, team_geometry
from .kernel import Generated, Launch, array_type, compiled_kernel, generate
from .loops import QUARTER, RANDOM_PARAMETERS, for_columns, for_rows, philox, strides
from .words import Words, aligned, storages, words_fit


def map_source(formula: Formula, dtypes: Sequence[Any], wide: bool = True) -> Generated:
    """The kernel (outputs …, arguments …, [state, stream]) of a formula.

    An output may be the same array as an argument: a thread reads all values of an element before it writes results.

    Args: dtypes – of the arrays, outputs first; one for all of them, or one for each; wide – whether to access memory in words
        of 8 bytes, if the formula allows it; arrays must then start at multiples of 8 bytes, and their rows must have a
        multiple of 4 elements.
    """
    flat = formula.flat
    access = {"each": "[i]" if flat else "[i, j]", "row": "[j]", "column": "[i]"}
    dimensions = {"each": 1 if flat else 2, "row": 1, "column": 1, "rowsum": 1}
    kinds = {f"o{k}": kind for k, kind in enumerate(formula.outputs)}
    kinds |= {f"a{k}": kind for k, kind in enumerate(formula.kinds) if kind != "bits"}
    arrays = [n for n, kind in kinds.items() if kind != "scalar"]
    dtypes = list(dtypes) * (len(arrays) if len(dtypes) == 1 else 1)
    dtype = computed_in(dtypes)
    stored = storages(arrays, dtypes, dtype)
    whole = next(n for n, kind in kinds.items() if kind == "each")
    rows = {"each": "" if flat else "i, ", "row": ""}
    wide = wide and takes_words(formula) and words_fit(stored[n].name for n in arrays if kinds[n] in rows)
    held = {n: Words(n, stored[n], rows[kinds[n]], n) for n in arrays if wide and kinds[n] in rows}
    parameters = {
        n: numba.from_dtype(dtype) if kind == "scalar"
        else array_type(np.dtype(np.uint64) if n in held else stored[n].seen, dimensions[kind])
        for n, kind in kinds.items()
    }  # fmt: skip
    turn: list[str] = []
    for k in range(4 if wide else 1):
        values = {}
        for position, (name, kind) in enumerate(zip(formula.parameters, formula.kinds, strict=True)):
            n = f"a{position}"
            if kind in ("bits", "scalar"):
                values[name] = "bits" if kind == "bits" else n
            else:
                values[name] = held[n].load(k) if n in held else stored[n].load(f"{n}{access[kind]}")
        text = Lines(trace(formula, expansions(dtype)), Spelling(dtype), values)
        turn += text.body
        for position, (kind, result) in enumerate(zip(formula.outputs, text.results, strict=True)):
            n = f"o{position}"
            if kind == "rowsum":
                turn.append(f"sum{position} += {result}")
            else:
                turn += held[n].keep(k, result, None) if n in held else stored[n].store(f"{n}{access[kind]}", result)
    if wide:
        turn = [line for n in held if n[0] == "a" for line in held[n].begin()] + turn
        turn += [line for n in held if n[0] == "o" for line in held[n].whole()]
    count = f"u64({whole}.shape[{0 if flat else 1}])" + (f" >> u64({int(held[whole].each == 2)})" if wide else "")
    constants = dict(text.constants)
    i, j = ("q", "q") if wide else ("i", "j")
    if flat:
        lines = [
            f"count, stride = {count}, u64(cuda.gridsize(1))",
            *text.uniform,
            *strides(i, "u64(cuda.grid(1))", "count", "stride", turn),
        ]
        return generate(formula.name, parameters, lines, constants, stored)
    lines = [f"rows, width = u64({whole}.shape[0]), {count}", *text.uniform]
    if formula.random:
        parameters |= RANDOM_PARAMETERS
        constants |= philox().constants
        lines += QUARTER
    columns = for_columns(turn) if formula.random else strides(j, "left", "width", "across", turn)
    sums = {k: stored[f"o{k}"] for k, kind in enumerate(formula.outputs) if kind == "rowsum"}
    if sums:
        constants |= {"BLOCK": str(BLOCK), "real": Spelling(dtype).real, "zero": "real(0.0)"}
    lines += _for_summed_rows(columns, sums) if sums else for_rows(columns)
    return generate(formula.name, parameters, lines, constants, stored)


def _for_summed_rows(columns: Sequence[str], sums: Mapping[int, Storage]) -> list[str]:
    """A loop over rows, each processed by a team of threads whose sums are then added.

    Args: columns – the loop over a row, which adds to sum0, …; sums – index of each summed output -> how it is stored.
    """
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
        *indent([line for k, storage in sums.items() for line in storage.store(f"o{k}[i]", f"total{k}")], 1),
        "cuda.syncthreads()",
    ]
    return [
        *(f"part{k} = cuda.shared.array(BLOCK, real)" for k in sums),
        "left, team = u64(cuda.threadIdx.x), u64(cuda.threadIdx.y)",
        "across, teams = u64(cuda.blockDim.x), u64(cuda.blockDim.y)",
        "slot, stride = team * across + left, u64(cuda.gridDim.x) * teams",
        *strides("first", "u64(cuda.blockIdx.x) * teams", "rows", "stride", row),
    ]


def takes_words(formula: Formula) -> bool:
    """Whether a thread may process four adjacent elements: not with random bits, whose four columns are not adjacent."""
    return not formula.random and "rowsum" not in formula.outputs


def _flattened(array: Any) -> Any:
    """A one-dimensional view; raises DtypeError where `reshape` would copy, because results written to the copy are lost."""
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
    if formula.flat:
        given = [a if k == "scalar" or a.ndim == 1 else _flattened(a) for a, k in zip(given, kinds, strict=True)]
    shape = next(a.shape for a, k in zip(given, kinds, strict=True) if k == "each")
    sums = "rowsum" in formula.outputs
    if not shape[0] or not (shape[-1] or sums):
        return
    dtypes = tuple(a.dtype for a, k in zip(given, kinds, strict=True) if k != "scalar")
    rows = [a for a, k in zip(given, kinds, strict=True) if k in ("each", "row")]
    wide = (
        takes_words(formula) and all(str(d) != "float64" for d in dtypes) and words_fit(str(a.dtype) for a in rows)
        and shape[-1] % 4 == 0 and aligned(rows)
    )  # fmt: skip
    columns = quarter(shape[-1]) if formula.random or wide else shape[-1]
    if formula.flat:
        geometry = flat_geometry(columns)
    else:
        geometry = (team_geometry if sums else matrix_geometry)(shape[0], columns)
    launch(compiled_kernel(map_source, formula, dtypes, wide), geometry, [*given, *(random or ())])
