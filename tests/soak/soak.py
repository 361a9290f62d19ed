"""Takes many steps and trains many models in one process, and measures what the process holds meanwhile.

`python -P tests/soak/soak.py --steps 200000 --fits 1000` prints a line per tenth and what grew; it takes some minutes.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fusedstep as fs

BACKENDS = ("numpy", "numba")
PARTS = 10
FIRST = 3
"""The parts before this one are the warm-up: caches fill, and threads start."""
BLOCKS, BYTES = 2_000, 8 << 20
"""What may be there in addition at the end: blocks of Python's allocator and resident memory, which is never quite constant."""


class Held(NamedTuple):
    """What the process holds: resident bytes, blocks of Python's allocator, open files, threads."""

    resident: int
    blocks: int
    files: int
    threads: int

    @classmethod
    def now(cls) -> Held:
        """After a search for garbage."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files, threads = (len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task"))
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), sys.getallocatedblocks(), files, threads)

    def grown(self, later: Held) -> list[str]:
        """What grew until later, in words."""
        more = Held(*(b - a for a, b in zip(self, later, strict=True)))
        limits = Held(BYTES, BLOCKS, 0, 0)
        return [f"{more[k]:,} more {name}" for k, name in enumerate(self._fields) if more[k] > limits[k]]

    def __str__(self) -> str:
        return f"{self.resident / 2**20:.1f} MiB, {self.blocks:,} blocks, {self.files} files, {self.threads} threads"


def data(rows: int, columns: int = 16) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, columns)).astype("f4"), rng.integers(0, 4, rows)


def new_step(backend: str, width: int = 24, **settings: object) -> fs.TrainStep:
    model = fs.mlp([16, width, 4], dropout=0.1)
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), backend=backend, **settings)


def steps(count: int) -> Iterator[Held]:
    """So many steps on every backend, in fits whose history is dropped, and single ones; what is held after each part."""
    x, y = data(640)
    taken = [new_step(backend) for backend in BACKENDS]
    for _ in range(PARTS):
        for step in taken:
            goal = step.steps + count // PARTS // len(BACKENDS)
            while step.steps < goal:
                most = max(1, goal - step.steps - 20)
                fs.Trainer(step).fit(x, y, validation=(x, y), epochs=20, batch_size=32, max_steps=most)
                for _ in range(min(20, goal - step.steps)):
                    step(x[:32], y[:32])
        yield Held.now()


def kinds(folder: Path) -> Iterator[Callable[[str, int], object]]:
    """Ways to train, called with the backend and a width."""
    x, y = data(256)

    def trained(step: fs.TrainStep, *callbacks: fs.Callback, source: object = x, **settings: object) -> fs.TrainStep:
        fs.Trainer(step, callbacks).fit(source, y, validation=(x, y), epochs=4, batch_size=32, **settings)
        return step

    def saved(backend: str, width: int) -> None:
        model = trained(new_step(backend, width)).model
        model.save(folder / "model")
        fs.load(folder / "model", backend).predict(x)

    def checkpointed(backend: str, width: int) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            trained(new_step(backend, width), checkpoint=fs.Checkpoint(place))

    def minimized(backend: str, width: int) -> None:
        fs.minimize(fs.mlp([16, width, 4]), fs.SoftmaxCrossEntropy(), x, y, fs.LBFGS(), iterations=5, backend=backend)

    def failed(backend: str, width: int) -> None:
        step = new_step(backend, width)
        step.lr = 1e30
        try:
            trained(step)
        except fs.NonFiniteLossError:
            return
        raise AssertionError("it did not fail")

    yield lambda backend, width: trained(new_step(backend, width))
    yield lambda backend, width: trained(new_step(backend, width, deterministic=True), fs.EarlyStopping(1))
    yield lambda backend, width: trained(new_step(backend, width), source=fs.ArrayRows(x), data="stream")
    yield lambda backend, width: trained(new_step(backend, width, micro_batch=8), fs.LayerStatistics())
    yield from (saved, checkpointed, minimized, failed)


def fits(count: int, folder: Path) -> Iterator[Held]:
    """So many models, each trained in one of several ways; what is held after each part."""
    ways = itertools.cycle([(way, backend) for way in kinds(folder) for backend in BACKENDS])
    for part in range(PARTS):
        for k in range(count // PARTS):
            way, backend = next(ways)
            way(backend, 16 + (part * count // PARTS + k) % 5)
        yield Held.now()


def soak(name: str, measured: Iterator[Held], say: Callable[[str], object] = print) -> list[str]:
    """Runs it; gives what grew after the warm-up, in words."""
    found = []
    for part, held in enumerate(measured, 1):
        found.append(held)
        say(f"{name} {part}/{PARTS}: {held}")
    return [f"{name}: {what}" for what in found[FIRST].grown(found[-1])]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--fits", type=int, default=1_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = soak("steps", steps(given.steps)) + soak("fits", fits(given.fits, Path(folder)))
    print("\n".join(wrong) or "nothing grew", flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
