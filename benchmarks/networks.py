"""The networks that are timed: the notation "784-512-512-10@256", and named grids."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from itertools import pairwise

from ..errors import HyperparameterError


@dataclass(frozen=True)
class Network:
    """A multi-layer perceptron and the size of its minibatches.

    Args: widths – columns of the input, of each hidden layer, and of the output; batch – rows per minibatch.
    """

    widths: tuple[int, ...]
    batch: int

    def __str__(self) -> str:
        return f"{self.shape}@{self.batch}"

    @property
    def shape(self) -> str:
        """The widths alone, such as "784-512-512-10"."""
        return "-".join(map(str, self.widths))

    @property
    def parameters(self) -> int:
        """Weights and biases, without gains and offsets of LayerNorm."""
        return sum(a * b + b for a, b in pairwise(self.widths))


_FORM = re.compile(r"\d+(-\d+)+@\d+")


def parse(text: str) -> list[Network]:
    """The networks of a list such as "784-512-512-10@256, 64-128-10@32".

    Raises: HyperparameterError for any other form, and for widths or batches below 1 (below 2 for the output: classes).
    """
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
    if not pieces:
        raise HyperparameterError('expected at least one network; got none; write one such as "784-512-512-10@256"')
    return [_network(piece) for piece in pieces]


def _network(text: str) -> Network:
    if not _FORM.fullmatch(text):
        raise HyperparameterError(
            f"expected a network as widths joined by '-', then '@' and the batch; got {text!r}; "
            'write it as "784-512-512-10@256"'
        )
    shape, _, batch = text.partition("@")
    widths = tuple(map(int, shape.split("-")))
    if min(widths) < 1 or widths[-1] < 2:
        raise HyperparameterError(
            f"expected widths >= 1, and at least 2 classes; got {text!r}; write widths such as 784-512-512-10"
        )
    if int(batch) < 1:
        raise HyperparameterError(f"expected a batch >= 1; got {text!r}; write the rows of a minibatch after '@'")
    return Network(widths, int(batch))


GRIDS = {
    "quick": "64-128-128-10@128, 784-512-512-10@256, 784-1024-1024-10@512",
    "standard": (
        "64-128-128-10@128, 784-512-512-10@256, 784-1024-1024-10@1024, 784-2048-2048-10@4096, "
        "256-256-256-256-10@4096, 1024-4096-4096-1000@2048"
    ),
}
"""Grids that are plain lists; "scaling" is made in scaling.py, and "none" times no step at all."""

GRID_NAMES = (*GRIDS, "scaling", "none")


def nearest(name: str, known: tuple[str, ...]) -> str:
    """The end of an error message about an unknown name: a suggestion, or the advice to choose."""
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]!r}?" if near else "choose one of these"


def require_grid(name: str) -> str:
    """The name of a grid; raises HyperparameterError for an unknown one."""
    if name not in GRID_NAMES:
        raise HyperparameterError(f"expected a grid out of {', '.join(GRID_NAMES)}; got {name!r}; {nearest(name, GRID_NAMES)}")
    return name
