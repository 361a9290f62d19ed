"""Many steps in one launch on `numba`: the bits of single steps, also where they end early, and what Python sees in between."""

import json
import pickle
import sys
import threading
from itertools import cycle, product

import numpy as np
import pytest
from networks import ZOO, InterpretedStep, batch_for, in_a_process, step_for
from pairs import pairwise

import fusedstep as fs
from fusedstep.backends.numba.replay import Replay
from fusedstep.backends.numba.several import RepeatedSteps
from fusedstep.framework.engine import minibatches
from fusedstep.framework.optimizers.base import OPTIMIZERS
from fusedstep.framework.sources.feeds import feed_for
from fusedstep.framework.training.launches import Launches, one_by_one

SIZE, FULL = 16, 5
ROWS = SIZE * FULL + 1
"""Each epoch has five whole minibatches, and one of a single row."""

GROUPS = [fs.ParameterGroup("*.bias", lr_scale=2.0, l2=0.01)]
OPTIMIZER_CASES = {
    **{name: kind for name, kind in OPTIMIZERS.items() if kind.__module__.startswith("fusedstep.")},
    "Adam, norm clipped": lambda: fs.Adam(1e-2, clip_norm=0.3),
    "AdamW, groups, values clipped": lambda: fs.AdamW(1e-2, groups=GROUPS, clip_value=0.1),
    "RAdam, divisor from step 8": lambda: fs.RAdam(1e-2, beta2=0.75),
    "Nesterov": lambda: fs.Nesterov(1e-3),  # at its own rate, sums of squares diverge
    "Nesterov, look-ahead": lambda: fs.Nesterov(0.01, form="look_ahead"),
    "SGD, l1 proximal": lambda: fs.SGD(0.01, l1=1e-3, l1_form="proximal", weight_decay=0.01),
}
for name in [name for name, kind in OPTIMIZER_CASES.items() if getattr(kind, "full_batch", False)]:
    del OPTIMIZER_CASES[name]
ONE_BY_ONE = ("LAMB", "Muon", "Nesterov, look-ahead")
SCHEDULES = {
    "constant": dict,
    "by epoch": lambda: {"schedule": fs.StepDecay(every=1)},
    "by step": lambda: {"schedule": fs.OneCycle()},
    "by the history": lambda: {"schedule": fs.ReduceOnPlateau(patience=1, monitor="loss")},
    "function": lambda: {"schedule": lambda epoch, step: 0.01 / (1 + epoch + step)},
}


@pytest.fixture
def launched(monkeypatch):
    """How many steps each launch took, in order."""
    seen, run = [], RepeatedSteps.run

    def noting(several, *given):
        results = run(several, *given)
        seen.append(results.done)
        return results

    monkeypatch.setattr(RepeatedSteps, "run", noting)
    return seen


def data_for(network, dtype="float32"):
    return batch_for(network, ROWS, dtype)


def state_of(step):
    return step.model.arena.values.tobytes(), {name: state.tobytes() for name, state in step.state.states.items()}


def fitted(step, data, per_launch, epochs=2, **options):
    trainer = fs.Trainer(step, steps_per_launch=per_launch, **options)
    history = trainer.fit(*data, epochs=epochs, batch_size=SIZE)
    return trainer, history


def same(ours, alone):
    (trainer, history), (single, wanted) = ours, alone
    assert list(history.step_losses) == list(wanted.step_losses)
    for column in wanted.columns:
        if column not in ("seconds", "samples_per_second"):
            assert history[column] == wanted[column]
    assert (trainer.steps_done, trainer.step.steps, trainer.step.lr) == (single.steps_done, single.step.steps, single.step.lr)
    assert trainer.step.momentum == single.step.momentum
    assert float(trainer.last_loss) == float(single.last_loss)
    assert state_of(trainer.step) == state_of(single.step)


MODES = pairwise(("float32", "float64"), (False, True), (None, 3), ("each_epoch", "once", "never"))
CASES = [
    (network, optimizer, schedule, mode)
    for network, (optimizer, schedule), mode in zip(cycle(ZOO), product(OPTIMIZER_CASES, SCHEDULES), cycle(MODES), strict=False)
]
ALL_CASES = [
    pytest.param(network, optimizer, schedule, mode, marks=pytest.mark.exhaustive)
    for (network, optimizer), schedule, mode in zip(product(ZOO, OPTIMIZER_CASES), cycle(SCHEDULES), cycle(MODES), strict=False)
]


