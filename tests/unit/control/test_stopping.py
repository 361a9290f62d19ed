"""B11 and C13: when training ends, and what it leaves behind."""

from __future__ import annotations

import copy
import math
import os
import signal
import threading

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.export.persistence import load_with_metadata


class _Keep(fs.Callback):
    """Keeps the whole step after every epoch."""

    def __init__(self):
        self.steps = {}

    def on_epoch_end(self, trainer, row):
        self.steps[int(row["epoch"])] = copy.deepcopy(trainer.step)


class _Script(fs.Callback):
    """Writes figures into the history, before later callbacks see it."""

    def __init__(self, column, figures):
        self.column, self.figures = column, figures

    def on_epoch_end(self, trainer, row):
        row[self.column] = self.figures[int(row["epoch"]) - 1]


def _overfitting(validated):
    x, y = validated["x"][:60], validated["y"][:60]
    return {**validated, "x": x, "y": y, "batch_size": 20}


@pytest.mark.parametrize("patience", [1, 4])
def test_b11_early_stopping_returns_the_parameters_of_step_k_minus_p_bit_for_bit(backend, patience, new_step, validated):
    keep, stop = _Keep(), fs.EarlyStopping(patience)
    step = new_step(backend, fs.Adam(0.05))
    history = fs.Trainer(step, [keep, stop]).fit(**_overfitting(validated), epochs=200)
    k = history.epochs
    assert k < 200
    assert stop.best_epoch == k - patience
    assert history.stopped_because.startswith("no better val_loss")
    losses = history["val_loss"]
    assert min(losses) == losses[k - patience - 1]
    assert all(loss >= losses[k - patience - 1] for loss in losses[k - patience :])
    np.testing.assert_array_equal(step.model.arena.values, keep.steps[k - patience].model.arena.values)
    assert not np.array_equal(step.model.arena.values, keep.steps[k].model.arena.values)


def test_b11_a_scripted_history_stops_at_the_right_epoch(new_step, validated):
    #          1    2    3    4    5    6    7    8
    figures = [1.0, 0.8, 0.9, 0.7, 0.7, 0.9, 0.8, 0.1]
    keep, stop = _Keep(), fs.EarlyStopping(3)
    step = new_step()
    history = fs.Trainer(step, [_Script("val_loss", figures), keep, stop]).fit(**validated, epochs=8)
    assert (history.epochs, stop.best_epoch, stop.best) == (7, 4, 0.7)
    np.testing.assert_array_equal(step.model.arena.values, keep.steps[4].model.arena.values)


def test_b11_the_best_comes_back_where_training_ends_by_itself(new_step, validated):
    keep = _Keep()
    step = new_step()
    script = _Script("val_loss", [1.0, 0.5, 0.6])
    history = fs.Trainer(step, [script, keep, fs.EarlyStopping(3)]).fit(**validated, epochs=3)
    assert history.stopped_because == ""
    np.testing.assert_array_equal(step.model.arena.values, keep.steps[2].model.arena.values)


@pytest.mark.parametrize(
    ("monitor", "figures", "smallest_change", "epochs"),
    [
        ("val_loss", [1.0, 0.95, 0.91, 0.89, 0.5], 0.1, 3),
        ("val_loss", [1.0, 0.95, 0.91, 0.5, 0.5], 0.0, 5),
        ("val_accuracy", [0.5, 0.6, 0.6, 0.55, 0.9], 0.0, 4),
        ("val_accuracy", [0.5, 0.6, 0.7, 0.75, 0.74], 0.15, 5),
        ("val_loss", [math.nan, 1.0, math.nan, 0.9, 0.8], 0.0, 5),
    ],
)
def test_b11_metric_direction_and_smallest_change(monitor, figures, smallest_change, epochs, new_step, validated):
    stop = fs.EarlyStopping(2, monitor, smallest_change)
    assert fs.Trainer(new_step(), [_Script(monitor, figures), stop]).fit(**validated, epochs=5).epochs == epochs


