"""Loops of the generated kernels as source: strides over elements, rows and columns, and random bits four columns at a time.

What happens inside of them is in maps.py and updates.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from numba import types

from ..cpu import FLOAT32, WORDS
from ..source import Lines, Spelling, indent, philox_program
from .kernel import array_type

RANDOM_PARAMETERS = {"state": array_type(WORDS, 1), "stream": types.uint32}
QUARTER = ["quarter = (width + u64(3)) >> u64(2)"]


@cache
def philox(columns: bool = True) -> Lines:
    """Four random words: for a column block of row i of a matrix, or for row q of one that is four columns wide."""
    inputs = {
        "block": "u32(q)" if columns else "u32(0)", "row": f"u32(u64(state[3]) + {'i' if columns else 'q'})",
        "stream": "stream",
        "step": "state[2]", "key0": "state[0]", "key1": "state[1]",
    }  # fmt: skip
    return Lines(philox_program(), Spelling(FLOAT32), inputs, prefix="w")


def strides(name: str, start: str, stop: str, stride: str, lines: Sequence[str]) -> list[str]:
    """A loop in unsigned steps: Numba checks signed indices for being negative, and divides to count a `range`."""
    return [f"{name} = {start}", f"while {name} < {stop}:", *indent([*lines, f"{name} += {stride}"], 1)]


def for_columns(lines: Sequence[str]) -> list[str]:
    """A loop over the columns j of row i with their random bits: four columns per turn, a quarter of the width apart."""
    words = philox()
    w0, w1, w2, w3 = words.results
    turn = [
        *words.body,
        "for part in range(4):",
        "    j = u64(part) * quarter + q",
        "    if j < width:",
        f"        bits = {w0} if part == 0 else ({w1} if part == 1 else ({w2} if part == 2 else {w3}))",
        *indent(lines, 2),
    ]
    return strides("q", "left", "quarter", "across", turn)


def for_rows(columns: Sequence[str]) -> list[str]:
    """A loop over the rows of a two-dimensional grid."""
    return [
        "x, y = cuda.grid(2)",
        "dx, dy = cuda.gridsize(2)",
        "left, across, down = u64(x), u64(dx), u64(dy)",
        *strides("i", "u64(y)", "rows", "down", columns),
    ]
