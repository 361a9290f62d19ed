"""What a step holds, by formula, against what is really taken."""

import tracemalloc

import numpy as np
import pytest
from pairs import pairs_of

import fusedstep as fs

SHAPES = [((200, 300, 300, 10), 512), ((64, 400, 10), 2048), ((300, 256, 256, 50), 48), ((2000, 32, 10), 2048)]


@pytest.mark.parametrize(("shape", "name", "deterministic"), pairs_of(SHAPES, ["numpy", "numba"], [False, True]))
def test_memory_by_formula_is_what_is_taken(shape, name, deterministic):
    widths, rows = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, widths[0])).astype(np.float32)
    y = rng.integers(0, widths[-1], rows).astype(np.int32)
    loss = fs.SoftmaxCrossEntropy()
    # Compiled code and whatever is made once a process are taken before the measurement.
    fs.TrainStep(fs.mlp(widths, dropout=0.1), loss, fs.Adam(), backend=name, deterministic=deterministic)(x, y)

    def taken():
        tracemalloc.start()
        try:
            step = fs.TrainStep(fs.mlp(widths, dropout=0.1), loss, fs.Adam(), backend=name, deterministic=deterministic)
            before = tracemalloc.get_traced_memory()[0] - int(step.model.arena.values.nbytes) * 4
            tracemalloc.reset_peak()
            for _ in range(3):
                step(x, y)
            return tracemalloc.get_traced_memory()[1] - max(before, 0), step.memory(rows).total
        finally:
            tracemalloc.stop()

    # The smaller of two, because Python's table of interned strings, of megabytes, may grow during one of them.
    peak, predicted = min(taken(), taken())
    # Beside it are tables of calls, block buffers of the numpy target (at most some 128 KB each) and small change.
    assert 0.97 * predicted <= peak <= 1.03 * predicted + 1.5e6


def test_many_steps_in_one_launch_take_one_minibatch_more():
    widths, rows, count = (200, 300, 300, 10), 2048, 4
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows * count, widths[0])).astype(np.float32)
    y = rng.integers(0, widths[-1], rows * count).astype(np.int32)

    def new():
        return fs.TrainStep(fs.mlp(widths), fs.SoftmaxCrossEntropy(), fs.Adam(), seed=0, backend="numba")

    fs.Trainer(new()).fit(x, y, epochs=2, batch_size=rows)
    tracemalloc.start()
    try:
        step = new()
        before = tracemalloc.get_traced_memory()[0] - int(step.model.arena.values.nbytes) * 4
        tracemalloc.reset_peak()
        fs.Trainer(step).fit(x, y, epochs=3, batch_size=rows)
        peak = tracemalloc.get_traced_memory()[1] - max(before, 0)
    finally:
        tracemalloc.stop()
    predicted = step.memory(rows).total + (x.nbytes + y.nbytes) / count
    assert 0.97 * predicted <= peak <= 1.03 * predicted + 1.5e6


def test_memory_grows_with_the_rows_by_what_the_buffers_take():
    step = fs.TrainStep(fs.mlp([20, 30, 5]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="numpy")
    small, large = step.memory(100), step.memory(300)
    # z and its gradient for both layers, and losses; the slope of the hidden units is multiplied in where the gradient lies
    assert large.buffers - small.buffers == 200 * 4 * (30 + 30 + 5 + 5 + 1)
    assert (small.parameters, small.gradient, small.state, small.shards) == (large.parameters, large.gradient, 0, 0)
    assert small.total == small.parameters + small.gradient + small.buffers
    assert "MB" in str(small)