@pytest.mark.parametrize(("network", "optimizer", "schedule", "mode"), [*CASES, *ALL_CASES])
def test_a_launch_gives_the_bits_of_single_steps(network, optimizer, schedule, mode, launched):
    dtype, deterministic, per_launch, shuffle = mode
    fs.set_num_threads(2)
    runs = []
    for count in (per_launch, 1):
        step = step_for(network, dtype, optimizer=OPTIMIZER_CASES[optimizer](), deterministic=deterministic)
        runs.append(fitted(step, data_for(network, dtype), count, shuffle=shuffle, **SCHEDULES[schedule]()))
    same(*runs)
    assert sum(launched) == (0 if optimizer in ONE_BY_ONE else 2 * FULL)
    assert per_launch is None or set(launched) <= {3, 2}


def test_momentum_by_schedule(launched):
    given = {"momentum": fs.MomentumRamp(0.5, 0.9, after=1)}
    steps = [step_for("tied", optimizer=fs.Momentum(0.01)) for _ in range(2)]
    same(*(fitted(step, data_for("tied"), count, **given) for step, count in zip(steps, (None, 1), strict=True)))
    assert sum(launched) == 2 * FULL


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(threads, launched):
    fs.set_num_threads(threads)
    network = "relu, dropout, labels"
    same(*(fitted(step_for(network, optimizer=fs.Adam()), data_for(network), count, epochs=20) for count in (None, 1)))
    assert sum(launched) == 20 * FULL


def test_dropout_draws_in_each_step():
    """All minibatches are one row again and again, and nothing is learned: losses differ by their masks alone."""
    x, y = (np.repeat(a[:1], ROWS, axis=0) for a in data_for("relu, dropout, labels"))
    step = step_for("relu, dropout, labels", optimizer=fs.SGD(1e-30))
    _, history = fitted(step, (x, y), 4)
    assert len(set(history.step_losses)) == len(history.step_losses) == 2 * (FULL + 1)


def test_a_fit_goes_on_where_the_last_one_ended(launched):
    network, runs = "relu, dropout, labels", []
    for counts in ((None, 3), (1, 1)):
        trainer = fs.Trainer(step_for(network, optimizer=fs.Adam()), schedule=fs.OneCycle())
        for count, given in zip(counts, ({"epochs": 2}, {"epochs": 3, "max_steps": 14}), strict=True):
            trainer.steps_per_launch = count
            history = trainer.fit(*data_for(network), batch_size=SIZE, **given)
        runs.append((trainer, history))
    same(*runs)
    assert len(runs[0][1].step_losses) == 14
    assert sum(launched) == 4 * FULL + 2


def test_early_stopping(launched):
    network = "relu, dropout, labels"
    x, y = data_for(network)
    runs = []
    for count in (None, 1):
        stopping = fs.EarlyStopping(2, restore_optimizer=True)
        trainer = fs.Trainer(step_for(network, optimizer=fs.Adam(0.05)), [stopping], steps_per_launch=count)
        history = trainer.fit(x, y, validation=(x[::-1], y), epochs=40, batch_size=SIZE)
        runs.append((trainer, history))
        assert history.stopped_because
    same(*runs)
    assert launched


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_weights_that_are_pruned_after_an_epoch(clip_norm, launched):
    class Pruning(fs.Callback):
        def on_epoch_end(self, trainer, row):
            fs.prune(trainer.step, 0.5)

    def run(count):
        step = step_for("tied", optimizer=fs.Adam(1e-2, clip_norm=clip_norm))
        return fitted(step, data_for("tied"), count, epochs=3, callbacks=[Pruning()])

    same(run(None), run(1))
    assert sum(launched) == FULL * (3 if clip_norm is None else 1), "the norm of a pruned model takes one more pass"


