"""What checkpoints cost: `python -m fusedstep.tools.checkpoint_cost`, a training with and without, in turns.

Printed are the median over pairs of the ratio of elapsed times, the same for CPU times of the whole process, and the CPU time
of a checkpoint: in the thread of the training, for the copy, and in the thread that writes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fusedstep as fs

from ..framework.training import checkpoint_run

BEFORE = 5
"""Steps before the clock starts: compilation, first plans."""


class _Clock(fs.Callback):
    """Elapsed and CPU time between two steps; then training ends."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.times: list[tuple[float, float]] = []

    def on_launch_end(self, trainer: Any, done: int, total: int) -> None:
        del done, total
        if trainer.steps_done == BEFORE or trainer.steps_done >= BEFORE + self.steps:
            self.times.append((time.perf_counter(), time.process_time()))
        if trainer.steps_done >= BEFORE + self.steps:
            trainer.stop("measured", at_once=True)


def measured(steps: int, every: int | None, backend: str, folder: Path) -> tuple[float, float]:
    """Elapsed and CPU seconds of so many steps of 784-1024-1024-10 on minibatches of 1024 rows."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8192, 784)).astype(np.float32), rng.integers(0, 10, 8192)
    step = fs.TrainStep(fs.mlp([784, 1024, 1024, 10]), fs.SoftmaxCrossEntropy(), fs.Adam(1e-4), backend=backend)
    clock = _Clock(steps)
    checkpoint = None if every is None else fs.Checkpoint(folder, every, every_epochs=None)
    trainer = fs.Trainer(step, [clock], steps_per_launch=1)
    trainer.fit(x, y, epochs=None, batch_size=1024, max_steps=BEFORE + steps + 1, checkpoint=checkpoint)
    first, last = clock.times
    return last[0] - first[0], last[1] - first[1]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m fusedstep.tools.checkpoint_cost", description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--backend", default="numba")
    given = parser.parse_args()
    written: list[float] = []
    run = checkpoint_run.in_thread

    def timed(job: Callable[[], object]) -> None:
        start = time.thread_time()
        run(job)
        written.append(time.thread_time() - start)

    checkpoint_run.in_thread = timed
    copied: list[float] = []
    between = checkpoint_run.CheckpointRun.after_launch

    def copying(self: Any, *given: Any) -> None:
        start = time.thread_time()
        between(self, *given)
        copied.append(time.thread_time() - start)

    checkpoint_run.CheckpointRun.after_launch = copying  # type: ignore[assignment, method-assign]
    elapsed, cpu = [], []
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(given.pairs):
            turns = [None, given.every] if pair % 2 else [given.every, None]
            found = {every: measured(given.steps, every, given.backend, Path(folder) / str(pair)) for every in turns}
            elapsed.append(found[given.every][0] / found[None][0])
            cpu.append(found[given.every][1] / found[None][1])
            print(f"pair {pair + 1}: {elapsed[-1]:.4f} elapsed, {cpu[-1]:.4f} CPU", flush=True)
    copy = sum(copied) / (given.pairs * ((BEFORE + given.steps) // given.every))
    print(
        f"median of {given.pairs} pairs of {given.steps} steps, a checkpoint every {given.every}: "
        f"{statistics.median(elapsed):.4f} elapsed, {statistics.median(cpu):.4f} CPU; "
        f"CPU of a checkpoint: {1e3 * copy:.1f} ms for the copy, {1e3 * statistics.median(written):.1f} ms in the thread"
    )


if __name__ == "__main__":
    main()
