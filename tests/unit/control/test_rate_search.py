"""C11: a learning rate is found by powers of ten and then finer, or in one sweep; the step is left as it was."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

import fusedstep as fs


@pytest.fixture(params=[fs.find_learning_rate, fs.sweep_learning_rate], ids=lambda f: f.__name__)
def search(request):
    return request.param


def _state(step):
    arrays = {"values": step.model.arena.values, **step.state.states}
    return {name: np.array(a) for name, a in arrays.items()}, (step.steps, step.lr, step.momentum)


@pytest.mark.parametrize("optimizer", [fs.Adam(0.02), fs.Nesterov(0.02, form="look_ahead"), fs.LAMB(0.02)], ids=repr)
def test_c11_the_step_is_afterwards_as_before(backend, search, optimizer, new_step, data):
    step = new_step(backend, optimizer, dropout=0.2)
    for _ in range(3):
        step(*data)
    arrays, scalars = _state(step)
    search(step, *data)
    after, scalars_after = _state(step)
    assert scalars_after == scalars
    for name, array in arrays.items():
        np.testing.assert_array_equal(after[name], array)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_c11_the_step_is_as_before_in_16_bits_with_its_loss_scale(search, precision, data):
    optimizer = fs.Adam(0.02, state_dtype="bfloat16")
    steps = []
    for _ in range(2):
        step = fs.TrainStep(fs.mlp([5, 16, 3]), fs.SoftmaxCrossEntropy(), optimizer, backend="numpy", precision=precision)
        for _ in range(3):
            step(*data)
        steps.append(step)
    search(steps[0], *data)
    for step in steps:
        fs.Trainer(step).fit(*data, epochs=2)
    np.testing.assert_array_equal(steps[0].model.arena.values, steps[1].model.arena.values)
    if precision == "float16":
        assert steps[0].state.loss_scale.numbers == steps[1].state.loss_scale.numbers


def test_c11_training_after_a_search_is_training_without_one(backend, search, new_step, data):
    searched, plain = (new_step(backend, fs.Adam(0.02), dropout=0.2) for _ in range(2))
    search(searched, *data)
    for step in (searched, plain):
        fs.Trainer(step).fit(*data, epochs=2)
    np.testing.assert_array_equal(searched.model.arena.values, plain.model.arena.values)


def test_c11_decades_first_then_values_around_the_best(backend, new_step, validated):
    step = new_step(backend, fs.Adam(0.5))
    validated.pop("batch_size")
    found = fs.find_learning_rate(step, **validated, epochs=4, batch_size=32)
    decades = [t for t in found.trials if t.stage == "decades"]
    assert [t.rate for t in decades] == [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    best = min(decades, key=lambda t: t.loss).rate
    finer = [t.rate for t in found.trials if t.stage == "finer"]
    assert finer == pytest.approx([0.5 * best, 2 * best, 3 * best])
    assert found.suggestion == min(found.trials, key=lambda t: t.loss).rate
    assert "validation data after 4 epochs" in found.rule
    # Every trial is what a user would get who trains with that rate.
    for trial in found.trials:
        again = new_step(backend, fs.Adam(trial.rate))
        fs.Trainer(again).fit(validated["x"], validated["y"], epochs=4, batch_size=32)
        assert again.evaluate(*validated["validation"])["loss"] == trial.loss


def test_c11_more_powers_of_ten_while_the_best_is_at_an_end(new_step, data):
    found = fs.find_learning_rate(new_step(), *data, rates=[1e-4, 1e-3], epochs=3, finer=())
    rates = [t.rate for t in found.trials]
    assert rates[:2] == [1e-4, 1e-3]
    assert rates[2:] == pytest.approx([10.0**k for k in range(-2, len(rates) - 4)])
    assert min(rates) < found.suggestion < max(rates)


def test_c11_a_rate_that_diverges_counts_as_infinite(backend, data):
    x, y = data
    step = fs.TrainStep(fs.mlp([5, 16, 1]), fs.MSE(), fs.SGD(0.1), backend=backend)
    found = fs.find_learning_rate(step, x, y.astype(np.float32), rates=[0.01, 1e6])
    assert {t.rate: math.isinf(t.loss) for t in found.trials}[1e6]
    assert found.suggestion < 10
    assert "diverged" in str(found)


def test_c11_when_every_rate_diverges_it_says_so_and_changes_nothing(data):
    x, y = data
    step = fs.TrainStep(fs.mlp([5, 16, 1]), fs.MSE(), fs.SGD(0.1), backend="numpy")
    arrays, scalars = _state(step)
    with pytest.raises(fs.NonFiniteLossError, match="every one diverged"):
        fs.find_learning_rate(step, x * 1e15, y.astype(np.float32))
    assert _state(step)[1] == scalars
    np.testing.assert_array_equal(_state(step)[0]["values"], arrays["values"])


def test_c11_the_sweep_follows_its_formula(backend, new_step, data):
    step = new_step(backend)
    found = fs.sweep_learning_rate(step, *data, low=1e-5, high=0.1, steps=40, batch_size=50, smoothing=0.7)
    assert [t.rate for t in found.trials] == pytest.approx([1e-5 * 1e4 ** (t / 39) for t in range(40)])
    smoothed = 0.0
    for t, trial in enumerate(found.trials, 1):
        smoothed = 0.7 * smoothed + 0.3 * trial.loss
        assert trial.smoothed == pytest.approx(smoothed / (1 - 0.7**t), rel=1e-12)
    # The same losses as in a training with that schedule.
    seen = []

    class See(fs.Callback):
        def on_step_end(self, trainer, done, total):
            seen.append(float(trainer.last_loss))

    again = new_step(backend)
    schedule = lambda _, t: 1e-5 * 1e4 ** (t / 39)  # noqa: E731
    fs.Trainer(again, [See()], schedule=schedule).fit(*data, epochs=None, max_steps=40, batch_size=50)
    assert [t.loss for t in found.trials] == seen


def test_c11_the_suggestion_of_a_sweep_keeps_its_rule(new_step, data):
    found = fs.sweep_learning_rate(new_step(optimizer=fs.Adam(0.5)), *data, batch_size=32)
    smoothed = [t.smoothed for t in found.trials]
    rates = [t.rate for t in found.trials]
    tenth = len(smoothed) // 20 * 2
    falls = np.array(smoothed[tenth:]) - np.array(smoothed[:-tenth])
    steepest = int(np.argmin(falls)) + tenth // 2
    assert found.suggestion == pytest.approx(min(rates[steepest], rates[int(np.argmin(smoothed))] / 10), rel=0.01)


def test_c11_the_sweep_ends_when_the_loss_grows(backend, new_step, data):
    found = fs.sweep_learning_rate(new_step(backend, fs.Adam(0.5)), *data, high=1e4)
    smoothed = [t.smoothed for t in found.trials]
    assert len(smoothed) < 100
    assert smoothed[-1] > 4 * min(smoothed)
    assert all(s <= 4 * min(smoothed[: k + 1]) for k, s in enumerate(smoothed[:-1]))


def test_c11_the_sweep_survives_divergence(backend, data):
    x, y = data
    step = fs.TrainStep(fs.mlp([5, 16, 1]), fs.MSE(), fs.SGD(0.1), backend=backend)
    found = fs.sweep_learning_rate(step, x, y.astype(np.float32), high=1e30, steps=30)
    assert len(found.trials) < 30
    assert 0 < found.suggestion < 10


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("optimizer", [fs.SGD(1e-6), fs.Momentum(1e-6), fs.Adam(1e-7)], ids=repr)
def test_c11_what_is_suggested_learns_far_better_than_what_the_step_had(search, optimizer, seed, new_step, validated):
    step = new_step(optimizer=optimizer, seed=seed)
    validated["batch_size"] = 32
    found = search(step, validated["x"], validated["y"], batch_size=32)
    losses = []
    for rate in (step.lr, found.suggestion):
        trained = new_step(optimizer=optimizer, seed=seed)
        trained.lr = rate
        losses.append(fs.Trainer(trained).fit(**validated, epochs=10)[-1]["val_loss"])
    assert losses[1] < 0.5 * losses[0]


def test_c11_rows_that_are_streamed_give_the_same_search(search, new_step, data, tmp_path):
    x, y = data
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    streamed = search(new_step(), fs.memory_map(tmp_path / "x.npy"), fs.memory_map(tmp_path / "y.npy"))
    assert streamed == search(new_step(), x, y)


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (fs.find_learning_rate, {"rates": []}, "at least"),
        (fs.find_learning_rate, {"rates": [0.1, -1]}, "each of rates"),
        (fs.find_learning_rate, {"rates": 0.1}, "list"),
        (fs.find_learning_rate, {"rates": "0.1"}, "list"),
        (fs.find_learning_rate, {"finer": [0]}, "each of finer"),
        (fs.find_learning_rate, {"epochs": 0}, "epochs"),
        (fs.sweep_learning_rate, {"low": 0}, "low"),
        (fs.sweep_learning_rate, {"low": 1, "high": 0.5}, "goes up from low=1"),
        (fs.sweep_learning_rate, {"steps": 9}, "steps"),
        (fs.sweep_learning_rate, {"smoothing": 1}, "smoothing"),
    ],
)
def test_c11_impossible_searches_are_refused_before_training(kind, arguments, words, new_step, data):
    step = new_step()
    with pytest.raises(fs.HyperparameterError, match=words):
        kind(step, *data, **arguments)
    assert step.steps == 0


def test_c11_the_picture_shows_every_trial_and_the_suggestion(search, new_step, data, tmp_path):
    found = search(new_step(), *data)
    figure = found.plot(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("learning rate", found.measured, "log")
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines[f"suggestion: {found.suggestion:.3g}"].get_xdata()) == [found.suggestion] * 2
    drawn = [("smoothed", "sweep")] if "smoothed" in lines else [("powers of ten", "decades"), ("finer search", "finer")]
    for label, stage in drawn:
        assert list(lines[label].get_xdata()) == [t.rate for t in found.trials if t.stage == stage]


def test_c11_rates_that_diverged_are_marked_in_the_picture(data):
    x, y = data
    step = fs.TrainStep(fs.mlp([5, 16, 1]), fs.MSE(), fs.SGD(0.1), backend="numpy")
    figure = fs.find_learning_rate(step, x, y.astype(np.float32), rates=[0.01, 1e6]).plot()
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert 1e6 in lines["diverged"].get_xdata()


def test_c11_a_picture_that_cannot_be_written(new_step, data, tmp_path):
    found = fs.sweep_learning_rate(new_step(), *data)
    with pytest.raises(fs.OutputPathError):
        found.plot(tmp_path / "no" / "rates.png")
    with pytest.raises(fs.OutputPathError, match="png"):
        found.plot(tmp_path / "rates.nonsense")


def test_c11_matplotlib_is_imported_for_the_picture_only(tmp_path):
    code = f"""
import sys, numpy as np, fusedstep as fs
step = fs.TrainStep(fs.mlp([3, 2]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="numpy")
found = fs.sweep_learning_rate(step, np.eye(3, dtype="f4"), np.array([0, 1, 0]))
assert "matplotlib" not in sys.modules
found.plot({str(tmp_path / "a.png")!r})
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
