"""Small problems with known minima, and numerical derivatives, for the tests of this folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs

SPACING = 1e-4


def tables():
    """LAYER_TABLE and LOSS_TABLE of tests/unit/test_gradients.py: what is entered there is tested here too."""
    path = Path(__file__).parents[1] / "test_gradients.py"
    spec = importlib.util.spec_from_file_location("tables_of_test_gradients", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.LAYER_TABLE, module.LOSS_TABLE


def difference(function, spacing=SPACING):
    """The derivative of function(offset) at 0 by five points; its error is spacing^4 / 30 times the fifth derivative."""
    near = function(spacing) - function(-spacing)
    far = function(2 * spacing) - function(-2 * spacing)
    return (8.0 * near - far) / (12.0 * spacing)


def random_direction(objective, seed=0):
    """A flat array of the arena with zeros in the gaps."""
    generator = np.random.default_rng(seed)
    direction = objective.arena.new()
    for view in objective.arena.views_of(direction).values():
        view[...] = generator.standard_normal(view.shape)
    return direction


def least_squares(backend="numpy", rows=60, seed=0):
    """A linear model whose MSE is a quadratic of 7 parameters, its data, and the minimum by NumPy."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((rows, 6)) * np.array([1.0, 3.0, 0.3, 1.0, 1.0, 2.0])
    y = x @ generator.standard_normal((6, 1)) + generator.standard_normal((rows, 1))
    design = np.hstack([x, np.ones((rows, 1))])
    solution = np.linalg.lstsq(design, y, rcond=None)[0]
    model = fs.Sequential(fs.Linear(6, 1)).initialize(0, backend, "float64")
    return SimpleNamespace(
        model=model, loss=fs.MSE(), x=x, y=y, solution=solution, count=7,
        minimum=float(((design @ solution - y) ** 2).mean()),
    )  # fmt: skip


def found(model):
    """All parameters in the order of the model, as one column."""
    return np.concatenate([np.reshape(v, -1) for v in model.parameters().values()])[:, None]


def classes(backend="numpy", widths=(4, 5, 3), activation="tanh", dtype="float64", seed=1):
    """A small classifier and overlapping clouds."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, widths[-1], 60)
    x = 1.5 * generator.standard_normal((widths[-1], widths[0]))[y] + generator.standard_normal((60, widths[0]))
    model = fs.mlp(widths, activation=activation).initialize(seed, backend, dtype)
    return SimpleNamespace(model=model, loss=fs.SoftmaxCrossEntropy(), x=x, y=y)


@pytest.fixture(scope="session")
def lab():
    """The functions of this file."""
    return SimpleNamespace(
        tables=tables, difference=difference, random_direction=random_direction, least_squares=least_squares, found=found,
        classes=classes,
    )  # fmt: skip


@pytest.fixture(params=("numpy", "numba"))
def backend(request):
    return request.param
