"""Random numbers of a backend: the state that they are functions of, and bits and permutations made of it.

The layout of the bits is that of kernels/rows/reference.py, on every backend.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...kernels.rows import reference
from .arrays import Arrays

Array = Any


class Random(NamedTuple):
    """Where random bits come from: state – uint32 [4] on the backend (key, key, step, first row); stream – which use."""

    state: Array
    stream: int


class RandomNumbers(Arrays):
    """Philox4x32-10 with (seed, stream, step, row and column) as its counter."""

    def random_state(self, seed: int, step: int = 0, first_row: int = 0) -> Array:
        """uint32 [4]: the two words of the seed, the step, and the number of the first row of the matrices to come."""
        words = np.array([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, step & 0xFFFFFFFF, first_row], np.uint32)
        return self.asarray(words)

    def set_step(self, state: Array, step: int) -> None:
        """Moves a random state to another step."""
        state[2] = step & 0xFFFFFFFF

    def advance(self, state: Array) -> None:
        """Moves a random state to the next step; unlike `set_step` it is work of the device, which a graph can do again."""
        word = state[2:3]
        word += 1

    def set_first_row(self, state: Array, row: int) -> None:
        """Moves a random state to matrices that begin at another row."""
        state[3] = row

    def random_bits(self, rows: int, width: int, random: Random) -> Array:
        """uint32 [rows, width]: the bits that a formula with these (state, stream) gets."""
        return reference.random_bits(self.xp, rows, width, random.state, random.stream)

    def permutation(self, count: int, random: Random) -> Array:
        """The numbers 0 to count - 1 in random order: sorted by 64 random bits each, equal ones by number."""
        words = self.to_numpy(self.random_bits(count, 2, random)).astype(np.uint64)
        return self.asarray(np.argsort((words[:, 0] << np.uint64(32)) | words[:, 1], kind="stable"))
