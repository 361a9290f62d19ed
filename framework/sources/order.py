"""In what order the rows of an epoch are taken: a function of seed, epoch and the source's blocks, and of nothing else.

The same on every backend, and wherever the data lies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...backends import Random
from ...backends import backend as find_backend
from ...backends.arrays import stable_order
from ...backends.bounded_cache import BoundedCache
from ..streams import SHUFFLE

Numbers = NDArray[np.int64]

_CHUNK = 1 << 16
_CACHED_WINDOWS = 2
"""A minibatch may end in the next window."""


def permutation(count: int, seed: int, epoch: int, stream: int = SHUFFLE) -> Numbers:
    """The numbers 0 to count - 1 in random order, as Backend.permutation draws them, in bounded memory besides the result."""
    backend = find_backend("numpy")
    keys = np.empty(count, np.uint64)
    for start in range(0, count, _CHUNK):
        stop = min(count, start + _CHUNK)
        words = backend.random_bits(stop - start, 2, Random(backend.random_state(seed, epoch, start), stream))
        keys[start:stop] = words[:, 0]
        keys[start:stop] <<= np.uint64(32)
        keys[start:stop] |= words[:, 1]
    return stable_order(keys)


class RowOrder:
    """The order of the rows in one epoch.

    Without blocks, a permutation of all rows. With blocks: the blocks are put in random order, every `window` of them
    (the last window may be smaller) are read together, and their rows are permuted.

    Args: rows – N; seed; epoch – counted from 0; edges, window – see RowSource; None for a permutation of all rows.
    """

    def __init__(self, rows: int, seed: int, epoch: int, edges: Numbers | None = None, window: int = 1) -> None:
        self.rows = rows
        self._seed, self._epoch = seed, epoch
        self._all = permutation(rows, seed, epoch) if edges is None else None
        if edges is not None:
            blocks = permutation(len(edges) - 1, seed, epoch)
            self._blocks = [blocks[k : k + window] for k in range(0, len(blocks), window)]
            sizes = np.diff(edges)
            self._ends = np.cumsum([int(sizes[chosen].sum()) for chosen in self._blocks])
            self._edges = edges
            self._windows = BoundedCache(_CACHED_WINDOWS)

    def numbers(self, start: int, stop: int) -> Numbers:
        """The row numbers at the places start to stop of the order."""
        if self._all is not None:
            return self._all[start:stop]
        parts = []
        for k in range(int(np.searchsorted(self._ends, start, side="right")), len(self._ends)):
            begin = int(self._ends[k - 1]) if k else 0
            if begin >= stop:
                break
            parts.append(self._window(k)[max(start - begin, 0) : stop - begin])
        return np.concatenate(parts)

    def _window(self, k: int) -> Numbers:
        window: Numbers = self._windows.made(k, lambda: self._permuted(k))
        return window

    def _permuted(self, k: int) -> Numbers:
        rows = np.concatenate([np.arange(self._edges[b], self._edges[b + 1]) for b in self._blocks[k]])
        return rows[permutation(rows.size, self._seed, self._epoch, SHUFFLE + 1 + k)]
