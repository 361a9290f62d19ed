"""Training on rows that are streamed: the same minibatches as from memory, bounded memory, and failures of reading."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import errors

BACKENDS = ["numpy", "numba"]


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((301, 5)).astype(np.float32)
    return x, ((x[:, 0] + 0.5 * x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1))


def _step(run: str = "numpy", loss=None, outputs: int = 3, seed: int = 4) -> fs.TrainStep:
    return fs.TrainStep(fs.mlp([5, 16, outputs], dropout=0.2), loss or fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed, run)


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "fusedstep loader"]


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("shuffle", ["each_epoch", "once", "never"])
@pytest.mark.parametrize("size", [64, 1, None, 301])
def test_f5_a_stream_trains_to_the_same_bits_as_arrays(run, shuffle, size, data, tmp_path) -> None:
    x, y = data
    if size == 1:
        x, y = x[:40], y[:40]
    np.savez(tmp_path / "d.npz", x=x, y=y)
    mapped = fs.memory_map(tmp_path / "d.npz"), fs.memory_map(tmp_path / "d.npz", "y")
    arrays, streamed, mixed = _step(run), _step(run), _step(run)
    wanted = fs.Trainer(arrays, shuffle=shuffle).fit(x, y, (x[:50], y[:50]), 3, size)
    found = fs.Trainer(streamed, shuffle=shuffle).fit(*mapped, tuple(m.take(np.arange(40)) for m in mapped), 3, size)
    fs.Trainer(mixed, shuffle=shuffle).fit(mapped[0], y.tolist(), None, 3, size, data="stream")
    np.testing.assert_array_equal(arrays.model.arena.values, streamed.model.arena.values)
    np.testing.assert_array_equal(arrays.model.arena.values, mixed.model.arena.values)
    assert wanted["loss"] == found["loss"]
    assert _threads() == []


@pytest.mark.parametrize("run", BACKENDS)
def test_f5_data_stream_and_device_give_the_same_as_auto(run, data, tmp_path) -> None:
    x, y = data
    source = fs.ArrayRows(x, block_rows=20, window=3)
    by_place = []
    for place in ("auto", "stream", "device"):
        step = _step(run)
        fs.Trainer(step).fit(source, y, epochs=2, batch_size=32, data=place)
        by_place.append(step.model.arena.values.copy())
    np.testing.assert_array_equal(by_place[0], by_place[1])
    np.testing.assert_array_equal(by_place[0], by_place[2])
    step = _step(run)
    fs.Trainer(step).fit(x, y, epochs=2, batch_size=32)
    assert not np.array_equal(by_place[0], step.model.arena.values), "blocks have an order of their own"
    with pytest.raises(errors.HyperparameterError, match="data"):
        fs.Trainer(step).fit(x, y, data="disk")


def test_f5_minibatches_of_parquet_are_the_same_on_each_backend(data, tmp_path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    x, y = data
    columns, path = [f"c{k}" for k in range(5)], tmp_path / "d.parquet"
    parquet.write_table(arrow.table({**{c: x[:, k] for k, c in enumerate(columns)}, "y": y}), path, row_group_size=40)
    seen = {}
    for run in BACKENDS:
        step = _step(run)
        original, rows = step.run, []
        step.run = lambda a, b, original=original, rows=rows: rows.append(np.asarray(a).copy()) or original(a, b)
        history = fs.Trainer(step).fit(
            fs.ParquetRows(path, columns), fs.ParquetRows(path, "y"), epochs=8, batch_size=64
        )
        assert history["loss"][-1] < 0.8 * history["loss"][0]
        seen[run] = np.concatenate(rows)
    np.testing.assert_array_equal(seen["numpy"], seen["numba"])
    assert np.array_equal(np.sort(seen["numpy"][:301], axis=0), np.sort(x, axis=0))


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("loss", [fs.SoftmaxCrossEntropy(), fs.MSE(), fs.BinaryCrossEntropy()])
def test_f5_evaluation_and_prediction_take_sources(run, loss, data) -> None:
    x, y = data
    y = {"SoftmaxCrossEntropy": y, "MSE": x[:, :2] * 3 + 1, "BinaryCrossEntropy": (y > 0).astype(float)}[type(loss).__name__]
    outputs = 3 if y.dtype == np.int64 else 2 if y.ndim == 2 else 1
    step = _step(run, loss, outputs)
    x, y = np.tile(x, (20, 1)), np.concatenate([y] * 20)
    source = fs.ArrayRows(x)
    whole, streamed = step.evaluate(x, y, 1000), step.evaluate(source, fs.ArrayRows(y), 1000)
    assert streamed == pytest.approx(whole, rel=1e-9)
    np.testing.assert_array_equal(np.asarray(step.model(source)), np.asarray(step.model(x)))
    np.testing.assert_array_equal(np.asarray(step.model.predict(source)), np.asarray(step.model.predict(x)))
    x[4500, 2] = np.nan
    with pytest.raises(errors.NonFiniteDataError, match="row"):
        step.model.predict(source)


_TRAINING = """
import numpy as np, fusedstep as fs, sys, tracemalloc
path, run = sys.argv[1:]
x = fs.memory_map(path)
y = np.zeros(len(x), np.int32)
y[::2] = 1

