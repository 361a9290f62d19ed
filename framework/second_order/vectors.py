"""Arithmetic on flat arrays with the arena's layout, through the backend: scalar products and linear combinations."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise

from ...backends import Array
from ...kernels.formulas.vectors import combination, product
from ..engine.arena import Arena


class Vectors:
    """Arithmetic on the vectors of one arena; results other than `dot` and `norm` stay on the backend.

    Args: arena – vectors have its layout, with 0 in the gaps between parameters.
    """

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.backend = arena.backend
        self._products = arena.new()

    def new(self) -> Array:
        """A vector of zeros."""
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
    """Converts vectors to and from arrays [count] without gaps, with the parameters in the order of the model.

    Attributes: count – number of parameters.
    """

    def __init__(self, arena: Arena) -> None:
        self._backend = arena.backend
        self.count = arena.count
        ends = accumulate((p.size for p in arena.parameters), initial=0)
        self._parts = [
            (slice(*arena.ranges[p]), slice(*part)) for p, part in zip(arena.parameters, pairwise(ends), strict=True)
        ]

    def pack(self, flat: Array, out: Array) -> None:
        """Copies a flat array with the layout of the arena to out [count]."""
        for spread, packed in self._parts:
            self._backend.copy(flat[spread], out[packed])

    def unpack(self, packed: Array, out: Array) -> None:
        """Copies packed [count] to a flat array with the layout of the arena; gaps are not changed."""
        for spread, part in self._parts:
            self._backend.copy(packed[part], out[spread])
