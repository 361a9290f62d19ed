"""Creates the row kernels: source for one type of arrays, compiled on first use.

The functions are in the other files of this folder, which list their arguments in SIGNATURES.
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
from ...targets.cuda.kernel import BOUND, CudaKernel, Generated, array_type, compiled_kernel
from ...targets.handwritten import WEIGHTS, Weighted, kernel_text
from ...targets.source import Spelling
from ...targets.storage import NARROW, Storage, computed_in
from . import columns, embedding, hinge, labels, normalization, softmax, sums
from .teams import EVERYBODY, SHUFFLES, Signatures

SIGNATURES: Signatures = {}
"""The signatures of all row kernels."""
for _family in (softmax, hinge, normalization, sums, columns, embedding, labels):
    SIGNATURES |= _family.SIGNATURES
SIGNATURES |= {
    Weighted(function): ((*kinds, "sums"), words, helpers)
    for function, (kinds, words, helpers) in SIGNATURES.items()
    if list(signature(function).parameters)[-1] == WEIGHTS
}

_INTEGERS = {
    "labels": array_type(np.dtype(np.int32), 1), "columns": array_type(np.dtype(np.int32), 2),
    "winners": array_type(np.dtype(np.uint8), 2), "counters": array_type(np.dtype(np.uint32), 1), "count": types.int32,
}  # fmt: skip
_ROUND = """\
{decorator}
def load(x):
    return {load}


{decorator}
def store(x):
    {before}
    return {stored}"""


def source(function: Callable[..., Any], dtype: np.dtype[Any], stored: str = "") -> Generated:
    """The source of the module for one kernel.

    Args: function – a key of SIGNATURES; dtype – type of the computation; stored – name of the type in which matrices and
        vectors are stored, default `dtype`.
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
    kind_types = {
        **_INTEGERS, "number": numba.from_dtype(dtype), "table": array_type(dtype, 2), "sums": array_type(dtype, 1),
        "matrix": array_type(storage.seen, 2), "vector": array_type(storage.seen, 1),
    }  # fmt: skip
    saved = {position: storage.name for position, kind in enumerate(kinds) if kind in ("matrix", "vector")}
    return Generated(function.__name__, text, tuple(kind_types[kind] for kind in kinds), saved)


def kernel(function: Callable[..., Any], dtype: Any) -> CudaKernel:
    """The kernel of a function of SIGNATURES, compiled for matrices and vectors of that type."""
    stored = str(dtype)
    return compiled_kernel(source, function, computed_in([dtype]), stored if stored in NARROW else "")
