"""Copies of steps and models have buffers of their own; a step that fails leaves everything as it was."""

import copy
import pickle

import numpy as np
import pytest
from networks import ZOO, InterpretedStep, batch_for, plans, step_for, train

import fusedstep as fs

NAMES = ["relu, dropout, labels", "tied, wide", "noise, residual", "wide"]


def batches(name, first, count=5):
    return [batch_for(name, 33, "float32", first + k) for k in range(count)]


def state_of(step):
    return (step.model.arena.values.tobytes(), *(values.tobytes() for values in step.state.states.values()), step.steps)


def buffers(step):
    """Every buffer of every tape, as bytes."""
    return [buffer.tobytes() for plan in plans(step) for tape in plan.tapes for _, buffer in tape._buffers]


@pytest.mark.parametrize("make", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("name", NAMES)
def test_copies_of_steps(name, make):
    fs.set_num_threads(2)
    step = step_for(name, optimizer=fs.Adam(1e-2))
    train(step, batches(name, 0))
    twin = make(step)
    assert state_of(twin) == state_of(step)
    before, saved, gradient = state_of(step), buffers(step), step.gradient.tobytes()
    continued = train(twin, batches(name, 5))
    assert (state_of(step), buffers(step), step.gradient.tobytes()) == (before, saved, gradient)
    assert train(step, batches(name, 5)) == continued
    assert state_of(twin) == state_of(step)


@pytest.mark.parametrize("make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("name", NAMES)
def test_copies_of_models_while_plans_exist(name, make):
    fs.set_num_threads(2)
    step = step_for(name, optimizer=fs.SGD(1e-3))
    train(step, batches(name, 0))
    twin = fs.TrainStep(make(step.model), ZOO[name][1](), fs.SGD(1e-3), seed=3)
    twin.state.t = step.state.t
    before, saved = state_of(step), buffers(step)
    continued = train(twin, batches(name, 5))
    assert (state_of(step), buffers(step)) == (before, saved)
    assert train(step, batches(name, 5)) == continued


def test_two_steps_of_one_model_share_only_the_parameters():
    name = "relu, dropout, labels"
    step = step_for(name)
    other = fs.TrainStep(step.model, ZOO[name][1](), fs.SGD(0.05), seed=3)
    first = step_for(name)
    for k, (x, y) in enumerate(batches(name, 0, 6)):
        chosen = (step, other)[k % 2]
        chosen.state.t = k
        chosen(x, y)
        first(x, y)
    assert step.model.arena.values.tobytes() == first.model.arena.values.tobytes()


@pytest.mark.parametrize("kind", [fs.TrainStep, InterpretedStep])
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("name", ["wide", "tied, wide", "relu, dropout, labels"])
def test_a_loss_that_is_not_finite_changes_nothing(name, deterministic, kind):
    fs.set_num_threads(2)
    optimizer = fs.Nesterov(0.01, form="look_ahead")
    step, wanted = (step_for(name, optimizer=optimizer, deterministic=deterministic, kind=kind) for _ in range(2))
    train(step, batches(name, 0))
    train(wanted, batches(name, 0))
    before = state_of(step)
    for bad, row in ((np.nan, 0), (np.inf, 20), (-np.inf, 32)):
        x, y = batch_for(name, 33, "float32", 99)
        x[row, 3] = bad
        with pytest.raises(fs.NonFiniteLossError, match="step 6"):
            step(x, y)
        assert state_of(step) == before
    assert train(step, batches(name, 5)) == train(wanted, batches(name, 5))


def test_a_gradient_that_is_not_finite_changes_nothing():
    """The loss is finite in float64, in which it is summed; the squares of the gradient are not."""
    fs.set_num_threads(2)
    step = fs.TrainStep(fs.Sequential(fs.Linear(2, 2)), fs.MSE("sum"), fs.SGD(0.1), backend="numba", seed=1)
    x, y = np.full((16, 2), 1e18, "f4"), np.zeros((16, 2), "f4")
    step(x * 1e-18, y)
    before = state_of(step)
    with pytest.raises(fs.NonFiniteLossError, match=r"gradient|loss"):
        step(x * 1e12, y)
    assert state_of(step) == before


def test_new_parameters_are_refused_before_anything_runs():
    step = step_for("wide")
    x, y = batch_for("wide", 33)
    step(x, y)
    step.model.initialize(9, "numba")
    with pytest.raises(fs.StateError):
        step(x, y)


def test_loaded_parameters_count():
    step, other = step_for("tied, wide"), step_for("tied, wide", seed=8)
    x, y = batch_for("tied, wide", 33)
    step(x, y)
    other.state.t = 1
    step.model.load_parameters({name: values.copy() for name, values in other.model.parameters().items()})
    assert float(step(x, y)) == float(other(x, y))
