"""E2: z = W x + b with three inputs and two outputs; its Jacobian by the eight parameters is a 2 x 8 matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep as fs

from .findings import Finding, Result
from .gradients import pulled_back


def run(backend: str | None = None) -> Result:
    """The matrix as a whole, and once more row by row from backward passes."""
    x = np.array([0.5, -1.5, 2.0])
    layer = fs.Linear(3, 2)
    model = fs.Sequential(layer).initialize(backend=backend, dtype="float64")
    by_input, by_parameters = (np.asarray(matrix) for matrix in fs.local_jacobians(model, x))

    rows = []
    for unit in np.eye(2):  # dL/dz = (1, 0), then (0, 1): a backward pass gives one row of the Jacobian
        found = pulled_back(model, x[None, :], unit[None, :])
        rows.append([*found["0.Linear.weight"].T.ravel(), *found["0.Linear.bias"]])

    nothing = np.zeros(3)
    expected = np.array([[*x, *nothing, 1.0, 0.0], [*nothing, *x, 0.0, 1.0]])
    weight = model.backend.to_numpy(model.parameters()["0.Linear.weight"])
    from_theory = float(np.abs(by_parameters - expected).max())
    from_passes = float(np.abs(by_parameters - rows).max())
    from_weights = float(np.abs(by_input - weight.T).max())
    return Result(
        [
            Finding("rows of dz/dw", by_parameters.shape[0], "e = 2", by_parameters.shape[0] == 2),
            Finding("columns of dz/dw", by_parameters.shape[1], "e (d + 1) = 8", by_parameters.shape[1] == 8),
            Finding("difference from [x 0 | 1 0; 0 x | 0 1]", from_theory, "0", from_theory == 0.0),
            Finding("difference from two backward passes", from_passes, "0 up to rounding", from_passes < 1e-14),
            Finding("difference of dz/dx from the weights", from_weights, "0", from_weights == 0.0),
        ],
        "Each output depends only on its own weights and bias; all other entries are zero, so this matrix is never stored.",
        lambda path: _draw(by_parameters, path),
    )


def _draw(matrix: Any, path: Any) -> Any:
    from ..diagnostics.plots.style import canvas

    names = ["w11", "w21", "w31", "w12", "w22", "w32", "b1", "b2"]
    with canvas(path, 6.4, 2.2) as figure:
        axes = figure.subplots()
        axes.grid(False)
        axes.imshow(matrix, cmap="PuOr", vmin=-3.0, vmax=3.0, aspect="auto")
        for (row, column), value in np.ndenumerate(matrix):
            axes.text(column, row, f"{value:g}", ha="center", va="center", color="white" if value > 1.5 else "black")
        axes.set_xticks(range(8), names)
        axes.set_yticks(range(2), ["z1", "z2"])
        axes.set(xlabel="parameter", ylabel="output", title="dz/dw of an affine layer at x = (0.5, -1.5, 2)")
    return figure
