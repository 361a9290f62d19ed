"""A model whose parameters, gradients and names are as plain as possible, to run optimisers on."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import Backend

STEPS = 100


def find(name: str):
    """A backend by name; "base" is the class that runs on any array library, on NumPy."""
    return Backend(np) if name == "base" else name


def make_model(backend: str) -> fs.Sequential:
    """13-7-4 in float64: sizes that are no multiples of 64, weights that decay and biases that do not."""
    model = fs.Sequential(fs.Linear(13, 7, bias_init=0.3), fs.Tanh(), fs.Linear(7, 4))
    return model.initialize(seed=2, backend=find(backend), dtype="float64")


def make_gradients() -> list[dict[str, np.ndarray]]:
    """100 gradients by parameter name that shrink, change sign, differ in size by 1e4, and are sometimes exactly zero."""
    rng = np.random.default_rng(8)
    shapes = {name: np.shape(value) for name, value in make_model("numpy").parameters().items()}
    size = {name: 10.0 ** rng.uniform(-3, 1, shape) for name, shape in shapes.items()}
    drift = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    result = []
    for t in range(STEPS):
        fade = 0.97**t
        step = {n: size[n] * (fade * drift[n] + 0.5 * rng.normal(size=s)) for n, s in shapes.items()}
        step["0.Linear.weight"][:, 1] = 0.0
        if t % 10 < 4:
            step["2.Linear.bias"][2] = 0.0
        result.append(step)
    return result


def run(optimizer, backend: str, gradients, rate_of=None) -> tuple[list[dict[str, np.ndarray]], object]:
    """Parameters by name after each gradient, and the state at the end."""
    model = make_model(backend)
    arena = model.arena
    state = optimizer.bind(arena)
    gradient = arena.new()
    views = arena.views_of(gradient)
    history = []
    for t, step in enumerate(gradients, 1):
        if rate_of is not None:
            state.lr = rate_of(t)
        for name, parameter in model.declared():
            views[parameter][...] = step[name]
        state.begin()
        state.apply(gradient, arena.backend.sum_of_squares(gradient))
        history.append({name: np.array(value) for name, value in model.parameters().items()})
    return history, state


@pytest.fixture(scope="session")
def bench() -> SimpleNamespace:
    """What the tests of this folder share."""
    first = {name: np.array(value) for name, value in make_model("numpy").parameters().items()}
    return SimpleNamespace(make_model=make_model, run=run, gradients=make_gradients(), first=first, steps=STEPS, find=find)