@pytest.mark.parametrize("optimizer", [fs.Adam(0.05), fs.Nesterov(0.2, form="look_ahead"), fs.LAMB(0.05)], ids=repr)
def test_b11_with_its_optimiser_training_goes_on_as_if_it_had_stopped_there(backend, optimizer, new_step, validated):
    keep = _Keep()
    step = new_step(backend, optimizer, dropout=0.3)
    schedule = fs.ExponentialDecay(0.01)
    script = _Script("val_loss", [3.0, 2.0, 1.0, 4.0, 4.0])
    fs.Trainer(step, [script, keep, fs.EarlyStopping(2, restore_optimizer=True)], schedule=schedule).fit(**validated, epochs=9)
    then = keep.steps[3]
    assert (step.steps, step.lr) == (then.steps, then.lr) == (12, 0.0 + then.lr)
    for name, values in then.state.states.items():
        np.testing.assert_array_equal(step.state.states[name], values)
    for _ in range(3):
        assert float(step(validated["x"][:40], validated["y"][:40])) == float(then(validated["x"][:40], validated["y"][:40]))
    np.testing.assert_array_equal(step.model.arena.values, then.model.arena.values)


@pytest.mark.parametrize("restore_optimizer", [False, True])
def test_b11_weights_that_were_pruned_since_stay_zero(backend, restore_optimizer, new_step, validated):
    class Prune(fs.Callback):
        def on_epoch_end(self, trainer, row):
            if row["epoch"] == 2:
                fs.prune(trainer.step, 0.5)

    keep, step = _Keep(), new_step(backend, fs.Momentum(0.1))
    rules = [_Script("val_loss", [1.0, 2.0, 3.0]), keep, Prune(), fs.EarlyStopping(2, restore_optimizer=restore_optimizer)]
    fs.Trainer(step, rules).fit(**validated, epochs=9)
    mask = np.asarray(step.model.arena.mask)
    assert (mask == 0).sum() > 20
    np.testing.assert_array_equal(step.model.arena.values, np.where(mask > 0, keep.steps[1].model.arena.values, 0.0))
    step(validated["x"], validated["y"])
    assert not np.asarray(step.model.arena.values)[mask == 0].any()


def test_b11_without_restoring_the_last_parameters_stay(new_step, validated):
    keep = _Keep()
    step = new_step()
    script = _Script("val_loss", [1.0, 2.0, 3.0])
    fs.Trainer(step, [script, keep, fs.EarlyStopping(2, restore_best=False)]).fit(**validated, epochs=9)
    np.testing.assert_array_equal(step.model.arena.values, keep.steps[3].model.arena.values)


@pytest.mark.parametrize("rule", [fs.EarlyStopping(3), fs.StopOnTarget(0.5), fs.StopOnStall(monitor="val_loss")])
def test_b11_patience_without_validation_data_is_refused_before_training(backend, rule, new_step, data):
    step = new_step(backend)
    before = np.array(step.model.arena.values)
    with pytest.raises(fs.HyperparameterError, match=r"val_loss.*validation="):
        fs.Trainer(step, [rule]).fit(*data)
    assert step.steps == 0
    np.testing.assert_array_equal(step.model.arena.values, before)


@pytest.mark.parametrize(
    "make",
    [
        lambda: fs.EarlyStopping(0),
        lambda: fs.EarlyStopping(1.5),
        lambda: fs.EarlyStopping(2, smallest_change=-1),
        lambda: fs.EarlyStopping(2, restore_best=False, restore_optimizer=True),
        lambda: fs.StopOnStall(-1e-3),
        lambda: fs.StopOnStall(patience=0),
        lambda: fs.StopOnTarget(math.nan),
    ],
)
def test_b11_c13_impossible_settings_are_refused(make):
    with pytest.raises(fs.HyperparameterError):
        make()


def test_c13_no_significant_change_in_the_loss_stops(new_step, validated):
    #          1    2    3      4      5      6      7
    figures = [2.0, 1.0, 1.004, 1.009, 1.010, 1.002, 1.0]
    history = fs.Trainer(new_step(), [_Script("loss", figures), fs.StopOnStall(0.01, patience=3)]).fit(**validated, epochs=7)
    # epochs 2 to 5 lie between 1.0 and 1.010: 0.010 <= 0.01 * 1.010
    assert history.epochs == 5
    assert "loss changed by no more than 0.01" in history.stopped_because


def test_c13_a_stalled_training_is_noticed_without_validation(backend, new_step, data):
    step = new_step(backend, fs.SGD(0.5))
    history = fs.Trainer(step, [fs.StopOnStall(0.01, patience=4)], shuffle="never").fit(*data, epochs=3000, batch_size=None)
    assert 5 < history.epochs < 3000
    last = history["loss"][-5:]
    assert max(last) - min(last) <= 0.01 * max(last)
    before = history["loss"][-6:-1]
    assert max(before) - min(before) > 0.01 * max(before)


