"""100 steps in float64 beside torch.optim, wherever it defines the same rule: recorded gradients, and training runs.

Not here, because PyTorch defines another rule: NAdam (its beta1 changes with the step) and clipping by norm (it adds
1e-6 to the norm).
"""

from __future__ import annotations

import numpy as np
import pytest
from optimizer_cases import torch_cases

import fusedstep as fs

torch = pytest.importorskip("torch", reason="PyTorch is not installed; pip install torch to compare with it")

pytestmark = pytest.mark.peers

O = torch.optim  # noqa: E741


@pytest.fixture(autouse=True)
def one_thread():
    """Products of 24 rows are slower, by far, when several threads share them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


CASES = list(torch_cases(O))


def make_theirs(problem, kind, settings, decay):
    """Torch parameters by name and an optimiser in which only the weights decay."""
    parameters = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in problem.first.items()}
    groups = [
        {"params": [p for n, p in parameters.items() if n in problem.decays], "weight_decay": decay},
        {"params": [p for n, p in parameters.items() if n not in problem.decays], "weight_decay": 0.0},
    ]
    return parameters, kind(groups, **settings)


def network_loss(parameters, x, y):
    """Cross-entropy of the network of conftest.py."""
    h = torch.tanh(x @ parameters["0.Linear.weight"] + parameters["0.Linear.bias"])
    h = torch.relu(h @ parameters["2.Linear.weight"] + parameters["2.Linear.bias"])
    return torch.nn.functional.cross_entropy(h @ parameters["4.Linear.weight"] + parameters["4.Linear.bias"], y)


def snapshot(problem, parameters):
    """One row of a trajectory."""
    return problem.flat(p.detach().numpy() for p in parameters.values())


def run_recorded(problem, kind, settings, decay, rate_of=None, change=None):
    """Torch's parameters [STEPS, count] for the recorded gradients."""
    parameters, optimizer = make_theirs(problem, kind, settings, decay)
    rows = []
    for t, gradients in enumerate(problem.gradients, 1):
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(gradients[name])
        if change is not None:
            change(parameters.values())
        if rate_of is not None:
            for group in optimizer.param_groups:
                group["lr"] = rate_of(t)
        optimizer.step()
        rows.append(snapshot(problem, parameters))
    return np.array(rows)


def both_backends(problem, ours, theirs, run):
    """Compares both host backends with a trajectory of torch."""
    for backend in ("numpy", "numba"):
        problem.require_same(run(ours, backend), theirs, f"{ours} on {backend}")


@pytest.mark.row("C2", "C3", "C4", "C5", "C6")
@pytest.mark.parametrize("case", CASES)
def test_recorded_gradients(case, problem):
    ours, kind, settings, decay = torch_cases(O)[case]
    theirs = run_recorded(problem, kind, settings, decay)
    both_backends(problem, ours, theirs, lambda o, b: problem.run_recorded(o, b, problem.gradients))


@pytest.mark.parametrize("case", CASES)
def test_training_run(case, problem):
    ours, kind, settings, decay = torch_cases(O)[case]
    parameters, optimizer = make_theirs(problem, kind, settings, decay)
    rows = []
    for x, y in zip(problem.x, problem.y, strict=True):
        optimizer.zero_grad()
        network_loss(parameters, torch.tensor(x), torch.tensor(y)).backward()
        optimizer.step()
        rows.append(snapshot(problem, parameters))
    both_backends(problem, ours, np.array(rows), lambda o, b: problem.run_training(o, b, problem.x, problem.y))


@pytest.mark.parametrize("case", ["Momentum sum with l2", "Nesterov", "Adam outside", "AdamW", "Adamax"])
def test_learning_rate_that_changes_between_steps(case, problem):
    ours, kind, settings, decay = torch_cases(O)[case]

    def rate_of(t):
        return settings["lr"] * (0.5 if t > 30 else 1.0) * 0.99**t

    theirs = run_recorded(problem, kind, settings, decay, rate_of)
    both_backends(problem, ours, theirs, lambda o, b: problem.run_recorded(o, b, problem.gradients, rate_of))


def test_clipping_by_value(problem):
    theirs = run_recorded(problem, O.Adam, {"lr": 0.01}, 0.02, change=lambda p: torch.nn.utils.clip_grad_value_(list(p), 0.02))
    ours = fs.Adam(0.01, clip_value=0.02, l2=0.02)
    both_backends(problem, ours, theirs, lambda o, b: problem.run_recorded(o, b, problem.gradients))


def test_clipping_by_norm_differs_from_torch_by_its_1e_6_only(problem):
    """torch.nn.utils.clip_grad_norm_ scales by c / (norm + 1e-6); with that written out the two agree."""
    limit = 0.3
    theirs = run_recorded(problem, O.SGD, {"lr": 0.1}, 0.0, change=lambda p: torch.nn.utils.clip_grad_norm_(list(p), limit))
    ours = problem.run_recorded(fs.SGD(0.1, clip_norm=limit), "numpy", problem.gradients)
    assert 1e-10 < np.abs(ours - theirs).max() < 100 * 0.1 * limit * 1e-5


@pytest.mark.row("C6")
@pytest.mark.parametrize(("scale", "adjusted"), [("width", "original"), ("rms", "match_rms_adamw")])
def test_muon_within_what_bfloat16_leaves(scale, adjusted):
    """torch.optim.Muon computes its Newton-Schulz steps in bfloat16, which has a unit of 2^-8."""
    rng = np.random.default_rng(3)
    model = fs.mlp([12, 20, 3]).initialize(seed=1, backend="numpy", dtype="float64")
    state = fs.Muon(0.01, 0.9, scale=scale, weight_decay=0.1).bind(model.arena)
    gradient = model.arena.new()
    ours, slope = (flat[state.matrices[0]] for flat in (model.arena.views, model.arena.views_of(gradient)))
    theirs = torch.tensor(ours.T.copy(), dtype=torch.float64, requires_grad=True)
    optimizer = O.Muon([theirs], 0.01, weight_decay=0.1, momentum=0.9, adjust_lr_fn=adjusted)
    start = ours.copy()
    drift = rng.standard_normal(ours.shape)
    for _ in range(100):
        slope[...] = drift + rng.standard_normal(ours.shape)
        theirs.grad = torch.tensor(slope.T.copy())
        state.begin()
        state.apply(gradient, model.backend.sum_of_squares(gradient))
        optimizer.step()
    moved = np.abs(ours - start).max()
    assert moved > 0.1
    assert np.abs(ours - theirs.detach().numpy().T).max() < 2.0**-6 * moved
