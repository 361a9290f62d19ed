"""C10: schedules equal the formulas of the notes, and act at the right step or epoch of real training."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import Random
from fusedstep.framework.streams import SHUFFLE
from fusedstep.framework.training.schedules import SCHEDULES, parse_schedule, schedule_text


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.8), (4, 0.8), (5, 0.4), (9, 0.4), (10, 0.2), (27, 0.025)])
def test_c10_step_decay_halves_every_five_epochs(epoch, rate):
    assert fs.StepDecay(lr=0.8)(epoch, 99) == rate


def test_c10_step_decay_with_other_settings():
    assert [fs.StepDecay(0.1, every=2, lr=1.0)(e, 0) for e in range(5)] == [1.0, 1.0, 0.1, 0.1, 0.1**2]


@pytest.mark.parametrize("t", [0, 1, 7, 1000])
def test_c10_exponential_decay_follows_the_formula(t):
    assert fs.ExponentialDecay(0.003, lr=0.5)(99, t) == 0.5 * math.exp(-0.003 * t)
    assert fs.ExponentialDecay(0.003, per="epoch", lr=0.5)(t, 99) == 0.5 * math.exp(-0.003 * t)


@pytest.mark.parametrize("t", [0, 1, 7, 1000])
def test_c10_inverse_time_decay_follows_the_formula(t):
    assert fs.InverseTimeDecay(0.01, lr=0.5)(99, t) == pytest.approx(0.5 / (1 + 0.01 * t), rel=1e-15)
    assert fs.InverseTimeDecay(0.01, per="epoch", lr=0.5)(t, 99) == pytest.approx(0.5 / (1 + 0.01 * t), rel=1e-15)


def test_c10_cosine_decay_at_known_points():
    cosine = fs.CosineDecay(steps=100, lr=2.0)
    assert [cosine(0, t) for t in (0, 50, 100, 500)] == pytest.approx([2.0, 1.0, 0.0, 0.0])
    assert cosine(0, 25) == pytest.approx(1.0 + math.sqrt(0.5))
    warm = fs.CosineDecay(steps=110, warmup_steps=10, final=0.1, lr=2.0)
    assert [warm(0, t) for t in (0, 5, 10, 60, 110, 200)] == pytest.approx([0.0, 1.0, 2.0, 1.1, 0.2, 0.2])


def test_c10_warm_up_multiplies_another_schedule():
    warm = fs.LinearWarmup(steps=10, start=0.2, then=fs.StepDecay(every=1), lr=1.0)
    assert [warm(0, t) for t in (0, 5, 10, 11)] == pytest.approx([0.2, 0.6, 1.0, 1.0])
    assert warm(2, 5) == pytest.approx(0.6 * 0.25)


def test_c10_one_cycle_rises_falls_and_moves_the_momentum_the_other_way():
    cycle = fs.OneCycle(steps=100, lr=0.5)
    values = [cycle(0, t) for t in range(100)]
    assert values[0] == pytest.approx(0.5 / 25)
    assert max(values) == values[29] == 0.5
    assert values[-1] == pytest.approx(0.5 / 25 / 1e4)
    assert np.all(np.diff(values[:30]) > 0)
    assert np.all(np.diff(values[29:]) < 0)
    assert [cycle.momentum_at(0, t) for t in (0, 29, 99)] == pytest.approx([0.95, 0.85, 0.95])


def _play(schedule, figures):
    """The rate of each epoch, when the history says `figures`."""
    schedule.lr = 1.0
    rates = []
    for epoch, value in enumerate(figures):
        rates.append(schedule(epoch, 0))
        schedule.observe({schedule.monitor: value})
    return [*rates, schedule(len(figures), 0)]


def test_c10_halve_on_worse_acts_after_the_epoch_whose_error_rose():
    # Rises: epoch 2 (0.9 -> 1.1) and 4 (1.0 -> 1.05); equal (epoch 5) is not worse; NaN (epoch 6) is.
    figures = [1.2, 0.9, 1.1, 1.0, 1.05, 1.05, math.nan, 0.8]
    assert _play(fs.HalveOnWorse(), figures) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_c10_halve_on_worse_of_an_accuracy_looks_for_less():
    assert _play(fs.HalveOnWorse(monitor="val_accuracy"), [0.5, 0.6, 0.55, 0.56]) == [1, 1, 1, 0.5, 0.5]


def test_c10_plateau_divides_by_ten_after_so_many_epochs_without_improvement():
    figures = [1.0, 0.8, 0.9, 0.85, 0.7, 0.7, 0.7, 0.7]
    # patience 2: epochs 2 and 3 (0.9, 0.85) are no better than 0.8; then 0.7 improves, and epochs 5 and 6 do not.
    assert _play(fs.ReduceOnPlateau(patience=2), figures) == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_c10_plateau_threshold_is_relative():
    falling = [1.0, 0.995, 0.990, 0.985]
    assert _play(fs.ReduceOnPlateau(patience=3, threshold=0.02), falling)[-1] == pytest.approx(0.1)
    assert _play(fs.ReduceOnPlateau(patience=3, threshold=0.001), falling)[-1] == 1.0


def test_c10_plateau_waits_through_the_cooldown():
    flat = [1.0] * 9
    assert _play(fs.ReduceOnPlateau(patience=2), flat) == pytest.approx([1, 1, 1, 0.1, 0.1, 1e-2, 1e-2, 1e-3, 1e-3, 1e-4])
    cooled = _play(fs.ReduceOnPlateau(patience=2, cooldown=3), flat)
    assert cooled == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 1e-2, 1e-2])


def test_c10_plateau_keeps_a_smallest_rate():
    assert _play(fs.ReduceOnPlateau(patience=1, smallest_lr=0.03), [1.0] * 5) == pytest.approx([1, 1, 0.1, 0.03, 0.03, 0.03])


def test_c10_momentum_rises_from_a_half_to_nine_tenths():
    assert [fs.MomentumRamp()(e, 0) for e in (0, 4, 5, 50)] == [0.5, 0.5, 0.9, 0.9]
    slow = fs.MomentumRamp(0.5, 0.9, after=1, over=3)
    assert [slow(e, 0) for e in range(6)] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 0.9])


# --- in training ---


def test_c10_training_uses_the_rate_of_the_schedule_in_every_step(backend, new_step, validated, rates):
    seen = rates()
    step = new_step(backend)
    trainer = fs.Trainer(step, [seen], schedule=fs.ExponentialDecay(0.05))
    history = trainer.fit(**validated, epochs=3)
    assert seen.lr == [0.1 * math.exp(-0.05 * t) for t in range(12)]
    assert history["lr"] == seen.lr[3::4]
    # The same steps by hand: the update uses that rate.
    by_hand = new_step(backend)
    for epoch in range(3):
        order = np.asarray(_order(by_hand, 200, epoch))
        for k in range(4):
            by_hand.lr = 0.1 * math.exp(-0.05 * (4 * epoch + k))
            rows = order[50 * k : 50 * k + 50]
            by_hand(validated["x"][rows], validated["y"][rows])
    np.testing.assert_array_equal(step.model.arena.values, by_hand.model.arena.values)


def _order(step, rows, epoch):
    return step.backend.permutation(rows, Random(step.backend.random_state(step.seed, epoch), SHUFFLE))


def test_c10_step_decay_in_training_and_in_a_second_fit(new_step, validated):
    trainer = fs.Trainer(new_step(), schedule=fs.StepDecay(every=2))
    assert trainer.fit(**validated, epochs=3)["lr"] == [0.1, 0.1, 0.05]
    assert trainer.fit(**validated, epochs=3)["lr"] == [0.05, 0.025, 0.025]


def test_c10_halve_on_worse_in_training_follows_its_own_history(backend, new_step, validated):
    history = fs.Trainer(new_step(backend, fs.SGD(3.0)), schedule=fs.HalveOnWorse()).fit(**validated, epochs=12)
    rate, previous = 3.0, math.inf
    drops = 0
    for row in history:
        assert row["lr"] == rate
        if row["val_loss"] > previous:
            rate, drops = rate / 2, drops + 1
        previous = row["val_loss"]
    assert drops > 1


def test_c10_plateau_in_training_follows_its_own_history(backend, new_step, validated):
    schedule = fs.ReduceOnPlateau(factor=0.5, patience=2, threshold=0.05)
    history = fs.Trainer(new_step(backend, fs.SGD(1.0)), schedule=schedule).fit(**validated, epochs=40)
    rate, best, best_epoch, drops = 1.0, math.inf, 0, []
    for epoch, row in enumerate(history, 1):
        assert row["lr"] == rate
        if row["val_loss"] < 0.95 * best:
            best, best_epoch = row["val_loss"], epoch
        elif epoch - max([best_epoch, *drops]) >= 2:
            rate /= 2
            drops.append(epoch)
    assert len(drops) > 2


def test_c10_cosine_and_one_cycle_end_with_training(new_step, validated, rates):
    seen = rates()
    fs.Trainer(new_step(), [seen], schedule="cosine").fit(**validated, epochs=5)
    assert seen.lr == [fs.CosineDecay(steps=20, lr=0.1)(0, t) for t in range(20)]
    seen = rates()
    fs.Trainer(new_step(), [seen], schedule="one-cycle").fit(**validated, epochs=5, max_steps=18)
    assert seen.lr == [fs.OneCycle(steps=18, lr=0.1)(0, t) for t in range(18)]


def test_c10_cycles_each_twice_as_long_as_the_one_before(new_step, validated, rates):
    """With T = 15 000 steps the cycles end near 1 000, 3 000, 7 000 and 15 000; their middles are at 2^(k + 1/2) - 1."""
    schedule = fs.CosLog(steps=15_000, lr=2.0)
    ends = [schedule(0, 1_000 * (2**cycle - 1)) for cycle in range(5)]
    middles = [schedule(0, round(1_000 * (2 ** (cycle + 0.5) - 1))) for cycle in range(4)]
    assert ends == pytest.approx([0.0] * 5, abs=1e-4)
    assert middles == pytest.approx([2.0] * 4, abs=1e-4)
    assert fs.CosLog(cycles=1, steps=1, lr=1.0)(0, 0) == pytest.approx(0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.5))))
    seen = rates()
    fs.Trainer(new_step(), [seen], schedule="coslog").fit(**validated, epochs=5)
    assert seen.lr == [fs.CosLog(steps=20, lr=0.1)(0, t) for t in range(20)]


def test_c10_epochs_as_lengths_are_turned_into_steps(new_step, validated, rates):
    seen = rates()
    fs.Trainer(new_step(), [seen], schedule=fs.LinearWarmup(epochs=2)).fit(**validated, epochs=3)
    assert seen.lr == pytest.approx([0.1 * min(1.0, 0.1 + 0.9 * t / 8) for t in range(12)])


def test_c10_a_function_of_epoch_and_step_is_a_schedule(new_step, validated, rates):
    seen = rates()
    asked = []

    def mine(epoch, step):
        asked.append((epoch, step))
        return np.float32(0.5) / (1 + epoch)

    fs.Trainer(new_step(), [seen], schedule=mine).fit(**validated, epochs=2)
    assert seen.lr == [0.5] * 4 + [0.25] * 4
    assert asked == [(0, 0), *((t // 4, t) for t in range(8))]


@pytest.mark.parametrize("form", ["update", "velocity", "average", "sum", "reformulated", "look_ahead"])
def test_c10_momentum_schedule_reaches_the_update(backend, form, new_step, validated, rates):
    def optimizer(momentum):
        kind = fs.Nesterov if form in fs.Nesterov.FORMS else fs.Momentum
        return kind(0.05, momentum, form)

    seen = rates()
    step = new_step(backend, optimizer(0.7))
    history = fs.Trainer(step, [seen], momentum=fs.MomentumRamp(after=2)).fit(**validated, epochs=4)
    assert seen.momentum == [0.5] * 8 + [0.9] * 8
    assert history["momentum"] == [0.5, 0.5, 0.9, 0.9]
    # Two steps of constant momentum, the second of which takes over what the first has learned.
    first, second = new_step(backend, optimizer(0.5)), new_step(backend, optimizer(0.9))
    trainer = fs.Trainer(first)
    trainer.fit(**validated, epochs=2)
    second.model.arena.values[...] = first.model.arena.values
    for name, values in first.state.states.items():
        second.state.states[name][...] = values
    second.state.t = first.state.t
    later = fs.Trainer(second)
    later.restore(trainer.state())
    later.fit(**validated, epochs=2)
    np.testing.assert_array_equal(step.model.arena.values, second.model.arena.values)


def test_c10_new_rates_and_momenta_make_no_new_kernel_and_no_new_plan(backend, new_step, validated, monkeypatch):
    from fusedstep.backends.numba import plan, rows
    from fusedstep.framework.optimizers import base

    made = []

    def counted(owner, name):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args: made.append(name) or original(*args))

    counted(base, "update_formula")
    for kind in (plan.RowsPlan, rows.InterpretedPlan):
        counted(kind, "__init__")
    step = new_step(backend, fs.Nesterov(0.05))
    trainer = fs.Trainer(step, schedule=lambda epoch, t: 0.05 / (1 + t), momentum=lambda epoch, t: 0.5 + 0.01 * t)
    trainer.fit(**validated, epochs=1)
    assert made
    after_one_epoch = list(made)
    trainer.fit(**validated, epochs=3)
    assert made == after_one_epoch
    assert step.momentum == pytest.approx(0.65)


def test_c10_one_cycle_moves_the_momentum_where_there_is_one(new_step, validated, rates):
    seen = rates()
    step = new_step(optimizer=fs.Momentum(0.05))
    fs.Trainer(step, [seen], schedule=fs.OneCycle()).fit(**validated, epochs=3)
    assert seen.momentum == [fs.OneCycle(steps=12).momentum_at(0, t) for t in range(12)]
    fs.Trainer(new_step(optimizer=fs.Adam(0.01)), schedule=fs.OneCycle()).fit(**validated, epochs=1)


PLATEAU = fs.ReduceOnPlateau(patience=1, threshold=0.05)
CASES = {
    "observed": (lambda: fs.LinearWarmup(epochs=3, then=PLATEAU), fs.MomentumRamp(after=3)),
    "worse": (fs.HalveOnWorse, fs.MomentumRamp(after=1, over=4)),
    "one cycle": (lambda: fs.OneCycle(epochs=7), None),
    "cycles": (lambda: fs.CosLog(epochs=7), None),
    "time": (lambda: fs.InverseTimeDecay(0.1), None),
}


@pytest.mark.parametrize("case", CASES)
def test_c10_schedules_go_on_after_a_resume(backend, case, new_step, validated, rates):
    make, momentum = CASES[case]

    def step():
        return new_step(backend, fs.Momentum(1.5), dropout=0.2)

    whole = step()
    seen = rates()
    fs.Trainer(whole, [seen], schedule=make(), momentum=momentum).fit(**validated, epochs=7)
    assert len(set(seen.lr)) > 1
    interrupted = step()
    trainer = fs.Trainer(interrupted, schedule=make(), momentum=momentum)
    trainer.fit(**validated, epochs=3)
    remembered = json.loads(json.dumps(trainer.state()))
    resumed = copy.deepcopy(interrupted)
    later = rates()
    trainer = fs.Trainer(resumed, [later], schedule=make(), momentum=momentum)
    trainer.restore(remembered)
    trainer.fit(**validated, epochs=4)
    assert later.lr == seen.lr[12:]
    assert later.momentum == seen.momentum[12:]
    np.testing.assert_array_equal(resumed.model.arena.values, whole.model.arena.values)


def test_c10_one_schedule_serves_two_trainers(new_step, validated):
    schedule = fs.ReduceOnPlateau(patience=1, threshold=0.5)
    histories = [fs.Trainer(new_step(), schedule=schedule).fit(**validated, epochs=5)["lr"] for _ in range(2)]
    assert histories[0] == histories[1]
    assert histories[0][-1] < 0.1
    assert schedule.scale == 1.0
    assert schedule.lr is None


# --- as text ---

TEXTS = [
    "constant", "step", "step:factor=0.25,every=3", "halve-on-worse", "plateau:patience=3,cooldown=2,monitor=val_accuracy",
    "exponential:k=0.01", "inverse-time:k=0.5,per=epoch", "cosine:warmup_steps=20,final=0.01", "one-cycle:steps=400,rise=0.2",
    "coslog", "coslog:cycles=3,steps=200", "warmup:steps=100+coslog",
    "warmup:steps=100", "warmup:epochs=2,start=0.01+plateau:factor=0.5", "step:lr=0.5",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_c10_schedules_survive_as_text(text):
    assert schedule_text(parse_schedule(text)) == text


def test_c10_every_schedule_has_a_name_and_a_repr_that_makes_it_again():
    assert set(SCHEDULES.values()) == {k for k in vars(fs.framework.training.schedules).values() if _is_rate(k)}
    schedule = fs.LinearWarmup(steps=5, then=fs.StepDecay(every=3), lr=0.25)
    again = eval(repr(schedule), vars(fs.framework.training.schedules))
    assert repr(again) == repr(schedule) == "LinearWarmup(steps=5, then=StepDecay(every=3), lr=0.25)"


def _is_rate(kind):
    return isinstance(kind, type) and issubclass(kind, fs.RateSchedule) and kind is not fs.RateSchedule


BAD_TEXTS = {
    "stp": "did you mean 'step'",
    "plateu:patience=3": "did you mean 'plateau'",
    "zigzag": "expected one of the schedules constant, step",
    "step:evry=5": "did you mean 'every'",
    "step:every": "every=VALUE",
    "step:every=": "every=VALUE",
    "step:every=2,every=3": "once",
    "step:every=often": "expected a number for every",
    "step:every=0": "every to be a whole number >= 1",
    "step:every=2.5": "every to be a whole number",
    "step:factor=-0.5": r"factor in \(0, 1\)",
    "step:factor=1": r"factor in \(0, 1\)",
    "step:factor=nan": r"factor in \(0, 1\)",
    "exponential": "all required settings of 'exponential'",
    "exponential:k=0": "k in",
    "exponential:k=-1": "k in",
    "inverse-time:k=1,per=week": "per to be one of",
    "warmup": "steps or epochs of LinearWarmup; got neither",
    "warmup:steps=3,epochs=2": "got both",
    "warmup:steps=3+warmup:steps=2+step": "a warm-up and one more",
    "step+cosine": "a warm-up and one more",
    "warmup:steps=10+one-cycle": "already contains a warm-up",
    "warmup:steps=10+step:lr=0.1": "to be given to LinearWarmup",
    "cosine:steps=10,warmup_steps=10": "warmup_steps to be a whole number from 0 to 9",
    "cosine:final=1": r"final in \[0, 1\)",
    "coslog:cycles=0": "cycles to be a whole number from 1 to 30",
    "coslog:steps=3,epochs=2": "got both",
    "one-cycle:rise=0": r"rise in \(0, 1\)",
    "one-cycle:divisor=1": "divisor in",
    "one-cycle:low_momentum=0.99": "low_momentum in",
    "plateau:patience=0": "patience to be a whole number >= 1",
    "plateau:threshold=-1": "threshold in",
    "step:lr=-0.1": "lr in",
}


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_c10_impossible_schedules_are_refused_before_anything_happens(text, new_step):
    with pytest.raises(fs.HyperparameterError, match=BAD_TEXTS[text]):
        fs.Trainer(new_step(), schedule=text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"schedule": fs.StepDecay}, r"write schedule=fs.StepDecay\(\)"),
        ({"schedule": 0.1}, "function"),
        ({"schedule": fs.MomentumRamp()}, "schedule of the learning rate"),
        ({"momentum": fs.StepDecay()}, "schedule of the momentum"),
        ({"momentum": 0.9}, "MomentumRamp"),
        ({"momentum": fs.MomentumRamp()}, "fs.Momentum or fs.Nesterov"),
    ],
)
def test_c10_what_is_no_schedule_is_refused(arguments, words, new_step):
    with pytest.raises(fs.HyperparameterError, match=words):
        fs.Trainer(new_step(), **arguments)


def test_c10_momentum_outside_its_range_is_refused():
    for bad in ({"start": 1.0}, {"end": -0.1}, {"after": -1}, {"over": 0.5}):
        with pytest.raises(fs.HyperparameterError, match=next(iter(bad))):
            fs.MomentumRamp(**bad)


@pytest.mark.parametrize("schedule", ["halve-on-worse", fs.ReduceOnPlateau(), "warmup:steps=3+halve-on-worse"])
def test_c10_a_schedule_that_needs_validation_says_so_before_training(schedule, new_step, data):
    step = new_step()
    before = step.model.arena.values.copy()
    with pytest.raises(fs.HyperparameterError, match=r"val_loss.*validation="):
        fs.Trainer(step, schedule=schedule).fit(*data)
    assert step.steps == 0
    np.testing.assert_array_equal(step.model.arena.values, before)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "0.1", None, True])
def test_c10_a_function_that_gives_no_rate_is_refused_before_training(value, new_step, data):
    step = new_step()
    with pytest.raises(fs.HyperparameterError, match=r"schedule\(epoch=0, step=0\)"):
        fs.Trainer(step, schedule=lambda epoch, step: value).fit(*data)
    assert step.steps == 0
    assert step.lr == 0.1


def test_c10_a_schedule_by_itself_says_what_it_needs():
    with pytest.raises(fs.StateError, match="lr="):
        fs.StepDecay()(0, 0)
    with pytest.raises(fs.StateError, match="steps="):
        fs.CosineDecay(lr=0.1)(0, 0)
    with pytest.raises(fs.StateError, match="steps="):
        fs.LinearWarmup(epochs=2, lr=0.1)(0, 0)


def test_c10_momentum_of_a_step_can_be_set(new_step, data):
    step = new_step(optimizer=fs.Momentum(0.1, 0.8))
    assert step.momentum == 0.8
    step.momentum = 0.3
    assert (step.momentum, step.optimizer.momentum) == (0.3, 0.8)
    for bad in (1.0, -0.1, math.nan):
        with pytest.raises(fs.HyperparameterError, match="momentum"):
            step.momentum = bad
    plain = new_step()
    assert plain.momentum is None
    with pytest.raises(fs.HyperparameterError, match=r"fs\.Momentum"):
        plain.momentum = 0.5


def test_a_schedule_as_text_monitors_a_metric_in_a_direction():
    schedule = parse_schedule("plateau:monitor=val_gain,mode=max,patience=1")
    assert (schedule.monitor, schedule.mode) == ("val_gain", "max")
    assert schedule_text(parse_schedule(schedule_text(schedule))) == schedule_text(schedule)
    with pytest.raises(fs.HyperparameterError, match="mode"):
        parse_schedule("halve-on-worse:mode=largest")