def test_c13_a_second_fit_forgets_the_stall(new_step, data):
    trainer = fs.Trainer(new_step(), [_Script("loss", [1.0] * 9), fs.StopOnStall(patience=2)])
    assert [trainer.fit(*data, epochs=9).epochs for _ in range(2)] == [3, 3]


@pytest.mark.parametrize(("monitor", "figures", "target", "epochs"), [
    ("val_loss", [0.9, 0.5, 0.3], 0.5, 2), ("val_accuracy", [0.2, 0.5, 0.95], 0.9, 3),
    ("val_loss", [0.9, math.nan, 0.6], 0.5, 3),
])  # fmt: skip
def test_c13_a_target_ends_training(monitor, figures, target, epochs, new_step, validated):
    rules = [_Script(monitor, figures), fs.StopOnTarget(target, monitor)]
    history = fs.Trainer(new_step(), rules).fit(**validated, epochs=3)
    assert history.epochs == epochs
    assert ("reached" in history.stopped_because) == (target != 0.5 or 0.5 in figures)


@pytest.mark.parametrize(("epochs", "max_steps", "steps", "rows"), [
    (10, 6, 6, 2), (10, 8, 8, 2), (None, 9, 9, 3), (2, 100, 8, 2), (None, 1, 1, 1), (3, None, 12, 3),
])  # fmt: skip
def test_c13_a_largest_number_of_steps_ends_training(epochs, max_steps, steps, rows, new_step, validated):
    step = new_step()
    history = fs.Trainer(step).fit(**validated, epochs=epochs, max_steps=max_steps)
    assert (step.steps, history.epochs) == (steps, rows)
    assert history.stopped_because == (f"{max_steps} steps were taken" if steps == max_steps else "")


def test_c13_the_last_part_of_an_epoch_is_averaged_over_its_own_rows(new_step, validated):
    seen = []
    step = new_step()
    run = step.run
    step.run = lambda x, y: seen.append(run(x, y)) or seen[-1]
    history = fs.Trainer(step).fit(**validated, epochs=None, max_steps=6)
    assert history["loss"] == pytest.approx([np.mean([float(s) for s in seen[:4]]), np.mean([float(s) for s in seen[4:]])])


@pytest.mark.parametrize(("arguments", "words"), [
    ({"epochs": None}, "epochs or max_steps; got neither"), ({"max_steps": 0}, "max_steps"), ({"max_steps": 1.5}, "max_steps"),
])  # fmt: skip
def test_c13_impossible_lengths_are_refused(arguments, words, new_step, data):
    with pytest.raises(fs.HyperparameterError, match=words):
        fs.Trainer(new_step()).fit(*data, **arguments)


class _Press(fs.Callback):
    """Presses Ctrl-C after some steps."""

    def __init__(self, *at):
        self.at, self.taken = at, 0

    def on_step_end(self, trainer, step, steps):
        self.taken += 1
        if self.taken in self.at:
            os.kill(os.getpid(), signal.SIGINT)


POSIX = pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")


