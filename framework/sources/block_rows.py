"""`BlockRows`: a source that can only be read block by block, of which the last few blocks stay in memory."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends.bounded_cache import BoundedCache
from .row_source import RowNumbers, RowSource


class BlockRows(RowSource):
    """Rows of blocks; at most `window` blocks and the next one are in memory. A subclass defines `read_block`.

    Args: shape, dtype, name, names, window – as for RowSource; starts – the first row of each block, and N at the end; blocks
        without rows are allowed.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, name: str, names: tuple[str, ...], starts: NDArray[np.int64], window: int
    ) -> None:
        super().__init__(shape, dtype, name, names, np.unique(starts), window)
        self._starts = starts
        self._lock = threading.Lock()
        self._blocks = BoundedCache(window + 1)

    def read_block(self, number: int) -> NDArray[Any]:
        """All rows of a block, in order."""
        raise NotImplementedError(f"{type(self).__name__} must define read_block(number)")

    def read(self, rows: RowNumbers, out: NDArray[Any]) -> None:
        """See RowSource.read."""
        numbers = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        block_of = np.searchsorted(self._starts, numbers, side="right") - 1
        with self._lock, np.errstate(over="ignore"):
            # What is in memory goes first: reading another block may push it out.
            wanted = sorted(np.unique(block_of).tolist(), key=lambda block: block not in self._blocks)
            for block in wanted:
                chosen = block_of == block
                out[chosen] = self._block(block)[numbers[chosen] - self._starts[block]]

    def _block(self, number: int) -> NDArray[Any]:
        known = self._blocks.pop(number, None)
        found: NDArray[Any] = self.read_block(number) if known is None else known
        self._blocks[number] = found
        return found
