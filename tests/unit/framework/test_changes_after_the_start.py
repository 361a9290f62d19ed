"""Settings that somebody changes after a step was made or recorded: they count from the next step on, or are refused."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fusedstep as fs


def new_step(backend: str, optimizer: fs.Optimizer | None = None) -> fs.TrainStep:
    model = fs.Sequential(fs.Linear(6, 8), fs.ReLU(), fs.Residual(fs.Linear(8, 8), fs.Tanh()), fs.Linear(8, 3))
    return fs.TrainStep(model.initialize(1, backend), fs.SoftmaxCrossEntropy(), optimizer or fs.Adam(0.01))


def test_layers_of_a_model_cannot_be_exchanged(name, data, tmp_path):
    step = new_step(name)
    step(*data)
    model, inner = step.model, step.model.layers[2]
    before = np.array(model(data[0]))
    for chain in (model, inner):
        with pytest.raises(TypeError, match="does not support item assignment"):
            chain.layers[0] = fs.Tanh()
        with pytest.raises(fs.StateError, match="make a new one"):
            chain.layers = (fs.Linear(8, 8), fs.Tanh())
    fs.save(model, tmp_path / "model")
    assert np.array_equal(fs.load(tmp_path / "model", name)(data[0]), before)
    assert np.array_equal(pickle.loads(pickle.dumps(model))(data[0]), before)
    assert repr(model) == repr(copy.deepcopy(model))


@pytest.mark.parametrize(
    ("setting", "value"), [("lr", 0.5), ("l2", 1.0), ("l1", 1.0), ("weight_decay", 1.0), ("clip_value", 1e-3), ("beta1", 0.0)]
)
def test_settings_of_an_optimiser_that_a_step_has_cannot_be_set(setting, value, name, data):
    optimizer = fs.Adam(0.01)
    step, same = new_step(name, optimizer), new_step(name)
    with pytest.raises(fs.StateError, match=rf"keep its {setting} .* make a new optimiser and a new TrainStep"):
        setattr(optimizer, setting, value)
    for _ in range(3):
        assert float(step(*data)) == float(same(*data))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_of_an_optimiser_may_be_set_until_a_step_has_it(duplicate, name, data):
    first = fs.Adam(0.01)
    new_step(name, first)
    second = duplicate(first)
    second.l2 = 0.1
    assert first.l2 == 0.0
    steps = [new_step(name, second), new_step(name, fs.Adam(0.01, l2=0.1)), new_step(name, second)]
    for step in steps:
        step(*data)
        step(*data)
    assert all(np.array_equal(s.model.arena.values, steps[1].model.arena.values) for s in steps)
    with pytest.raises(fs.StateError, match="keep its l2"):
        second.l2 = 0.2


@pytest.mark.parametrize("change", [lambda m, n: m.initialize(7, n), lambda m, n: m.to(n, "float64")], ids=["initialize", "to"])
def test_what_was_made_for_other_parameters_says_so(change, name, data):
    step = new_step(name)
    step(*data)
    objective = fs.Objective(fs.mlp([6, 4, 3], "tanh").initialize(0, name, "float32"), fs.SoftmaxCrossEntropy(), *data)
    _, gradient = objective.gradient()
    change(step.model, name)
    change(objective.model, name)
    uses = [lambda: step(*data), lambda: step.evaluate(*data), lambda: step.profile(*data, 1)]
    uses += [objective.value, objective.gradient, lambda: objective.hessian_product(gradient), lambda: objective.parameters]
    for use in uses:
        with pytest.raises(fs.StateError, match="the model was initialised again or moved since; make a new"):
            use()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"])
def test_a_copied_objective_is_the_same_function_of_its_own_model(duplicate, name, data):
    model = fs.mlp([6, 5, 3], "tanh").initialize(0, name, "float64")
    first = fs.Objective(model, fs.SoftmaxCrossEntropy(0.1), *data, l2=0.1)
    value, gradient = first.gradient()
    product = np.array(first.hessian_product(gradient))
    second = duplicate(first)
    assert (second.passes, second.products) == (first.passes, first.products)
    assert second.value() == value
    assert np.array_equal(second.gradient()[1], gradient)
    assert np.array_equal(second.hessian_product(gradient), product)
    second.model.load_parameters({k: v + 1.0 for k, v in second.model.parameters().items()})
    assert second.value() != value
    assert first.value() == value


def test_a_parameter_put_into_another_layer_is_refused_when_saving(name, tmp_path):
    first, second = fs.Linear(6, 6), fs.Linear(6, 6)
    second.weight = first.weight
    model = fs.Sequential(first, fs.ReLU(), second).initialize(0, name)
    with pytest.raises(fs.ModelFileError, match="share weights by TiedLinear or by using one layer twice"):
        fs.save(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())
