"""Checks that invalid arguments raise the errors of the contract, with messages that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...errors import DtypeError, MixedBackends, ShapeError
from ...kernels.formulas import elementwise
from ...kernels.formulas.updates import RULES, update_formula
from ..contract import Backend
from .comparison import expect
from .suite import REALS, Sizes, check


class ForeignArray:
    """Has the attributes of an array, but belongs to no library."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape = shape
        self.ndim = len(shape)
        self.dtype = np.dtype(dtype)


def refused(wanted: type[Exception], call: Callable[[], Any], what: str, *words: str) -> None:
    """Raises ConformanceError unless the call raises an error of that type whose message contains the words."""
    try:
        call()
    except wanted as error:
        missing = [word for word in words if word not in str(error)]
        expect(not missing, f"{what}: expected the message to hold {missing}; got {str(error)!r}")
        return
    except Exception as error:
        expect(False, f"{what}: expected {wanted.__name__}; got {type(error).__name__}: {error}")
    expect(False, f"{what}: expected {wanted.__name__}; nothing was raised")


_R, _V, _W, _L = ("real", (4, 3)), ("real", (4,)), ("real", (3,)), ("int32", (4,))
_PARTS, _WINNER, _WINDOWS = ("real", (4, 6)), ("uint8", (4, 3)), ("int32", (3, 2))

CALLS: dict[str, tuple[Any, ...]] = {
    "matmul": (("real", (4, 2)), ("real", (2, 3)), _R),
    "argmax": (_R,),
    "total": (_V,),
    "sum_of_squares": (_V,),
}
"""Method -> its arguments: (dtype, shape) for arrays, other values as they are."""

ROW_CALLS: dict[str, tuple[Any, ...]] = {
    "softmax": (_R, _R),
    "softmax_cross_entropy": (_R, _L, None, 1.0, 0.0, 1.0, _V, _R),
    "softmax_cross_entropy_soft": (_R, _R, 1.0, _V, _R),
    "focal_loss": (_R, _L, None, 2.0, 1.0, _V, _R),
    "multi_class_hinge": (_R, _L, 1.0, _V, _R),
    "layer_norm": (_R, _W, _W, 1e-5, _R, _V, _V),
    "layer_norm_backward": (_R, _R, _W, _V, _V, _R, _W, _W),
    "scale_columns_backward": (_R, _R, _W, _R, _W, _W),
    "column_sum": (_R, _W),
    "maxout": (_PARTS, _R, _WINNER),
    "maxout_spread": (_R, _WINNER, _PARTS),
    "maxout_pick": (_PARTS, _WINNER, _R),
    "take_columns": (_R, ("int32", (5,)), ("real", (4, 5))),
    "sum_columns": (_PARTS, _WINDOWS, _R),
    "largest_columns": (_PARTS, _WINDOWS, _R, _WINNER),
    "largest_columns_spread": (_R, _WINNER, ("int32", (6, 2)), _PARTS),
    "largest_columns_pick": (_PARTS, _WINDOWS, _WINNER, _R),
    "grouped_matmul": (_PARTS, ("real", (6, 3)), _R),
    "grouped_matmul_input": (_R, ("real", (6, 3)), _PARTS),
    "grouped_matmul_weight": (_PARTS, _R, ("real", (6, 3))),
    "beside": (_R, ("int32", (3,)), _R, _PARTS),
    "repeat_labels": (_L, ("int32", (12,))),
    "embed": (_R, _R, _W, ("int32", (3, 4)), _R),
    "embed_backward": (_R, _R, ("int32", (3, 4)), _W),
}
"""Row operation -> its arguments, in the same form."""


@check("errors", method=(*CALLS, *ROW_CALLS), dtype=REALS)
def foreign_array(backend: Backend, sizes: Sizes, method: str, dtype: str) -> None:  # noqa: ARG001
    """MixedBackends if any array argument belongs to another library."""
    specifications = {**CALLS, **ROW_CALLS}[method]
    call = partial(backend.rows, method) if method in ROW_CALLS else getattr(backend, method)

    def arguments(foreign: int) -> list[Any]:
        made: list[Any] = []
        for position, given in enumerate(specifications):
            if not isinstance(given, tuple):
                made.append(given)
                continue
            kind = dtype if given[0] == "real" else given[0]
            made.append(ForeignArray(given[1], kind) if position == foreign else backend.zeros(given[1], kind))
        return made

    call(*arguments(-1))
    for position, given in enumerate(specifications):
        if isinstance(given, tuple):
            what = f"{method}, argument {position}"
            refused(MixedBackends, partial(call, *arguments(position)), what, backend.name, "fs.asarray(")


@check("errors")
def wrong_rows(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """ValueError for an unknown row operation, ShapeError for a wrong number of arguments."""
    x = backend.zeros((4, 3))
    refused(ValueError, lambda: backend.rows("softmix", x, x), "softmix", "softmix", "softmax")
    refused(ShapeError, lambda: backend.rows("softmax", x), "softmax without out", "softmax")


@check("errors", dtype=REALS)
def foreign_array_in_formulas(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """MixedBackends if any array passed to `map` or `update` belongs to another library."""
    own = [backend.zeros((4, 3), dtype) for _ in range(3)]
    foreign = ForeignArray((4, 3), dtype)
    for position in range(3):
        given: list[Any] = [*own[:position], foreign, *own[position + 1 :]]
        refused(MixedBackends, partial(backend.map, elementwise.add, *given), f"map, argument {position}", "fs.asarray(")
    formula = update_formula(RULES["sgd"])
    flat = [backend.zeros((64,), dtype) for _ in range(2)]
    table, segments = backend.zeros((3, 1), dtype), backend.segments([(0, 64, 0)])
    backend.update(formula, flat, table, segments)
    lone = ForeignArray((64,), dtype)
    refused(MixedBackends, lambda: backend.update(formula, [flat[0], lone], table, segments), "update", "fs.asarray(")
    refused(MixedBackends, lambda: backend.update(formula, flat, ForeignArray((3, 1), dtype), segments), "update")


@check("errors", dtype=REALS)
def shapes_of_products(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """ShapeError for inner or outer widths that do not fit."""
    for a, b, out, transposes in (
        ((4, 3), (2, 5), (4, 5), (False, False)),
        ((4, 3), (3, 5), (5, 4), (False, False)),
        ((4, 3), (3, 5), (4, 5), (True, False)),
        ((4, 3), (3, 5), (4, 5), (False, True)),
        ((4, 3), (3, 5), (3, 4), (True, True)),
    ):
        arrays = [backend.zeros(shape, dtype) for shape in (a, b, out)]
        refused(
            ShapeError,
            partial(backend.matmul, arrays[0], arrays[1], arrays[2], *transposes),
            f"{a} {b} into {out} {transposes}",
            "got",
        )


@check("errors")
def not_numbers(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """DtypeError for text, objects, complex numbers, ragged lists, and unknown names of dtypes."""
    wrong: list[Any] = [["a", "b"], np.array(["a"]), np.array([None]), np.array([1j]), [[1.0, 2.0], [3.0]], [{}]]
    for values in wrong:
        refused(DtypeError, partial(backend.asarray, values), f"asarray({values!r})", "expected", "got")
        refused(DtypeError, partial(backend.asarray, values, "float32"), f"asarray({values!r}, float32)")
    refused(DtypeError, lambda: backend.empty((2,), "float99"), "empty", "float99")