@pytest.mark.parametrize("bad", [0, 1, 3, 4])
@pytest.mark.parametrize("optimizer", [lambda: fs.Adam(0.01), lambda: fs.SGD(0.1, clip_norm=1.0)])
def test_what_is_not_finite_stops_before_its_step(bad, optimizer, launched, monkeypatch):
    monkeypatch.setattr(minibatches, "require_finite", lambda *_: None)
    network = "relu, dropout, labels"
    x, y = data_for(network)
    x[SIZE * bad + 3] = np.inf
    ends = []
    for count in (FULL, 1):
        trainer = fs.Trainer(
            step_for(network, optimizer=optimizer()), shuffle="never", steps_per_launch=count, schedule=fs.OneCycle()
        )
        with pytest.raises(fs.NonFiniteLossError) as caught:
            trainer.fit(x, y, epochs=2, batch_size=SIZE)
        error, step = caught.value, trainer.step
        assert error.step == bad + 1
        assert "the input data" in str(error)
        ends.append(
            (str(error), error.step, step.steps, step.lr, trainer.steps_done, list(trainer.history.step_losses), state_of(step))
        )
    assert ends[0] == ends[1]
    assert ends[0][2] == ends[0][4] == len(ends[0][5]) == bad
    assert launched == ([bad, 0] if bad else [0])


def test_a_gradient_that_overflows_while_the_loss_does_not(launched):
    """Nothing is learned from zeros, until a row gives a gradient of 1e39."""
    x, y = np.zeros((SIZE * FULL, 1), "f4"), np.zeros((SIZE * FULL, 1), "f4")
    x[SIZE * 3], y[SIZE * 3] = 1e30, 1e9
    ends = []
    for count in (None, 1):
        step = fs.TrainStep(fs.Sequential(fs.Linear(1, 1)), fs.MSE("sum"), fs.SGD(0.1), backend="numba")
        step.model.arena.values[...] = 0.0
        trainer = fs.Trainer(step, shuffle="never", steps_per_launch=count)
        with pytest.raises(fs.NonFiniteLossError, match="a gradient with NaN or infinity in step 4, first in the b") as caught:
            trainer.fit(x, y, epochs=1, batch_size=SIZE)
        ends.append((str(caught.value), step.steps, list(trainer.history.step_losses), state_of(step)))
    assert ends[0] == ends[1]
    assert ends[0][1:3] == (3, [0.0] * 3)
    assert sum(launched) == 3


def test_a_training_that_diverges(launched):
    """A learning rate that is far too large: the layer where it first shows is named."""
    ends = []
    for count in (None, 1):
        trainer = fs.Trainer(step_for("tied", optimizer=fs.SGD(1e6)), steps_per_launch=count)
        with pytest.raises(fs.NonFiniteLossError) as caught:
            trainer.fit(*data_for("tied"), epochs=20, batch_size=SIZE)
        ends.append((str(caught.value), trainer.steps_done, trainer.step.steps, list(trainer.history.step_losses)))
    assert ends[0] == ends[1]
    assert ends[0][1] == ends[0][2] == len(ends[0][3]) > 0


def test_a_step_goes_on_after_an_error(launched, monkeypatch):
    monkeypatch.setattr(minibatches, "require_finite", lambda *_: None)
    network, ends = "relu, dropout, labels", []
    x, y = data_for(network)
    broken = x.copy()
    broken[SIZE + 3] = np.nan
    for count in (None, 1):
        trainer = fs.Trainer(step_for(network, optimizer=fs.Adam()), shuffle="never", steps_per_launch=count)
        with pytest.raises(fs.NonFiniteLossError):
            trainer.fit(broken, y, batch_size=SIZE)
        ends.append((trainer, trainer.fit(x, y, epochs=2, batch_size=SIZE)))
    same(*ends)


@pytest.mark.parametrize("bad", [0, 2, 4])
def test_a_schedule_that_fails_leaves_the_steps_before(bad, launched):
    def schedule(epoch, step):
        return 0.01 * (step + 1) if step != FULL + 1 + bad else -1.0

    ends = []
    for count in (FULL, 1):
        trainer = fs.Trainer(step_for("tied"), steps_per_launch=count, schedule=schedule)
        with pytest.raises(fs.HyperparameterError, match=f"step={FULL + 1 + bad}") as caught:
            trainer.fit(*data_for("tied"), epochs=2, batch_size=SIZE)
        step, losses = trainer.step, list(trainer.history.step_losses)
        ends.append((str(caught.value), step.steps, step.lr, trainer.steps_done, losses, state_of(step)))
    assert ends[0] == ends[1]
    assert ends[0][1] == FULL + 1 + bad
    assert launched == [FULL, bad][: 1 + bool(bad)]


