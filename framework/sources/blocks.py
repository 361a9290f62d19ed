"""Blocks of rows: what is done to large data is done to about a million entries at a time."""

from __future__ import annotations

from collections.abc import Iterable

_BLOCK_ELEMENTS = 1 << 20


def row_blocks(rows: int, width: int) -> Iterable[slice]:
    """Slices over the rows, each of about a million entries."""
    step = max(1, _BLOCK_ELEMENTS // max(1, width))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
