"""Where a minibatch lies in memory does not matter; and what a step does to memory: nothing."""

import gc
import os
import tracemalloc

import numpy as np
import pytest
from networks import COLUMNS, InterpretedStep, batch_for, kind_of_plan, step_for, train

import fusedstep as fs
from fusedstep.kernels.rows import cpu
from fusedstep.kernels.targets.native import words_of

ROWS = 40
generator = np.random.default_rng(31)
TABLE = generator.standard_normal((400, 2 * COLUMNS)).astype("f4")


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def with_gaps(array):
    wide = np.full((2 * array.shape[0], *(2 * n for n in array.shape[1:])), 77, array.dtype)
    view = wide[::2, ::2] if array.ndim == 2 else wide[::2]
    view[...] = array
    return view


PLACES = {
    "copy": np.copy,
    "read-only": read_only,
    "Fortran order": lambda a: np.asfortranarray(a),
    "gaps": with_gaps,
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "rows of a larger array": lambda a: np.concatenate([a * 0 + 5, a, a * 0 + 6])[len(a) : 2 * len(a)],
    "float64 and int64": lambda a: a.astype("f8" if a.dtype.kind == "f" else "i8"),
    "the other byte order": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "lists": lambda a: a.tolist(),
    "misaligned": misaligned,
}


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("name", ["relu, dropout, labels", "tied", "silu, distributions", "signs"])
def test_every_step_may_bring_other_memory(name, deterministic):
    fs.set_num_threads(2)
    wanted, step = step_for(name, deterministic=deterministic), step_for(name, deterministic=deterministic)
    saved = []
    for number, place in enumerate([*PLACES.values(), *PLACES.values()]):
        x, y = batch_for(name, ROWS, "float32", number)
        y = y.astype("i4") if y.dtype.kind == "i" else y
        saved.append((place(x), place(y)))  # alive, so that no array comes to lie where another one was
        assert float(step(*saved[-1])) == float(wanted(x.copy(), y.copy()))
        np.testing.assert_array_equal(np.asarray(saved[-1][0], "f4"), x)
    assert step.model.arena.values.tobytes() == wanted.model.arena.values.tobytes()
    assert kind_of_plan(step) == "RowsPlan"


def separate(step, x, y):
    return float(step(np.array(x), np.array(y)))


def tied_step(backend="numba", kind=fs.TrainStep):
    return step_for("tied", "float32", backend, kind)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("first", ["the same array", "a view of it", "rows that overlap", "other arrays"])
def test_inputs_and_targets_that_overlap(first, backend):
    """What was one array in the first step may be two in the next, and the other way round."""
    fs.set_num_threads(2)
    series = np.ascontiguousarray(TABLE[:, :COLUMNS])
    x, y = series[:ROWS], series[100 : 100 + ROWS].copy()
    pairs = {
        "the same array": (x, x),
        "a view of it": (x, x[:]),
        "rows that overlap": (series[:ROWS], series[1 : ROWS + 1]),
        "other arrays": (x, y),
    }
    own, wanted = tied_step(backend), tied_step(backend, InterpretedStep if backend == "numpy" else fs.TrainStep)
    for a, b in (pairs[first], *pairs.values(), (y, x)):
        assert float(own(a, b)) == separate(wanted, a, b)
    assert own.model.arena.values.tobytes() == wanted.model.arena.values.tobytes()


def test_rows_one_after_the_other():
    """Prediction of the next row: inputs and targets are windows of one array that move on."""
    series = np.ascontiguousarray(TABLE[:, :COLUMNS])
    own, wanted = tied_step(), tied_step()
    for start in (0, 7, 14, 200, 3):
        a, b = series[start : start + ROWS], series[start + 1 : start + 1 + ROWS]
        assert float(own(a, b)) == separate(wanted, a, b)


def test_the_first_minibatch_may_be_gone():
    step, wanted = step_for("wide"), step_for("wide")
    for number in range(5):
        x, y = batch_for("wide", 33, "float32", number)
        loss = float(step(np.array(x), np.array(y)))
        del loss
        gc.collect()
        junk = [np.full((33, COLUMNS), np.nan, "f4") for _ in range(10)]
        wanted(x, y)
        del junk
    assert step.model.arena.values.tobytes() == wanted.model.arena.values.tobytes()


@pytest.mark.parametrize("rows", [1, 33])
def test_prepared_arrays_with_gaps_are_refused_or_read_right(rows):
    """`run` takes what `prepare` gave; anything else must not be read as if it were that."""
    wanted, step = tied_step(), tied_step()
    x, y = batch_for("tied", rows)
    for a, b in ((x, y), (with_gaps(x), y), (x, with_gaps(y)), (np.asfortranarray(x), y), (x.astype("f8"), y)):
        before = step.model.arena.values.copy()
        try:
            loss = float(step.run(a, b))
        except (TypeError, ValueError):
            np.testing.assert_array_equal(step.model.arena.values, before)
            continue
        assert loss == float(wanted.run(x, y))


