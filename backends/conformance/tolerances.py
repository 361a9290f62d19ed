"""Tolerances of backends, by dtype and kind of operation; a test that uses another tolerance states the reason next to it.

The reference is always computed in float64, from inputs that were rounded to the dtype first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Tolerance(NamedTuple):
    """|result - reference| <= atol + rtol |reference|, element by element."""

    atol: float
    rtol: float

    def allows(self, result: Any, reference: Any) -> np.ndarray[Any, Any]:
        """Where the result is close enough; NaN agrees with NaN and infinity with the same infinity."""
        result, reference = np.asarray(result, np.float64), np.asarray(reference, np.float64)
        with np.errstate(invalid="ignore"):
            near = np.abs(result - reference) <= self.atol + self.rtol * np.abs(reference)
        both_nan = np.isnan(result) & np.isnan(reference)
        allowed: np.ndarray[Any, Any] = np.where(np.isfinite(reference), near, (result == reference) | both_nan)
        return allowed


TOLERANCES: dict[tuple[str, str], Tolerance] = {
    # One formula per element: the absolute part is for erf, accurate to 4e-7 in float32, and for derivatives that cancel near
    # 0.
    ("float32", "elementwise"): Tolerance(1e-5, 4e-6),
    ("float64", "elementwise"): Tolerance(1e-13, 1e-13),
    # One optimiser update of arrays with elements of about 1.
    ("float32", "update"): Tolerance(2e-6, 1e-5),
    ("float64", "update"): Tolerance(1e-14, 1e-13),
    # Types of 16 bits: computed in float32 from the given values, then rounded once, by at most half the spacing of the type:
    # 2^-9 of the result for bfloat16, 2^-12 for float16. Errors of float32 can change the direction of a rounding, which
    # doubles the error, hence 2^-8 and 2^-11, the units in the last place. The absolute part is that of float32, and covers
    # subnormal numbers of float16 (spacing 6e-8).
    ("bfloat16", "elementwise"): Tolerance(1e-5, 2.0**-8),
    ("float16", "elementwise"): Tolerance(1e-5, 2.0**-11),
    ("bfloat16", "row"): Tolerance(1e-5, 2.0**-8),
    ("float16", "row"): Tolerance(1e-5, 2.0**-11),
    # Losses and parameters of steps in 16 bits, compared with another backend in the same precision: errors of float32 change
    # the direction of single roundings, by one unit in the last place of an activation. Allowed are that unit for the loss, and
    # for parameters the effect of such a unit in every gradient over some steps of Adam.
    ("bfloat16", "loss"): Tolerance(0.0, 2.0**-8),
    ("float16", "loss"): Tolerance(0.0, 2.0**-11),
    ("bfloat16", "parameter"): Tolerance(1e-3, 2.0**-8),
    ("float16", "parameter"): Tolerance(2e-4, 2.0**-11),
    # Products whose factors are scaled so that results are about 1.
    ("float32", "product"): Tolerance(1e-5, 1e-5),
    ("float64", "product"): Tolerance(1e-14, 1e-13),
    # Softmax, normalisation and the like, along one row.
    ("float32", "row"): Tolerance(1e-5, 1e-5),
    ("float64", "row"): Tolerance(1e-13, 1e-13),
    # Sums over some hundred rows of elements of about 1, in the dtype itself.
    ("float32", "sum"): Tolerance(5e-5, 1e-5),
    ("float64", "sum"): Tolerance(1e-13, 1e-13),
    # Sums of all elements, taken at least in float32 with partial sums, in float64 on a host; terms >= 0.
    ("float32", "reduction"): Tolerance(0.0, 2e-6),
    ("float64", "reduction"): Tolerance(0.0, 1e-13),
    # Losses of some tens of training steps that start from the same bits.
    ("float32", "loss"): Tolerance(0.0, 1e-5),
    ("float64", "loss"): Tolerance(0.0, 1e-12),
    # Parameters after those steps; Adam divides small gradients by their own size, which enlarges rounding.
    ("float32", "parameter"): Tolerance(1e-4, 1e-4),
    ("float64", "parameter"): Tolerance(1e-11, 1e-11),
}
"""(dtype, kind of operation) -> tolerance."""


def tolerance(dtype: str, kind: str) -> Tolerance:
    """The entry of TOLERANCES; the additional kind "exact" allows no difference."""
    return Tolerance(0.0, 0.0) if kind == "exact" else TOLERANCES[dtype, kind]