def test_a_schedule_is_asked_once_for_each_step_also_if_launches_end_early(monkeypatch, launched):
    run, asked = RepeatedSteps.run, []
    monkeypatch.setattr(RepeatedSteps, "run", lambda self, rows, number, scalars: run(self, rows, number, scalars[:2]))
    monkeypatch.setattr(RepeatedSteps, "next", lambda self, left: min(left, 4))

    def schedule(epoch, step):
        asked.append(step)
        return 0.01

    fitted(step_for("tied"), data_for("tied"), None, schedule=schedule)
    assert launched == [2, 2, 1] * 2
    assert asked == [0, *range(2 * (FULL + 1))], "and once before training"


def test_a_rate_that_a_callback_sets_between_launches(launched):
    class Setting(fs.Callback):
        def on_launch_end(self, trainer, done, total):
            trainer.step.lr = 0.01 / trainer.steps_done

    x, y = data_for("tied")
    trainer, history = fitted(step_for("tied"), (x, y), 2, callbacks=[Setting()], epochs=1, shuffle="never")
    assert launched == [2, 2, 1]
    by_hand, losses = step_for("tied"), []
    for k in range(FULL + 1):
        losses.append(float(by_hand(x[k * SIZE : (k + 1) * SIZE], y[k * SIZE : (k + 1) * SIZE])))
        if k + 1 not in (1, 3):
            by_hand.lr = 0.01 / (k + 1)
    assert losses == list(history.step_losses)
    assert state_of(trainer.step) == state_of(by_hand)


def test_a_trainer_is_pickled_while_it_trains(launched):
    class Pickling(fs.Callback):
        def on_launch_end(self, trainer, done, total):
            copies.append(pickle.loads(pickle.dumps(trainer)))

    copies = []
    pickling = Pickling()
    trainer = fs.Trainer(step_for("tied", optimizer=fs.Adam()), shuffle="never", steps_per_launch=2)
    trainer.callbacks.append(pickling)
    Pickling.__reduce__ = lambda self: (fs.Callback, ())
    trainer.fit(*data_for("tied"), epochs=1, batch_size=SIZE)
    again, x, y = copies[0], *data_for("tied")
    assert (launched, again.steps_done) == ([2, 2, 1], 2)
    again.fit(x[2 * SIZE :], y[2 * SIZE :], epochs=1, batch_size=SIZE)
    assert state_of(again.step) == state_of(trainer.step)


class Watching(fs.Callback):
    def __init__(self):
        self.seen = []

    def on_step_end(self, trainer, done, total):
        self.seen.append((done, total, trainer.steps_done))


class Counting(fs.Callback):
    def __init__(self):
        self.seen = []

    def on_launch_end(self, trainer, done, total):
        self.seen.append((done, total, trainer.steps_done, trainer.step.steps, float(trainer.last_loss)))


def test_callbacks_after_launches_and_after_steps(launched):
    counting = Counting()
    _, history = fitted(step_for("tied"), data_for("tied"), 2, callbacks=[counting])
    assert launched == [2, 2, 1] * 2
    done = [2, 4, 5, 6]
    assert [seen[:4] for seen in counting.seen] == [(n, 6, n + first, n + first) for first in (0, 6) for n in done]
    assert [seen[4] for seen in counting.seen] == [history.step_losses[seen[2] - 1] for seen in counting.seen]
    launched.clear()
    counting, watching = Counting(), Watching()
    fitted(step_for("tied"), data_for("tied"), 2, callbacks=[counting, watching], epochs=1)
    assert launched == []
    assert [n for n, *_ in counting.seen] == [n for n, *_ in watching.seen] == [1, 2, 3, 4, 5, 6]


