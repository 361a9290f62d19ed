"""Checks of dense layers: products with bias and activation, and their gradients, fused or not."""

from __future__ import annotations

import numpy as np

from ...kernels.formulas.activations import ACTIVATIONS
from ..contract import Backend
from .comparison import close, expect, host, normal
from .suite import REALS, Sizes, check

SHAPES = ((3, 7, 8), (6, 5, 9))
"""(rows, inputs, outputs): the first width meets the alignment requirements of fused products, the second does not."""


@check("products", activation=tuple(ACTIVATIONS), dtype=REALS, bias=(True, False))
def dense(backend: Backend, sizes: Sizes, activation: str, dtype: str, bias: bool) -> None:  # noqa: ARG001
    """Forward, and the input gradient from the arrays saved by forward; the bias gradient if the backend computes it."""
    row = ACTIVATIONS[activation]
    settings = (0.1,) * len(row.settings)
    for shape in SHAPES:
        rows, inputs, width = shape
        x, w = (normal(dtype, s, "dense") / 2 for s in ((rows, inputs), (inputs, width)))
        b, dz, above = normal(dtype, (width,), "b"), normal(dtype, (rows, 4), "dz"), normal(dtype, (width, 4), "above") / 2
        z = x.astype(np.float64) @ w.astype(np.float64) + (b if bias else 0.0)
        given = [backend.asarray(array) for array in (x, w, b, dz, above)]
        out = backend.empty((rows, width), dtype)
        saved = backend.empty((rows, width), dtype) if row.keeps == "input" else None
        size = backend.mask_bytes(row, width, dtype)
        mask = backend.empty((rows, size), "uint8") if size else None
        marked = backend.dense_forward(given[0], given[1], given[2] if bias else None, row, settings, out, saved, mask)
        expect(not marked or mask is not None, f"{shape}: expected no mask to be written where none was given")
        close(host(backend, out, (rows, width), dtype, f"{shape}"), row.value(z, *settings), dtype, "product", f"{shape}")
        if saved is not None:
            close(host(backend, saved, (rows, width), dtype, f"{shape}"), z, dtype, "product", f"{shape}, saved")
        source = out if saved is None else saved
        derivative = row.derivative(backend.to_numpy(source).astype(np.float64), *settings)
        dx, sums = backend.empty((rows, width), dtype), backend.empty((width,), dtype)
        summed = backend.dense_input_gradient(
            given[3], given[4], row, settings, source, dx, mask if marked else None, sums
        )
        reference = (dz.astype(np.float64) @ above.astype(np.float64).T) * derivative
        close(host(backend, dx, (rows, width), dtype, f"{shape}"), reference, dtype, "product", f"{shape}, backward")
        if summed:
            close(backend.to_numpy(sums), reference.sum(axis=0), dtype, "sum", f"{shape}, bias gradient")


@check("products", dtype=REALS, accumulate=(False, True))
def dense_weight_gradient(backend: Backend, sizes: Sizes, dtype: str, accumulate: bool) -> None:  # noqa: ARG001
    """The weight gradient, also accumulated, and the bias gradient if the backend reports that it was written."""
    for rows, inputs, width in SHAPES:
        x, dz = (normal(dtype, s, "gradient") / 2 for s in ((rows, inputs), (rows, width)))
        before = normal(dtype, (inputs, width), "before")
        out, sums = backend.asarray(before.copy()), backend.empty((width,), dtype)
        summed = backend.dense_weight_gradient(backend.asarray(x), backend.asarray(dz), out, accumulate, sums)
        reference = x.astype(np.float64).T @ dz.astype(np.float64) + (before if accumulate else 0.0)
        close(host(backend, out, (inputs, width), dtype, "gradient"), reference, dtype, "product")
        if summed:
            close(backend.to_numpy(sums), dz.astype(np.float64).sum(axis=0), dtype, "sum", "bias gradient")
