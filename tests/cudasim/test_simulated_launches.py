"""Several steps in one launch, in the simulator: the bits of single steps, and when they are taken one by one."""

import numpy as np
import pytest

numba_config = pytest.importorskip("numba.core.config")
if not numba_config.ENABLE_CUDASIM:
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported: run this folder alone", allow_module_level=True)

import fusedstep as fs  # noqa: E402
from fusedstep.backends.cuda.several import SeveralSteps, steps_of_a_launch  # noqa: E402
from fusedstep.framework.engine import minibatches  # noqa: E402
from fusedstep.framework.sources.feeds import ResidentFeed, feed_for  # noqa: E402
from fusedstep.framework.training.launches import one_by_one  # noqa: E402

SIZE, COLUMNS, CLASSES = 2, 4, 3
FULL = 5
"""Whole minibatches of an epoch; one row more makes a ragged end."""
rng = np.random.default_rng(6)
X, Y = rng.standard_normal((SIZE * FULL + 1, COLUMNS)).astype("f4"), rng.integers(0, CLASSES, SIZE * FULL + 1)


def new_step(optimizer=None, chain=None, **options):
    model = fs.Sequential(*(chain or [fs.Linear(COLUMNS, 4), fs.ReLU(), fs.Dropout(0.4), fs.Linear(4, CLASSES)]))
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer or fs.AdamW(1e-2), seed=3, backend="cuda", **options)


def single_graphs(step):
    return [plan.graph for plan in step.executor._plans.values() if plan.graph is not None]


@pytest.fixture
def launched(monkeypatch):
    """How many steps each launch of several steps covered, in order."""
    seen = []
    run = SeveralSteps.run

    def noting(several, *arguments):
        before = several._graph.launches
        results = run(several, *arguments)
        assert several._graph.launches == before + 1
        seen.append(several.count)
        return results

    monkeypatch.setattr(SeveralSteps, "run", noting)
    return seen


def fitted(per_launch, optimizer=None, epochs=2, x=X, y=Y, step_options=None, **options):
    step = new_step(optimizer() if optimizer else None, **(step_options or {}))
    trainer = fs.Trainer(step, steps_per_launch=per_launch, **options)
    return step, trainer.fit(x, y, epochs=epochs, batch_size=SIZE)


def same(together, alone):
    (several, history), (one, wanted) = together, alone
    assert history.step_losses == wanted.step_losses
    assert history["loss"] == wanted["loss"]
    assert history["lr"] == wanted["lr"]
    assert several.steps == one.steps
    assert several.model.arena.values.tobytes() == one.model.arena.values.tobytes()
    for name, state in several.state.states.items():
        assert state.tobytes() == one.state.states[name].tobytes()
    assert several.loss_scale == one.loss_scale


CASES = {
    "Adam, clipped": (lambda: fs.Adam(1e-2, clip_norm=0.5), {}, {}),
    "float16, whose loss is scaled": (lambda: fs.AdamW(1e-2), {"precision": "float16"}, {}),
    "states rounded at random": (lambda: fs.AdamW(1e-2, state_dtype="bfloat16"), {}, {}),
    "RAdam, whose divisor changes between steps 7 and 8, which are one launch": (lambda: fs.RAdam(1e-2, beta2=0.75), {}, {}),
    "Muon, with products in 16 bits": (lambda: fs.Muon(1e-2), {"average": fs.EMA(0.9)}, {}),
    "Schedule-Free AdamW, in its warm-up": (lambda: fs.ScheduleFreeAdamW(1e-2, weight_decay=0.1, warmup_steps=9), {}, {}),
    "LAMB, with two tables": (lambda: fs.LAMB(1e-2), {}, {"shuffle": "never"}),
    "parameters that are averaged": (lambda: fs.AdamW(1e-2), {"average": fs.EMA(0.9)}, {}),
    "the same with a loss that is scaled": (
        lambda: fs.LAMB(1e-2), {"average": fs.EMA(0.9), "precision": "float16", "on_nonfinite": "skip"}, {},
    ),
    "rate and momentum by schedule": (lambda: fs.Momentum(0.05), {}, {"schedule": lambda: fs.OneCycle()}),
    "a state in 16 bits, losses that are scaled, momentum by schedule": (
        lambda: fs.Nesterov(0.05, state_dtype="bfloat16", groups=[fs.ParameterGroup("*.bias", lr_scale=2.0)]),
        {"precision": "float16"}, {"momentum": lambda: fs.MomentumRamp(after=1)},
    ),
    "a function as schedule": (lambda: fs.SGD(0.1), {}, {"schedule": lambda: lambda epoch, step: 0.1 / (1 + step)}),
}

