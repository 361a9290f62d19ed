"""D2: mean and deviation of activations and gradients over depth and time, by a callback that costs nothing when off."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.conformance.tolerances import tolerance

BACKENDS = ["numpy", "numba"]


def _by_hand(parameters, x, y, places):
    """Outputs of each layer of Linear, Tanh, Linear, ReLU, Linear and the gradients by them, in float64."""
    w = {name: np.asarray(values, np.float64) for name, values in parameters.items()}
    outputs, h = [], x.astype(np.float64)
    for index in range(5):
        if index % 2 == 0:
            h = h @ w[f"{index}.Linear.weight"] + w[f"{index}.Linear.bias"]
        else:
            h = np.tanh(h) if index == 1 else np.maximum(h, 0.0)
        outputs.append(h)
    e = np.exp(h - h.max(axis=1, keepdims=True))
    derivative = (e / e.sum(axis=1, keepdims=True) - np.eye(h.shape[1])[y]) / len(x)
    gradients = [derivative]
    for index in (4, 3, 2, 1):
        if index % 2 == 0:
            derivative = derivative @ w[f"{index}.Linear.weight"].T
        else:
            derivative = derivative * (1.0 - outputs[1] ** 2 if index == 1 else outputs[3] > 0.0)
        gradients.insert(0, derivative)
    assert len(outputs) == len(gradients) == places
    return outputs, gradients


def _model():
    return fs.Sequential(fs.Linear(6, 16), fs.Tanh(), fs.Linear(16, 12), fs.ReLU(), fs.Linear(12, 3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("run", BACKENDS)
def test_d2_statistics_equal_those_of_numpy(run, dtype, data, make_step):
    x, y = data
    step = make_step(run, _model(), precision=dtype)
    statistics = fs.LayerStatistics(every=1)
    fs.Trainer(step, [statistics], shuffle="never").fit(x, y, epochs=3, batch_size=100)
    assert statistics.layers == ["0.Linear", "1.Tanh", "2.Linear", "3.ReLU", "4.Linear"]
    assert statistics.steps == [1, 2, 3, 4, 5, 6]
    parameters = {name: step.backend.to_numpy(values) for name, values in step.model.parameters().items()}
    outputs, gradients = _by_hand(parameters, x[100:], y[100:], 5)
    for quantity, wanted in (("activation", outputs), ("gradient", gradients)):
        for moment in ("mean", "std"):
            found = statistics[f"{quantity}_{moment}"]
            assert found.shape == (6, 5)
            size = max(float(np.abs(w).max()) for w in wanted)
            reference = np.array([getattr(np, moment)(w) for w in wanted])
            assert tolerance(dtype, "sum").allows(found[-1] / size, reference / size).all()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_d2_d3_statistics_of_steps_in_16_bits_are_near_those_of_float32(precision, data, make_step):
    pytest.importorskip("ml_dtypes")
    found = []
    for name in ("float32", precision):
        statistics = fs.LayerStatistics(every=1, data=data)
        fs.Trainer(make_step("numpy", _model(), precision=name), [statistics]).fit(*data, epochs=1, batch_size=None)
        found.append(statistics)
    assert found[1].layers == found[0].layers
    for quantity in ("activation_mean", "activation_std", "gradient_mean", "gradient_std"):
        reference, narrow = (s[quantity][0] for s in found)
        spread = found[0][quantity.replace("mean", "std")][0]
        assert (np.abs(narrow - reference) < 0.02 * spread).all()  # 2^-8 is the rounding of one bfloat16 number
    np.testing.assert_allclose(found[1]["dead"], found[0]["dead"], atol=0.1)


@pytest.mark.parametrize("run", BACKENDS)
def test_d2_streamed_rows_and_pieces_of_minibatches_are_looked_at_as_well(run, data, make_step):
    found = []
    for place, micro in (("auto", None), ("stream", None), ("stream", 20)):
        statistics = fs.LayerStatistics(every=3)
        step = make_step(run, _model(), micro_batch=micro)
        fs.Trainer(step, [statistics], evaluate_training=True).fit(*data, epochs=2, batch_size=40, data=place)
        found.append(statistics)
    assert found[0].steps == found[1].steps == found[2].steps == [1, 3, 6, 9]
    np.testing.assert_allclose(found[1]["gradient_std"], found[0]["gradient_std"], rtol=1e-5)
    # Half of the rows of the same step, and the mean of half as many losses.
    np.testing.assert_allclose(found[2]["activation_std"], found[0]["activation_std"], rtol=0.5)
    assert (found[2]["gradient_std"] > 1.2 * found[0]["gradient_std"]).all()


@pytest.mark.parametrize("run", BACKENDS)
def test_d2_training_is_the_same_bit_for_bit_with_the_callback(run, data, make_step):
    x, y = data
    found = []
    for callbacks in ([], [fs.LayerStatistics(every=2), fs.ParameterPath(every=3)]):
        step = make_step(run, fs.mlp([6, 16, 12, 3], dropout=0.3))
        history = fs.Trainer(step, callbacks).fit(x, y, epochs=4, batch_size=30)
        found.append([*(step.backend.to_numpy(v) for v in step.model.parameters().values()), np.array(history["loss"])])
    for plain, watched in zip(*found, strict=True):
        np.testing.assert_array_equal(plain, watched)


@pytest.mark.parametrize("run", BACKENDS)
def test_d2_layers_inside_others_and_dropout_are_seen_as_in_training(run, data, make_step):
    x, y = data
    model = fs.Sequential(
        fs.Linear(6, 8), fs.Residual(fs.Linear(8, 8), fs.Tanh(), fs.Residual(fs.LayerNorm(8))), fs.Dropout(0.5), fs.Linear(8, 3)
    )
    step = make_step(run, model)
    statistics = fs.LayerStatistics(every=1)
    fs.Trainer(step, [statistics], shuffle="never").fit(x, y, epochs=1, batch_size=None)
    assert statistics.layers == [
        "0.Linear", "1.Residual.0.Linear", "1.Residual.1.Tanh", "1.Residual.2.Residual.0.LayerNorm",
        "1.Residual.2.Residual", "1.Residual", "2.Dropout", "3.Linear",
    ]  # fmt: skip
    # The same pass again, through the layers themselves.
    tape = step.new_tape(step.model.arena.new())
    inputs, targets = step.prepare(x, y)
    tape.begin(len(x))
    tape.set_step(1)
    seen, h = [], inputs
    for layer in model.layers:
        h = layer.forward(h, tape)
        seen.append(step.backend.to_numpy(h))
    _, derivative = step.loss.evaluate(h, targets, tape)
    derivatives = [derivative]
    for layer in model.layers[:0:-1]:
        derivatives.insert(0, layer.backward(derivatives[0], tape))
    for place, y_, dy in zip((0, 5, 6, 7), seen, derivatives, strict=True):
        assert statistics["activation_std"][0, place] == pytest.approx(np.std(y_, dtype=np.float64), rel=1e-5)
        assert statistics["gradient_std"][0, place] == pytest.approx(np.std(step.backend.to_numpy(dy)), rel=1e-5)
    assert (seen[2] == 0.0).mean() > 0.3
    assert not np.isnan(statistics["gradient_mean"]).any()
    assert np.isnan(statistics["dead"]).all()


class _Counted(fs.Identity, public=False):
    calls = 0

    def forward(self, x, tape):
        _Counted.calls += 1
        return super().forward(x, tape)


def test_d2_it_computes_only_when_it_looks(data, make_step):
    x, y = data
    counts = {}
    given = {"off": [], "never": [fs.LayerStatistics(every=1000)], "tenth": [fs.LayerStatistics(every=10)]}
    for name, callbacks in given.items():
        _Counted.calls = 0
        step = make_step(model=fs.Sequential(fs.Linear(6, 8), _Counted(), fs.Linear(8, 3)))
        fs.Trainer(step, callbacks).fit(x, y, epochs=2, batch_size=10)
        counts[name] = _Counted.calls
    assert counts == {"off": 40, "never": 41, "tenth": 45}  # the first step is always looked at
    code = (
        "import sys, numpy as np, fusedstep as fs\n"
        "step = fs.TrainStep(fs.mlp([2, 3, 2]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend='numpy')\n"
        "fs.Trainer(step).fit(np.ones((4, 2)), np.zeros(4, int), epochs=1)\n"
        "print([m for m in sys.modules if 'matplotlib' in m or 'tensorboard' in m or '.seeing' in m or '.plots' in m])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_d2_numbers_stay_where_they_are_until_asked_for(data, make_step, monkeypatch):
    x, y = data
    step = make_step()
    asked = []
    original = type(step.backend).to_numpy
    monkeypatch.setattr(type(step.backend), "to_numpy", lambda self, array: asked.append(1) or original(self, array))
    statistics = fs.LayerStatistics(every=5)
    fs.Trainer(step, [statistics], shuffle="never").fit(x, y, epochs=2, batch_size=10)
    assert asked == []
    assert statistics["activation_mean"].shape == (9, 5)
    assert len(asked) == 9


@pytest.mark.parametrize("run", BACKENDS)
def test_d2_gradients_of_many_sigmoid_layers_vanish_and_of_relu_layers_do_not(run, data, make_step):
    x, y = data
    falls = {}
    for activation, init in (("sigmoid", "glorot_normal"), ("relu", "he_normal")):
        layers = [layer for k in range(20) for layer in (
            fs.Linear(6 if k == 0 else 32, 32, weight_init=init), {"sigmoid": fs.Sigmoid, "relu": fs.ReLU}[activation]()
        )]  # fmt: skip
        statistics = fs.LayerStatistics(every=1, data=(x, y))
        fs.Trainer(make_step(run, fs.Sequential(*layers, fs.Linear(32, 3))), [statistics]).fit(x, y, epochs=1, batch_size=None)
        assert statistics.steps == [0, 1]
        spread = statistics["gradient_std"][0, statistics.shown]
        falls[activation] = spread[0] / spread[-1]
    assert falls["sigmoid"] < 1e-9
    assert 1e-3 < falls["relu"] < 1e3


@pytest.mark.usefixtures("untouched")
def test_d2_the_figure_shows_the_statistics(data, make_step, tmp_path):
    x, y = data
    statistics = fs.LayerStatistics(every=10)
    fs.Trainer(make_step(model=_model()), [statistics]).fit(x, y, epochs=5, batch_size=20)
    figure = statistics.plot(tmp_path / "layers.svg")
    assert (tmp_path / "layers.svg").stat().st_size > 1000
    axes = [panel for panel in figure.axes if panel.get_visible()]
    assert len(axes) == 8
    for panel in axes:
        assert panel.get_xlabel()
        assert panel.get_ylabel()
        assert panel.get_title(loc="left")
    shown = [statistics.layers.index(name) for name in ("1.Tanh", "3.ReLU", "4.Linear")]
    assert statistics.shown == shown
    depth = {line.get_label(): line.get_ydata() for line in axes[3].get_lines()}
    assert list(depth) == ["step 1", "step 30", "step 50"]
    np.testing.assert_array_equal(depth["step 50"], statistics["gradient_std"][-1, shown])
    time = {line.get_label(): line.get_xydata() for line in axes[4].get_lines()}
    np.testing.assert_array_equal(time["3.ReLU"], np.stack([statistics.steps, statistics["activation_std"][:, 3]], 1))
    shares = {line.get_label(): line.get_ydata() for line in axes[7].get_lines()}
    np.testing.assert_array_equal(shares["3.ReLU"], 100.0 * statistics["dead"][:, 3])


@pytest.mark.usefixtures("untouched")
def test_d2_one_look_at_one_layer_can_be_drawn(data, make_step):
    x, y = data
    statistics = fs.LayerStatistics(every=100)
    fs.Trainer(make_step(model=fs.mlp([6, 3])), [statistics]).fit(x, y, epochs=1, batch_size=None)
    assert len(statistics.plot().axes) == 6


def test_d2_bad_input_is_refused(data, make_step):
    x, y = data
    for wrong in (0, 1.5, True):
        with pytest.raises(fs.HyperparameterError, match="every of LayerStatistics"):
            fs.LayerStatistics(every=wrong)
    with pytest.raises(fs.HyperparameterError, match=r"data=\(x, y\)"):
        fs.LayerStatistics(data=x)
    for wrong in (0.0, 0.5, float("nan")):
        with pytest.raises(fs.HyperparameterError, match="threshold"):
            fs.LayerStatistics(threshold=wrong)
    statistics = fs.LayerStatistics()
    with pytest.raises(fs.StateError, match="at least one sample"):
        statistics.plot()
    with pytest.raises(fs.HyperparameterError, match="'gradient_std'"):
        statistics["gradients"]
    with pytest.raises(fs.NonFiniteDataError):
        fs.Trainer(make_step(), [fs.LayerStatistics(data=(np.full_like(x, np.nan), y))]).fit(x, y)
    with pytest.raises(fs.ShapeError):
        fs.Trainer(make_step(), [fs.LayerStatistics(data=(x, y[:-1]))]).fit(x, y)
