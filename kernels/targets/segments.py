"""The parameter group of each element of the arena, as a table that a GPU thread reads with one load.

The CPU targets loop over ranges instead; see `Update` in kernels/targets/numpy.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

RUN = 64
"""Elements per entry: groups start at multiples of it."""
GROUP_SHIFT = 7
COUNT_MASK = (1 << GROUP_SHIFT) - 1


def segment_table(ranges: Sequence[tuple[int, int, int]]) -> np.ndarray[Any, Any]:
    """int32 [runs]: for each run of 64 elements, group << 7 | the number of its elements that belong to the group.

    Elements between two ranges belong to none, and an update leaves them alone.

    Args: ranges – (start, stop, group), without overlap; starts are multiples of 64.
    """
    table = np.zeros(-(-max((stop for _, stop, _ in ranges), default=0) // RUN), np.int32)
    for start, stop, group in ranges:
        if start % RUN or not 0 <= start <= stop or not 0 <= group < 1 << 24:
            raise ValueError(
                f"expected segments (start, stop, group) that start at multiples of {RUN}; got {(start, stop, group)}; "
                "let the arena lay them out"
            )
        if stop == start:
            continue
        first, last = start // RUN, (stop - 1) // RUN
        if table[first : last + 1].any():
            raise ValueError(
                f"expected segments without overlap; {(start, stop, group)} overlaps another; let the arena lay them out"
            )
        table[first : last + 1] = group << GROUP_SHIFT | RUN
        table[last] = group << GROUP_SHIFT | (stop - last * RUN)
    return table