@pytest.fixture
def handler():
    """What SIGINT does: not what a shell may have passed on, which ignores it in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@POSIX
def test_c13_ctrl_c_ends_training_after_the_step_at_hand(new_step, validated, handler):
    keyboard, step = fs.StopOnInterrupt(), new_step()
    history = fs.Trainer(step, [keyboard, fs.EarlyStopping(10), _Press(6)]).fit(**validated, epochs=100)
    assert (step.steps, history.epochs, keyboard.interrupted) == (6, 2, True)
    assert len(history.step_losses) == 6
    assert history.stopped_because == "stopped from the keyboard"
    assert signal.getsignal(signal.SIGINT) is handler
    again = fs.Trainer(step, [keyboard]).fit(**validated, epochs=1)
    assert (again.epochs, keyboard.interrupted, again.stopped_because) == (1, False, "")


@POSIX
def test_c13_a_second_ctrl_c_interrupts_at_once(new_step, validated, handler):
    class Twice(fs.Callback):
        def on_step_end(self, trainer, step, steps):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fs.Trainer(new_step(), [fs.StopOnInterrupt(), Twice()]).fit(**validated, epochs=100)
    assert signal.getsignal(signal.SIGINT) is handler


def test_c13_beside_the_main_thread_ctrl_c_is_left_alone(new_step, validated, handler):
    ended = []

    def train():
        ended.append(fs.Trainer(new_step(), [fs.StopOnInterrupt()]).fit(**validated, epochs=2).epochs)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert ended == [2]
    assert signal.getsignal(signal.SIGINT) is handler


@POSIX
def test_c13_who_ignores_ctrl_c_goes_on(new_step, validated, handler):
    del handler  # which puts back what was there
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keyboard = fs.StopOnInterrupt()
    history = fs.Trainer(new_step(), [keyboard, _Press(2)]).fit(**validated, epochs=2)
    assert (history.epochs, keyboard.interrupted) == (2, False)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


class _Metric(fs.Callback):
    """Adds a metric of its own."""

    def __init__(self, name, values):
        self.columns = (name,)
        self.values = list(values)

    def on_epoch_end(self, trainer, row):
        row[self.columns[0]] = self.values[int(row["epoch"]) - 1]


@pytest.mark.parametrize(
    ("name", "mode", "best"),
    [
        ("val_auc", None, 2), ("val_macro_f1", None, 2), ("val_rmse", None, 1), ("val_gain", "max", 2), ("val_gain", "min", 1),
        ("val_auc", "min", 1), ("train_loss", None, 1),
    ],
)  # fmt: skip
def test_any_metric_with_its_direction(name, mode, best, new_step, validated):
    stop = fs.EarlyStopping(2, name, mode=mode)
    trainer = fs.Trainer(new_step(), [_Metric(name, [0.1, 0.5, 0.4, 0.3, 0.2]), stop])
    history = trainer.fit(**validated, epochs=5)
    assert stop.best_epoch == best
    assert history.epochs == best + 2
    assert history.best(name, mode)["epoch"] == best
    assert history[name][:2] == [0.1, 0.5]


def test_an_unknown_direction_is_asked_for(new_step, validated, tmp_path):
    gain = _Metric("val_gain", [0.1, 0.5])
    history = fs.Trainer(new_step(), [gain]).fit(**validated, epochs=2)

    def fit(*rules, **options):
        fs.Trainer(new_step(), [gain, *rules]).fit(**validated, epochs=2, **options)

    for call in (
        lambda: history.best("val_gain"),
        lambda: fit(fs.EarlyStopping(2, "val_gain")),
        lambda: fit(fs.StopOnTarget(0.5, "val_gain")),
        lambda: fit(checkpoint=fs.Checkpoint(tmp_path / "run", best="val_gain")),
        lambda: history.best("lr"),
    ):
        with pytest.raises(fs.HyperparameterError, match=r'direction is known; got .*; pass mode="max"'):
            call()
    for call in (
        lambda: history.best("val_gain", "largest"),
        lambda: fs.EarlyStopping(2, "val_gain", mode="largest"),
        lambda: fs.Checkpoint(tmp_path, best="val_gain", mode="largest"),
        lambda: fs.ReduceOnPlateau(monitor="val_gain", mode="largest"),
    ):
        with pytest.raises(fs.HyperparameterError, match="mode"):
            call()
    fit(checkpoint=fs.Checkpoint(tmp_path / "best", best="val_gain", mode="max"))
    assert load_with_metadata(tmp_path / "best" / "best.safetensors")[1].notes["epoch"] == 2
    with pytest.raises(KeyError, match="val_loss"):
        history.best("nothing")


def test_a_metric_that_comes_too_late(new_step, validated):
    late = [fs.EarlyStopping(2, "val_auc"), _Metric("val_auc", [0.1, 0.5])]
    with pytest.raises(fs.HyperparameterError, match="put the callback that adds it before"):
        fs.Trainer(new_step(), late).fit(**validated, epochs=2)


def test_a_target_that_is_reached_from_below(new_step, validated):
    callbacks = [_Metric("val_auc", [0.1, 0.5, 0.9]), fs.StopOnTarget(0.5, "val_auc")]
    assert fs.Trainer(new_step(), callbacks).fit(**validated, epochs=3).epochs == 2


def test_rules_from_pickles_without_a_mode(new_step, validated):
    """As version 0.1.0 wrote them."""
    rules = [fs.EarlyStopping(3), fs.StopOnTarget(-1.0), fs.StopOnStall(monitor="lr", patience=3)]
    for rule in rules:
        del rule.mode
    history = fs.Trainer(new_step(), rules).fit(**validated, epochs=6)
    assert "lr changed by no more" in history.stopped_because
