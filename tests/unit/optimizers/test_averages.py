"""Averages of the parameters: their values, and that they are evaluated and saved while training goes on with the others."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fusedstep as fs

BACKENDS = ("numpy", "numba")
OPTIMIZERS = {
    "AdamW": lambda: fs.AdamW(1e-2),
    "clipped, with groups": lambda: fs.Adam(1e-2, clip_norm=0.5, groups=[fs.ParameterGroup("*.bias", lr_scale=2.0)]),
    "proximal": lambda: fs.SGD(1e-2, l1=0.02, l1_form="proximal"),
    "LAMB": lambda: fs.LAMB(1e-2, weight_decay=0.1),
    "look-ahead": lambda: fs.Nesterov(1e-2, form="look_ahead"),
}
rng = np.random.default_rng(5)
X = rng.standard_normal((96, 5))
Y = X @ rng.standard_normal((5, 2)) + 0.1 * rng.standard_normal((96, 2))


def make_step(backend="numpy", optimizer=None, average=None, precision="float64", **options):
    return fs.TrainStep(
        fs.mlp([5, 8, 2], activation="tanh"), fs.MSE(), optimizer or fs.Adam(1e-2), seed=1, backend=backend,
        precision=precision, average=average, **options,
    )  # fmt: skip


def values(step):
    return np.array(step.backend.to_numpy(step.model.arena.values))


def fitted(step, epochs=3, callbacks=(), **options):
    trainer = fs.Trainer(step, callbacks)
    return trainer, trainer.fit(X[:64], Y[:64], validation=(X[64:], Y[64:]), epochs=epochs, batch_size=16, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", OPTIMIZERS)
@pytest.mark.parametrize("debias", [True, False])
def test_g10_the_average_is_the_weighted_mean_of_the_parameters_which_it_leaves_alone(backend, case, debias):
    plain = make_step(backend, OPTIMIZERS[case]())
    step = make_step(backend, OPTIMIZERS[case](), fs.EMA(0.8, debias))
    seen = []
    for k in range(20):
        part = slice(k % 4 * 16, k % 4 * 16 + 16)
        assert float(step(X[part], Y[part])) == float(plain(X[part], Y[part]))
        assert np.array_equal(values(step), values(plain))
        seen.append(values(step))
    weights = 0.8 ** np.arange(19, -1, -1)
    weights *= 1.0 if debias else 0.2
    weights[0] = weights[0] if debias else 0.8**19
    expected = (weights / weights.sum()) @ np.array(seen)
    step.show_average()
    assert np.allclose(values(step), expected, rtol=0.0, atol=1e-14)
    step(X[:16], Y[:16])
    plain(X[:16], Y[:16])
    assert np.array_equal(values(step), values(plain))


@pytest.mark.parametrize("backend", BACKENDS)
def test_g10_a_trainer_evaluates_and_returns_the_average_and_goes_on_with_the_parameters(backend, tmp_path):
    plain, step = make_step(backend), make_step(backend, average=fs.EMA(0.9))
    shown = []

    class Note(fs.Callback):
        def on_epoch_end(self, trainer, row):
            shown.append((values(trainer.step), row.get("val_loss")))

    trainer, history = fitted(step, callbacks=[Note()])
    fitted(plain)
    average = values(step)
    assert not np.array_equal(average, values(plain))
    assert np.array_equal(shown[-1][0], average)
    assert np.array_equal(np.array(step.state.states["average"]), values(plain)), "exchanged"
    assert history["val_loss"][-1] == step.evaluate(X[64:], Y[64:])["loss"]
    step.model.save(tmp_path / "model.safetensors")
    loaded = fs.load(tmp_path / "model.safetensors", backend="numpy")
    assert np.array_equal(values(fs.TrainStep(loaded, fs.MSE(), fs.SGD(1.0))), average)
    losses = trainer.fit(X[:64], Y[:64], epochs=2, batch_size=16).step_losses
    again = fs.Trainer(plain)
    again.epochs_done = trainer.epochs_done - 2
    assert losses == again.fit(X[:64], Y[:64], epochs=2, batch_size=16).step_losses


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("restore_optimizer", [True, False])
def test_early_stopping_restores_the_best_average(backend, restore_optimizer):
    step = make_step(backend, fs.SGD(0.05), average=fs.EMA(0.9))
    seen = []

    class Note(fs.Callback):
        def on_epoch_end(self, trainer, row):
            seen.append(values(trainer.step))
            row["best"] = float(abs(row["epoch"] - 3.0))

    class Own(Note):
        columns = ("best",)

    stopping = fs.EarlyStopping(2, "best", mode="min", restore_optimizer=restore_optimizer)
    fitted(step, 9, [Own(), stopping])
    assert (stopping.best_epoch, len(seen)) == (3, 5)
    assert np.array_equal(values(step), seen[2])
    step(X[:16], Y[:16])
    trained, keep = values(step), step.average.keep(step.steps)
    step.show_average()
    assert np.allclose(values(step), keep * seen[2] + (1.0 - keep) * trained, rtol=0.0, atol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_evaluate_uses_the_average_and_changes_nothing(backend):
    step = make_step(backend, average=fs.EMA(0.9))
    first = step.evaluate(X, Y)
    assert first == make_step(backend).evaluate(X, Y), "before the first step there is nothing to average"
    step.show_average()
    assert np.array_equal(values(step), values(make_step(backend)))
    for _ in range(5):
        step(X, Y)
    before = values(step)
    found = step.evaluate(X, Y)
    assert np.array_equal(values(step), before)
    step.show_average()
    shown = values(step)
    assert step.evaluate(X, Y) == found
    assert np.array_equal(values(step), shown)
    error = np.asarray(step.model.predict(X)) - Y
    assert found["loss"] == pytest.approx(np.mean(np.sum(error**2, axis=1)))
    assert found["loss"] < first["loss"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_averages_stay_wide_in_narrow_precisions_and_narrow_states(precision):
    optimizer = fs.AdamW(1e-2, state_dtype="bfloat16")
    step = make_step("numpy", optimizer, fs.EMA(0.5), precision)
    seen, kept = values(step), 0.0
    for t in range(1, 8):
        before = step.steps
        step(X[:16].astype("f4"), Y[:16].astype("f4"))
        kept = step.average.keep(step.steps) if step.steps > before else 1.0
        now = values(step)
        seen = now - np.float32(kept) * (now - seen) if t > 1 else now
    assert step.state.states["average"].dtype == np.float32
    assert np.allclose(step.state.states["average"], seen, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_pruned_weights_are_zero_in_the_average_too(backend):
    step = make_step(backend, average=fs.EMA(0.9))
    fitted(step, 2)
    fs.prune(step, 0.5)
    zeros = np.array(step.model.arena.mask) == 0.0
    assert np.all(np.array(step.state.states["average"])[zeros] == 0.0)
    fitted(step, 2)
    assert np.all(values(step)[zeros] == 0.0)
    assert np.all(np.array(step.state.states["average"])[zeros] == 0.0)
    assert np.count_nonzero(values(step)) > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_pickles_go_on_with_the_same_bits_and_show_the_same(backend):
    step = make_step(backend, average=fs.EMA(0.9))
    fitted(step, 2)
    copy = pickle.loads(pickle.dumps(step))
    assert copy.average == fs.EMA(0.9)
    assert np.array_equal(values(copy), values(step))
    for one in (step, copy):
        one(X[:16], Y[:16])
    assert np.array_equal(values(copy), values(step))
    assert np.array_equal(np.array(copy.state.states["average"]), np.array(step.state.states["average"]))


def test_steps_that_are_left_out_leave_the_average_alone():
    step = make_step(average=fs.EMA(0.9, debias=False), on_nonfinite="skip")
    start = values(step)
    step(np.full_like(X[:16], np.nan), Y[:16])
    assert step.skipped == 1
    step.show_average()
    assert np.array_equal(values(step), start)
    step(X[:16], Y[:16])
    assert np.allclose(step.state.states["average"], start + 0.1 * (values(step) - start))


def test_bounds_cover_steps_with_an_average():
    """So that the arrays are not looked at after each step; see kernels/formulas/reach.py."""
    for make in OPTIMIZERS.values():
        step = make_step(optimizer=make(), average=fs.EMA(0.9))
        step(X, Y)
        assert step.state.proven


def test_parameters_that_are_loaded_while_the_average_is_shown_are_trained():
    step = make_step(average=fs.EMA(0.9))
    fitted(step, 1)
    step.model.load_parameters({name: np.zeros(array.shape) for name, array in step.model.parameters().items()})
    assert np.all(values(step) == 0.0)
    other = make_step(average=None)
    other.model.load_parameters({name: np.zeros(array.shape) for name, array in other.model.parameters().items()})
    assert float(step(X, Y)) == float(other(X, Y))


def test_another_step_on_the_same_model_trains_the_parameters_that_are_trained():
    step = make_step(average=fs.EMA(0.9))
    fitted(step, 1)
    trained = np.array(step.state.states["average"])
    other = fs.TrainStep(step.model, fs.MSE(), fs.SGD(1e-12), precision="float64")
    other(X, Y)
    assert np.allclose(values(other), trained, atol=1e-9)


@pytest.mark.parametrize("wrong", [0.999, "ema", fs.EMA])
def test_what_is_no_average_is_refused(wrong):
    with pytest.raises(fs.HyperparameterError, match=r"average=fs\.EMA\(0\.999\)"):
        make_step(average=wrong)


@pytest.mark.parametrize("decay", [1.0, -0.1, "0.9", float("nan")])
def test_decays_outside_of_0_to_1_are_refused(decay):
    with pytest.raises(fs.HyperparameterError, match="decay of EMA"):
        fs.EMA(decay)
