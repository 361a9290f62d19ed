"""Updates: one launch over the whole arena, for any number of parameters and groups.

A thread processes four adjacent elements, which belong to the same group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....errors import DtypeError
from ...formula import Formula, trace
from ..cpu import expansions
from ..segments import COUNT_MASK, GROUP_SHIFT
from ..source import Lines, Spelling, indent
from ..storage import NARROW, computed_in
from .geometry import flat_geometry, quarter
from .kernel import Generated, Launch, array_type, compiled_kernel, generate
from .loops import RANDOM_PARAMETERS, philox, strides
from .words import Elements, Words, aligned, storages, words_fit


def update_source(formula: Formula, dtypes: Sequence[Any], wide: bool = True) -> Generated:
    """The kernel (arrays …, scalars, table, [state, stream]) of an update: one launch over the whole arena.

    A thread processes four adjacent elements at a time, which belong to the same group. If scalars[0, 0] is NaN, nothing is
    changed.

    Args: dtypes – of the arrays, one for all of them or one for each; wide – whether to access memory in words of 8 bytes; the
        arrays must then be float32 or bfloat16, start at multiples of 8 bytes and have a multiple of 4 elements.
    Args of the kernel: table – from kernels/targets/segments.py; state, stream – of the random bits that round new values for
        16-bit arrays.
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
    held = {a: Words(a, stored[f"{a}_"]) if wide else Elements(a, stored[f"{a}_"]) for a in arrays}
    words = philox(columns=False)
    program = trace(formula, expansions(dtype))
    uniform: list[str] = []
    elements: list[str] = []
    for k in range(4):
        values = {a: held[a].load(k) for a in arrays} | {g: f"scalars[{r}, group]" for r, g in enumerate(groups)}
        text = Lines(program, Spelling(dtype), values)
        uniform = text.uniform
        stores: list[str] = []
        for a, result in zip(formula.overwrites, text.results, strict=True):
            word = words.results[k]
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
                *(words.body if narrow else []),
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
        *indent(strides("q", "u64(cuda.grid(1))", "(count + u64(3)) >> u64(2)", "stride", turn), 1),
    ]
    seen = dict.fromkeys(stored, np.dtype(np.uint64)) if wide else {n: s.seen for n, s in stored.items()}
    parameters = {n: array_type(d, 1) for n, d in seen.items()}
    parameters |= {"scalars": array_type(dtype, 2), "table": array_type(np.dtype(np.int32), 1)}
    constants = dict(text.constants)
    if narrow:
        parameters |= RANDOM_PARAMETERS
        constants |= words.constants
    return generate(formula.name, parameters, lines, constants, stored)


def run_update(
    formula: Formula, arrays: Sequence[Any], scalars: Any, table: Any, random: tuple[Any, int] | None, launch: Launch
) -> None:
    """Applies an update to the flat arrays in one launch; `table` is that of kernels/targets/segments.py on the device."""
    count = arrays[0].shape[0]
    if not count or not table.shape[0]:
        return
    wide = count % 4 == 0 and aligned(arrays)
    kernel = compiled_kernel(update_source, formula, tuple(a.dtype for a in arrays), wide)
    given = [*arrays, scalars, table, *(random or ())]
    launch(kernel, flat_geometry(quarter(count)), given[: kernel.arity])
