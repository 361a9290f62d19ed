"""Initial weights: the stated variances, the limits of the uniform ones, and the same bits everywhere (row A13)."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.engine.initializers import INITIALIZERS, initializer

FAN_IN, FAN_OUT = 300, 500

VARIANCES = {
    "zeros": 0.0,
    "lecun_normal": 1.0 / FAN_IN,
    "he_normal": 2.0 / FAN_IN,
    "he_uniform": 2.0 / FAN_IN,
    "glorot_normal": 2.0 / (FAN_IN + FAN_OUT),
    "glorot_uniform": 2.0 / (FAN_IN + FAN_OUT),
}


def _weights(init, **options) -> np.ndarray:
    model = fs.Sequential(fs.Linear(FAN_IN, FAN_OUT, weight_init=init)).initialize(backend="numpy", **options)
    return model.parameters()["0.Linear.weight"].astype(np.float64)


def test_the_table_is_complete() -> None:
    assert set(VARIANCES) == set(INITIALIZERS)


@pytest.mark.row("A13")
@pytest.mark.parametrize("name", VARIANCES)
def test_variance(name: str) -> None:
    w = _weights(name, seed=1)
    n = w.size
    deviation = VARIANCES[name] ** 0.5
    assert abs(w.mean()) <= 5 * deviation / n**0.5
    # The variance of a normal sample has relative standard error sqrt(2 / n); a uniform one has less.
    assert abs(w.var() - VARIANCES[name]) <= 5 * VARIANCES[name] * (2 / n) ** 0.5
    if name.endswith("uniform"):
        limit = (3 * VARIANCES[name]) ** 0.5
        assert -limit <= w.min() < -0.999 * limit
        assert 0.999 * limit < w.max() <= limit


@pytest.mark.row("A13")
def test_constant_and_bias() -> None:
    model = fs.Sequential(fs.Linear(3, 4, weight_init=0.5, bias_init=0.01)).initialize(backend="numpy")
    assert (model.parameters()["0.Linear.weight"] == np.float32(0.5)).all()
    assert (model.parameters()["0.Linear.bias"] == np.float32(0.01)).all()


def test_chosen_deviation() -> None:
    assert _weights(fs.Normal(3.0), seed=2).std() == pytest.approx(3.0, rel=0.01)


def test_float32_is_float64_rounded() -> None:
    single, double = _weights("he_normal", seed=5), _weights("he_normal", seed=5, dtype="float64")
    np.testing.assert_array_equal(single, double.astype(np.float32).astype(np.float64))


def test_seeds_and_layers_are_independent() -> None:
    a, b = _weights("he_normal", seed=0), _weights("he_normal", seed=1)
    model = fs.mlp([50, 50, 50]).initialize(seed=0, backend="numpy")
    first, _, second, _ = model.parameters().values()
    for one, other in ((a, b), (first, second)):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / one.size**0.5


@pytest.mark.parametrize("bad", ["xavier", -1])
def test_bad_input(bad) -> None:
    if bad == -1:
        with pytest.raises(fs.HyperparameterError, match="standard deviation >= 0"):
            fs.Normal(-1.0)
    else:
        with pytest.raises(fs.HyperparameterError, match="glorot_uniform"):
            initializer(bad)
