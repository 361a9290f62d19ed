"""The GEMM of this package: exact for every remainder, the same bits however it is cut, one more library for plans."""

import ctypes
import mmap
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import in_a_process

import fusedstep as fs
from fusedstep.backends import conformance
from fusedstep.backends.numba import evaluation_plan
from fusedstep.kernels.targets import cache, gemm_choices
from fusedstep.kernels.targets.gemm import library as gemm_library
from fusedstep.kernels.targets.gemm_choices import GemmChoices
from fusedstep.kernels.targets.llvm.tiles import Registers, registers
from fusedstep.kernels.targets.products import bound_gemm

REGISTERS = {"AVX-512": Registers(64, 14), "AVX2": Registers(32, 6), "NEON": Registers(16, 12)}
ACCURACY = {"float32": 2e-7, "float64": 4e-16}
OWN = pytest.mark.skipif(gemm_library.found_registers() is None, reason="not made for this processor")
WIDTHS = (70, 130, 64, 3)

_made: dict = {}


def library(kind, dtype):
    """It for these registers; LLVM makes code for them on any processor."""
    if (kind, dtype) not in _made:
        with pytest.MonkeyPatch.context() as context:
            context.setattr(gemm_library, "found_registers", lambda: REGISTERS[kind])
            _made[kind, dtype] = gemm_library.tiled_gemm.__wrapped__(np.dtype(dtype))
    return _made[kind, dtype]


