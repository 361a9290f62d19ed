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
