"""TrainStep(micro_batch=...): calls and loops, lack of memory, and what cannot be saved by smaller pieces."""

from __future__ import annotations

import copy
import logging
import math
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import errors
from fusedstep.backends.numba.backend import NumbaBackend
from fusedstep.backends.numpy.backend import NumpyBackend

BACKENDS = ["numpy", "numba"]
ROWS, COLUMNS = 96, 6


class _Budget:
    """A backend whose arrays may take so many bytes at a time, and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.budget, self.live, self.refused, self.peak = math.inf, 0, 0, 0
        self._lock = threading.RLock()  # rows are spread over threads, and an array may go while another one is made

    def empty(self, shape, dtype="float32"):
        size = math.prod(shape) * np.dtype(dtype).itemsize
        with self._lock:
            if self.live + size > self.budget:
                self.refused += 1
                raise MemoryError(f"{size} bytes, {self.budget - self.live} left")
            array = super().empty(shape, dtype)
            self.live += size
            self.peak = max(self.peak, self.live)
        weakref.finalize(array, self._gone, size)
        return array

    def _gone(self, size: int) -> None:
        with self._lock:
            self.live -= size


class SmallNumpy(_Budget, NumpyBackend):
    """NumPy with a budget."""


class SmallNumba(_Budget, NumbaBackend):
    """Numba with a budget."""


@pytest.fixture(params=[SmallNumpy, SmallNumba], ids=["numpy", "numba"])
def small(request):
    return request.param()


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5 * ROWS + 7, COLUMNS)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0.5)


def _step(run="numpy", micro_batch=None, optimizer=None, **options) -> fs.TrainStep:
    model = fs.Sequential(fs.Linear(COLUMNS, 40), fs.LayerNorm(40), fs.ReLU(), fs.Dropout(0.3), fs.Linear(40, 3))
    loss = fs.SoftmaxCrossEntropy(class_weights=[1.0, 2.0, 0.5])
    optimizer = optimizer or fs.Nesterov(1e-2, form="look_ahead", clip_norm=1.0)
    return fs.TrainStep(model, loss, optimizer, 5, run, micro_batch=micro_batch, **options)


def _values(step) -> np.ndarray:
    return np.array(step.model.arena.values)


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("place", ["auto", "stream"])
@pytest.mark.parametrize("size", [1, 32, 40, 500])
def test_f5_a_loop_with_micro_batches_is_the_same_loop(run, place, size, data) -> None:
    x, y = data
    whole, cut = _step(run, precision="float64"), _step(run, size, precision="float64")
    wanted = fs.Trainer(whole).fit(x, y, (x[:50], y[:50]), 2, ROWS)
    found = fs.Trainer(cut).fit(x, y, (x[:50], y[:50]), 2, ROWS, data=place)
    np.testing.assert_allclose(_values(cut), _values(whole), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found["loss"], wanted["loss"], rtol=1e-12)
    np.testing.assert_allclose(found["val_loss"], wanted["val_loss"], rtol=1e-12)
    assert cut.steps == whole.steps == 12


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_f5_pieces_of_sixteen_bits_differ_in_sums_of_float32_only(precision, data) -> None:
    x, y = data
    whole, cut = (_step("numpy", size, fs.SGD(0.05), precision=precision) for size in (None, 20))
    for start in range(0, 5 * ROWS, ROWS):
        wanted = float(whole(x[start : start + ROWS], y[start : start + ROWS]))
        assert float(cut(x[start : start + ROWS], y[start : start + ROWS])) == pytest.approx(wanted, rel=1e-3)
    fs.Trainer(cut).fit(x, y, epochs=1, batch_size=ROWS, data="stream")
    fs.Trainer(whole).fit(x, y, epochs=1, batch_size=ROWS)
    np.testing.assert_allclose(_values(cut), _values(whole), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("run", BACKENDS)
def test_f5_calls_take_arrays_and_lists(run, data) -> None:
    x, y = data[0][:50], data[1][:50]
    steps = [_step(run, size) for size in (None, 20, 20)]
    for _ in range(3):
        losses = [float(steps[0](x, y)), float(steps[1](x, y)), float(steps[2](x.tolist(), y.tolist()))]
        np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    np.testing.assert_array_equal(_values(steps[1]), _values(steps[2]))
    before = _values(steps[1])
    wrong = y.copy()
    wrong[45] = 7
    with pytest.raises(errors.LabelError):
        steps[1](x, wrong)
    with pytest.raises(errors.ShapeError, match="one target for each"):
        steps[1](x, y[:49])
    with pytest.raises(errors.ShapeError, match="layer 0"):
        steps[1](x[:, :5], y)
    with pytest.raises(errors.EmptyDataError):
        steps[1](x[:0], y[:0])
    np.testing.assert_array_equal(before, _values(steps[1]))
    assert steps[1].steps == 3


@pytest.mark.parametrize("micro_batch", [0, -1, 2.5, "half", True])
def test_f5_impossible_sizes_are_refused(micro_batch) -> None:
    with pytest.raises(errors.HyperparameterError, match="micro_batch"):
        _step(micro_batch=micro_batch)


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("micro_batch", [8, "auto"])
def test_f5_a_loss_that_breaks_in_a_late_piece_changes_nothing(run, micro_batch, data) -> None:
    x, y = data[0][:50].copy(), data[1][:50]
    step = _step(run, micro_batch)
    step(x, y)
    before = _values(step)
    x[40, 1] = np.nan
    with pytest.raises(errors.NonFiniteLossError, match="first in the input data") as failed:
        step(x, y)
    assert failed.value.step == 2
    assert step.steps == 1
    np.testing.assert_array_equal(before, _values(step))


def _budget(small, step, rows: int) -> None:
    """Lets so many rows be worked on at a time, and not twice as many."""
    per_row = (step.memory(65).buffers - step.memory(1).buffers) // 64
    small.budget = small.live + int(1.5 * per_row * rows) + 4 * step.gradient.nbytes


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_f5_pieces_are_halved_until_they_fit_and_the_result_is_the_same(small, precision, data, caplog) -> None:
    x, y = data
    whole = _step(small.name, precision=precision)
    step = _step(small, "auto", precision=precision)
    _budget(small, step, 12)
    with caplog.at_level(logging.WARNING, "fusedstep"):
        for start in range(0, 4 * ROWS, ROWS):
            wanted = whole(x[start : start + ROWS], y[start : start + ROWS])
            found = step(x[start : start + ROWS], y[start : start + ROWS])
            assert float(found) == pytest.approx(float(wanted), rel=1e-5 if precision == "float32" else 1e-12)
    refused = small.refused
    assert refused
    assert 6 <= step.micro.largest <= 24
    assert small.peak <= small.budget
    tolerance = 1e-4 if precision == "float32" else 1e-11
    np.testing.assert_allclose(_values(step), _values(whole), rtol=tolerance, atol=tolerance)
    assert step.steps == 4
    said = [record.getMessage() for record in caplog.records if "micro_batch auto" in record.getMessage()]
    assert len(said) == round(math.log2(ROWS / step.micro.largest)), "once each time the pieces become smaller"
    assert f"going on with {step.micro.largest}" in said[-1]
    step(x[:ROWS], y[:ROWS])
    assert small.refused == refused, "the size is kept"


@pytest.mark.parametrize("place", ["auto", "stream"])
def test_f5_a_loop_survives_a_lack_of_memory(small, place, data) -> None:
    x, y = data
    whole = _step(small.name, precision="float64")
    wanted = fs.Trainer(whole).fit(x, y, (x[:90], y[:90]), 2, ROWS)
    step = _step(small, "auto", precision="float64")
    _budget(small, step, 24)
    found = fs.Trainer(step).fit(x, y, (x[:90], y[:90]), 2, ROWS, data=place)
    assert small.refused
    np.testing.assert_allclose(_values(step), _values(whole), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found["loss"], wanted["loss"], rtol=1e-11)
    np.testing.assert_allclose(found["val_loss"], wanted["val_loss"], rtol=1e-11)


def test_f5_memory_that_runs_out_in_the_middle_of_a_run_is_no_end_either(small, data) -> None:
    x, y = data
    whole, step = (_step(run, size, precision="float64") for run, size in ((small.name, None), (small, "auto")))

    class Shortage(fs.Callback):
        def on_step_end(self, trainer, done, total):
            if trainer.step.steps == 8:
                trainer.step.executor.forget()
                _budget(small, trainer.step, 12)

    fs.Trainer(whole).fit(x, y, epochs=2, batch_size=ROWS)
    fs.Trainer(step, [Shortage()]).fit(x, y, epochs=2, batch_size=ROWS)
    assert small.refused
    assert step.micro.largest < ROWS
    np.testing.assert_allclose(_values(step), _values(whole), rtol=1e-11, atol=1e-12)


def test_f5_without_auto_and_without_room_for_one_row_the_error_comes_through_and_nothing_has_changed(small, data) -> None:
    x, y = data[0][:ROWS], data[1][:ROWS]
    for micro_batch in (None, 64):
        step = _step(small, micro_batch)
        small.budget = math.inf
        _budget(small, step, 12)
        before = _values(step)
        with pytest.raises(MemoryError):
            step(x, y)
        np.testing.assert_array_equal(before, _values(step))
        small.budget = math.inf
    step = _step(small, "auto")
    before = _values(step)
    small.budget = 0
    with pytest.raises(MemoryError):
        step(x, y)
    small.budget = math.inf
    np.testing.assert_array_equal(before, _values(step))
    assert step.steps == 0
    assert step.micro.largest == 1


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("micro_batch", [None, 200, 20])
def test_f5_a_step_that_is_refused_after_others_changes_nothing(run, micro_batch, data) -> None:
    x, y = data[0][:50], data[1][:50]
    step = _step(run, micro_batch)
    step(x, y)
    step(x, y)
    before = _values(step)
    with pytest.raises(errors.DtypeError, match=r"step\.prepare"):
        step.run(step.backend.asarray(x, "float64"), step.backend.asarray(y, "int32"))
    with pytest.raises(errors.LabelError):
        step(x, y + 1)

    def gone(size):
        yield step.prepare(x[:20], y[:20])
        raise OSError("no more")

    if micro_batch == 20:
        with pytest.raises(OSError, match="no more"):
            step.take(50, gone)
    np.testing.assert_array_equal(before, _values(step))
    assert step.steps == 2


@pytest.mark.parametrize("run", BACKENDS)
def test_f5_evaluation_is_cut_too(run, data) -> None:
    x, y = data
    step, cut = _step(run), _step(run, 50)
    assert cut.evaluate(x, y, 100) == pytest.approx(step.evaluate(x, y, 100), rel=1e-6)


def test_f5_other_errors_are_not_taken_for_a_lack_of_memory(data) -> None:
    step = _step("numpy", "auto")
    with pytest.raises(errors.ShapeError):
        step(data[0][:, :3], data[1])
    assert step.micro.largest is None


def test_f5_copies_keep_the_size(data) -> None:
    step = _step("numpy", "auto")
    step.micro.largest = 24
    twin = copy.deepcopy(step)
    assert (twin.micro.setting, twin.micro.largest) == ("auto", 24)
    x, y = data[0][:ROWS], data[1][:ROWS]
    step(x, y)
    twin(x, y)
    np.testing.assert_array_equal(_values(step), _values(twin))


LITTLE_ROOM = """
import resource
import numpy as np
import fusedstep as fs

step = fs.TrainStep(fs.mlp([8, 4000, 2]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=0, backend="numpy", micro_batch="auto")
step(np.zeros((8, 8), np.float32), np.zeros(8, np.int32))
x, y = np.zeros((24_000, 8), np.float32), np.zeros(24_000, np.int32)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 200 * 2**20,) * 2)
print(f"{float(step(x, y)):.4f}", step.micro.largest)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and a limit of addresses")
def test_f5_a_process_whose_addresses_run_out_goes_on_with_pieces():
    done = subprocess.run([sys.executable, "-c", LITTLE_ROOM], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    loss, piece = done.stdout.split()
    # Both classes are as likely as the last bias, which took one step, says.
    assert 0.6 < float(loss) < math.log(2.0)
    assert 0 < int(piece) < 24_000
