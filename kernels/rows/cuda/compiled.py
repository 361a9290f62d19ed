"""Kernels from the functions of all families: source for one type of arrays, compiled on first use.

Their arguments are in the table SIGNATURES, which the families fill.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numba
import numpy as np
from numba import types

from ...targets.cpu import expansions
from ...targets.cuda.geometry import BLOCK, WARP
from ...targets.cuda.kernel import BOUND, Generated, Kernel, array_type, compiled_kernel
from ...targets.handwritten import kernel_text
from ...targets.source import Spelling
from ...targets.storage import NARROW, Storage, computed_in
from . import columns, hinge, normalization, softmax, sums
from .teams import EVERYBODY, SHUFFLES, Signatures

SIGNATURES: Signatures = {}
"""Those of all families."""
for _family in (softmax, hinge, normalization, sums, columns):
    SIGNATURES |= _family.SIGNATURES

_KINDS = {"labels": (np.int32, 1), "columns": (np.int32, 2), "winners": (np.uint8, 2), "counters": (np.uint32, 1)}
_ROUND = """\
{decorator}
def load(x):
    return {load}


{decorator}
def store(x):
    {before}
    return {stored}"""


def source(function: Callable[..., Any], dtype: np.dtype[Any], stored: str = "") -> Generated:
    """A function of the families as a module.

    Args: dtype – what it computes in; stored – how matrices and vectors are stored, the same unless given.
    """
    kinds, words, helpers = SIGNATURES[function]
    storage = Storage(stored or str(dtype))
    spelling = Spelling(dtype)
    settings: dict[str, object] = {
        **BOUND, "BLOCK": BLOCK, "WARP": WARP, "SHUFFLES": SHUFFLES, "EVERYBODY": EVERYBODY,
        "LOWEST": f'{spelling.real}(-float("inf"))', "REAL": f"np.dtype({spelling.real})",
    }  # fmt: skip
    decorator = '@cuda.jit(device=True, inline="always")'
    before, rounded = storage.rounded("x")
    if before:
        ways = _ROUND.format(decorator=decorator, load=storage.load("x"), before="; ".join(before), stored=rounded)
    else:
        ways = f"load = store = {spelling.real}"
    text = kernel_text(function, words, dtype, expansions(dtype), decorator, settings, helpers, ways)
    if function in columns.WORK:
        name, arguments = function.__name__, list(signature(function).parameters)[2:]
        loop = columns.LOOP.format(name=name, arguments=", ".join(arguments), work=arguments[columns.WORK[function]])
        text = text.replace(f"def {name}(", f"{decorator}\ndef element(") + f"\n\n{loop}"
    parameters: list[types.Type] = []
    narrow: dict[int, str] = {}
    for position, kind in enumerate(kinds):
        if kind == "number":
            parameters.append(numba.from_dtype(dtype))
        elif kind == "count":
            parameters.append(types.int32)
        elif kind in _KINDS:
            element, dimensions = _KINDS[kind]
            parameters.append(array_type(np.dtype(element), dimensions))
        else:
            held = storage.seen if kind in ("matrix", "vector") else dtype
            if held is storage.seen:
                narrow[position] = storage.name
            parameters.append(array_type(held, 2 if kind in ("matrix", "table") else 1))
    return Generated(function.__name__, text, tuple(parameters), narrow)


def kernel(function: Callable[..., Any], dtype: Any) -> Kernel:
    """A function of the families, compiled for matrices and vectors of that type."""
    stored = str(dtype)
    return compiled_kernel(source, function, computed_in([dtype]), stored if stored in NARROW else "")
