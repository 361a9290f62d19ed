"""What the processes of test_concurrency.py run: a small model, trained a little, as bytes."""

import hashlib
import os
import threading

import numpy as np

import fusedstep as fs


def minibatches(count, rows=130, start=0):
    for k in range(start, start + count):
        generator = np.random.default_rng(k)
        yield generator.standard_normal((rows, 96)).astype("f4"), generator.integers(0, 4, rows)


def new_step(seed=0, deterministic=False, loss=None):
    model = fs.mlp([96, 96, 64, 4], dropout=0.2)
    return fs.TrainStep(
        model, loss or fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=seed, backend="numba", deterministic=deterministic
    )


def digest(step):
    return hashlib.sha256(step.model.arena.values.tobytes()).hexdigest()


def go_on(step, count=20, start=0):
    for x, y in minibatches(count, start=start):
        step(x, y)
    return digest(step)


def trained(seed=0, threads=2, count=20, deterministic=False):
    """The bits of a model that was trained with so many threads."""
    fs.set_num_threads(threads)
    return go_on(new_step(seed, deterministic), count)


def native_threads():
    return len(os.listdir("/proc/self/task"))


def own_threads():
    """Threads of fusedstep in this process."""
    return [t.name for t in threading.enumerate() if t.name.startswith("fusedstep")]


def trained_and_counted(seed, threads):
    """(bits, threads of fusedstep at most)."""
    bits = trained(seed, threads)
    return bits, len(own_threads())
