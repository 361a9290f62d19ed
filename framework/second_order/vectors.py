"""Arithmetic on flat arrays with the arena's layout, through the backend: scalar products and linear combinations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...kernels.formulas.vectors import combination, product
from ..engine.arena import Arena

Array = Any


class Vectors:
    """The vector space of one arena; every result but `dot` stays on the backend.

    Args: arena – whose layout the vectors have; its gaps are 0 in all of them.
    """

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.backend = arena.backend
        self._products = arena.new()

    def new(self) -> Array:
        """Zeros."""
        return self.arena.new()

    def copy(self, x: Array) -> Array:
        """A new vector with the values of x."""
        out = self.arena.new()
        self.backend.copy(x, out)
        return out

    def combine(self, out: Array, a: float, x: Array, b: float, y: Array) -> None:
        """out = a x + b y; out may be x or y."""
        with self.backend.quiet():
            self.backend.map(combination, out, x, y, a, b)

    def dot(self, x: Array, y: Array) -> float:
        """<x, y>; waits for the device."""
        with self.backend.quiet():
            self.backend.map(product, self._products, x, y)
            return self.backend.item(self.backend.total(self._products))

    def norm(self, x: Array) -> float:
        """sqrt(<x, x>)."""
        with self.backend.quiet():
            return math.sqrt(self.backend.item(self.backend.sum_of_squares(x)))


class Packing:
    """The parameters without the arena's gaps, one after the other in the order of the model.

    Attributes: count – how many numbers there are.
    """

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.count = arena.count
        self.ranges: Sequence[tuple[int, int]] = [arena.ranges[p] for p in arena.parameters]

    def pack(self, flat: Array, out: Array) -> None:
        """out [count] from a flat array with the arena's layout."""
        position = 0
        for start, stop in self.ranges:
            self.arena.backend.copy(flat[start:stop], out[position : position + stop - start])
            position += stop - start

    def unpack(self, packed: Array, out: Array) -> None:
        """The way back; the gaps stay as they are."""
        position = 0
        for start, stop in self.ranges:
            self.arena.backend.copy(packed[position : position + stop - start], out[start:stop])
            position += stop - start
