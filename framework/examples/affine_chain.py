"""E3: y = cos(b2 + w2 exp(b1 + w1 sin(b0 + w0 x))), a chain of affine steps with layers written for the occasion."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep as fs

from .findings import Finding, Result
from .gradients import pulled_back

PARAMETERS = {"w0": 1.2, "b0": 0.3, "w1": 0.8, "b1": -0.2, "w2": 1.5, "b2": 0.1}


class Wave(fs.Layer, public=False):
    """A custom layer: a function and its derivative, by name, from the array library of the backend."""

    recordable = False
    """Nothing here is a call of the backend, so a step cannot be recorded; layers outside this package need not say so."""

    def __init__(self, name: str, derivative: str, sign: float = 1.0) -> None:
        self.name, self.derivative, self.sign = name, derivative, sign

    def forward(self, x: Any, tape: Any) -> Any:
        """f(x); x is kept for the way back."""
        tape.push(x)
        return getattr(tape.backend.xp, self.name)(x)

    def backward(self, dy: Any, tape: Any, needs_input: bool = True) -> Any:  # noqa: ARG002
        """dy f'(x)."""
        (x,) = tape.pop()
        return dy * self.sign * getattr(tape.backend.xp, self.derivative)(x)


def run(backend: str | None = None) -> Result:
    """The gradients of the six numbers: by backpropagation, by central differences, and by formula for w0."""
    model = fs.Sequential(
        fs.Linear(1, 1), Wave("sin", "cos"), fs.Linear(1, 1), Wave("exp", "exp"), fs.Linear(1, 1), Wave("cos", "sin", -1.0)
    ).initialize(backend=backend, dtype="float64")
    model.load_parameters({
        name: np.full(array.shape, value)
        for (name, array), value in zip(model.parameters().items(), PARAMETERS.values(), strict=True)
    })
    x = np.array([[0.3], [1.1], [-0.8]])

    report = fs.gradient_check(model, None, x, backend=model.backend)
    w0, b0, w1, b1, w2, b2 = PARAMETERS.values()
    f0 = b0 + w0 * x
    f1 = b1 + w1 * np.sin(f0)
    f2 = b2 + w2 * np.exp(f1)
    by_hand = float(np.sum(-np.sin(f2) * w2 * np.exp(f1) * w1 * np.cos(f0) * x))
    found = pulled_back(model, x, np.ones_like(x))["0.Linear.weight"].item()

    rows = [
        Finding(f"{name}: backpropagation against differences", error, "below 1e-9", error < 1e-9, ".1e")
        for name, error in zip([*PARAMETERS, "x"], report.errors.values(), strict=True)
    ]
    rows.append(Finding("dL/dw0 by backpropagation", found, f"{by_hand:.6f} by hand", abs(found - by_hand) < 1e-12, ".6f"))
    return Result(
        rows,
        "In the backward pass, each function multiplies by its derivative; the result is the exact derivative.",
        lambda path: _draw(model, path),
    )


def _draw(model: fs.Sequential, path: Any) -> Any:
    from ..diagnostics.plots.style import BLUE, VERMILION, canvas

    def y(x: Any) -> Any:
        return model.backend.to_numpy(model(x[:, None]))[:, 0]

    x, h = np.linspace(-3.0, 3.0, 241), 1e-5
    some = x[::10]
    derivatives = [np.asarray(fs.local_jacobians(model, [value])[0])[0, 0] for value in x]
    with canvas(path, 5.4, 3.5) as figure:
        axes = figure.subplots()
        axes.plot(x, y(x), color=BLUE, label="y")
        axes.plot(x, derivatives, color=VERMILION, linestyle="--", label="dy/dx by backpropagation")
        axes.plot(some, (y(some + h) - y(some - h)) / (2.0 * h), "o", color=VERMILION, markersize=4, fillstyle="none",
                  label="dy/dx by central differences")  # fmt: skip
        axes.set(xlabel="x", ylabel="value", title="cos(exp(sin(.))) and its derivative")
        figure.legend(loc="outside lower center", ncols=3)
    return figure