def multiply(gemm, a, b, out, accumulate=False, forms="NN"):
    """out (+)= op(a) op(b), for matrices whose rows may be apart; forms – "T" where op is the transpose."""
    lines = [(form, array.strides[0] // array.itemsize) for form, array in zip(f"{forms}N", (a, b, out), strict=True)]
    k = a.shape[0 if forms[0] == "T" else 1]
    bound_gemm(gemm, a.dtype, (*out.shape, k), lines, accumulate)(*(x.ctypes.data for x in (a, b, out)))
    return out


def inside(array, before, after):
    """The same matrix with further elements around its rows, which begin where nothing is aligned."""
    room = np.full((array.shape[0] + 2, before + array.shape[1] + after), np.nan, array.dtype)
    room[1:-1, before : before + array.shape[1]] = array
    return room[1:-1, before : before + array.shape[1]]


# The product

@OWN
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", REGISTERS)
@settings(deadline=None, max_examples=80)
@given(
    m=st.one_of(st.integers(1, 60), st.integers(900, 1000)), n=st.integers(1, 150),
    k=st.one_of(st.integers(1, 40), st.integers(250, 270), st.integers(500, 600)),
    gaps=st.tuples(*[st.integers(0, 5)] * 3), forms=st.sampled_from(["NN", "NT", "TN", "TT"]), accumulate=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_it_is_exact_for_every_remainder(kind, dtype, m, n, k, gaps, forms, accumulate, seed):
    rng = np.random.default_rng(seed)
    a, b, out = (rng.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, n), (m, n)))
    wanted, size = a.astype(float) @ b.astype(float), np.abs(a).astype(float) @ np.abs(b).astype(float)
    if accumulate:
        wanted, size = wanted + out, size + np.abs(out)
    stored = [array.T if form == "T" else array for array, form in zip((a, b, out), f"{forms}N", strict=True)]
    cut = [inside(array, gap, gaps[0]) for array, gap in zip(stored, gaps, strict=True)]
    room = cut[2].base
    outside = np.isnan(room)
    multiply(library(kind, dtype), *cut, accumulate, forms)
    assert (np.abs(cut[2] - wanted) <= ACCURACY[dtype] * min(k + 1, 64) * size).all()
    np.testing.assert_array_equal(np.isnan(room), outside)


@OWN
@pytest.mark.parametrize("kind", REGISTERS)
def test_the_bits_depend_neither_on_rows_nor_on_columns(kind):
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((61, 700)).astype("f4"), rng.standard_normal((700, 300)).astype("f4")
    gemm = library(kind, "float32")
    whole = multiply(gemm, a, b, np.empty((61, 300), "f4"))
    for rows in (1, 2, 3, 5, 8, 14, 15, 29, 60):
        np.testing.assert_array_equal(multiply(gemm, a[-rows:], b, np.empty((rows, 300), "f4")), whole[-rows:])
    for low, high in ((0, 1), (0, 96), (96, 300), (31, 177)):
        part = multiply(gemm, a, b[:, low:high], np.empty((61, high - low), "f4"))
        np.testing.assert_array_equal(part, whole[:, low:high])


@OWN
@pytest.mark.parametrize("kind", REGISTERS)
def test_copies_change_no_bits(kind):
    """Large and transposed factors are copied, small ones are not."""
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((700, 600)).astype("f4"), rng.standard_normal((600, 330)).astype("f4")
    gemm = library(kind, "float32")
    whole = multiply(gemm, a, b, np.empty((700, 330), "f4"))
    assert gemm_library.LEAST_WORK < 700 * 330 * 600
    for rows in (9, 100, 300):
        np.testing.assert_array_equal(multiply(gemm, a[:rows], b, np.empty((rows, 330), "f4")), whole[:rows])
    for forms in ("NT", "TN", "TT"):
        stored = [np.ascontiguousarray(array.T) if form == "T" else array for array, form in zip((a, b), forms, strict=True)]
        np.testing.assert_array_equal(multiply(gemm, *stored, np.empty((700, 330), "f4"), forms=forms), whole)


@OWN
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_without_memory_for_a_block_it_is_only_slower():
    assert in_a_process("""
import resource
import numpy as np
from fusedstep.kernels.targets.gemm.library import tiled_gemm
from fusedstep.kernels.targets.products import bound_gemm
from pathlib import Path
gemm = tiled_gemm(np.dtype("f4"))
a, out = np.ones((700, 400), "f4"), np.zeros((700, 700), "f4")
multiply = bound_gemm(gemm, a.dtype, (700, 700, 400), [("N", 400), ("T", 400), ("N", 700)])
address = [array.ctypes.data for array in (a, a, out)]
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096,) * 2)
taken = []
try:
    while True:  # what was freed before
        taken.append(bytearray(2**18))
except MemoryError:
    print("none")
multiply(*address)
print(out.min(), out.max())
""").split() == ["none", "400.0", "400.0"]


@OWN
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", REGISTERS)
def test_nan_and_infinity_reach_their_rows_and_columns_only(kind, bad):
    rng = np.random.default_rng(2)
    for m, n, place in ((3, 70, (2, 9)), (40, 33, (17, 600))):
        a, b = rng.standard_normal((m, 700)).astype("f4"), rng.standard_normal((700, n)).astype("f4")
        a[place] = bad
        b[place[1], 5] = 0.0
        out = multiply(library(kind, "float32"), a, b, np.zeros((m, n), "f4"))
        with np.errstate(invalid="ignore"):
            wanted = a.astype(float) @ b.astype(float)
        np.testing.assert_array_equal(np.isnan(out), np.isnan(wanted))
        np.testing.assert_array_equal(np.isposinf(out), np.isposinf(wanted))
        np.testing.assert_allclose(np.delete(out, place[0], 0), np.delete(wanted, place[0], 0), rtol=1e-3, atol=1e-3)


@OWN
@pytest.mark.skipif(sys.platform != "linux", reason="mprotect")
@pytest.mark.parametrize("kind", REGISTERS)
def test_nothing_is_read_or_written_behind_a_matrix(kind):
    """Each matrix ends where the memory does."""
    page = mmap.PAGESIZE

    def at_the_end(shape):
        size = 4 * shape[0] * shape[1]
        pages = -(-size // page) + 1
        room = mmap.mmap(-1, pages * page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(room))
        assert not ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + (pages - 1) * page), ctypes.c_size_t(page), 0)
        array = np.ndarray(shape, "f4", room, (pages - 1) * page - size)
        array[...] = 1.0
        return array

    for m, n, k in ((1, 1, 1), (3, 5, 7), (5, 70, 33), (15, 47, 520), (33, 130, 9)):
        for forms in ("NN", "NT", "TN", "TT"):
            a = at_the_end((k, m) if forms[0] == "T" else (m, k))
            b, out = at_the_end((n, k) if forms[1] == "T" else (k, n)), at_the_end((m, n))
            np.testing.assert_array_equal(multiply(library(kind, "float32"), a, b, out, forms=forms), np.full((m, n), k))


