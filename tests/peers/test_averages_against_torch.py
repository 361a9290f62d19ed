"""100 steps in float64 whose parameters are averaged, beside torch.optim.swa_utils."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

torch = pytest.importorskip("torch", reason="PyTorch is not installed; pip install torch to compare with it")

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_g10_an_average_without_correction_is_that_of_swa_utils(backend, problem):
    parameters = torch.nn.ParameterDict({n.replace(".", "_"): torch.tensor(v) for n, v in problem.first.items()})
    averaged = torch.optim.swa_utils.AveragedModel(parameters, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.Adam(parameters.values(), 0.01)
    model = fs.Sequential(fs.Linear(6, 8), fs.Tanh(), fs.Linear(8, 5), fs.ReLU(), fs.Linear(5, 3))
    model.initialize(backend=backend, dtype="float64").load_parameters(problem.first)
    arena = model.arena
    state = fs.Adam(0.01).bind(arena)
    state.keep_average(fs.EMA(0.9, debias=False))
    gradient = arena.new()
    views = arena.views_of(gradient)
    for recorded in problem.gradients:
        for name, parameter in model.declared():
            parameters[name.replace(".", "_")].grad = torch.tensor(recorded[name])
            views[parameter][...] = recorded[name]
        optimizer.step()
        averaged.update_parameters(parameters)
        state.begin()
        state.apply(gradient, arena.backend.sum_of_squares(gradient))
        state.show_average()
        for name, value in model.parameters().items():
            theirs = averaged.module[name.replace(".", "_")].detach().numpy()
            assert np.abs(np.asarray(value) - theirs).max() < 1e-10
