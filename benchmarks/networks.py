"""The networks that are timed: the notation "784-512-512-10@256/19968", and named grids."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from itertools import pairwise

from ..errors import HyperparameterError


@dataclass(frozen=True)
class Network:
    """A multi-layer perceptron and the size of its minibatches.

    Args: widths – columns of the input, of each hidden layer, and of the output; batch – rows per minibatch, or of a
        prediction; rows – of the training data, a multiple of the batch; 0 if not stated.
    """

    widths: tuple[int, ...]
    batch: int
    rows: int = 0

    def __str__(self) -> str:
        return f"{self.shape}@{self.batch}" + (f"/{self.rows}" if self.rows else "")

    @property
    def shape(self) -> str:
        """The widths alone, such as "784-512-512-10"."""
        return "-".join(map(str, self.widths))

    @property
    def parameters(self) -> int:
        """Weights and biases, without gains and offsets of LayerNorm."""
        return sum(a * b + b for a, b in pairwise(self.widths))


_FORM = re.compile(r"\d+(-\d+)+@\d+(/\d+)?")


def parse(text: str) -> list[Network]:
    """The networks of a list such as "784-512-512-10@256, 64-128-10@32/1504" (minibatches of 32 out of 1,504 rows).

    Raises: HyperparameterError for any other form, for widths or batches below 1 (below 2 for the output: classes), and for
        rows that are not whole minibatches.
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
    shape, _, sizes = text.partition("@")
    batch, _, rows = sizes.partition("/")
    widths = tuple(map(int, shape.split("-")))
    if min(widths) < 1 or widths[-1] < 2:
        raise HyperparameterError(
            f"expected widths >= 1, and at least 2 classes; got {text!r}; write widths such as 784-512-512-10"
        )
    if int(batch) < 1:
        raise HyperparameterError(f"expected a batch >= 1; got {text!r}; write the rows of a minibatch after '@'")
    if rows and (int(rows) < 1 or int(rows) % int(batch)):
        raise HyperparameterError(
            f"expected rows in whole minibatches; got {text!r}; after '/', write a multiple of {batch}, such as "
            f"{int(batch) * max(1, int(rows) // int(batch))}"
        )
    return Network(widths, int(batch), int(rows or 0))


_STEPS = {
    "quick": "64-128-128-10@128, 784-512-512-10@256, 784-1024-1024-10@512",
    "standard": (
        "64-128-128-10@128, 784-512-512-10@256, 784-1024-1024-10@1024, 784-2048-2048-10@4096, "
        "256-256-256-256-10@4096, 1024-4096-4096-1000@2048"
    ),
}

GRIDS = {
    "step": {**_STEPS, "scaling": "", "none": ""},
    "fit": {
        "quick": "64-256-10@32/1504, 20-128-64-2@128/19968",
        "standard": (
            "64-256-10@32/1504, 20-128-64-2@128/19968, 100-512-256-10@512/19968, 784-512-512-10@256/19968, "
            "256-512-512-16@8192/40960"
        ),
        "varied": (
            "40-96-5@8/1000, 32-64-64-3@16/4000, 128-128-128-128-128-8@64/10240, 16-1024-4@256/25600, "
            "512-256-64-20@1024/30720, 784-1024-1024-10@512/5120"
        ),
    },
    "predict": {
        "quick": "100-512-256-10@1, 100-512-256-10@10000",
        "standard": "100-512-256-10@1, 100-512-256-10@100, 100-512-256-10@10000",
        "varied": (
            "20-64-3@1, 20-64-3@100000, 64-128-128-128-10@1000, 784-1024-1024-10@1, 784-1024-1024-10@256, 256-2048-16@4096"
        ),
    },
    "start": dict.fromkeys(("quick", "standard", "varied"), "20-64-3@32"),
    "ranks": {"quick": "784-1024-1024-10@4096, 784-1024-1024-10@1024, 64-256-10@512"},
    "ranks-fit": {"quick": "784-1024-1024-10@4096/8192, 784-1024-1024-10@1024/8192, 64-256-10@512/32768"},
}
"""Workload -> name -> networks; "scaling" is made in scaling.py, and "none" times no step at all."""


def nearest(name: str, known: tuple[str, ...]) -> str:
    """The end of an error message about an unknown name: a suggestion, or the advice to choose."""
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]!r}?" if near else "choose one of these"


def require_grid(name: str, workload: str = "step") -> str:
    """The name of a grid; raises HyperparameterError for one that the workload does not have."""
    known = tuple(GRIDS[workload])
    if name not in known:
        given = "" if workload == "step" else f" with --{workload.partition('-')[0]}"
        raise HyperparameterError(f"expected a grid out of {', '.join(known)}{given}; got {name!r}; {nearest(name, known)}")
    return name