@pytest.mark.parametrize("case", CASES)
def test_f5_a_launch_of_several_steps_gives_the_bits_of_single_ones(case, launched):
    optimizer, step_options, options = CASES[case]
    runs = []
    for per_launch in (2, 1):
        given = {name: value() if callable(value) else value for name, value in options.items()}
        runs.append(fitted(per_launch, optimizer, step_options=step_options, **given))
    same(*runs)
    assert launched == [2, 2, 2], "two steps warm up"
    assert [graph.launches for graph in single_graphs(runs[0][0])] == [2], "a whole minibatch is left over in each epoch"
    assert len(set(runs[0][1].step_losses)) == runs[0][0].steps == 2 * (FULL + 1)


def test_f5_dropout_draws_in_each_step_of_a_launch(launched):
    """All minibatches are the same row again and again, and nothing is learned: losses differ by their masks alone."""
    x, y = np.repeat(X[:1], SIZE * 4, axis=0), np.repeat(Y[:1], SIZE * 4)
    chain = [fs.Linear(COLUMNS, 8), fs.Dropout(0.4), fs.Linear(8, CLASSES)]
    options = {"chain": chain}
    _, history = fitted(4, lambda: fs.SGD(1e-30), epochs=3, x=x, y=y, step_options=options, shuffle="never")
    assert launched == [4, 4]
    assert len(set(history.step_losses)) == len(history.step_losses)


@pytest.mark.parametrize("optimizer", [fs.SGD(0.1), fs.LAMB(0.1)], ids=repr)
def test_f5_what_is_not_finite_is_found_and_changes_nothing(launched, optimizer):
    """The second minibatch of a launch has an infinity in it."""
    x, y = X[: SIZE * FULL].copy(), Y[: SIZE * FULL]
    x[3 * SIZE] = np.inf
    together, alone = (new_step(optimizer) for _ in range(2))
    for step in (together, alone):
        for _ in range(2):
            step(x[:SIZE], y[:SIZE])
    feed = ResidentFeed(together, together.backend.asarray(x), together.prepare_targets(y, len(x)))
    several = together.executor.several(feed.data, SIZE, 3, 3)
    losses = []
    assert together.run_several(several, feed.indices(2 * SIZE, 5 * SIZE), lambda ahead: None, losses.extend)
    assert launched == [3]
    wanted = [alone(x[k * SIZE : (k + 1) * SIZE], y[k * SIZE : (k + 1) * SIZE]) for k in (2, 3, 4)]
    assert [float(losses[k]) for k in (0, 2)] == [float(wanted[k]) for k in (0, 2)]
    with pytest.raises(fs.NonFiniteLossError, match="step 4"):
        float(losses[1])
    assert together.model.arena.values.tobytes() == alone.model.arena.values.tobytes()


def test_f5_the_trainer_names_the_step_that_was_not_finite(monkeypatch):
    step = new_step(fs.SGD(0.1))
    x = X[: SIZE * 4].copy()
    x[3 * SIZE] = np.inf
    monkeypatch.setattr(minibatches, "require_finite", lambda *_: None)
    with pytest.raises(fs.NonFiniteLossError) as caught:
        fs.Trainer(step, steps_per_launch=2, shuffle="never").fit(x, Y[: len(x)], epochs=1, batch_size=SIZE)
    assert (caught.value.step, step.steps) == (4, 4)
    assert "the input data" in str(caught.value)


def test_f5_an_update_that_holds_pruned_weights_is_captured_anew(launched):
    class Pruning(fs.Callback):
        def on_epoch_end(self, trainer, row):
            fs.prune(trainer.step, 0.5)

    runs = [fitted(2, callbacks=[Pruning()]), fitted(1, callbacks=[Pruning()])]
    same(*runs)
    assert launched == [2, 2], "in each epoch two steps warm up, and one is left over"


def test_f5_losses_outlive_the_next_launch_and_are_brought_over_at_once(launched, monkeypatch):
    step = new_step()
    trainer = fs.Trainer(step, steps_per_launch=2)
    asked = []
    to_numpy = type(step.backend).to_numpy
    monkeypatch.setattr(type(step.backend), "to_numpy", lambda self, a: (asked.append(a.shape), to_numpy(self, a))[1])
    trainer.fit(X, Y, epochs=2, batch_size=SIZE)
    assert asked.count((2, 2)) == len(launched) == 3


class Watching(fs.Callback):
    def on_step_end(self, trainer, done, total):
        pass


def test_f5_steps_that_the_host_must_see_go_one_by_one(launched):
    reasons = {
        "looks at each step": {"callbacks": [Watching()]},
        "augmentations": {"augment": [fs.InputNoise(0.1)]},
        "split into micro-batches": {"step_options": {"micro_batch": SIZE}},
        "look-ahead Nesterov moves": {"step_options": {"optimizer": fs.Nesterov(0.05, form="look_ahead")}},
    }
    for reason, given in reasons.items():
        step = new_step(**given.pop("step_options", {}))
        assert reason in one_by_one(fs.Trainer(step, **given), feed_for(step, X, Y, SIZE))
    step = new_step()
    streamed = feed_for(step, fs.ArrayRows(X), fs.ArrayRows(Y), SIZE, "stream")
    assert "streamed" in one_by_one(fs.Trainer(step), streamed)
    assert one_by_one(fs.Trainer(step, [fs.EarlyStopping(3)]), feed_for(step, X, Y, SIZE)) == ""
    fitted(2, epochs=1, callbacks=[Watching()])
    assert launched == []


