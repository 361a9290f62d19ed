"""Schedule-Free AdamW: what is trained, what is shown, and what goes on after both."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fusedstep as fs

BACKENDS = ("numpy", "numba")
rng = np.random.default_rng(7)
X = rng.standard_normal((96, 5))
Y = X @ rng.standard_normal((5, 2)) + 0.1 * rng.standard_normal((96, 2))


def make_step(backend="numpy", precision="float64", **options):
    settings = {"lr": 0.02, "beta1": 0.9, "warmup_steps": 5, "weight_decay": 0.01, **options}
    model = fs.mlp([5, 8, 2], activation="tanh")
    return fs.TrainStep(model, fs.MSE(), fs.ScheduleFreeAdamW(**settings), seed=1, backend=backend, precision=precision)


def values(step):
    return np.array(step.backend.to_numpy(step.model.arena.values))


def fitted(step, epochs=3, **options):
    trainer = fs.Trainer(step, **options)
    return trainer, trainer.fit(X[:64], Y[:64], validation=(X[64:], Y[64:]), epochs=epochs, batch_size=16)


def taken(step, count):
    for k in range(count):
        part = slice(k % 4 * 16, k % 4 * 16 + 16)
        step(X[part], Y[part])


@pytest.mark.parametrize("backend", BACKENDS)
def test_c6_what_is_shown_is_the_weighted_mean_of_z(backend):
    """By algorithm 1: x is the mean of z with weights eta^2, and y = (1 - b1) z + b1 x."""
    step = make_step(backend)
    mean, total = 0.0, 0.0
    for t in range(1, 31):
        taken(step, 1)
        weight = min(1.0, t / 5) ** 2
        total += weight
        z = np.array(step.state.states["z"])
        mean = mean + weight / total * (z - mean)
        y = values(step)
        assert np.allclose(y, 0.1 * z + 0.9 * mean, rtol=0.0, atol=1e-12)
        step.show_average()
        assert np.allclose(values(step), mean, rtol=0.0, atol=1e-12)
        step.state.arena.show_trained()
        assert np.array_equal(values(step), y)


@pytest.mark.parametrize("backend", BACKENDS)
def test_showing_the_average_does_not_change_training(backend):
    one, other = make_step(backend), make_step(backend)
    for _ in range(6):
        taken(one, 4)
        taken(other, 4)
        one.show_average()
        one.show_average()
        one.evaluate(X, Y)
    assert not np.array_equal(values(one), values(other))
    other.show_average()
    assert np.array_equal(values(one), values(other))


@pytest.mark.row("G11")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trainer_evaluates_and_returns_the_average(backend):
    step = make_step(backend)
    _, history = fitted(step, 20)
    assert history["val_loss"][-1] == step.evaluate(X[64:], Y[64:])["loss"]
    error = np.asarray(step.model.predict(X[64:])) - Y[64:]
    assert history["val_loss"][-1] == pytest.approx(np.mean(np.sum(error**2, axis=1)))
    assert history["val_loss"][-1] < 0.1 * history["val_loss"][0]
    copy = pickle.loads(pickle.dumps(step))
    assert np.array_equal(values(copy), values(step))
    taken(copy, 3)
    taken(step, 3)
    assert np.array_equal(values(copy), values(step))


@pytest.mark.parametrize("restore_optimizer", [True, False])
def test_early_stopping_restores_the_best_average(restore_optimizer):
    step, seen = make_step(), []

    class Note(fs.Callback):
        columns = ("best",)

        def on_epoch_end(self, trainer, row):
            seen.append(values(trainer.step))
            row["best"] = float(abs(row["epoch"] - 3.0))

    fitted(step, 9, callbacks=[Note(), fs.EarlyStopping(2, "best", mode="min", restore_optimizer=restore_optimizer)])
    assert len(seen) == 5
    assert np.allclose(values(step), seen[2], rtol=0.0, atol=1e-15)


def test_the_average_begins_again_at_parameters_that_are_loaded():
    step = make_step()
    taken(step, 8)
    step.model.load_parameters({name: 0.1 * np.array(array) for name, array in step.model.parameters().items()})
    start = values(step)
    step.show_average()
    step(X[:16], Y[:16])
    assert np.allclose(step.state.states["z"], start, atol=0.1)
    step.show_average()
    assert np.allclose(values(step), start, atol=0.05)


def test_z_has_the_type_of_the_parameters_and_v_that_of_states():
    step = make_step(precision="float32", state_dtype="bfloat16")
    step(X[:16].astype("f4"), Y[:16].astype("f4"))
    assert step.state.states["z"].dtype == np.float32
    assert str(step.state.states["v"].dtype) != "float32"
    assert step.state.proven


@pytest.mark.parametrize("backend", BACKENDS)
def test_pruned_weights_are_zero_in_what_is_shown(backend):
    step = make_step(backend)
    fitted(step, 2)
    fs.prune(step, 0.5)
    fitted(step, 2)
    assert np.all(values(step)[np.array(step.model.arena.mask) == 0.0] == 0.0)


def test_a_second_average_is_refused():
    with pytest.raises(fs.HyperparameterError, match="averages its parameters itself"):
        fs.TrainStep(fs.mlp([5, 2]), fs.MSE(), fs.ScheduleFreeAdamW(), average=fs.EMA(0.9))


WRONG = [{"beta1": 0.0}, {"beta1": 1.0}, {"warmup_steps": -1}, {"warmup_steps": 1.5}, {"beta2": 1.0}]


@pytest.mark.parametrize("settings", WRONG)
def test_settings_that_are_refused(settings):
    with pytest.raises(fs.HyperparameterError, match=next(iter(settings))):
        fs.ScheduleFreeAdamW(**settings)