def test_registers_follow_from_what_llvm_says():
    assert registers("x86_64-unknown-linux-gnu", {"avx512f": True, "avx2": True, "fma": True}) == REGISTERS["AVX-512"]
    assert registers("x86_64-unknown-linux-gnu", {"avx512f": False, "avx2": True, "fma": True}) == REGISTERS["AVX2"]
    assert registers("x86_64-unknown-linux-gnu", {"avx2": True}) is None
    assert registers("arm64-apple-darwin23.1.0", {}) == registers("aarch64-unknown-linux-gnu", {}) == REGISTERS["NEON"]
    assert registers("riscv64-unknown-linux-gnu", {}) is None


# The choice

@pytest.fixture
def choices(tmp_path, monkeypatch):
    """As in a process with no choices, where FUSEDSTEP_BLAS is not set."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    monkeypatch.setattr(gemm_choices, "wanted", lambda: "auto")
    made = GemmChoices()
    monkeypatch.setattr(gemm_choices, "_choices", made)
    return made


@pytest.fixture
def own(choices, monkeypatch):
    """Predictions use it for every product of more than one row for which it is a candidate."""
    monkeypatch.setattr(gemm_choices, "fastest", lambda product, found, seconds: list(found)[-1])
    return choices


def model_of(widths=WIDTHS, dtype="float32", backend="numba"):
    return fs.mlp(widths).initialize(0, backend, dtype)


def rows_of(count, dtype="float32"):
    return np.random.default_rng(count).standard_normal((count, WIDTHS[0])).astype(dtype)


def own_products():
    return {name for name, chosen in fs.blas_choices().items() if chosen == "fusedstep"}


@OWN
def test_it_is_timed_beside_the_library_and_what_was_faster_is_kept(choices):
    model_of()(rows_of(40))
    read = fs.blas_choices()
    assert "float32 NN 96x130x70" in read
    assert set(read.values()) <= {"numpy", "mkl", "fusedstep"}
    assert choices.saved().read().items() <= read.items()
    assert gemm_choices.saved_blas_choices() == choices.saved().read()


@OWN
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_agree_with_numpy_for_any_number_of_rows(own, dtype):
    model, reference = model_of(dtype=dtype), model_of(dtype=dtype, backend="numpy")
    for rows in (1, 2, 3, 4, 5, 7, 8, 15, 33, 100, 129, 700, 3000):
        x = rows_of(rows, dtype)
        conformance.close(model(x), reference(x), dtype, "sum", f"{rows} rows")
    weights = ("130x70", "64x130")  # the last one is too small
    assert own_products() == {f"{dtype} NN {m}x{extents}" for m in (96, 256) for extents in weights}


@OWN
def test_more_than_one_row_gives_the_same_bits_however_many_there_are(own):
    model, x = model_of((70, 130, 64, 40)), rows_of(3000)
    whole = model(x)
    for rows in (2, 3, 4, 6, 7, 33, 127, 128, 129, 1000):
        np.testing.assert_array_equal(model(x[:rows]), whole[:rows])


@OWN
@pytest.mark.parametrize("rows", [2, 7, 31, 40])
def test_threads_share_the_columns_of_few_rows_and_change_no_bits(own, monkeypatch, rows):
    monkeypatch.setattr(evaluation_plan, "SHORT", 0)
    monkeypatch.setattr(evaluation_plan, "SHORT_OF_FEW", 0)
    bits, x = set(), rows_of(rows)
    for threads in (1, 2, 3, 5):
        fs.set_num_threads(threads)
        model = model_of()
        bits.add((model(x).tobytes(), model.predict_proba(x).tobytes()))
        (plan,) = next(iter(model.arena.evaluators.values()))._plans.values()
        shared = [replay.width for owned in plan._lanes.values() for lane in owned for replay in lane._replays.values()]
        if rows < 32:
            assert shared == ([] if threads == 1 else [2]), "130 columns are worth two threads"
    assert len(bits) == 1


@OWN
@pytest.mark.parametrize("rows", [2, 20, 300])
def test_every_change_of_the_parameters_is_seen(own, rows):
    model, x = model_of(), rows_of(rows)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.5))
    reference = model_of(backend="numpy")
    views = model.parameters()
    assert not own_products()

    def check():
        reference.load_parameters({name: np.array(view) for name, view in views.items()})
        conformance.close(np.asarray(model(x)), reference(x), "float32", "sum")
        assert own_products()

    check()
    step(x, np.arange(rows) % 3)
    check()
    next(iter(views.values()))[3:, 5] = 2.0
    check()
    model.load_parameters({name: np.array(view) * 2.0 for name, view in views.items()})
    check()
    fs.prune(step, 0.5)
    check()


@OWN
def test_threads_may_predict_at_the_same_time(own):
    fs.set_num_threads(2)
    model = model_of()
    batches = [rows_of(count) for count in (2, 5, 30, 64, 100, 500)] * 3
    alone = [model.predict_proba(x) for x in batches]
    with ThreadPoolExecutor(6) as threads:
        for _ in range(5):
            for got, wanted in zip(threads.map(model.predict_proba, batches), alone, strict=True):
                np.testing.assert_array_equal(got, wanted)


@OWN
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_agree_with_numpy(own, dtype):
    x, y = rows_of(300, dtype), np.arange(300) % 3
    losses = []
    for backend in ("numpy", "numba"):
        step = fs.TrainStep(model_of(dtype=dtype, backend=backend), fs.SoftmaxCrossEntropy(), fs.Adam(), backend=backend)
        losses.append([float(step(x, y)) for _ in range(5)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5 if dtype == "float32" else 1e-12)
    assert {name.split()[1] for name in own_products()} == {"NN", "NT", "TN"}


@OWN
def test_deterministic_steps_and_evaluations_do_without_it(own):
    model, x, y = model_of(), rows_of(64), np.arange(64) % 3
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), deterministic=True)
    step(x, y)
    step.evaluate(x, y)
    assert not own_products()
    fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1))(x, y)
    assert own_products()


@pytest.mark.parametrize("why", ["forced", "no cache", "processor"])
def test_where_nothing_is_chosen_the_library_computes_predictions(own, monkeypatch, why):
    if why == "forced":
        monkeypatch.setattr(gemm_choices, "wanted", lambda: "numpy")
    elif why == "processor":
        monkeypatch.setattr(gemm_choices, "found_registers", lambda: None)
    else:
        monkeypatch.setattr(cache, "folder", lambda: None)
    model_of()(rows_of(40))
    assert fs.blas_choices()
    assert not own_products()


@OWN
def test_it_can_be_set(choices):
    model, x = model_of(), rows_of(40)
    model(x)
    name = "float32 NN 96x130x70"
    for chosen in ("fusedstep", "numpy"):
        fs.set_blas_choices({name: chosen})
        model(x)
        assert fs.blas_choices()[name] == chosen
    with pytest.raises(fs.HyperparameterError, match='expected "mkl", "numpy" or "fusedstep" for float32 NN 96x130x70;'):
        fs.set_blas_choices({name: "acml"})


@pytest.mark.parametrize(("forced", "said"), [("numpy", "unset FUSEDSTEP_BLAS"), ("auto", "works on this processor")])
def test_it_cannot_be_set_where_it_is_ruled_out(choices, monkeypatch, forced, said):
    monkeypatch.setattr(gemm_choices, "wanted", lambda: forced)
    monkeypatch.setattr(gemm_choices, "found_registers", lambda: None)
    with pytest.raises(fs.HyperparameterError, match=said):
        fs.set_blas_choices({"float32 NN 96x130x70": "fusedstep"})
