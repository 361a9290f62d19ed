"""The grid "scaling": how time and memory of a step grow with the batch, the width, the depth and the threads."""

from __future__ import annotations

from .networks import Network
from .problem import Problem

BATCHES = (32, 128, 512, 2048, 8192)
WIDTHS = (128, 256, 512, 1024, 2048)
DEPTHS = (1, 2, 4, 8, 16)


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4, … and the number of cores itself."""
    counts = []
    count = 1
    while count < cores:
        counts.append(count)
        count *= 2
    return [*counts, cores]


def sweeps(variant: str, precision: str, cores: int) -> list[tuple[str, Problem]]:
    """(name of the sweep, problem) in order: 784-512-512-10 by batch; 784-H-H-10@1024 by width; 256-256-…-10@1024 by number
    of hidden layers; 784-1024-1024-10@1024 by threads.
    """

    def problem(*widths: int, batch: int, threads: int = cores) -> Problem:
        return Problem(Network(widths, batch), variant, precision, threads)

    return [
        *(("batch", problem(784, 512, 512, 10, batch=rows)) for rows in BATCHES),
        *(("width", problem(784, width, width, 10, batch=1024)) for width in WIDTHS),
        *(("depth", problem(*[256] * (depth + 1), 10, batch=1024)) for depth in DEPTHS),
        *(("threads", problem(784, 1024, 1024, 10, batch=1024, threads=n)) for n in thread_counts(cores)),
    ]


def place(sweep: str, network: Network, threads: int) -> int:
    """The value of a case on the axis of its sweep."""
    return {
        "batch": network.batch,
        "width": network.widths[1],
        "depth": len(network.widths) - 2,
        "threads": threads,
    }[sweep]


AXES = {
    "batch": "rows per minibatch",
    "width": "columns of a hidden layer",
    "depth": "hidden layers",
    "threads": "threads",
}
"""The axis label of each sweep."""
