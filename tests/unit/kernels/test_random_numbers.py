"""Uniform and normal numbers, noise and masks: their distributions, and the quantile that the normal ones are made with.

Bounds are five standard errors of the statistic, so that a right generator passes for any seed that one would choose.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from fusedstep.backends import Backend, Random, backend
from fusedstep.kernels.formula import Formula
from fusedstep.kernels.formulas.mathematics import normal_quantile
from fusedstep.kernels.formulas.random import dropout, gaussian_noise, normal, to_normal, uniform

HOSTS = {"base": lambda: Backend(np), "numpy": lambda: backend("numpy"), "numba": lambda: backend("numba")}
SHAPE = (1000, 500)
COUNT = SHAPE[0] * SHAPE[1]


def draw(name, formula, dtype, *arguments, seed=3, stream=1, shape=SHAPE):
    host = HOSTS[name]()
    out = np.empty(shape, dtype)
    host.map(formula, out, *arguments, random=Random(host.random_state(seed, 1), stream))
    return out


def kolmogorov_smirnov(values, distribution):
    """sqrt(n) times the largest distance of the empirical from the true distribution function."""
    ordered = distribution(np.sort(values.reshape(-1).astype(np.float64)))
    steps = np.arange(1, ordered.size + 1) / ordered.size
    return np.sqrt(ordered.size) * max(np.abs(steps - ordered).max(), np.abs(steps - 1 / ordered.size - ordered).max())


def normal_function(x):
    from fusedstep.kernels.vocabulary import erf

    return 0.5 * (1.0 + erf(x / np.sqrt(2.0)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HOSTS)
def test_uniform(name, dtype):
    u = draw(name, uniform, dtype, -1.0, 3.0).astype(np.float64)
    assert u.min() >= -1.0
    assert u.max() < 3.0
    assert abs(u.mean() - 1.0) < 5 * np.sqrt(16 / 12 / COUNT)
    assert abs(u.var() - 16 / 12) < 5 * 16 * np.sqrt(1 / 180 / COUNT)
    # The distribution of this statistic does not depend on n; it exceeds 2.2 with probability 1e-4.
    assert kolmogorov_smirnov(u, lambda x: (x + 1.0) / 4.0) < 2.2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HOSTS)
def test_normal(name, dtype):
    z = (draw(name, normal, dtype, 0.5, 2.0).astype(np.float64) - 0.5) / 2.0
    assert abs(z.mean()) < 5 / np.sqrt(COUNT)
    assert abs(z.var() - 1.0) < 5 * np.sqrt(2 / COUNT)
    assert abs((z**3).mean()) < 5 * np.sqrt(15 / COUNT)
    assert abs((z**4).mean() - 3.0) < 5 * np.sqrt(96 / COUNT)
    assert kolmogorov_smirnov(z, normal_function) < 2.2
    assert 4.0 < np.abs(z).max() < 6.4


@pytest.mark.parametrize("name", HOSTS)
def test_neighbours_are_independent(name):
    """Correlations of neighbours by column and by row, of steps and of streams."""
    z = draw(name, normal, "float64", 0.0, 1.0)
    others = [
        (z[:, :-1], z[:, 1:]), (z[:-1], z[1:]), (z[:, :125], z[:, 125:250]),
        (z, draw(name, normal, "float64", 0.0, 1.0, stream=2)), (z, draw(name, normal, "float64", 0.0, 1.0, seed=4)),
    ]  # fmt: skip
    for a, b in others:
        assert abs((a * b).mean()) < 5 / np.sqrt(a.size)


@pytest.mark.parametrize("formula", [uniform, normal], ids=str)
def test_hosts_draw_the_same_numbers(formula):
    """uniform to the bit; normal as far as logarithms agree (initial weights are drawn by one host for all)."""
    for dtype, tolerance in (("float32", 3e-6), ("float64", 1e-14)):
        drawn = [draw(name, formula, dtype, 0.25, 1.5, shape=(40, 37)) for name in HOSTS]
        for other in drawn[1:]:
            if formula is uniform:
                np.testing.assert_array_equal(other, drawn[0])
            else:
                np.testing.assert_allclose(other, drawn[0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HOSTS)
def test_dropout(name, dtype):
    share = 0.3
    x = np.full(SHAPE, 2.0, dtype)
    y = draw(name, dropout, dtype, x, share, 1.0 / (1.0 - share))
    dropped = float((y == 0.0).mean())
    assert abs(dropped - share) < 5 * np.sqrt(share * (1 - share) / COUNT)
    np.testing.assert_allclose(y[y != 0.0], 2.0 / 0.7, rtol=1e-6)
    for other in HOSTS:
        np.testing.assert_array_equal(draw(other, dropout, dtype, x, share, 1.0 / (1.0 - share)) == 0.0, y == 0.0)
    np.testing.assert_array_equal(draw(name, dropout, dtype, x, 0.0, 1.0), x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HOSTS)
def test_gaussian_noise_is_added(name, dtype):
    x = np.full(SHAPE, 3.0, dtype)
    noise = draw(name, gaussian_noise, dtype, x, 0.5).astype(np.float64) - 3.0
    assert abs(noise.mean()) < 5 * 0.5 / np.sqrt(COUNT)
    assert abs(noise.var() - 0.25) < 5 * 0.25 * np.sqrt(2 / COUNT)


QUANTILE = Formula("quantile_probe", normal_quantile, ("p",), ("each",), ("each",))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HOSTS)
def test_normal_quantile(name, dtype):
    """The bounds of its docstring, against the standard library."""
    tails = np.unique(np.concatenate([np.linspace(1e-6, 0.5, 4001), np.logspace(np.log10(2.0**-33), np.log10(0.5), 4001)]))
    p = np.minimum(tails, 0.5).astype(dtype).reshape(1, -1)
    z = np.empty_like(p)
    HOSTS[name]().map(QUANTILE, z, p)
    expected = np.array([-NormalDist().inv_cdf(float(v)) for v in p[0]])
    error = np.abs(z[0].astype(np.float64) - expected)
    ordinary = p[0] >= 1.2e-8
    print(f"quantile in {dtype} on {name}: {error[ordinary].max():.2e}, in the far tail {error.max():.2e}")
    assert error[ordinary].max() < 1e-5
    assert error.max() < 3e-3
    assert (np.diff(z[0]) <= 1e-6).all()
    assert abs(z[0, -1]) < 1e-7


def test_extreme_bits_give_finite_symmetric_numbers():
    bits = np.array([0, 1, 2, 3, 2**32 - 2, 2**32 - 1], np.uint32)
    for dtype in (np.float32, np.float64):
        z = to_normal(bits, np.zeros(1, dtype))
        assert np.isfinite(z).all()
        np.testing.assert_array_equal(z[0::2], -z[1::2])
        assert z[0] == pytest.approx(-NormalDist().inv_cdf(2.0**-33), abs=3e-3)
        assert abs(z[4]) < 1e-6
