"""Times of processes that train together: sums over them, and steps beside those of one process on its rows alone.

    mpiexec -n 2 python -m fusedstep.benchmarks.communication --out two.json

All is timed in turns. The difference of a step together and alone is what communication costs; scale_model.py explains it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ..backends.communicators import Communicator, communicator
from ..framework.engine.model import mlp
from ..framework.engine.step import TrainStep
from ..framework.losses import SoftmaxCrossEntropy
from ..framework.optimizers.adaptive import Adam
from .machine import describe
from .networks import Network, parse

Array = Any
Call = Callable[[], Any]

NETWORKS = "784-1024-1024-10@4096, 784-1024-1024-10@1024, 64-256-10@512"
FLOATS = (8, 256, 4096, 16384, 65536, 262144, 1048576, 2097152)
"""Of the arrays that are summed, in float32."""
BURST = 0.05
"""Seconds of a burst of calls, unless one call takes longer."""
MOST_CALLS = 50


class Alone(Communicator):
    """One process with the steps of several, whose communication takes no time."""

    name = "alone"

    def start_sum(self, array: Array) -> Call:
        """See Communicator."""
        del array
        return lambda: None

    def sum_numbers(self, numbers: Sequence[float]) -> list[float]:
        """See Communicator."""
        return list(numbers)

    def gather(self, value: Any) -> list[Any]:
        """See Communicator."""
        return [value]


def new_step(network: Network, rows: int, parallel: Communicator) -> Call:
    """A step on one minibatch of so many rows, of which each process takes its own."""
    step = TrainStep(mlp(list(network.widths)), SoftmaxCrossEntropy(), Adam(1e-4), parallel=parallel)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, network.widths[0])).astype(np.float32)
    y = rng.integers(0, network.widths[-1], rows)
    return lambda: step(x, y)


def sum_of(floats: int, together: Communicator) -> Call:
    """A sum as steps use it."""
    array = np.full(floats, 0.0, np.float32)
    return lambda: together.start_sum(array)()


def timed(calls: dict[str, Call], together: Communicator, rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, by round: the mean of a burst, in rank 0, of as many calls as rank 0 chooses."""
    counts, found = {}, {name: [0.0] * rounds for name in calls}
    for name, call in calls.items():
        call()
        together.barrier()
        counts[name] = max(1, min(MOST_CALLS, round(BURST / median(_burst(call, 1) for _ in range(3)))))
    counts = together.broadcast(counts)
    for number in range(rounds):
        for name, call in calls.items():
            together.barrier()
            found[name][number] = _burst(call, counts[name])
    return found


def _burst(call: Call, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - started) / count


def cases(together: Communicator, networks: Sequence[Network], divisors: Sequence[int]) -> dict[str, Call]:
    """What is timed: "sum BYTES", "step NETWORK", and "alone NETWORK ROWS" of the rows of one of so many processes."""
    found = {f"sum {4 * floats}": sum_of(floats, together) for floats in FLOATS}
    for network in networks:
        found[f"step {network}"] = new_step(network, network.batch, together)
        for divisor in sorted({together.size, *divisors}):
            rows = max(1, network.batch // divisor)
            found[f"alone {network} {rows}"] = new_step(network, rows, Alone())
    return found


def main() -> None:
    """The command, in each process."""
    parser = argparse.ArgumentParser(prog="python -m fusedstep.benchmarks.communication", description=__doc__)
    parser.add_argument("--networks", default=NETWORKS, help="such as 784-512-10@256, separated by commas")
    parser.add_argument("--divisors", default="", help="numbers of processes whose rows one alone is timed on as well: 1,8,64")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--gbit", type=float, help="noted in the file: bandwidth of the network between the processes")
    parser.add_argument("--delay-ms", type=float, help="noted in the file: delay of the network in one direction")
    parser.add_argument("--out", type=Path, help="JSON file for the times")
    given = parser.parse_args()
    together = communicator("mpi")
    assert together is not None
    divisors = [int(text) for text in given.divisors.split(",") if text]
    seconds = timed(cases(together, parse(given.networks), divisors), together, given.rounds)
    if not together.first:
        return
    for name, values in seconds.items():
        print(f"{name:36} {1e3 * median(values):9.3f} ms, smallest {1e3 * min(values):9.3f}")
    if given.out is not None:
        document = {
            "ranks": together.size, "hosts": list(together.hosts), "gbit": given.gbit, "delay_ms": given.delay_ms,
            "machine": describe(), "seconds": {name: [round(v, 8) for v in values] for name, values in seconds.items()},
        }  # fmt: skip
        given.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