def test_another_width_is_refused():
    step = tied_step()
    step(*batch_for("tied", ROWS))
    with pytest.raises(fs.ShapeError):
        step(TABLE[:ROWS], TABLE[:ROWS])


# Words

def softmax_words(x, out):
    return words_of(cpu.kernel(cpu.softmax, np.dtype("f4")).parameters, (x, out))


def test_words_of_arrays():
    x, out = np.zeros((3, 5), "f4"), np.zeros((3, 5), "f4")
    assert softmax_words(x, out) == [x.ctypes.data, 3, 5, out.ctypes.data, 3, 5]
    assert softmax_words(read_only(x), out)[1:3] == [3, 5]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((3, 5)), np.zeros((3, 5), "i4"), np.zeros((3, 5), "f2"), np.zeros((3, 5), ">f4"), np.zeros(15, "f4"),
        np.zeros((3, 5, 1), "f4"), np.zeros((5, 3), "f4").T, np.zeros((3, 10), "f4")[:, ::2], np.zeros((6, 5), "f4")[::-2],
        np.zeros((3, 6), "f4")[:, :5], np.zeros((3, 5), object), np.zeros((3, 5), "c8"),
    ],
    ids=lambda a: f"{a.dtype} {a.shape} {a.strides}",
)  # fmt: skip
def test_words_of_wrong_arrays(wrong):
    good = np.zeros((3, 5), "f4")
    for arguments in ((wrong, good), (good, wrong)):
        with pytest.raises(TypeError):
            softmax_words(*arguments)


def test_words_of_the_wrong_number_of_arguments():
    good = np.zeros((3, 5), "f4")
    with pytest.raises(ValueError, match="zip"):
        words_of(cpu.kernel(cpu.softmax, np.dtype("f4")).parameters, (good,))


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, -3.25e-30, np.inf, np.nan, np.float32(0.1), 7])
def test_words_of_numbers(value, dtype):
    parameters = cpu.kernel(cpu.fill, np.dtype(dtype)).parameters
    out = np.zeros(3, dtype)
    word = words_of(parameters, (out, value))[2]
    assert np.array([word], "i8").view(dtype)[0].tobytes() == np.dtype(dtype).type(value).tobytes()


# Memory

WIDE = 256
MOST = 24 * 1024
"""Bytes that 50 steps may hold at once: the loss, a table of scalars, some Python numbers; measured: 6 KB.

A single array of one number a row and column of the hidden layer would be 64 KB, one a row and output 10 KB.
"""


def wide_step(threads, **options):
    fs.set_num_threads(threads)
    model = fs.mlp([20, 64, 10], dropout=0.1, layer_norm=True).initialize(0, "numba")
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-3, clip_norm=1.0), seed=0, **options)
    x, y = generator.standard_normal((WIDE, 20)).astype("f4"), generator.integers(0, 10, WIDE).astype("i4")
    return step, x, y


def peak_of(work, repeats=50):
    for _ in range(10):
        work()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(3):
            work()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(repeats):
            work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_allocates_nothing(threads, deterministic):
    step, x, y = wide_step(threads, deterministic=deterministic)
    inputs, targets = step.prepare(x, y)
    assert peak_of(lambda: step.run(inputs, targets)) < MOST


def test_a_step_on_arrays_of_the_right_type_allocates_nothing():
    step, x, y = wide_step(2)
    assert peak_of(lambda: float(step(x, y))) < MOST


def test_the_measure_sees_an_array():
    assert peak_of(lambda: np.empty((WIDE, 64), "f4").fill(0.0), 3) > MOST


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="this system does not tell what memory is resident")
def test_ten_thousand_steps_leave_nothing_behind():
    fs.set_num_threads(2)
    step = fs.TrainStep(fs.mlp([4, 8, 2]), fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=0, backend="numba")
    x, y = generator.standard_normal((16, 4)).astype("f4"), generator.integers(0, 2, 16).astype("i4")
    for _ in range(500):
        step(x, y)
    gc.collect()
    objects, memory = len(gc.get_objects()), resident()
    for _ in range(10_000):
        step(x, y)
    gc.collect()
    assert len(gc.get_objects()) - objects < 50
    assert resident() - memory < 4 * 2**20


def test_new_plans_free_the_old_ones():
    """Minibatches of ever other sizes: the plans that gave way are gone, with their buffers."""
    fs.set_num_threads(2)
    step = step_for("wide")
    step(*batch_for("wide", 500))
    tracemalloc.start()
    try:
        sizes = []
        for rows in range(500, 518):
            step(*batch_for("wide", rows))
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[-1] < 1.3 * sizes[6]


def test_losses_are_kept_apart():
    """A loss that is asked for later is still that of its own step."""
    step = step_for("wide")
    later = [step(*batch_for("wide", 33, "float32", k)) for k in range(6)]
    again, _ = train(step_for("wide"), [batch_for("wide", 33, "float32", k) for k in range(6)])
    assert list(map(float, later)) == again
    assert len(set(again)) == 6
