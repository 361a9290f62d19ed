"""Optimiser states in bfloat16: right on the average, a quarter of the bytes saved, refused where a backend has none."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.contract import Random
from fusedstep.framework.optimizers import OPTIMIZERS
from fusedstep.kernels.formulas.updates import RULES, update_formula

pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")


def step_with(optimizer, backend="numpy", **options):
    model = fs.mlp([6, 32, 3], activation="tanh")
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer, seed=3, backend=backend, **options)


@pytest.fixture
def batch():
    generator = np.random.default_rng(1)
    return generator.normal(size=(50, 6)).astype(np.float32), generator.integers(0, 3, 50)


def rounded(values, step, backend="numpy"):
    """What SGD with momentum stores as its state u for a gradient of these values: u = 0 + 1 g, rounded at random."""
    b = fs.backend(backend)
    formula = update_formula(RULES["momentum_sum"])
    theta, gradient = b.zeros((len(values),)), b.asarray(values)
    u = b.zeros((len(values),), "bfloat16")
    scalars, segments = b.asarray([[1.0], [1.0], [0.1], [0.9]], "float32"), b.segments([(0, len(values), 0)])
    b.update(formula, (theta, gradient, u), scalars, segments, Random(b.random_state(7, step), 5))
    return b.to_numpy(u).astype(np.float64)


def test_rounding_at_random_is_right_on_the_average():
    values = np.repeat(np.array([1.001, -3.7, 1e-3, 2.0], np.float32), 25_000)
    got = rounded(values, 1).reshape(4, -1)
    exact = values.reshape(4, -1)[:, 0].astype(np.float64)
    spacing = 2.0 ** (np.floor(np.log2(np.abs(exact))) - 7)
    assert (np.abs(got - exact[:, None]) < spacing[:, None]).all()
    deviation = got.std(axis=1) / np.sqrt(got.shape[1])
    assert (np.abs(got.mean(axis=1) - exact) <= 4.0 * deviation + 1e-12).all()
    assert (got[0] != got[0, 0]).any()
    np.testing.assert_array_equal(got[3], 2.0)
    assert not np.array_equal(got, rounded(values, 2).reshape(4, -1))
    np.testing.assert_array_equal(got, rounded(values, 1).reshape(4, -1))


def test_numbers_that_are_not_finite_stay_what_they_are():
    values = np.array([np.inf, -np.inf, np.nan, -np.nan], np.float32)
    np.testing.assert_array_equal(rounded(values, 1), [np.inf, -np.inf, np.nan, np.nan])


RATES = {"AdaDelta": 0.5, "AdaGrad": 0.03, "Momentum": 0.03, "Nesterov": 0.03}


@pytest.mark.parametrize("name", [name for name, kind in OPTIMIZERS.items() if kind().rule.states])
def test_training_goes_as_well_as_with_states_in_float32(name, batch):
    losses = []
    for dtype in (None, "bfloat16"):
        step = step_with(OPTIMIZERS[name](RATES.get(name, 3e-3), state_dtype=dtype))
        losses.append([float(step(*batch)) for _ in range(150)])
        copies = step.state.shown_from  # such as z of Schedule-Free: parameters, not moments
        assert {str(s.dtype) for n, s in step.state.states.items() if n not in copies} == {dtype or "float32"}
        assert {str(step.state.states[n].dtype) for n in copies} <= {"float32"}
    wide, narrow = losses
    assert wide[-1] < 0.9 * wide[0]
    assert abs(narrow[-1] - wide[-1]) < 0.05 * (wide[0] - wide[-1])


def test_small_changes_of_a_second_moment_are_not_lost(batch):
    """v moves by 0.1 % a step, which rounding to nearest would lose, as bfloat16 resolves 0.4 %."""
    step = step_with(fs.Adam(1e-3, state_dtype="bfloat16"))
    wide = step_with(fs.Adam(1e-3))
    for _ in range(300):
        for one in (step, wide):
            one(*batch)
    inside = np.asarray(wide.state.states["v"]) > 0
    ratio = step.state.states["v"].astype(np.float64)[inside] / wide.state.states["v"][inside]
    assert abs(np.median(ratio) - 1.0) < 0.05


def test_a_quarter_of_the_bytes_is_saved():
    narrow, wide = step_with(fs.Adam(state_dtype="bfloat16")).memory(8), step_with(fs.Adam()).memory(8)
    assert narrow.state * 2 == wide.state


def test_bad_input(batch):
    with pytest.raises(fs.DtypeError, match=r"state_dtype that backend 'numba'.*numpy and cuda"):
        step_with(fs.Adam(state_dtype="bfloat16"), "numba")
    with pytest.raises(fs.HyperparameterError, match="state_dtype"):
        fs.Adam(state_dtype="float16")
    with pytest.raises(fs.DtypeError, match="float64"):
        step_with(fs.Adam(state_dtype="float32"), precision="float64")
    b = fs.backend("numpy")
    with pytest.raises(fs.DtypeError, match="random bits"):
        b.update(
            update_formula(RULES["momentum_sum"]), (b.zeros((4,)), b.zeros((4,)), b.zeros((4,), "bfloat16")),
            b.zeros((4, 1)), b.segments([(0, 4, 0)]),
        )  # fmt: skip
