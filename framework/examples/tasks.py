"""The data that several examples learn from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fusedstep as fs

SEEDS = range(5)
"""Of what is repeated because one run would prove little."""
CENTRE = 1.5
"""Both coordinates of one cloud's centre; the other one lies opposite."""
BEST_ACCURACY = 0.5 * (1.0 + math.erf(CENTRE))
"""The best possible accuracy on `two_gaussians`: Phi(|centre|) with |centre| = sqrt(2) CENTRE."""


def two_gaussians(rows: int, seed: int = 0) -> tuple[Any, Any]:
    """x [rows, 2] from N((c, c), I) where y = 1, from N((-c, -c), I) where y = -1."""
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(rows) % 2 == 0, 1.0, -1.0)
    return rng.standard_normal((rows, 2)) + CENTRE * y[:, None], y[:, None]


def four_clouds(rows: int, seed: int = 0) -> tuple[Any, Any]:
    """Exclusive or: clouds around (1, 1) and (-1, -1) have label 1, those around (1, -1) and (-1, 1) label 0."""
    rng = np.random.default_rng(seed)
    corners = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])[np.arange(rows) % 4]
    return corners + 0.25 * rng.standard_normal((rows, 2)), (corners[:, 0] == corners[:, 1]).astype(int)


def digits(test_share: float = 0.25, seed: int = 0) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """(x, y) to train with and (x, y) to test with: 1797 images of 8 x 8 pixels between 0 and 1, and labels 0 to 9."""
    from ..tables.reading import load

    loaded = load("digits")
    x = np.asarray(loaded.features.values, dtype=np.float32) / 16.0  # type: ignore[union-attr]
    y = np.asarray(loaded.target, dtype=int)
    order = np.random.default_rng(seed).permutation(len(y))
    test, train = np.split(order, [round(test_share * len(y))])
    return (x[train], y[train]), (x[test], y[test])


def accuracy(model: fs.Sequential, x: Any, y: Any) -> float:
    """Share of rows where the sign of the output is that of the label -1 or 1."""
    return float(np.mean((model.backend.to_numpy(model(x)) > 0.0) == (np.asarray(y) > 0.0)))
