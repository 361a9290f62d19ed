"""Every CUDA kernel for each storage type of its arrays; nothing is compiled here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..kernels import formulas  # noqa: F401 – registers all formulas
from ..kernels.formula import REGISTRY, Formula
from ..kernels.formulas.updates import WIDE
from ..kernels.rows.cuda import compiled
from ..kernels.targets import cache
from ..kernels.targets.cuda.bits import bits_source
from ..kernels.targets.cuda.kernel import Generated
from ..kernels.targets.cuda.maps import map_source
from ..kernels.targets.cuda.updates import update_source

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


class Variant(NamedTuple):
    """A kernel for one way of storing its arrays: its name, how they are stored, and what makes its source."""

    kernel: str
    stored: str
    source: Callable[[], Generated]

    def __str__(self) -> str:
        return f"{self.kernel}-{self.stored}"


def digest(generated: Generated) -> str:
    """What tells whether a kernel is still the one that was compiled."""
    return cache.digest(generated.text + repr(generated.parameters))


def _narrow_map(formula: Formula) -> list[str]:
    """How arrays are stored in a step of bfloat16: matrices and rows in 16 bits, what belongs to whole rows in float32."""
    kinds = (*formula.outputs, *(k for k in formula.kinds if k not in ("scalar", "bits")))
    return ["bfloat16" if kind in ("each", "row") else "float32" for kind in kinds]


def _narrow_states(formula: Formula) -> list[str]:
    """How arrays are stored with state_dtype="bfloat16"."""
    arrays = [p for p, k in zip(formula.parameters, formula.kinds, strict=True) if k == "each"]
    states = set(arrays) - {"theta", "gradient", "direction"} - WIDE
    return ["bfloat16" if a in states else "float32" for a in arrays]


def variants(registered: Sequence[Formula] | None = None) -> Iterator[Variant]:
    """Everything that a step on a GPU may launch: float32 all of it, and what has arrays of 16 bits with those as well."""
    for formula in REGISTRY.values() if registered is None else registered:
        source, narrow = (update_source, _narrow_states) if formula.overwrites else (map_source, _narrow_map)
        yield Variant(formula.name, "float32", partial(source, formula, [SINGLE]))
        mixed = narrow(formula)
        if "bfloat16" in mixed:
            yield Variant(formula.name, "bfloat16", partial(source, formula, mixed))
    for function, (kinds, _, _) in compiled.SIGNATURES.items():
        yield Variant(function.__name__, "float32", partial(compiled.source, function, SINGLE))
        for stored in ("bfloat16", "float16") if {"matrix", "vector"} & set(kinds) else ():
            yield Variant(function.__name__, stored, partial(compiled.source, function, SINGLE, stored))
    yield Variant("random_bits", "uint32", bits_source)


def doubles() -> Iterator[Variant]:
    """The kernels of float64, which checks and second-order methods launch; those of steps are in `variants`."""
    for formula in REGISTRY.values():
        yield Variant(formula.name, "float64", partial(update_source if formula.overwrites else map_source, formula, [DOUBLE]))
    for function, (kinds, _, _) in compiled.SIGNATURES.items():
        if set(kinds) != {"labels"}:
            yield Variant(function.__name__, "float64", partial(compiled.source, function, DOUBLE))
