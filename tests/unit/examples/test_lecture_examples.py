"""The worked examples of the notes with known answers, as far as the core goes: E1, E2, E3."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import backend
from fusedstep.framework.engine.arena import Arena
from fusedstep.framework.engine.tape import Tape
from fusedstep.framework.layers import Layer


@pytest.mark.parametrize("run", ["numpy", "numba"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_E1_sigmoid_neuron(run: str, dtype: str) -> None:
    """x = (-1, -2), w = (2, -3, -3): dw = (-0.20, -0.39, 0.20) for dL/dy = 1; the notes print -0.4 in the middle."""
    model = fs.Sequential(fs.Linear(2, 1), fs.Sigmoid())
    model.initialize(backend=run, dtype=dtype)
    model.load_parameters({"0.Linear.weight": np.array([[2.0], [-3.0]]), "0.Linear.bias": np.array([-3.0])})
    gradients = model.arena.new()
    tape = Tape(model.arena, gradients=gradients)
    tape.begin(1)
    y = model.forward(model.convert_input([[-1.0, -2.0]]), tape)
    assert float(y[0, 0]) == pytest.approx(1.0 / (1.0 + np.exp(-1.0)), rel=1e-6)
    model.backward(model.convert_input([[1.0, 0.0]])[:, :1] * 1, tape)
    views = model.arena.views_of(gradients)
    linear = model.layers[0]
    dw = [*views[linear.weight].ravel().tolist(), *views[linear.bias].tolist()]
    derivative = 0.19661193324148185
    np.testing.assert_allclose(dw, [-derivative, -2 * derivative, derivative], rtol=1e-6)
    assert [round(v, 2) for v in dw] == [-0.2, -0.39, 0.2]


@pytest.mark.row("A10")
def test_E2_affine_jacobian() -> None:
    """e = 2, d = 3: the 2 x 8 matrix, which one slide prints with a column missing."""
    x1, x2, x3 = x = [0.5, -1.5, 2.0]
    layer = fs.Linear(3, 2)
    weight = np.arange(6.0).reshape(3, 2)
    by_input, by_parameters = fs.local_jacobians(layer, x, {"weight": weight, "bias": np.zeros(2)})
    np.testing.assert_array_equal(by_input, weight.T)
    np.testing.assert_array_equal(by_parameters, [[x1, x2, x3, 0, 0, 0, 1, 0], [0, 0, 0, x1, x2, x3, 0, 1]])


class _Wave(Layer, public=False):
    """sin, exp or cos, written as somebody would who needs a layer that is not there."""

    def __init__(self, value, derivative) -> None:
        self.value, self.derivative = value, derivative

    def forward(self, x, tape):
        tape.push(x)
        return self.value(x)

    def backward(self, dy, tape, needs_input=True):
        (x,) = tape.pop()
        return dy * self.derivative(x)


def test_E3_cos_exp_sin_chain() -> None:
    """h3 = cos(b2 + w2 exp(b1 + w1 sin(b0 + w0 x))): gradients of all six numbers equal central differences."""
    chain = fs.Sequential(
        fs.Linear(1, 1),
        _Wave(np.sin, np.cos),
        fs.Linear(1, 1),
        _Wave(np.exp, np.exp),
        fs.Linear(1, 1),
        _Wave(np.cos, lambda x: -np.sin(x)),
    )
    x = np.array([[0.3], [1.1], [-0.8]])
    report = fs.gradient_check(chain, None, x, tolerance=1e-9)
    assert report.passed, report
    assert len(report.errors) == 7

    arena = Arena(chain.declared(), backend("numpy"), "float64")
    arena.initialize(0)
    w0, b0, w1, b1, w2, b2 = (float(arena.views[p].ravel()[0]) for p in arena.parameters)
    gradients = arena.new()
    tape = Tape(arena, gradients=gradients)
    tape.begin(3)
    y = chain.forward(x, tape)
    f0 = b0 + w0 * x
    f1 = b1 + w1 * np.sin(f0)
    f2 = b2 + w2 * np.exp(f1)
    np.testing.assert_allclose(y, np.cos(f2), rtol=1e-14)
    dx = chain.backward(np.ones_like(y), tape)
    np.testing.assert_allclose(dx, -np.sin(f2) * w2 * np.exp(f1) * w1 * np.cos(f0) * w0, rtol=1e-13)
