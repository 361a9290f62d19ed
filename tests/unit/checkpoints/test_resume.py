"""A training that is resumed from a checkpoint ends with the bits of one that was never interrupted."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from trainings import Stop, StopAfter, data, fit, result, trainer_of

import fusedstep as fs
from fusedstep.framework.training.checkpoint_run import Writer

BACKENDS = ("numpy", "numba")


@pytest.fixture(autouse=True)
def _written(monkeypatch):
    """Every checkpoint that is due is written, so that training resumes from the last one; nothing waits for the disk."""
    monkeypatch.setattr(Writer, "busy", property(Writer.wait))
    monkeypatch.setattr(os, "fsync", lambda *_: None)


def interrupted(make, folder, after=(13, 29, 41), every_steps=1, **options):
    """Stops after those numbers of steps, each time with new objects, and then trains to the end."""
    for step in after:
        trainer = make(extra=[StopAfter(step)])
        with pytest.raises(Stop):
            fit(trainer, folder, every_steps=every_steps, **options)
    trainer = make()
    return trainer, result(trainer, fit(trainer, folder, every_steps=every_steps, **options))


def same(make, folder, **options):
    """Checks that an interrupted training gives the bits of one that was not; returns both trainers."""
    trainer = make()
    plain = {name: value for name, value in options.items() if name not in ("after", "every_steps", "checkpoint")}
    expected = result(trainer, fit(trainer, **plain))
    resumed, found = interrupted(make, folder, **options)
    assert found == expected
    return trainer, resumed


def maker(*given, **options):
    return lambda extra=(): trainer_of(*given, extra=extra, **options)


@pytest.mark.row("G9")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("after", [(1,), (10,), (13, 29, 41), (9, 11, 20, 30, 31)])
@pytest.mark.parametrize("every_steps", [1, 7])
def test_at_any_step(backend, after, every_steps, tmp_path):
    same(maker(backend), tmp_path, after=after, every_steps=every_steps)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("optimizer", [fs.AdamW(0.01), fs.LAMB(0.01)], ids=repr)
def test_averages_of_the_parameters(backend, optimizer, tmp_path):
    same(maker(backend, optimizer, average=fs.EMA(0.95)), tmp_path, after=(9, 13, 33))
    with pytest.raises(fs.CheckpointError, match=r"step\.average"):
        fit(trainer_of(backend, optimizer, average=fs.EMA(0.9)), tmp_path)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "optimizer", ["Adam", "LAMB", "Nesterov", "Momentum", "AdaDelta", "RAdam", "ScheduleFreeAdamW", "Muon"]
)
def test_optimizers(backend, optimizer, tmp_path):
    kind = getattr(fs, optimizer)
    same(maker(backend, kind(0.01), schedule="cosine"), tmp_path, after=(13, 33))


SETTINGS = {
    "state in 16 bits": {"optimizer": fs.Adam(0.01, state_dtype="bfloat16"), "schedule": None},
    "float16, loss scale": {"optimizer": fs.Adam(0.01), "precision": "float16", "schedule": None},
    "bfloat16": {"optimizer": fs.Adam(0.01), "precision": "bfloat16"},
    "float64": {"optimizer": fs.Adam(0.01), "precision": "float64"},
    "look-ahead": {"optimizer": fs.Nesterov(0.01, form="look_ahead")},
    "micro-batches": {"micro_batch": 5},
    "deterministic": {"deterministic": True},
    "shuffled once": {"shuffle": "once"},
    "not shuffled": {"shuffle": "never"},
    "by the history": {"schedule": fs.ReduceOnPlateau(patience=1), "optimizer": fs.Adam(0.05)},
    "function": {"schedule": lambda epoch, step: 0.1 / (1 + epoch + step)},
    "two schedules": {"schedule": fs.StepDecay(every=2), "momentum": fs.MomentumRamp(0.5, 0.9, after=1)},
    "evaluated": {"evaluate_training": True},
    "augmented": {"augment": [fs.InputNoise(0.1), fs.Mixup(), fs.FeatureMasking(0.1)]},
    "early stopping": {"patience": 1, "optimizer": fs.Adam(0.3), "schedule": None},
    "single steps": {"steps_per_launch": 1},
}


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings(settings, tmp_path):
    given = SETTINGS[settings]
    on_numpy = any("16" in str(given.get(name, "")) for name in ("precision",)) or settings == "state in 16 bits"
    after = (13, 17) if settings == "early stopping" else (13, 33)
    same(maker("numpy" if on_numpy else "numba", **given), tmp_path, after=after)


@pytest.mark.parametrize("after", [(13, 29), (3, 4, 5), (20,)])
@pytest.mark.parametrize(
    ("backend", "precision", "together"),
    [("numpy", "float32", None), ("numba", "float32", None), ("numba", "float32", 1), ("numpy", "float16", None)],
)
def test_steps_that_are_left_out(backend, precision, together, after, tmp_path):
    x, y = data()
    x[[7, 60, 149]] = 3e38
    if precision == "float16":
        x[::14] = 6e4 * np.sign(x[::14])  # often enough to bring the loss scale to 1, below which steps are left out
        x[[7, 60, 149]] = 6e4
    make = maker(backend, fs.Adam(0.01), precision=precision, on_nonfinite="skip", steps_per_launch=together, schedule=None)
    trainer, resumed = same(make, tmp_path, after=after, rows=(x, y))
    assert resumed.step.skipped == trainer.step.skipped > 5
    assert not np.isfinite(resumed.history.step_losses).all()


def test_pruned_weights_and_statistics(tmp_path):
    seen = []

    def make(extra=()):
        callbacks = [fs.Pruning(0.5, stop=4), fs.StopOnStall(1e-9), fs.ParameterPath(7), fs.LayerStatistics(5)]
        seen.append(callbacks)
        return trainer_of("numba", fs.Adam(0.01), [*callbacks, *extra])

    same(make, tmp_path, after=(13, 29))
    (one, _, path, layers), (other, _, other_path, other_layers) = seen[0], seen[-1]
    assert other.report == one.report
    assert other_path.steps == path.steps
    assert all(np.array_equal(a, b) for a, b in zip(path.points, other_path.points, strict=True))
    assert other_layers.steps == layers.steps
    np.testing.assert_array_equal(other_layers["activation_mean"], layers["activation_mean"])


def test_own_callback_with_a_state(tmp_path):
    class Count(fs.Callback):
        def __init__(self):
            self.steps, self.sums = 0, np.zeros(2)

        def on_launch_end(self, trainer, done, total):
            self.steps += 1
            self.sums += [1.0, trainer.step.lr]

        def state(self):
            return {"steps": self.steps, "sums": self.sums, "worst": float("nan"), "most": -float("inf")}

        def restore(self, state):
            assert np.isnan(state["worst"])
            assert state["most"] == -float("inf")
            self.steps, self.sums = state["steps"], np.array(state["sums"])

    made = []

    def make(extra=()):
        made.append(Count())
        return trainer_of("numpy", extra=[made[-1], *extra])

    same(make, tmp_path, after=(13, 30))
    assert made[-1].steps == made[0].steps == 60
    np.testing.assert_array_equal(made[-1].sums, made[0].sums)


def test_streamed_rows(tmp_path):
    rows = tuple(fs.ArrayRows(a, block_rows=20, window=2) for a in data())

    def run(make, folder, **options):
        x, y = rows
        chosen = np.arange(150), np.arange(150, 203)
        given = {"epochs": 4, "batch_size": 16, "validation": (x.take(chosen[1]), y.take(chosen[1]))}
        if folder is not None:
            given |= {"checkpoint": fs.Checkpoint(folder, 1), "resume": "auto"}
        return make.fit(x.take(chosen[0]), y.take(chosen[0]), **given)

    whole = trainer_of("numba")
    expected = result(whole, run(whole, None))
    for step in (5, 16, 28):
        with pytest.raises(Stop):
            run(trainer_of("numba", extra=[StopAfter(step)]), tmp_path)
    resumed = trainer_of("numba")
    assert result(resumed, run(resumed, tmp_path)) == expected


def test_in_a_second_fit(tmp_path):
    """Counts of the first fit belong to the trainer, and epochs count from the beginning of the fit that was interrupted."""

    def first():
        trainer = trainer_of("numpy", schedule=None)
        fit(trainer, epochs=2)
        return trainer

    whole = first()
    expected = result(whole, fit(whole, epochs=3))
    stopped = first()
    stopped.callbacks.append(StopAfter(33))
    with pytest.raises(Stop):
        fit(stopped, tmp_path, 3, 1)
    resumed = first()
    assert result(resumed, fit(resumed, tmp_path, 3, 1)) == expected


def test_more_steps_and_more_epochs(tmp_path):
    """What ended at max_steps, also within an epoch, goes on as if it had not; a schedule without an end."""
    make = maker("numba", fs.Adam(0.01), schedule=None)
    whole = make()
    expected = result(whole, fit(whole, epochs=6))
    for given in ({"max_steps": 13}, {"max_steps": 20}, {"max_steps": 20}, {"epochs": 3}, {"epochs": 3}, {"max_steps": 47}):
        trainer = make()
        history = fit(trainer, tmp_path, **{"epochs": 6, **given})
        assert trainer.steps_done == given.get("max_steps", 30)
        assert len(history.step_losses) == trainer.steps_done
    resumed = make()
    assert result(resumed, fit(resumed, tmp_path, 6)) == expected


def test_a_finished_training_returns_its_result_again(tmp_path):
    for make in (maker("numpy"), maker("numpy", fs.Adam(0.3), schedule=None, patience=1)):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        trainer, again = make(), make()
        expected = result(trainer, fit(trainer, folder, 6))
        assert result(again, fit(again, folder, 6)) == expected
    assert "no better" in expected["stopped"]


def test_stopped_in_the_last_epoch(tmp_path):
    def make():
        return trainer_of(extra=[StopInEpoch(6)])

    trainer, again = make(), make()
    expected = result(trainer, fit(trainer, tmp_path))
    assert result(again, fit(again, tmp_path)) == expected
    assert expected["stopped"] == "asked for"


class StopInEpoch(fs.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, trainer, row):
        if row["epoch"] == self.epoch:
            trainer.stop("asked for")


def test_many_fits_leave_nothing_open(tmp_path):
    def opened():
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    counts = []
    for number in range(12):
        fit(trainer_of(), tmp_path / str(number), epochs=1)
        fit(trainer_of(), tmp_path / str(number), epochs=2)
        counts.append((threading.active_count(), opened()))
    assert counts[-1] == counts[2]


def test_stopped_from_a_callback_within_an_epoch(tmp_path):
    """As by Ctrl-C: the row of the incomplete epoch is not in the checkpoint."""

    class Press(fs.Callback):
        def on_launch_end(self, trainer, done, total):
            if trainer.steps_done >= 13:
                trainer.stop("stopped", at_once=True)

    make = maker("numpy")
    whole = make()
    expected = result(whole, fit(whole))
    pressed = make(extra=[Press()])
    assert fit(pressed, tmp_path, resume=None).stopped_because == "stopped"
    resumed = make()
    assert result(resumed, fit(resumed, tmp_path)) == expected


def test_from_another_folder(tmp_path):
    make = maker("numpy")
    whole = make()
    expected = result(whole, fit(whole))
    with pytest.raises(Stop):
        fit(make(extra=[StopAfter(23)]), tmp_path / "a", every_steps=1)
    one, other = make(), make()
    assert result(one, fit(one, tmp_path / "b", resume=tmp_path / "a")) == expected
    before = sorted(path.name for path in (tmp_path / "a").iterdir())
    history = fit(other, None)
    other = make()
    x, y = data()
    history = other.fit(x[:150], y[:150], (x[150:], y[150:]), epochs=6, batch_size=16, resume=str(tmp_path / "a"))
    assert result(other, history) == expected
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == before


@pytest.mark.row("G9")
@pytest.mark.parametrize(("one", "other"), [("numba", "numpy"), ("numpy", "numba")])
def test_on_another_backend(one, other, tmp_path):
    expected = result(whole := trainer_of(other), fit(whole))
    with pytest.raises(Stop):
        fit(trainer_of(one, extra=[StopAfter(25)]), tmp_path, every_steps=1)
    resumed = trainer_of(other)
    found = result(resumed, fit(resumed, tmp_path))
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=2e-4)
    assert found["steps"] == expected["steps"]


def test_with_another_number_of_threads(tmp_path):
    before = fs.num_threads()
    try:
        fs.set_num_threads(1)
        make = maker("numba", deterministic=True)
        expected = result(whole := make(), fit(whole))
        with pytest.raises(Stop):
            fit(make(extra=[StopAfter(25)]), tmp_path, every_steps=1)
        fs.set_num_threads(2)
        resumed = make()
        assert result(resumed, fit(resumed, tmp_path)) == expected
    finally:
        fs.set_num_threads(before)
