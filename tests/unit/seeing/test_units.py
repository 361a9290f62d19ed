"""D3: saturated and dead units, counted on networks where the counts are known."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

BACKENDS = ["numpy", "numba"]


def _with_bias(activation, bias, run):
    """One input, which is multiplied by 1 for every unit, and a bias each."""
    model = fs.Sequential(fs.Linear(1, len(bias), weight_init=1.0), activation, fs.Linear(len(bias), 2))
    model.initialize(seed=0, backend=run)
    model.backend.copy(model.backend.asarray(bias, "float32"), model.parameters()["0.Linear.bias"])
    return model


@pytest.mark.parametrize("run", BACKENDS)
def test_d3_dead_units_are_those_that_no_row_reaches(run):
    x = np.linspace(-1.0, 1.0, 5000, dtype=np.float32).reshape(-1, 1)
    model = _with_bias(fs.ReLU(), [0.0, -2.0, -0.9995, -1.0, 3.0, -1.5], run)
    report = fs.unit_report(model, x)
    assert report.dead_units == {"1.ReLU": [1, 3, 5]}
    assert report.dead == {"1.ReLU": 0.5}
    assert report.saturated == {}
    assert "50.0% of the units dead" in str(report)
    # Unit 2 is active for the very last row alone: a batch without it must not decide.
    assert fs.unit_report(model, x, batch_rows=7).dead_units == report.dead_units
    assert fs.unit_report(model, x[:-2]).dead_units == {"1.ReLU": [1, 2, 3, 5]}


@pytest.mark.parametrize("run", BACKENDS)
def test_d3_saturated_outputs_are_those_near_a_limit(run):
    x = np.linspace(-8.0, 8.0, 1001, dtype=np.float32).reshape(-1, 1)
    bias = np.array([0.0, 3.0], np.float32)
    z = x.astype(np.float64) + bias
    for layer, y, low, high in ((fs.Sigmoid(), 1 / (1 + np.exp(-z)), 0.0, 1.0), (fs.Tanh(), np.tanh(z), -1.0, 1.0)):
        model = _with_bias(layer, bias, run)
        for threshold in (0.02, 0.1):
            near = np.minimum(y - low, high - y) < threshold * (high - low)
            report = fs.unit_report(model, x, threshold, batch_rows=300)
            assert report.saturated == {f"1.{type(layer).__name__}": near.mean()}
            assert 0.1 < near.mean() < 0.9
            assert report.dead == {}


def test_d3_the_slope_of_a_saturated_output_is_below_8_per_cent_of_the_largest():
    y = np.array([0.02])
    assert (y * (1 - y) / 0.25 < 0.08).all()
    assert (1 - np.array([0.96]) ** 2 < 0.08).all()


@pytest.mark.parametrize("run", BACKENDS)
def test_d3_the_callback_agrees_with_the_report(run, data, make_step):
    x, y = data
    model = fs.Sequential(
        fs.Linear(6, 20, weight_init=fs.Normal(0.2), bias_init=-1.0),
        fs.ReLU(),
        fs.Linear(20, 10, weight_init=2.0),
        fs.Tanh(),
        fs.Linear(10, 3),
    )
    statistics = fs.LayerStatistics(every=4, data=(x, y))
    step = make_step(run, model)
    fs.Trainer(step, [statistics]).fit(x, y, epochs=4, batch_size=50)
    report = fs.unit_report(step.model, x)
    assert statistics["dead"][-1, 1] == pytest.approx(report.dead["1.ReLU"], abs=1e-12)
    assert statistics["saturated"][-1, 3] == pytest.approx(report.saturated["3.Tanh"], abs=1e-12)
    assert report.dead["1.ReLU"] > 0.0 < report.saturated["3.Tanh"]
    assert np.isnan(statistics["dead"][:, [0, 2, 3, 4]]).all()
    assert np.isnan(statistics["saturated"][:, [0, 1, 2, 4]]).all()


def test_d3_layers_inside_others_are_counted_and_leaky_ones_cannot_die():
    model = fs.Sequential(fs.Linear(2, 4), fs.Residual(fs.Linear(4, 4, bias_init=-100.0), fs.ReLU()), fs.LeakyReLU(), fs.ELU())
    model.initialize(seed=0, backend="numpy")
    report = fs.unit_report(model, np.ones((3, 2)))
    assert report.dead_units == {"1.Residual.1.ReLU": [0, 1, 2, 3]}
    nothing = fs.unit_report(fs.Sequential(fs.Linear(2, 2)).initialize(backend="numpy"), np.ones((3, 2)))
    assert "no layer that saturates or dies" in str(nothing)


def test_d3_bad_input_is_refused():
    model = fs.mlp([2, 3, 2]).initialize(backend="numpy")
    with pytest.raises(fs.EmptyDataError):
        fs.unit_report(model, np.empty((0, 2)))
    with pytest.raises(fs.ShapeError):
        fs.unit_report(model, np.ones((4, 3)))
    with pytest.raises(fs.HyperparameterError, match="threshold"):
        fs.unit_report(model, np.ones((4, 2)), threshold=0.7)
    with pytest.raises(fs.HyperparameterError, match="expected a model"):
        fs.unit_report(fs.ReLU(), np.ones((4, 2)))
    with pytest.raises(fs.StateError):
        fs.unit_report(fs.mlp([2, 3, 2]), np.ones((4, 2)))
