"""What a step is from outside: one kernel call, all or nothing, and settings that are refused before anything happens."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import Backend
from fusedstep.errors import HyperparameterError, NonFiniteLossError
from fusedstep.framework.optimizers import OPTIMIZERS, ParameterGroup

FULL = {"clip_norm": 1.0, "clip_value": 0.5, "l2": 0.01, "l1": 0.01, "weight_decay": 0.01}
VARIANTS = [
    (name, {"form": form} if form else {}) for name, kind in OPTIMIZERS.items() for form in getattr(kind, "FORMS", (None,))
]
IDS = [" ".join([n, *a.values()]) for n, a in VARIANTS]

# LAMB needs the norms of its direction in between, Muon orthogonalises it there, and look-ahead Nesterov moves the parameters
# before the gradient is taken; all say so in their docstrings.
KERNEL_CALLS = dict.fromkeys(IDS, 1) | {"LAMB": 2, "Muon": 2, "Nesterov look_ahead": 2}


def make_step(optimizer, backend, loss=None):
    """A network of three layers with dropout off, in float64, and minibatches for it."""
    where = Backend(np) if backend == "base" else backend
    model = fs.Sequential(fs.Linear(5, 70), fs.ReLU(), fs.Linear(70, 6), fs.Tanh(), fs.Linear(6, 2))
    model.initialize(3, where, "float64")
    step = fs.TrainStep(model, loss or fs.MSE(), optimizer, backend=where)
    rng = np.random.default_rng(0)
    return model, step, rng.normal(size=(40, 8, 5)), rng.normal(size=(40, 8, 2))


@pytest.mark.row("F2")
@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=IDS)
@pytest.mark.parametrize("settings", [{}, FULL], ids=["plain", "with everything"])
def test_one_step_is_one_kernel_call_over_the_arena(name, arguments, settings, monkeypatch):
    from fusedstep.backends.numba.replay import Replay

    kernels, sizes = 0, []
    run = Replay.run

    def counted(program, *given, **options):
        nonlocal kernels
        kernels += sum(label.stage == "update" for label in program.labels)
        return run(program, *given, **options)

    _, step, x, y = make_step(OPTIMIZERS[name](**arguments | settings), "numba")
    update_calls = step.backend.update_calls

    def spy(formula, arrays, *given):
        sizes.extend(int(a.size) for a in arrays)
        return update_calls(formula, arrays, *given)

    monkeypatch.setattr(Replay, "run", counted)
    monkeypatch.setattr(step.backend, "update_calls", spy)
    step(x[0], y[0])
    assert kernels == KERNEL_CALLS[" ".join([name, *arguments.values()])]
    assert sizes
    assert set(sizes) == {step.model.arena.size}


@pytest.mark.row("F2")
def test_the_number_of_calls_does_not_grow_with_the_number_of_layers(monkeypatch):
    for depth in (1, 12):
        layers = [layer for _ in range(depth) for layer in (fs.Linear(4, 4), fs.Tanh())]
        model = fs.Sequential(*layers, fs.Linear(4, 1)).initialize(0, "numpy", "float64")
        step = fs.TrainStep(model, fs.MSE(), fs.Adam(), backend="numpy")
        calls = []
        update = step.backend.update
        with monkeypatch.context() as patch:
            patch.setattr(step.backend, "update", lambda *a, u=update, c=calls: (c.append(1), u(*a))[1])
            step(np.ones((3, 4)), np.ones((3, 1)))
        assert len(calls) == 1


class NaNGradient(fs.MSE, frozen=False):
    """A loss that is finite and whose gradient is not, in the steps listed."""

    def __init__(self, value=float("nan")):
        super().__init__()
        self.value, self.armed = value, False

    def evaluate(self, y, targets, tape):
        rows, gradient = super().evaluate(y, targets, tape)
        if self.armed:
            gradient[1, 0] = self.value
        return rows, gradient


@pytest.mark.parametrize("backend", ["base", "numpy", "numba"])
@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=IDS)
def test_nan_in_the_gradient_raises_and_changes_nothing(name, arguments, backend):
    loss = NaNGradient()
    model, step, x, y = make_step(OPTIMIZERS[name](**arguments), backend, loss)
    _, untroubled, _, _ = make_step(OPTIMIZERS[name](**arguments), backend)
    for t in range(3):
        step(x[t], y[t])
        untroubled(x[t], y[t])
    before = np.array(model.arena.values)
    states = {n: np.array(v) for n, v in step.state.states.items()}
    loss.armed = True
    with pytest.raises(NonFiniteLossError, match=r"in step 4.* parameters of step 3") as raised:
        step(x[3], y[3])
    assert raised.value.step == 4
    assert step.steps == 3
    np.testing.assert_array_equal(np.asarray(model.arena.values), before)
    for n, value in states.items():
        np.testing.assert_array_equal(np.asarray(step.state.states[n]), value)
    # The run goes on as if the bad minibatch had never come.
    loss.armed = False
    for t in range(4, 7):
        step(x[t], y[t])
        untroubled(x[t], y[t])
    np.testing.assert_array_equal(np.asarray(model.arena.values), np.asarray(untroubled.model.arena.values))


@pytest.mark.parametrize("backend", ["base", "numpy", "numba"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=IDS)
def test_the_kernel_itself_does_nothing_where_the_gradient_is_not_finite(name, arguments, value, backend):
    """What a device does, where nobody waits to look at the norm first."""
    model, step, x, y = make_step(OPTIMIZERS[name](**arguments | {"clip_norm": 1.0}), backend)
    step(x[0], y[0])
    step.state.begin()
    before = np.array(model.arena.values)
    states = {n: np.array(v) for n, v in step.state.states.items()}
    gradient = model.arena.new()
    gradient[7] = value
    step.state.apply(gradient, step.backend.sum_of_squares(gradient))
    np.testing.assert_array_equal(np.asarray(model.arena.values), before)
    for n, saved in states.items():
        np.testing.assert_array_equal(np.asarray(step.state.states[n]), saved)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_nan_in_the_data_names_the_place(backend):
    model, step, x, y = make_step(fs.Adam(), backend)
    step(x[0], y[0])
    before = np.array(model.arena.values)
    x[1, 2, 3] = np.nan
    with pytest.raises(NonFiniteLossError, match="the input data"):
        step(x[1], y[1])
    np.testing.assert_array_equal(np.asarray(model.arena.values), before)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_learning_rate_of_a_step_is_checked_when_it_is_set(bad):
    _, step, _, _ = make_step(fs.SGD(0.5), "numpy")
    with pytest.raises(HyperparameterError, match="expected lr"):
        step.lr = bad
    assert step.lr == 0.5


def test_learning_rate_acts_from_the_next_step_on():
    model, step, x, y = make_step(fs.SGD(0.5), "numpy")
    before = np.array(model.arena.values)
    step.lr = 0.125
    step(x[0], y[0])
    np.testing.assert_allclose(before - np.asarray(model.arena.values), 0.125 * np.asarray(step.gradient), atol=1e-15)


NAN, INF = float("nan"), float("inf")
NOT_POSITIVE = (0.0, -1.0, NAN, INF, 1e39, "0.1", True)
NOT_A_SHARE = (1.0, 1.5, -0.1, NAN, "0.9", [0.9])
NOT_EPSILON = (*NOT_POSITIVE, 1e-39, 1e-46, 1e-320)
NEGATIVE = (-1.0, NAN, INF, "0.1")
IMPOSSIBLE = {
    "lr": NOT_POSITIVE,
    "epsilon": NOT_EPSILON,
    "momentum": NOT_A_SHARE,
    "beta": NOT_A_SHARE,
    "beta1": NOT_A_SHARE,
    "beta2": NOT_A_SHARE,
    "rho": NOT_A_SHARE,
    "warmup_steps": (-1, 1.5, NAN, "5", None),
    "newton_schulz_steps": (0, -1, 2.5, 100, NAN, "5", None),
    "adam_lr": NOT_POSITIVE,
    "matrices": ("*.weight", [], [3], 5, {"*": 1}),
    "scale": ("height", ""),
    "nesterov": ("yes", None, 2),
    "bias_correction": ("yes", None, 2),
    "adam_nesterov": ("yes", None, 2),
    "l2": NEGATIVE,
    "l1": NEGATIVE,
    "weight_decay": NEGATIVE,
    "clip_norm": NOT_POSITIVE,
    "clip_value": NOT_POSITIVE,
    "form": ("nesterov", ""),
    "l1_form": ("exact",),
    "state_dtype": ("float16", "int8"),
    "epsilon_placement": ("beside",),
    "groups": (
        ["*.bias"], "*.bias", ParameterGroup("*"), 5, None, {"*.bias": 2.0}, (ParameterGroup(3),), (ParameterGroup("*", "2"),),
        (ParameterGroup("*", lr_scale=0.0),), (ParameterGroup("*", l2=-1.0),), (ParameterGroup("*", weight_decay=NAN),),
    ),
}  # fmt: skip


def settings_of(kind):
    """The names of everything that an optimiser can be told, its own and those of all."""
    own = set(inspect.signature(kind.__init__).parameters)
    shared = set(inspect.signature(fs.Optimizer.__init__).parameters)
    return (own | shared) - {"self", "penalties", "rest"}


def test_every_setting_of_every_optimiser_has_impossible_values():
    assert set().union(*map(settings_of, OPTIMIZERS.values())) == set(IMPOSSIBLE)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_impossible_hyperparameters_are_refused(name):
    for setting in settings_of(OPTIMIZERS[name]):
        for value in IMPOSSIBLE[setting]:
            with pytest.raises(HyperparameterError, match="expected") as raised:
                OPTIMIZERS[name](**{setting: value})
            if setting == "groups":
                assert any(words in str(raised.value) for words in ("fs.ParameterGroup", " of group ", "expected pattern"))
            else:
                assert f"expected {setting}" in str(raised.value)
                assert repr(value) in str(raised.value)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_limits_of_the_allowed_range_are_accepted(name):
    for setting in settings_of(OPTIMIZERS[name]):
        if IMPOSSIBLE[setting] is NOT_A_SHARE:
            # Schedule-Free computes x from y and z by a division by beta1.
            OPTIMIZERS[name](**{setting: 0.01 if (name, setting) == ("ScheduleFreeAdamW", "beta1") else 0.0})
            OPTIMIZERS[name](**{setting: 0.9999})
        elif IMPOSSIBLE[setting] in (NOT_POSITIVE, NOT_EPSILON, NEGATIVE):
            OPTIMIZERS[name](**{setting: 1})
            OPTIMIZERS[name](**{setting: 1e-12})


def test_unknown_setting_is_refused():
    for kind in OPTIMIZERS.values():
        with pytest.raises(TypeError):
            kind(momentun=0.9)


def test_pattern_that_matches_nothing_lists_the_names():
    model = fs.Sequential(fs.Linear(2, 2)).initialize(0, "numpy")
    with pytest.raises(HyperparameterError, match=r"'9\.\*'.*0\.Linear\.weight"):
        fs.SGD(groups=[ParameterGroup("9.*")]).bind(model.arena)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_representation_names_the_class(name):
    assert repr(OPTIMIZERS[name](lr=0.25)).startswith(f"{name}(lr=0.25")


@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if "epsilon" in settings_of(OPTIMIZERS[n])])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_the_smallest_epsilon_keeps_parameters_finite_in_float32(name, backend):
    """Inputs that are always 0, as the border pixels of digits: their gradients are exactly 0 in every step."""
    placed = "epsilon_placement" in settings_of(OPTIMIZERS[name])
    for arguments in [{"epsilon_placement": p} for p in ("inside", "outside")] if placed else [{}]:
        optimizer = OPTIMIZERS[name](epsilon=1.2e-38, **arguments)
        step = fs.TrainStep(fs.mlp([4, 3]), fs.SoftmaxCrossEntropy(), optimizer, backend=backend)
        for _ in range(3):
            step(np.zeros((5, 4), "f4"), np.array([0, 1, 2, 0, 1]))
        assert np.isfinite(np.asarray(step.model.arena.values)).all()


def test_settings_may_be_numpy_scalars():
    optimizer = fs.Adam(np.float32(0.5), np.float64(0.75), l2=np.int64(1), clip_norm=np.float16(2.0))
    assert [type(v) for v in (optimizer.lr, optimizer.beta1, optimizer.l2, optimizer.clip_norm)] == [float] * 4


@pytest.mark.parametrize("backend", ["base", "numpy", "numba"])
@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=IDS)
def test_the_gradient_is_still_the_gradient_after_the_step(name, arguments, backend):
    """Nothing that an optimiser needs for itself is kept in `step.gradient`; clipping and penalties are not in it either."""
    optimizer = OPTIMIZERS[name](**arguments | FULL)
    _, step, x, y = make_step(optimizer, backend)
    _, reference, _, _ = make_step(fs.SGD(), backend)
    step(x[0], y[0])
    reference(x[0], y[0])
    np.testing.assert_array_equal(np.asarray(step.gradient), np.asarray(reference.gradient))


def test_lamb_makes_its_direction_once():
    model, step, x, y = make_step(fs.LAMB(0.01), "numpy")
    direction = step.state.direction
    before = np.array(model.arena.values)
    step(x[0], y[0])
    assert step.state.direction is direction
    start, stop = next(iter(model.arena.ranges.values()))
    moved = before[start:stop] - np.asarray(model.arena.values)[start:stop]
    along = direction[start:stop] * np.linalg.norm(before[start:stop]) / np.linalg.norm(direction[start:stop])
    np.testing.assert_allclose(moved, 0.01 * along, rtol=1e-9, atol=1e-15)


def test_an_optimiser_that_says_the_old_way_that_it_looks_ahead_is_told_the_new_one():
    with pytest.raises(HyperparameterError, match=r"Peeking to define `bind`; got `looks_ahead`.*LookAheadState"):

        class Peeking(fs.Momentum):
            looks_ahead = True

    assert "Peeking" not in OPTIMIZERS


def test_a_custom_optimiser_can_look_ahead():
    from fusedstep.framework.optimizers.momentum import LookAheadState

    class Peeking(fs.Optimizer):
        rule_name = "nesterov_look_ahead"

        def scalars(self, t, lr):
            return {"lr": lr, "gamma": 0.5}

        def bind(self, arena):
            return LookAheadState(self, arena)

    ends = []
    for optimizer in (Peeking(0.1), fs.Nesterov(0.1, 0.5, form="look_ahead")):
        model, step, x, y = make_step(optimizer, "numpy")
        for k in range(5):
            step(x[k], y[k])
        ends.append(model.arena.values.copy())
    del OPTIMIZERS["Peeking"]
    np.testing.assert_array_equal(*ends)