def anonymous():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))

class Peak(fs.Callback):
    peak = 0
    def on_step_end(self, trainer, done, total):
        self.peak = max(self.peak, anonymous())

step = fs.TrainStep(fs.mlp([256, 8, 2]), fs.SoftmaxCrossEntropy(), fs.Adam(), backend=run)
step(np.zeros((4096, 256), np.float32), y[:4096])
before, peak = anonymous(), Peak()
tracemalloc.start()
fs.Trainer(step, [peak]).fit(x, y, (x, y), epochs=1, batch_size=4096)
step.model.predict(x)
print(tracemalloc.get_traced_memory()[1], peak.peak - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="asks Linux for the memory of the process")
@pytest.mark.parametrize("run", BACKENDS)
def test_f5_memory_stays_bounded_for_a_file_much_larger_than_the_bound(run, tmp_path) -> None:
    rows, width = 200_000, 256
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (rows, width))
    for start in range(0, rows, 10_000):
        mapped[start : start + 10_000] = np.linspace(-1, 1, 10_000)[:, np.newaxis]
    size = mapped.nbytes
    del mapped
    done = subprocess.run(
        [sys.executable, "-c", _TRAINING, str(tmp_path / "x.npy"), run], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    python, process = map(int, done.stdout.split())
    # The order takes 8 bytes a row, three times while it is drawn; the rest are buffers of minibatches and of the evaluation.
    bound = 24 * rows + 28 * 4096 * width
    assert size > 5 * bound
    assert python < bound
    # The allocator may keep two buffers of a minibatch that were given back, depending on which thread was faster.
    assert process < bound + 2 * 4 * 4096 * width < size / 4


class _Broken(fs.RowSource):
    """Fails, waits, or gives NaN, at the n-th reading."""

    def __init__(self, x: np.ndarray, at: int, what: str) -> None:
        super().__init__(x.shape, x.dtype, "mine")
        self.x, self.at, self.what, self.count = x, at, what, 0

    def read(self, rows, out) -> None:
        self.count += 1
        out[...] = self.x[rows]
        if self.count == self.at:
            if self.what == "nan":
                out[3, 1] = np.nan
            elif self.what == "memory":
                raise MemoryError("no room")
            else:
                raise ValueError("the disk is gone")


@pytest.mark.parametrize("run", BACKENDS)
def test_f5_errors_of_the_loader_surface_with_their_cause(run, data) -> None:
    x, y = data
    step = _step(run)
    saved = None

    class Keep(fs.Callback):
        def on_step_end(self, trainer, done, total):
            nonlocal saved
            saved = trainer.step.model.arena.values.copy()

    with pytest.raises(errors.DataFileError, match=r"ValueError: the disk is gone.*read\(rows, out\)") as failed:
        fs.Trainer(step, [Keep()]).fit(_Broken(x, 4, "error"), y, epochs=2, batch_size=64)
    assert isinstance(failed.value.__cause__, ValueError)
    assert step.steps == 3
    np.testing.assert_array_equal(saved, step.model.arena.values)
    with pytest.raises(MemoryError, match="no room"):
        fs.Trainer(step).fit(_Broken(x, 2, "memory"), y, epochs=2, batch_size=64)
    with pytest.raises(errors.NonFiniteDataError, match=r"x \(mine\).*row \d+"):
        fs.Trainer(step).fit(_Broken(x, 2, "nan"), y, epochs=2, batch_size=64)
    assert _threads() == []
    fs.Trainer(step).fit(x, y, epochs=1)


def test_f5_a_bad_row_is_named(data) -> None:
    x, y = data
    x[123, 2] = np.inf
    with pytest.raises(errors.NonFiniteDataError, match="row 124;"):
        fs.Trainer(_step()).fit(fs.ArrayRows(x), y, batch_size=32)
    x[123, 2] = 0.0
    y[77] = 3
    with pytest.raises(errors.LabelError, match="got 3"):
        fs.Trainer(_step()).fit(fs.ArrayRows(x), y, batch_size=32)
    large = x.astype(np.float64)
    large[5, 0] = 1e300
    with pytest.raises(errors.NonFiniteDataError, match=r"float32 can hold.*row 6;"):
        fs.Trainer(_step()).fit(fs.ArrayRows(large), np.zeros(301, int), batch_size=32)


def test_f5_what_does_not_fit_is_refused_before_anything_is_trained(data) -> None:
    x, y = data
    step = _step()
    with pytest.raises(errors.ShapeError, match="layer 0"):
        fs.Trainer(step).fit(fs.ArrayRows(x[:, :4]), y)
    with pytest.raises(errors.ShapeError, match="one target for each of the 301 rows"):
        fs.Trainer(step).fit(fs.ArrayRows(x), y[:300])
    with pytest.raises(errors.ShapeError, match="rows"):
        fs.Trainer(step).fit(fs.ArrayRows(x[:, 0].copy()), y)
    with pytest.raises(errors.ShapeError):
        step.model(fs.ArrayRows(x[:, :4]))
    assert step.steps == 0
    assert _threads() == []


@pytest.mark.parametrize("run", BACKENDS)
def test_f5_an_interrupt_leaves_nothing_running(run, data) -> None:
    x, y = data

    class Interrupt(fs.Callback):
        def on_step_end(self, trainer, done, total):
            if done == 2:
                raise KeyboardInterrupt

    step = _step(run)
    with pytest.raises(KeyboardInterrupt):
        fs.Trainer(step, [Interrupt()]).fit(fs.ArrayRows(x), y, batch_size=32)
    assert _threads() == []
    assert step.steps == 2
    fs.Trainer(step).fit(fs.ArrayRows(x), y, batch_size=32, epochs=1)


def test_f5_the_next_minibatch_is_read_while_a_step_works(data) -> None:
    x, y = data
    reading, together = threading.Event(), []

    class Slow(fs.ArrayRows):
        def read(self, rows, out):
            reading.set()
            super().read(rows, out)

    step = _step()
    original = step.run

    def slow(inputs, targets):
        # The slot of the minibatch before was given back when this one was taken, so the next is being read by now.
        if len(together) < 4:
            together.append(reading.wait(10.0))
        time.sleep(0.002)
        reading.clear()
        return original(inputs, targets)

    step.run = slow
    fs.Trainer(step).fit(Slow(x), y, epochs=1, batch_size=64)
    assert together == [True] * 4


def test_f5_a_tracked_stream_of_targets_gives_r2(data) -> None:
    x, _ = data
    y = x @ np.arange(5.0)
    step = _step("numpy", fs.MSE(), 1)
    history = fs.Trainer(step).fit(fs.ArrayRows(x), fs.ArrayRows(y), (fs.ArrayRows(x), fs.ArrayRows(y)), 20, 32)
    assert history["val_r2"][-1] > 0.8
    assert tracemalloc.is_tracing() is False