@pytest.mark.usefixtures("no_room_for_several")
def test_f5_what_cannot_be_captured_together_goes_one_by_one_and_that_is_said_once(launched, monkeypatch):
    with pytest.warns(RuntimeWarning, match="one by one, because capturing 2 of them failed.*no room") as caught:
        refused = fitted(2)
    assert len(caught) == 1
    assert launched == []
    assert [graph.launches for graph in single_graphs(refused[0])] == [2 * FULL - 2], "single steps are still replayed"
    monkeypatch.undo()
    same(refused, fitted(1))


@pytest.mark.parametrize(
    ("minibatches", "most", "wanted"), [(0, 16, 1), (5, 16, 5), (5, 2, 2), (17, 16, 16), (31, 16, 15), (33, 16, 11), (33, 1, 1)]
)
def test_an_epoch_takes_as_few_launches_as_it_can(minibatches, most, wanted):
    assert steps_of_a_launch(minibatches, most) == wanted


def test_f5_steps_that_would_overflow_are_skipped_and_counted_on_the_device(launched, monkeypatch):
    """One minibatch has a gradient whose square overflows, and one the sum of whose products does."""
    monkeypatch.setattr(minibatches, "require_finite", lambda *_: None)
    x, y = X.copy(), Y.copy()
    x[2 * SIZE : 3 * SIZE], x[3 * SIZE : 4 * SIZE] = 1e25, 3e38
    y[2 * SIZE : 4 * SIZE] = [0, 1] * SIZE  # of equal rows, so one of the two is wrong
    runs = []
    for per_launch in (2, 1):
        options = {"chain": [fs.Linear(COLUMNS, CLASSES)], "on_nonfinite": "skip"}
        step, history = fitted(per_launch, lambda: fs.Adam(1e-2), x=x, y=y, step_options=options, shuffle="never")
        assert all(np.isfinite(array).all() for array in (step.model.arena.values, *step.state.states.values()))
        assert np.isfinite(history["loss"]).all()
        assert step.steps == 2 * (FULL + 1)
        assert step.skipped == 4
        runs.append(step.model.arena.values.tobytes())
    assert runs[0] == runs[1]


@pytest.mark.parametrize("on_nonfinite", ["raise", "skip"])
def test_f5_what_no_bound_covers_is_looked_at_on_the_device(launched, on_nonfinite):
    step = new_step(fs.SGD(3e38), chain=[fs.Linear(COLUMNS, CLASSES)], on_nonfinite=on_nonfinite)
    before = step.model.arena.values.tobytes()
    x = np.full((SIZE, COLUMNS), 1e10, "f")
    if on_nonfinite == "raise":
        with pytest.raises(fs.NonFiniteLossError, match="makes the parameters infinite in step 1"):
            step(x, Y[:SIZE])
    else:
        assert np.isfinite(float(step(x, Y[:SIZE])))
    assert step.model.arena.values.tobytes() == before
    assert (step.skipped, step.steps) == ((0, 0) if on_nonfinite == "raise" else (1, 1))


def test_f5_a_gradient_beyond_the_bounds_is_an_error_on_the_device():
    step = new_step(fs.SGD(1e-30), chain=[fs.Linear(COLUMNS, CLASSES)])
    before = step.model.arena.values.tobytes()
    loss = step(np.full((SIZE, COLUMNS), 1e18, "f"), Y[:SIZE])
    with pytest.raises(fs.NonFiniteLossError, match=r"can overflow, with a gradient of norm .*e.1[78] in step 1"):
        float(loss)
    assert step.model.arena.values.tobytes() == before


@pytest.mark.parametrize("shuffle", ["each_epoch", "never"])
@pytest.mark.parametrize("kind", [fs.SoftmaxCrossEntropy, fs.MultiClassHinge])
def test_g2_weights_are_gathered_like_rows(launched, kind, shuffle):
    weights = np.random.default_rng(4).uniform(0.0, 3.0, len(X))
    runs = []
    for count in (4, 1):
        model = fs.Sequential(fs.Linear(COLUMNS, 8), fs.Tanh(), fs.Linear(8, CLASSES))
        step = fs.TrainStep(model, kind(), fs.Adam(1e-2), seed=3, backend="cuda")
        trainer = fs.Trainer(step, shuffle=shuffle, steps_per_launch=count)
        history = trainer.fit(X, Y, sample_weight=weights, epochs=3, batch_size=SIZE)
        runs.append((list(history.step_losses), list(history["loss"]), np.array(step.model.arena.values).tobytes()))
    assert launched
    assert runs[0] == runs[1]
