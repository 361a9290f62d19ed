"""Checks of sums over whole arrays, and of clipping by norm."""

from __future__ import annotations

import math

import numpy as np

from ..contract import Backend
from .comparison import between, close, expect, host, normal
from .suite import REALS, Sizes, check


@check("reductions", dtype=REALS)
def total(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """The sum of a vector from read-only memory; repeated calls give the same bits."""
    for length in sizes.lengths:
        x = between(dtype, (length,), 0.0, 2.0)
        x.flags.writeable = False
        own = backend.asarray(x)
        first, second = (backend.item(backend.total(own)) for _ in range(2))
        expect(type(first) is float, f"expected item to give a float; got {type(first).__name__}")
        close(first, x.sum(dtype=np.float64), dtype, "reduction", f"{length} elements")
        expect(first == second, f"{length} elements: expected the same bits twice; got {first!r} and {second!r}")


@check("reductions", dtype=REALS)
def sum_of_squares(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """The sum of squares of a part of a flat array; repeated calls give the same bits."""
    for length in sizes.lengths:
        x = normal(dtype, (length + 64,))
        x.flags.writeable = False
        own = backend.asarray(x)[64:]
        first, second = (backend.item(backend.sum_of_squares(own)) for _ in range(2))
        close(first, np.square(x[64:], dtype=np.float64).sum(), dtype, "reduction", f"{length} elements")
        expect(first == second, f"{length} elements: expected the same bits twice; got {first!r} and {second!r}")


@check("reductions", dtype=REALS)
def not_finite(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """NaN or infinity at any position makes both sums NaN or infinite."""
    for length in sizes.lengths[1:]:
        for place in {0, length // 2, length - 1}:
            for value in (np.nan, np.inf, -np.inf):
                x = np.ones(length, dtype)
                x[place] = value
                own = backend.asarray(x)
                for name in ("total", "sum_of_squares"):
                    got = backend.item(getattr(backend, name)(own))
                    what = f"{name} of {length} elements with {value} at {place}"
                    expect(not math.isfinite(got), f"{what}: expected NaN or infinity; got {got}")
                    expect(math.isnan(got) == math.isnan(value), f"{what}: got {got}")


@check("reductions", dtype=REALS)
def limit_norm(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """Scales are unchanged for a small norm, reduced for a large one, and NaN if the norm is not finite or above `most`."""
    for x, largest, factor in (
        ([3.0, 4.0], 10.0, 1.0),
        ([3.0, 4.0], 5.0, 1.0),
        ([3.0, 4.0], 2.0, 0.4),
        ([3.0, 4.0], float("inf"), 1.0),
        ([0.0, 0.0], 1.0, 1.0),
        ([0.0, 0.0], float("inf"), 1.0),
        ([3.0, float("nan")], 2.0, float("nan")),
        ([3.0, float("inf")], 2.0, float("nan")),
        ([3.0, float("inf")], float("inf"), float("nan")),
        ([3.0, float("nan")], float("inf"), float("nan")),
    ):
        scales = backend.asarray(np.array([1.0, 0.5], dtype))
        backend.limit_norm(scales, backend.sum_of_squares(backend.asarray(np.array(x, dtype))), largest)
        what = f"a gradient of {x} limited to {largest}"
        close(host(backend, scales, (2,), dtype, what), np.array([1.0, 0.5]) * factor, dtype, "elementwise", what)
    for most, factor in ((25.0, 0.4), (24.0, float("nan"))):
        scales = backend.asarray(np.array([1.0, 0.5], dtype))
        backend.limit_norm(scales, backend.sum_of_squares(backend.asarray(np.array([3.0, 4.0], dtype))), 2.0, most)
        what = f"a gradient whose squares add up to 25, where at most {most} is applied"
        close(host(backend, scales, (2,), dtype, what), np.array([1.0, 0.5]) * factor, dtype, "elementwise", what)
