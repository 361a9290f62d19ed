"""Labels of rows, which are whole numbers."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from numba import cuda

from .teams import Signatures


def repeat_labels(labels, out):
    times = out.shape[0] // labels.shape[0]
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        out[i] = labels[i // times]


SIGNATURES: Signatures = {repeat_labels: (("labels", "labels"), (), ())}
