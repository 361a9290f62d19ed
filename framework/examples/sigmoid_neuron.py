"""E1: one sigmoid neuron, y = s(2 x1 - 3 x2 - 3) at x = (-1, -2); how does y change with each weight?"""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep as fs

from .findings import Finding, Result
from .gradients import pulled_back


def run(backend: str | None = None) -> Result:
    """One forward and one backward pass with dL/dy = 1."""
    model = fs.Sequential(fs.Linear(2, 1), fs.Sigmoid()).initialize(backend=backend, dtype="float64")
    model.load_parameters({"0.Linear.weight": np.array([[2.0], [-3.0]]), "0.Linear.bias": np.array([-3.0])})
    x = np.array([[-1.0, -2.0]])

    y = float(model.backend.to_numpy(model(x))[0, 0])
    found = pulled_back(model, x, [[1.0]])
    dw = [*found["0.Linear.weight"].ravel(), *found["0.Linear.bias"]]

    derivative = y * (1.0 - y)  # of the sigmoid; the chain rule multiplies it by the input of each weight
    return Result(
        [
            Finding("output y = s(1)", y, "1 / (1 + e^-1) = 0.731", abs(y - 1.0 / (1.0 + np.exp(-1.0))) < 1e-12),
            Finding("dL/dw1 = -y (1 - y)", dw[0], "-0.20", abs(dw[0] + derivative) < 1e-12),
            Finding("dL/dw2 = -2 y (1 - y)", dw[1], "-0.39 (printed as -0.4)", abs(dw[1] + 2.0 * derivative) < 1e-12),
            Finding("dL/db = y (1 - y)", dw[2], "0.20", abs(dw[2] - derivative) < 1e-12),
        ],
        "The gradient of each weight is its input times the derivative of the sigmoid, so larger inputs mean larger changes.",
        lambda path: _draw(y, derivative, path),
    )


def _draw(y: float, derivative: float, path: Any) -> Any:
    from ..diagnostics.plots.style import BLUE, VERMILION, canvas

    z = np.linspace(-5.0, 5.0, 201)
    near = np.linspace(-0.6, 2.6, 2)
    with canvas(path, 4.6, 3.2) as figure:
        axes = figure.subplots()
        axes.plot(z, 1.0 / (1.0 + np.exp(-z)), color=BLUE, label="y = s(z)")
        axes.plot(near, y + derivative * (near - 1.0), color=VERMILION, linestyle="--", label=f"tangent, {derivative:.3f}")
        axes.plot([1.0], [y], "o", color=VERMILION, label=f"the neuron: z = 1, y = {y:.3f}")
        axes.set(xlabel="z = w1 x1 + w2 x2 + b", ylabel="output y", title="One sigmoid neuron and its derivative")
        axes.legend(loc="upper left")
    return figure
