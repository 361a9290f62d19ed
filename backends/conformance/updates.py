"""Checks of every update rule of the library, with all features and with none, through `Backend.update`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels.formula import Formula
from ...kernels.formulas.updates import FEATURES, MASK, RULES, update_formula
from ..contract import Backend
from .comparison import Host, between, close, exactly, host, normal
from .formulas import own_formulas
from .suite import REALS, Sizes, check

UPDATES = [f for f in own_formulas() if "group" in f.kinds and set(FEATURES) & set(f.parameters) in (set(), set(FEATURES))]

SCALARS = {
    "gradient_scale": (0.75, 0.5), "decay_lr": (0.01, 0.002), "lr": (0.01, 0.03), "clip_value": (0.5, 0.25),
    "l2": (0.01, 0.0), "l1": (0.02, 0.0), "l1_proximal": (0.5, 0.0), "weight_decay": (0.1, 0.0), "gamma": (0.9, 0.8),
    "mu": (0.9, 0.8), "beta": (0.9, 0.8), "beta2": (0.999, 0.9), "rest": (0.1, 0.2), "rest1": (0.1, 0.2),
    "rest2": (0.001, 0.1), "root": (3.0, 1.5), "eps": (1e-6, 1e-3), "ahead": (0.8, 0.7), "now": (0.3, 0.2),
    "correction": (1.5, 1.25),
}  # fmt: skip
"""Values of each scalar in two groups; others get 0.625 and 0.375."""
SQUARES = frozenset({"v", "d"})
"""States that are never negative."""


def prepared(formula: Formula, dtype: str, size: int) -> tuple[list[Host], Host]:
    """Arrays of that size and the table [scalars, 2 groups], rounded to the dtype."""
    arrays = [
        between(dtype, (size,), 0.05, 1.0, name) if name in SQUARES or (name, formula.name[:6]) == ("u", "adamax")
        else (normal(dtype, (size,), name) > 0.0).astype(dtype) if name == MASK
        else normal(dtype, (size,), name)
        for name, kind in zip(formula.parameters, formula.kinds, strict=True) if kind == "each"
    ]  # fmt: skip
    rows = [SCALARS.get(n, (0.625, 0.375)) for n, k in zip(formula.parameters, formula.kinds, strict=True) if k == "group"]
    return arrays, np.array(rows, dtype)


def plain(formula: Formula, arrays: list[Host], table: Host, ranges: list[tuple[int, int, int]]) -> list[Host]:
    """All arrays after the update, in float64."""
    results = [a.astype(np.float64) for a in arrays]
    places = [formula.parameters.index(name) for name in formula.overwrites]
    for start, stop, group in ranges:
        scalars = [np.float64(s) for s in table[:, group]]
        updated = formula(*(a[start:stop].astype(np.float64) for a in arrays), *scalars)
        for place, new in zip(places, updated, strict=True):
            results[place][start:stop] = new
    return results


def updated(backend: Backend, formula: Formula, arrays: list[Host], table: Host, ranges: Any) -> list[Host]:
    """All arrays after the backend's update."""
    own = [backend.asarray(a.copy()) for a in arrays]
    backend.update(formula, own, backend.asarray(table), backend.segments(ranges))
    return [host(backend, a, b.shape, str(b.dtype), "array") for a, b in zip(own, arrays, strict=True)]


def _ranges(size: int) -> list[tuple[int, int, int]]:
    """(start, stop, group) of two groups with gaps, as far as the size allows; starts are multiples of 64."""
    last = max(size - 100, 128) // 64 * 64
    wanted = [(0, 33, 0), (64, 64, 0), (64, last - 3, 1), (last, size, 0)]
    return [(start, min(stop, size), group) for start, stop, group in wanted if start <= min(stop, size)]


@check("updates", formula=UPDATES, dtype=REALS)
def values(backend: Backend, sizes: Sizes, formula: Formula, dtype: str) -> None:
    """Segments use the scalars of their group; gaps and read-only arrays do not change; repeated calls give the same bits."""
    for size in sizes.lengths:
        arrays, table = prepared(formula, dtype, size)
        ranges = _ranges(size)
        results = updated(backend, formula, arrays, table, ranges)
        covered = np.zeros(size, bool)
        for start, stop, _ in ranges:
            covered[start:stop] = True
        for k, (result, reference) in enumerate(zip(results, plain(formula, arrays, table, ranges), strict=True)):
            what = f"{formula.parameters[k]} of {size} elements"
            close(result, reference, dtype, "update", what)
            exactly(result[~covered], arrays[k][~covered], f"{what}, in the gaps")
            if formula.parameters[k] not in formula.overwrites:
                exactly(result, arrays[k], f"{what}, which is only read")
        for k, (second, first) in enumerate(zip(updated(backend, formula, arrays, table, ranges), results, strict=True)):
            exactly(second, first, f"{formula.parameters[k]} of {size} elements, a second time")


@check("updates", dtype=REALS)
def nan_gate(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """If the first scalar is NaN, nothing is changed, not even the states, also with NaN in the gradient."""
    formula = update_formula(RULES["adam_outside"])
    for size in sizes.lengths[1:]:
        arrays, table = prepared(formula, dtype, size)
        arrays[1][0] = np.nan
        table[0] = np.nan
        for result, before in zip(updated(backend, formula, arrays, table, _ranges(size)), arrays, strict=True):
            exactly(result, before, f"{size} elements")


@check("updates", dtype=REALS)
def read_only_gradient(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """The gradient may be read-only, and a part of a larger array."""
    formula = update_formula(RULES["sgd"])
    theta, gradient = normal(dtype, (128,), "theta"), normal(dtype, (256,), "gradient")
    gradient.flags.writeable = False
    table = np.array([[1.0], [0.1], [0.1]], dtype)
    own = backend.asarray(theta.copy())
    backend.update(formula, [own, backend.asarray(gradient)[64:192]], backend.asarray(table), backend.segments([(0, 128, 0)]))
    close(backend.to_numpy(own), theta - table[1] * gradient[64:192].astype("f8"), dtype, "update")
