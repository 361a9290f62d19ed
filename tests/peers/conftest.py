"""The small real problem on which optimisers of this library and of its peers are run side by side.

A 6-8-5-3 network on three overlapping Gaussian clouds, in float64; the peers get the same numbers in the same order.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs

STEPS = 100
ROWS = 24
BOUND = 1e-10


def build_model() -> fs.Sequential:
    """Tanh and ReLU, so that some gradients are exactly zero."""
    return fs.Sequential(fs.Linear(6, 8), fs.Tanh(), fs.Linear(8, 5), fs.ReLU(), fs.Linear(5, 3))


def start(backend: str) -> fs.Sequential:
    """The network with the initial weights that all runs share."""
    return build_model().initialize(seed=11, backend=backend, dtype="float64")


def flat(values) -> np.ndarray:
    """All parameters of one moment as one vector, in the order of the model."""
    return np.concatenate([np.asarray(v, np.float64).reshape(-1) for v in values])


def gradients_of_a_run(x: np.ndarray, y: np.ndarray) -> list[dict[str, np.ndarray]]:
    """The gradient of each step of a plain training run, by parameter name."""
    model = start("numpy")
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.3), backend="numpy", precision="float64")
    names = [name for name, _ in model.declared()]
    recorded = []
    for t in range(STEPS):
        step(x[t], y[t])
        views = model.arena.views_of(step.gradient)
        recorded.append({n: np.array(views[p]) for n, (_, p) in zip(names, model.declared(), strict=True)})
    return recorded


def run_recorded(optimizer, backend: str, gradients, rate_of=None) -> np.ndarray:
    """Parameters [STEPS, count] after each recorded gradient was handed to OptimizerState.apply."""
    model = start(backend)
    arena = model.arena
    state = optimizer.bind(arena)
    gradient = arena.new()
    views = arena.views_of(gradient)
    rows = []
    for t, recorded in enumerate(gradients, 1):
        if rate_of is not None:
            state.lr = rate_of(t)
        for name, parameter in model.declared():
            views[parameter][...] = recorded[name]
        state.begin()
        state.apply(gradient, arena.backend.sum_of_squares(gradient))
        rows.append(flat(model.parameters().values()))
    return np.array(rows)


def run_training(optimizer, backend: str, x, y) -> np.ndarray:
    """Parameters [STEPS, count] of a whole training run."""
    model = start(backend)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer, backend=backend, precision="float64")
    rows = []
    for t in range(STEPS):
        step(x[t], y[t])
        rows.append(flat(model.parameters().values()))
    return np.array(rows)


def require_same(ours: np.ndarray, theirs: np.ndarray, label: str, least_motion: float = 1e-3) -> None:
    """Agreement to BOUND relative to max(1, |theta|) in every step, on a run that moved at all; `pytest -rP` shows it."""
    worst = float((np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs))).max())
    print(f"largest deviation of {label}: {worst:.2e}")
    assert theirs.shape == ours.shape == (STEPS, 6 * 8 + 8 + 8 * 5 + 5 + 5 * 3 + 3)
    assert np.abs(theirs[-1] - theirs[0]).max() > least_motion
    assert worst <= BOUND


@pytest.fixture(scope="session")
def problem() -> SimpleNamespace:
    """Minibatches x [STEPS, ROWS, 6], y [STEPS, ROWS], initial values by name, and the functions of this file."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, 3, (STEPS, ROWS))
    x = rng.normal(size=(3, 6))[y] + rng.normal(size=(STEPS, ROWS, 6))
    first = {name: np.array(value) for name, value in start("numpy").parameters().items()}
    gradients = gradients_of_a_run(x, y)
    # A unit without any gradient for a while is where rules with a running maximum or a square root differ.
    for recorded in gradients[:7]:
        recorded["0.Linear.weight"][:, 2] = 0.0
    return SimpleNamespace(
        x=x, y=y, first=first, gradients=gradients, flat=flat, require_same=require_same, run_recorded=run_recorded,
        run_training=run_training, steps=STEPS, decays=[n for n in first if n.endswith("weight")],
    )  # fmt: skip