def test_stopping_at_once_ends_after_the_launch(launched):
    class Stopping(fs.Callback):
        def on_launch_end(self, trainer, done, total):
            trainer.stop("enough", at_once=True)

    trainer, history = fitted(step_for("tied"), data_for("tied"), 3, callbacks=[Stopping()])
    assert (launched, trainer.steps_done, trainer.step.steps, len(history.step_losses)) == ([3], 3, 3, 3)


def test_the_minibatch_of_the_last_step():
    class Last(fs.Callback):
        def on_launch_end(self, trainer, done, total):
            self.seen = [np.array(a) for a in trainer.minibatch]

    x, y = data_for("tied")
    last = Last()
    fitted(step_for("tied"), (x[: 2 * SIZE], y[: 2 * SIZE]), 2, epochs=1, shuffle="never", callbacks=[last])
    np.testing.assert_array_equal(last.seen[0], x[SIZE : 2 * SIZE])
    np.testing.assert_array_equal(last.seen[1], y[SIZE : 2 * SIZE])


class OwnRun(fs.TrainStep):
    def run(self, inputs, targets):
        return super().run(inputs, targets)


def test_why_steps_go_one_by_one():
    x, y = data_for("relu, dropout, labels")

    def refusal(callbacks=(), augment=(), batch=SIZE, rows=None, most=None, **options):
        step = step_for("relu, dropout, labels", **options)
        trainer = fs.Trainer(step, callbacks, augment=augment)
        feed = feed_for(step, *(rows or (x, y)), batch)
        assert not one_by_one(trainer, feed) or Launches(trainer, feed, batch, most).refusal == one_by_one(trainer, feed)
        launches = Launches(trainer, feed, batch, most)
        launches.take(0, len(x), lambda losses: None)
        return launches.refusal

    assert refusal() == refusal(callbacks=[fs.EarlyStopping(2, "loss"), Counting(), fs.ProgressBar()]) == ""
    assert refusal(callbacks=[Watching()]) == "Watching looks at each step"
    assert "augmentations" in refusal(augment=[fs.InputNoise(0.1)])
    assert "micro-batches" in refusal(micro_batch=8)
    assert "look-ahead" in refusal(optimizer=fs.Nesterov(form="look_ahead"))
    assert "more than one call" in refusal(optimizer=fs.LAMB())
    assert "streamed" in refusal(rows=(fs.ArrayRows(x), fs.ArrayRows(y)))
    assert "cannot be captured" in refusal(kind=InterpretedStep)
    assert "of its own" in refusal(kind=OwnRun)
    assert "only one" in refusal(batch=len(x))
    assert "only one" in refusal(most=1)
    assert "captures no steps" in refusal(backend="numpy")


def test_how_many_steps_a_launch_has(monkeypatch):
    step = step_for("tied")
    data = step.prepare(*data_for("tied"))
    several, by_time = (step.executor.several(data, SIZE, FULL, most) for most in (7, None))
    assert several.ready()
    assert by_time.ready()
    assert [several.next(left) for left in (100, 7, 3, 0)] == [7, 7, 3, 0]
    assert by_time.next(100) == 1, "of which nobody knows how long they take"
    for seconds, fits in ((1e3, lambda steps: steps > FULL), (1e-9, lambda steps: steps == 1)):
        monkeypatch.setattr(sys.modules[type(by_time).__module__], "SECONDS", seconds)
        by_time.run(np.arange(ROWS), 1, step.state.scalars_for_steps([(0.01, None)] * FULL))
        assert fits(by_time.next(10**9))


def test_a_launch_that_takes_too_long_ends_early(monkeypatch):
    step = step_for("relu, dropout, labels", optimizer=fs.Adam())
    x, y = step.prepare(*data_for("relu, dropout, labels"))
    several = step.executor.several((x, y), SIZE, FULL, None)
    assert several.ready()
    order = np.arange(ROWS * 1000) % ROWS
    count = ROWS * 1000 // SIZE
    scalars = step.state.scalars_for_steps([(0.01, None)] * count)
    run = Replay.run
    monkeypatch.setattr(Replay, "run", lambda self, *given, seconds, **named: run(self, *given, seconds=0.0, **named))
    results = several.run(order, 1, scalars)
    assert 0 < results.done == step.steps < count


