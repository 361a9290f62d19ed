"""The matrix products that a training step needs, and their number of operations."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from .networks import Network

BLOCK = 512
"""Rows of a block of a pass without a step."""


class GemmCase(NamedTuple):
    """[rows, inner] times [inner, columns].

    Args: layer – index of the linear layer; kind – "forward" X W, "weights" X^T dY or "inputs" dY W^T.
    """

    layer: int
    kind: str
    rows: int
    inner: int
    columns: int

    @property
    def flop(self) -> int:
        """2 rows inner columns: a multiplication and an addition each."""
        return 2 * self.rows * self.inner * self.columns


def products(network: Network) -> list[GemmCase]:
    """The products of one step, in the order in which it needs them.

    Forward Y = X W and the gradient of the weights X^T dY for each layer; the gradient of the input dY W^T for all layers
    except the first, whose input is data.
    """
    rows = network.batch
    backward = []
    for k, (n, m) in reversed(list(enumerate(pairwise(network.widths)))):
        backward.append(GemmCase(k, "weights", n, rows, m))
        if k:
            backward.append(GemmCase(k, "inputs", rows, m, n))
    return forward(network, rows) + backward


def forward(network: Network, rows: int) -> list[GemmCase]:
    """The products of a forward pass over so many rows."""
    return [GemmCase(k, "forward", rows, n, m) for k, (n, m) in enumerate(pairwise(network.widths))]


def blocks(network: Network, rows: int) -> list[tuple[int, list[GemmCase]]]:
    """(how many times, which) of a pass over so many rows, in blocks whose results stay in the cache."""
    sizes = [(rows // BLOCK, BLOCK), (1, rows % BLOCK)]
    return [(count, forward(network, size)) for count, size in sizes if count and size]


def flop(network: Network) -> int:
    """Floating-point operations of the matrix products of one step; other operations are not counted."""
    return sum(p.flop for p in products(network))
