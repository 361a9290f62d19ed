"""Checks of matrix products."""

from __future__ import annotations

import numpy as np

from ..contract import Backend
from .comparison import close, exactly, host, normal
from .suite import REALS, Sizes, check

TRANSPOSES = ("nn", "nt", "tn", "tt")


@check("products", dtype=REALS, transposes=TRANSPOSES, accumulate=(False, True))
def matmul(backend: Backend, sizes: Sizes, dtype: str, transposes: str, accumulate: bool) -> None:
    """out = op(a) op(b), also accumulated, and for empty dimensions; repeated calls give the same bits."""
    first, second = (letter == "t" for letter in transposes)
    for m, k, n in sizes.products:
        scale = max(k, 1) ** -0.25
        a = normal(dtype, (k, m) if first else (m, k), "a") * np.asarray(scale, dtype)
        b = normal(dtype, (n, k) if second else (k, n), "b") * np.asarray(scale, dtype)
        before = normal(dtype, (m, n), "out")
        reference = (a.T if first else a).astype(np.float64) @ (b.T if second else b).astype(np.float64)
        if accumulate:
            reference = reference + before
        results = []
        for _ in range(2):
            out = backend.asarray(before.copy())
            backend.matmul(backend.asarray(a), backend.asarray(b), out, first, second, accumulate)
            results.append(host(backend, out, (m, n), dtype, f"{(m, k, n)}"))
        close(results[0], reference, dtype, "product", f"{(m, k, n)}")
        exactly(results[1], results[0], f"{(m, k, n)}, a second time")


@check("products", dtype=REALS, transposes=TRANSPOSES)
def stacks(backend: Backend, sizes: Sizes, dtype: str, transposes: str) -> None:  # noqa: ARG001
    """Stacks of matrices, also parts of larger arrays, are multiplied in pairs."""
    first, second = (letter == "t" for letter in transposes)
    a = normal(dtype, (3, 5, 4) if first else (3, 4, 5), "a")
    b = normal(dtype, (3, 6, 5) if second else (3, 5, 6), "b")
    turned = a.transpose(0, 2, 1) if first else a, b.transpose(0, 2, 1) if second else b
    reference = np.matmul(*(x.astype(np.float64) for x in turned))
    out = backend.zeros((3, 4, 6), dtype)
    backend.matmul(backend.asarray(a), backend.asarray(b), out, first, second)
    close(host(backend, out, (3, 4, 6), dtype, "stack"), reference, dtype, "product")
    backend.matmul(backend.asarray(a[1:]), backend.asarray(b[1:]), out[:2, ...], first, second, True)
    reference[:2] += reference[1:].copy()
    close(host(backend, out, (3, 4, 6), dtype, "stack"), reference, dtype, "product", "added to some")


@check("products", dtype=REALS)
def parts_of_a_flat_array(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """Operands and result may be reshaped parts of flat arrays, like parameters and gradients; nothing else is written."""
    flat = backend.asarray(normal(dtype, (192,)))
    out = backend.zeros((192,), dtype)
    xp = backend.xp
    a, b = xp.reshape(flat[0:12], (4, 3)), xp.reshape(flat[64:79], (3, 5))
    backend.matmul(a, b, xp.reshape(out[128:148], (4, 5)))
    values = backend.to_numpy(flat).astype(np.float64)
    wanted = np.zeros(192)
    wanted[128:148] = (values[0:12].reshape(4, 3) @ values[64:79].reshape(3, 5)).reshape(-1)
    close(backend.to_numpy(out), wanted, dtype, "product")
    x = backend.asarray(normal(dtype, (6, 4), "x"))
    part = backend.zeros((3, 3), dtype)
    backend.matmul(x[2:5, ...], a, part)
    close(
        backend.to_numpy(part),
        backend.to_numpy(x)[2:5].astype("f8") @ values[0:12].reshape(4, 3),
        dtype,
        "product",
        "some rows",
    )