INTERRUPTED = """
import json, os, signal, sys, threading, time
import numpy as np
import fusedstep as fs

how = sys.argv[1]
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background of a shell ignore the signal
rng = np.random.default_rng(0)
x, y = rng.standard_normal((4097, 6)).astype("f4"), rng.integers(0, 3, 4097)

def trained(**given):
    step = fs.TrainStep(fs.mlp([6, 16, 3], dropout=0.2), fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=1, backend="numba")
    trainer = fs.Trainer(step, given.pop("callbacks", []), schedule="cosine")
    trainer.fit(x, y, batch_size=8, **given)
    return trainer

trained(max_steps=600)  # compiles
stopping = [fs.StopOnInterrupt()] if how == "callback" else []

class Timer(fs.Callback):
    def on_epoch_begin(self, trainer, epoch):
        self.trainer = trainer
        if epoch == 2:
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()

timer, came = Timer(), False
try:
    trained(callbacks=[*stopping, timer], epochs=100_000)
except KeyboardInterrupt:
    came = True
trainer = timer.trainer
print(json.dumps({
    "came": came, "done": trainer.steps_done, "steps": trainer.step.steps, "losses": list(trainer.history.step_losses),
    "values": trainer.step.model.arena.values.tolist(), "stopped": trainer.history.stopped_because,
}))

step = fs.TrainStep(fs.mlp([6, 16, 3], dropout=0.2), fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=1, backend="numba")
other = fs.Trainer(step, schedule="cosine", steps_per_launch=1)

class Stop(fs.Callback):
    def on_launch_end(self, it, done, total):
        if it.steps_done == trainer.steps_done:
            it.stop("enough", at_once=True)

other.callbacks.append(Stop())
history = other.fit(x, y, batch_size=8, epochs=100_000)
print(json.dumps({"losses": list(history.step_losses), "values": step.model.arena.values.tolist()}))
"""


@pytest.mark.parametrize("how", ["callback", "KeyboardInterrupt"])
def test_an_interrupt_leaves_a_whole_number_of_steps(how):
    ours, single = map(json.loads, in_a_process(INTERRUPTED, how, seconds=120).splitlines())
    assert ours["came"] == (how == "KeyboardInterrupt")
    assert ours["done"] == ours["steps"] == len(ours["losses"]) > 512
    assert ours["losses"] == single["losses"]
    assert ours["values"] == single["values"]


def test_two_threads_train_two_models_at_once():
    networks = ("relu, dropout, labels", "tied")

    def train(network):
        step = step_for(network, optimizer=fs.Adam())
        _, history = fitted(step, data_for(network), None, epochs=60)
        return list(history.step_losses), state_of(step)

    fs.set_num_threads(2)
    alone = [train(network) for network in networks]
    together = {}
    threads = [threading.Thread(target=lambda n=n: together.update({n: train(n)})) for n in networks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [together[network] for network in networks] == alone


MEMORY = """
import resource, tracemalloc
import numpy as np
import fusedstep as fs

rng = np.random.default_rng(0)
x, y = rng.standard_normal((8000, 6)).astype("f4"), rng.integers(0, 3, 8000)
step = fs.TrainStep(fs.mlp([6, 16, 3], dropout=0.2), fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=1, backend="numba")
trainer = fs.Trainer(step, schedule="cosine")

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

trainer.fit(x, y, epochs=3, batch_size=8)
before = resident()
trainer.fit(x, y, epochs=10, batch_size=8)
print(resident() / before)
tracemalloc.start()
peaks = []
for epochs in (1, 10):
    tracemalloc.reset_peak()
    start = tracemalloc.get_traced_memory()[0]
    trainer.fit(x, y, epochs=epochs, batch_size=8)
    peaks.append(tracemalloc.get_traced_memory()[1] - start)
print(peaks[1] / peaks[0])
"""


def test_ten_thousand_steps_take_no_more_memory_than_a_thousand():
    """But for the history, which has 8 bytes for each step."""
    resident, traced = map(float, in_a_process(MEMORY, seconds=120).split())
    assert resident < 1.02
    assert traced < 1.5
