"""The training sample of each ensemble member: rows drawn with replacement, columns without.

The members themselves are in framework/estimators/bagging.py.
"""

from __future__ import annotations

import numpy as np

from .splits import Indices


def bootstrap(rows: int, size: int, seed: int, member: int) -> Indices:
    """`size` of the numbers 0 to rows - 1, drawn with replacement; determined by seed and member."""
    return _generator(seed, member, 0).integers(0, rows, size)


def feature_subset(features: int, size: int, seed: int, member: int) -> Indices:
    """`size` different numbers of 0 to features - 1, in ascending order."""
    return np.sort(_generator(seed, member, 1).permutation(features)[:size])


def left_out(rows: int, drawn: Indices) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """[rows, 1]: 1 for each row that was not drawn, 0 for the others."""
    mask = np.ones((rows, 1))
    mask[drawn] = 0.0
    return mask  # type: ignore[return-value]


def _generator(seed: int, member: int, use: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, 2 * member + use]))
