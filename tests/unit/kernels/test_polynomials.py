"""The short polynomials of float32 kernels, through the compiled CPU target, over the whole range of float32.

The bounds are those of the docstrings in kernels/formulas/mathematics.py; `pytest -rP` shows what was measured.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from fusedstep.backends import backend
from fusedstep.kernels import vocabulary
from fusedstep.kernels.formula import Formula
from fusedstep.kernels.formulas.mathematics import SINGLE_PRECISION, erf_rational, sine_of_turns

STRIDES = [1031, pytest.param(257, marks=pytest.mark.exhaustive)]
"""Every 1031st bit pattern of float32: 4.2 million numbers, prime to the patterns of mantissas; or 16.7 million."""
SMALLEST_NORMAL = np.float32(1.17549435e-38)
LIBRARY_ERF = np.frompyfunc(math.erf, 1, 1)


def compiled(word, values):
    """A word of the vocabulary, by the CPU target, in the dtype of the values."""
    formula = Formula(f"word_{word}", getattr(vocabulary, word), ("x",), ("each",), ("each",))
    out = np.empty_like(values)
    backend("numba").map(formula, out, values)
    return out


@pytest.fixture(scope="module", params=STRIDES)
def all_finite(request):
    """The strided sweep."""
    patterns = np.arange(0, 2**32, request.param, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return patterns[np.isfinite(patterns)]


def with_dense(sweep, low, high, keep):
    """The sweep with half a million more numbers where the function bends, as far as `keep` accepts them."""
    more = np.random.default_rng(0).uniform(low, high, 500_000).astype(np.float32)
    values = np.concatenate([sweep, more])
    return values[keep(values)]


def relative_error(word, values, reference):
    expected = reference(values.astype(np.float64))
    got = compiled(word, values).astype(np.float64)
    assert np.isfinite(got).all()
    zero = expected == 0.0
    assert (got[zero] == 0.0).all()
    # A result below the normal range has fewer digits; there the bound is one unit of the last place of the smallest.
    error = np.abs(got - expected) / np.maximum(np.abs(expected), float(SMALLEST_NORMAL))
    worst = int(error.argmax())
    print(f"{word}: relative error {error[worst]:.3e} at {values[worst]!r}, {values.size:,} numbers")
    return float(error[worst])


def test_every_polynomial_is_measured_here():
    assert {word for word, _ in SINGLE_PRECISION} == {"exp", "expm1", "log", "log1p", "tanh", "erf"}


def test_exp(all_finite):
    values = with_dense(all_finite, -87.3, 88.7228, lambda x: (x >= np.float32(-87.3)) & (x <= np.float32(88.7228)))
    assert relative_error("exp", values, np.exp) < 1.2e-7


def test_exp_outside(all_finite):
    below = all_finite[all_finite < np.float32(-87.31)]
    above = all_finite[all_finite > np.float32(88.723)]
    assert below.size > 1e5
    assert (compiled("exp", below) == 0.0).all()
    assert (compiled("exp", above) == np.inf).all()


def test_expm1(all_finite):
    values = with_dense(all_finite, -2.0, 2.0, lambda x: x <= np.float32(88.0))
    assert relative_error("expm1", values, np.expm1) < 4e-7


def test_log(all_finite):
    values = with_dense(all_finite, 0.3, 3.0, lambda x: x >= SMALLEST_NORMAL)
    assert relative_error("log", values, np.log) < 1.2e-7


def test_log1p(all_finite):
    values = with_dense(all_finite, -0.99999, 4.0, lambda x: x > -1.0)
    assert relative_error("log1p", values, np.log1p) < 2e-7


def test_tanh(all_finite):
    values = with_dense(all_finite, -10.0, 10.0, np.isfinite)
    assert relative_error("tanh", values, np.tanh) < 2.5e-7
    got = compiled("tanh", values)
    assert (np.abs(got) <= 1.0).all()
    assert (np.signbit(got) == np.signbit(values)).all()


def test_erf(all_finite):
    values = with_dense(all_finite[::16], -5.0, 5.0, np.isfinite)
    error = np.abs(compiled("erf", values) - LIBRARY_ERF(values.astype(np.float64)).astype(np.float64))
    print(f"erf: absolute error {error.max():.3e}")
    assert error.max() < 7e-7


def test_erf_in_float64():
    rng = np.random.default_rng(1)
    values = np.concatenate([
        rng.uniform(-7.0, 7.0, 400_000), rng.normal(size=100_000) * 1e-3, np.logspace(-300, 0, 3_000),
        [0.46875, 0.5, 4.0, 6.0, 1e300],
    ])  # fmt: skip
    expected = LIBRARY_ERF(values).astype(np.float64)
    error = np.abs(erf_rational(values) - expected) / np.abs(expected)
    print(f"erf in float64: relative error {error.max():.3e}")
    assert error.max() < 1e-15
    np.testing.assert_array_equal(erf_rational(np.array([np.inf, -np.inf, 0.0])), [1.0, -1.0, 0.0])
    assert np.isnan(erf_rational(np.array([np.nan]))[0])


NAN, INF, TINY = np.nan, np.inf, 1e-45
BOTTOM = float(np.log(np.float64(SMALLEST_NORMAL)))
SPECIAL = {
    "exp": [
        (0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (NAN, NAN), (TINY, 1.0), (-TINY, 1.0), (3.4e38, INF), (-87.4, 0.0),
        (-3.4e38, 0.0),
    ],
    "expm1": [
        (0.0, 0.0), (INF, INF), (-INF, -1.0), (NAN, NAN), (TINY, TINY), (-TINY, -TINY), (3.4e38, INF), (-3.4e38, -1.0),
        (88.5, np.expm1(np.float64(np.float32(88.5)))),
    ],
    "log": [
        (1.0, 0.0), (INF, INF), (NAN, NAN), (0.0, BOTTOM), (-0.0, BOTTOM), (TINY, BOTTOM), (-1.0, BOTTOM), (-INF, BOTTOM),
        (3.4e38, np.log(3.4e38)),
    ],
    "log1p": [(0.0, 0.0), (-0.0, 0.0), (NAN, NAN), (TINY, TINY), (-TINY, -TINY), (3.4e38, np.log(3.4e38))],
    "tanh": [
        (0.0, 0.0), (-0.0, 0.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN), (TINY, TINY), (-TINY, -TINY), (3.4e38, 1.0),
        (-3.4e38, -1.0),
    ],
    "erf": [(0.0, 0.0), (-0.0, 0.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN), (TINY, 0.0), (3.4e38, 1.0), (-3.4e38, -1.0)],
}  # fmt: skip
"""(x, value); pairs, because -0.0 and 0.0 would be one key of a dict."""


@pytest.mark.parametrize("word", SPECIAL)
def test_special_values(word):
    given, expected = np.array(SPECIAL[word], np.float32).T.copy()
    got = compiled(word, given)
    np.testing.assert_allclose(got, expected, rtol=3e-7, atol=2e-9 if word == "erf" else 0.0)


@pytest.mark.parametrize("word", ["exp", "tanh"])
def test_monotone(word):
    """Neighbours in size come out in order, up to the rounding of one of them."""
    values = np.linspace(-20.0, 20.0, 2_000_001).astype(np.float32)
    got = compiled(word, values).astype(np.float64)
    assert (np.diff(got) >= -2.5e-7 * np.abs(got[1:])).all()


@pytest.mark.parametrize("word", ["exp", "expm1", "log", "log1p", "tanh", "erf"])
def test_float64_kernels_use_the_full_precision(word):
    values = np.random.default_rng(2).uniform(0.01, 6.0, 10_000)
    reference = {"erf": lambda x: LIBRARY_ERF(x).astype(np.float64)}.get(word) or getattr(np, word)
    np.testing.assert_allclose(compiled(word, values), reference(values), rtol=4e-15)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 3e-7), ("float64", 1e-15)])
def test_sine_of_turns(dtype, bound):
    turns = np.random.default_rng(0).uniform(-40.0, 40.0, 1_000_000).astype(dtype)
    formula = Formula(f"turns_{dtype}", sine_of_turns, ("x",), ("each",), ("each",))
    out = np.empty_like(turns)
    backend("numba").map(formula, out, turns)
    exact = turns.astype(np.float64)
    error = np.abs(out - np.sin(2.0 * np.pi * (exact - np.floor(exact + 0.5)))).max()
    print(f"sine_of_turns: absolute error {error:.3e} in {dtype}")
    assert error < bound
