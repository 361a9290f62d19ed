"""The Trainer: batch modes (C1), shuffles, validation, early stopping, callbacks, and what happens when a loss breaks."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from rich.console import Console

import fusedstep as fs
from fusedstep.framework.training import callbacks

BACKENDS = ["numpy", "numba"]


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5)).astype(np.float32)
    return x, ((x[:, 0] + 0.5 * x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1))


def _step(run: str = "numpy", optimizer=None, seed: int = 0, **options) -> fs.TrainStep:
    model = fs.mlp([5, 16, 3], **options)
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer or fs.Adam(1e-2), seed=seed, backend=run)


class _Seen(fs.Callback):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sizes: list[int] = []

    def on_fit_begin(self, trainer):
        self.calls.append("begin")

    def on_step_end(self, trainer, done, total):
        self.sizes.append(total)

    def on_epoch_end(self, trainer, row):
        self.calls.append(f"epoch {row['epoch']:.0f}")

    def on_fit_end(self, trainer):
        self.calls.append("end")


@pytest.mark.parametrize("run", BACKENDS)
def test_learns_and_reports(run: str, data) -> None:
    x, y = data
    step = _step(run)
    seen = _Seen()
    history = fs.Trainer(step, [seen]).fit(x[:200], y[:200], validation=(x[200:], y[200:]), epochs=30, batch_size=32)
    assert history.epochs == 30
    assert history.columns == ["epoch", "loss", "val_loss", "val_accuracy", "lr", "seconds", "samples_per_second"]
    assert history["loss"][-1] < 0.25 * history["loss"][0]
    assert history[-1]["val_accuracy"] > 0.85
    assert history.best()["val_loss"] == min(history["val_loss"])
    assert history.best("val_accuracy")["val_accuracy"] == max(history["val_accuracy"])
    assert seen.calls == ["begin", *(f"epoch {k}" for k in range(1, 31)), "end"]
    assert set(seen.sizes) == {7}
    figures = step.evaluate(x[200:], y[200:])
    assert figures["loss"] == pytest.approx(history[-1]["val_loss"], rel=1e-6)
    assert figures["error"] == pytest.approx(1.0 - figures["accuracy"])
    assert figures["accuracy"] == np.mean(np.asarray(step.model.predict(x[200:])) == y[200:])
    with pytest.raises(KeyError, match="val_loss"):
        history["nothing"]


@pytest.mark.parametrize(("batch_size", "steps"), [(None, 1), (1, 300), (128, 3), (300, 1), (1000, 1)])
def test_batch_single_sample_and_minibatch_modes(batch_size, steps: int, data) -> None:
    x, y = data
    step = _step(optimizer=fs.SGD(0.01))
    fs.Trainer(step).fit(x, y, epochs=1, batch_size=batch_size)
    assert step.steps == steps


def test_batch_mode_is_gradient_descent_on_the_whole_set(data) -> None:
    x, y = data
    by_hand, trained = _step(optimizer=fs.SGD(0.1)), _step(optimizer=fs.SGD(0.1))
    for _ in range(3):
        by_hand(x, y)
    fs.Trainer(trained, shuffle="never").fit(x, y, epochs=3, batch_size=None)
    np.testing.assert_array_equal(by_hand.model.arena.values, trained.model.arena.values)



def _orders(shuffle: str, run: str, x, y, seed: int = 0) -> list[list[float]]:
    step = _step(run, seed=seed)
    orders: list[list[float]] = []
    original = step.run

    def spy(inputs, targets):
        orders[-1].extend(np.asarray(inputs)[:, 0].tolist())
        return original(inputs, targets)

    step.run = spy  # type: ignore[method-assign]

    class New(fs.Callback):
        def on_fit_begin(self, trainer):
            orders.append([])

        def on_epoch_end(self, trainer, row):
            orders.append([])

    fs.Trainer(step, [New()], shuffle=shuffle).fit(x, y, epochs=3, batch_size=64)
    return orders[:3]


def test_shuffles(data) -> None:
    x, y = data
    x[:, 0] = np.arange(300)
    first, second, third = _orders("each_epoch", "numpy", x, y)
    assert sorted(first) == sorted(second) == list(range(300))
    assert first != second != third
    once = _orders("once", "numpy", x, y)
    assert once[0] == once[1] == once[2] != list(range(300))
    assert _orders("never", "numpy", x, y)[0] == list(range(300))
    assert _orders("each_epoch", "numba", x, y) == [first, second, third]
    assert _orders("each_epoch", "numpy", x, y, seed=1)[0] != first


@pytest.mark.parametrize("run", BACKENDS)
def test_same_seed_is_bit_identical(run: str, data) -> None:
    x, y = data
    models = []
    for _ in range(2):
        step = _step(run, dropout=0.3)
        fs.Trainer(step).fit(x, y, epochs=2, batch_size=50)
        models.append(np.array(step.model.arena.values))
    np.testing.assert_array_equal(*models)


@pytest.mark.parametrize("run", BACKENDS)
def test_early_stopping_restores_the_best_epoch_bit_for_bit(run: str, data) -> None:
    x, y = data
    saved: dict[int, np.ndarray] = {}

    class Keep(fs.Callback):
        def on_epoch_end(self, trainer, row):
            saved[int(row["epoch"])] = np.array(trainer.step.model.arena.values)

    step = _step(run, fs.Adam(0.05))
    stop = fs.EarlyStopping(patience=4)
    history = fs.Trainer(step, [Keep(), stop]).fit(
        x[:60], y[:60], validation=(x[200:], y[200:]), epochs=200, batch_size=20
    )
    assert history.epochs < 200
    assert stop.best_epoch == history.epochs - 4
    assert "no better val_loss for 4 epochs" in history.stopped_because
    np.testing.assert_array_equal(step.model.arena.values, saved[stop.best_epoch])


def test_early_stopping_on_accuracy_grows() -> None:
    stop = fs.EarlyStopping(patience=1, monitor="val_accuracy", restore_best=False)
    stopped: list[str] = []

    class Fake:
        step = _step()

        def stop(self, reason):
            stopped.append(reason)

    for epoch, accuracy in enumerate([0.5, 0.6, 0.7], 1):
        stop.on_epoch_end(Fake(), {"epoch": epoch, "val_accuracy": accuracy})
    assert not stopped
    stop.on_epoch_end(Fake(), {"epoch": 4, "val_accuracy": 0.7})
    assert stopped


def test_early_stopping_without_validation_says_so(data) -> None:
    with pytest.raises(fs.HyperparameterError, match=r"val_loss.*validation="):
        fs.Trainer(_step(), [fs.EarlyStopping(3)]).fit(*data, epochs=1)


@pytest.mark.parametrize("run", BACKENDS)
def test_a_second_fit_goes_on(run: str, data) -> None:
    x, y = data
    whole, parts = _step(run), _step(run)
    fs.Trainer(whole).fit(x, y, epochs=4)
    trainer = fs.Trainer(parts)
    trainer.fit(x, y, epochs=2)
    trainer.fit(x, y, epochs=2)
    np.testing.assert_array_equal(whole.model.arena.values, parts.model.arena.values)


@pytest.mark.parametrize("run", BACKENDS)
def test_divergence_keeps_the_last_good_parameters(run: str, data) -> None:
    x, y = data
    model = fs.mlp([5, 16, 1])
    step = fs.TrainStep(model, fs.MSE(), fs.SGD(1e6), seed=0, backend=run)
    with pytest.raises(fs.NonFiniteLossError, match=r"step \d+.*kept.*learning rate") as caught:
        fs.Trainer(step).fit(x, y.astype(np.float32), epochs=50)
    assert caught.value.step == step.steps + 1
    assert caught.value.layer
    assert np.isfinite(model.arena.values).all()


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"epochs": 0}, fs.HyperparameterError, "epochs"),
        ({"batch_size": 0}, fs.HyperparameterError, "batch_size"),
        ({"batch_size": 2.5}, fs.HyperparameterError, "batch_size"),
    ],
)
def test_bad_arguments(bad, error, words, data) -> None:
    with pytest.raises(error, match=words):
        fs.Trainer(_step()).fit(*data, **bad)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_data_that_is_not_finite_is_refused_before_anything_changes(value: float, data) -> None:
    x, y = data
    x[17, 2] = x[40, 0] = value
    step = _step()
    before = np.array(step.model.arena.values)
    with pytest.raises(fs.NonFiniteDataError, match=r"(?s)2.*(17|18)"):
        fs.Trainer(step).fit(x, y)
    np.testing.assert_array_equal(step.model.arena.values, before)
    assert step.steps == 0


def test_other_bad_data(data) -> None:
    x, y = data
    trainer = fs.Trainer(_step())
    with pytest.raises(fs.EmptyDataError):
        trainer.fit(x[:0], y[:0])
    with pytest.raises(fs.ShapeError, match="300"):
        trainer.fit(x, y[:-1])
    with pytest.raises(fs.LabelError, match="0 to 2"):
        trainer.fit(x, y + 5)
    with pytest.raises(fs.ShapeError, match="layer 0"):
        trainer.fit(x[:, :4], y)
    with pytest.raises(fs.HyperparameterError, match="each_epoch"):
        fs.Trainer(_step(), shuffle="sometimes")
    with pytest.raises(fs.HyperparameterError, match="did you forget"):
        fs.Trainer(_step(), [fs.ProgressBar])


def test_progress_bar_shows_and_goes(data, monkeypatch) -> None:
    x, y = data
    screen = io.StringIO()
    monkeypatch.setattr("rich.progress.get_console", lambda: Console(file=screen, force_terminal=True, width=100))
    fs.Trainer(_step(), progress=True).fit(x, y, validation=(x, y), epochs=2)
    assert "epoch" in screen.getvalue()
    assert "2/2" in screen.getvalue()
    assert "val_accuracy 0." in screen.getvalue()


@pytest.mark.parametrize("run", BACKENDS)
def test_progress_bar_moves_within_an_epoch(run: str, data, monkeypatch) -> None:
    monkeypatch.setattr("rich.progress.get_console", lambda: Console(file=io.StringIO(), force_terminal=True, width=100))
    monkeypatch.setattr(callbacks, "REFRESH", 0.0)
    bar, seen = fs.ProgressBar(), []

    class Watching(fs.Callback):
        def on_launch_end(self, trainer, done, total):
            seen.append((bar._bar._progress.tasks[0].completed, done / total))

    trainer = fs.Trainer(_step(run), [bar, Watching()], steps_per_launch=2)
    trainer.fit(*data, epochs=2, batch_size=50)
    every = 1 if run == "numpy" else 2
    wanted = [done / 6 for done in range(every, 7, every)]
    assert [part for _, part in seen] == 2 * wanted
    assert [completed for completed, _ in seen] == pytest.approx([*wanted, *(1.0 + part for part in wanted)])
