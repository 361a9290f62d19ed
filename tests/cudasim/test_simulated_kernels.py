"""Every kernel of the cuda backend, run in Numba's simulator and compared with NumPy in float64."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported: run this folder alone", allow_module_level=True)

pytest.importorskip("numba.core.config", reason="needs Numba CUDA: pip install -e '.[test-cuda]'")
import numba.core.config

if not numba.core.config.ENABLE_CUDASIM:
    pytest.skip("Numba was imported before NUMBA_ENABLE_CUDASIM=1: run this folder alone", allow_module_level=True)

import kernel_cases as cases
import numpy as np

from fusedstep.backends.contract import Backend, Random
from fusedstep.backends.numpy.backend import NumpyBackend
from fusedstep.errors import DtypeError, MixedBackends
from fusedstep.kernels.formula import REGISTRY
from fusedstep.kernels.rows.cuda.compiled import SIGNATURES
from fusedstep.kernels.targets.segments import segment_table

DTYPES = ("float32", "float64")
RANGES = [(0, 70, 0), (128, 192, 2), (192, 200, 1)]


def ids(formula):
    return formula.name


@pytest.mark.row("F3")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("formula", cases.MAPS, ids=ids)
def test_formula(cuda, formula, dtype):
    # A multiple of 4 takes the kernel that reads words of 8 bytes.
    widths = (1, 3, 4, 5, 9) if formula.random and dtype == "float32" else (1, 8, 9)
    for width in widths:
        cases.run_map(cuda, formula, 3, width, dtype)
    cases.run_map(cuda, formula, 1, 5, dtype)
    cases.run_map(cuda, formula, 0, 4, dtype)
    if "each" in formula.outputs and "each" in formula.kinds:
        cases.run_map(cuda, formula, 3, 5, dtype, in_place=True)
        cases.run_map(cuda, formula, 2, 8, dtype, in_place=True)


def test_one_map_is_one_launch(cuda):
    before = cuda.launches
    cases.run_map(cuda, REGISTRY["squared_error"], 3, 5, "float32")
    cases.run_map(cuda, REGISTRY["dropout"], 3, 5, "float32")
    assert cuda.launches == before + 2


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 1), (1, 3), (2, 4), (3, 5), (3, 9), (0, 3), (7, 2), (2, 33)])
def test_random_bits_are_those_of_numpy(cuda, height, width):
    for first_row in (0, 2**32 - 2):
        numpy = NumpyBackend()
        bits = [
            b.to_numpy(b.random_bits(height, width, Random(b.random_state(cases.SEED, 3, first_row), 9)))
            for b in (cuda, numpy)
        ]
        np.testing.assert_array_equal(*bits)


@pytest.mark.row("F3")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("formula", cases.UPDATES, ids=ids)
def test_update(cuda, formula, dtype):
    before = cuda.launches
    cases.run_update(cuda, formula, RANGES, 256, dtype)
    assert cuda.launches == before + 1
    cases.run_update(cuda, formula, RANGES, 256, dtype, gate=True)


def test_update_leaves_what_the_segments_leave_out(cuda):
    cases.run_update(cuda, REGISTRY["sgd_update"], [(64, 65, 0)], 300, "float32")
    cases.run_update(cuda, REGISTRY["sgd_update"], [(0, 64, 0)], 64, "float32")


def test_segment_table():
    table = segment_table(RANGES)
    assert [(int(e) >> 7, int(e) & 127) for e in table] == [(0, 64), (0, 6), (2, 64), (1, 8)]
    assert segment_table([]).size == 0
    for wrong in ([(1, 64, 0)], [(0, 70, 0), (64, 80, 1)], [(0, 10, -1)]):
        with pytest.raises(ValueError, match="segments"):
            segment_table(wrong)


@pytest.mark.row("F3")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (3, 3), (5, 10), (9, 4), (2, 40), (40, 2), (40, 3)])
def test_rows(cuda, height, width, dtype):
    cases.run_rows(cuda, height, width, dtype)


def test_rows_without_rows(cuda):
    cases.run_rows(cuda, 0, 3, "float32")


@pytest.mark.row("F3")
@pytest.mark.parametrize("name", cases.SUMMED)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("height", "width", "launches"),
    [(1, 1, 1), (1, 2, 1), (40, 3, 1), (5, 4, 1), (9, 10, 2), (2, 30, 2), (17, 17, 2), (3, 70, None), (0, 3, None)],
)
def test_the_bias_gradient_comes_with_the_loss(cuda, height, width, launches, dtype, name):
    assert cases.run_summed(cuda, height, width, dtype, name) == launches


@pytest.mark.row("F3")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 7, 8, 31, 33, 100])
def test_sums(cuda, size, dtype):
    cases.run_sums(cuda, size, dtype)


@pytest.mark.row("F3")
def test_a_sum_over_everything_is_one_launch_and_leaves_its_counter_at_0(cuda):
    x = cuda.asarray(np.random.default_rng(1).normal(size=300).astype("f"))
    for sum_up in (cuda.sum_of_squares, cuda.total):
        before = cuda.launches
        results = {cuda.item(sum_up(x)) for _ in range(3)}
        assert len(results) == 1
        assert cuda.launches == before + 3
        assert not cuda.to_numpy(cuda.counters()).any()


def test_sums_of_nothing(cuda):
    assert cuda.item(cuda.total(cuda.empty((0,)))) == 0.0
    assert cuda.item(cuda.sum_of_squares(cuda.empty((0,)))) == 0.0


@pytest.mark.row("F3")
@pytest.mark.parametrize("dtype", DTYPES)
def test_limit_norm(cuda, dtype):
    cases.run_limit(cuda, dtype)


def test_softmax_of_extreme_logits(cuda):
    x = np.array([[1e4, -1e4, 0.0], [-np.inf, 0.0, 1.0], [np.nan, 0.0, 1.0]], np.float32)
    out = cuda.empty((3, 3))
    cuda.rows("softmax", cuda.asarray(x), out)
    e = np.exp(1.0)
    np.testing.assert_allclose(cuda.to_numpy(out)[:2], [[1, 0, 0], [0, 1 / (1 + e), e / (1 + e)]], rtol=1e-6)
    assert np.isnan(cuda.to_numpy(out)[2]).all()


def test_nan_stays_nan_through_relu(cuda):
    x = cuda.asarray(np.array([[np.nan, -1.0, 2.0]], np.float32))
    out = cuda.empty((1, 3))
    cuda.map(REGISTRY["relu"], out, x)
    np.testing.assert_array_equal(cuda.to_numpy(out), [[np.nan, 0.0, 2.0]])


def test_every_row_kernel_was_run(cuda, monkeypatch):
    names = set()
    launch = type(cuda).launch

    def recording(self, kernel, geometry, arguments):
        names.add(kernel.name)
        launch(self, kernel, geometry, arguments)

    monkeypatch.setattr(type(cuda), "launch", recording)
    cases.run_rows(cuda, 2, 3, "float32")
    cases.run_sums(cuda, 5, "float32")
    cases.run_limit(cuda, "float32")
    assert names == {f.__name__ for f in SIGNATURES}


def test_the_contract_is_overridden_where_a_kernel_exists(cuda):
    for name in ("total", "sum_of_squares", "limit_norm", "_map", "_update"):
        assert getattr(type(cuda), name) is not getattr(Backend, name)
    assert set(cuda.row_table) == set(Backend.row_table)
    assert not set(cuda.row_table.values()) & set(Backend.row_table.values())


def test_wrong_arrays_are_refused(cuda):
    x, out = cuda.zeros((2, 3)), cuda.zeros((2, 3))
    losses = cuda.zeros((2,))
    with pytest.raises(DtypeError, match="int32"):
        cuda.rows("softmax_cross_entropy", x, cuda.zeros((2,), "int64"), None, 1.0, 0.0, 1.0, losses, out)
    with pytest.raises(DtypeError, match="not contiguous"):
        cuda.rows("softmax", cuda.zeros((2, 6))[:, ::2], out)
    with pytest.raises(DtypeError, match="not contiguous"):
        cuda.map(REGISTRY["relu"], cuda.zeros((2, 6))[:, ::2], x)
    with pytest.raises(DtypeError, match="float64"):
        cuda.map(REGISTRY["add"], out, x, cuda.zeros((2, 3), "float64"))
    with pytest.raises(MixedBackends, match=r"fs\.asarray"):
        cuda.rows("softmax", [[1.0]], out)


def test_products(cuda):
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(3, 4)).astype("f"), generator.normal(size=(4, 5)).astype("f")
    out = cuda.asarray(np.ones((3, 5), "f"))
    cuda.matmul(cuda.asarray(a), cuda.asarray(b), out, accumulate=True)
    np.testing.assert_allclose(cuda.to_numpy(out), 1.0 + a @ b, rtol=1e-6)
    cuda.matmul(cuda.asarray(np.ascontiguousarray(a.T)), cuda.asarray(b), out, transpose_a=True)
    np.testing.assert_allclose(cuda.to_numpy(out), a @ b, rtol=1e-6)


def test_step_and_scratch(cuda):
    random_state = cuda.random_state(1)
    cuda.set_step(random_state, 2**32 + 5)
    assert cuda.to_numpy(random_state).tolist() == [1, 0, 5, 0]
    lend = cuda.scratch(cuda.zeros((1,)))
    first = lend(10)
    assert first.shape == (10,)
    assert lend(100_000).size == 100_000
    assert any(first.base is old for old in cuda._device.outgrown)


@pytest.mark.usefixtures("cuda")
def test_threads_of_a_block_that_ask_at_the_same_moment_get_the_same_memory():
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    block, starts, before = [FakeCUDAShared(0) for _ in range(100)], threading.Barrier(4), sys.getswitchinterval()

    def work(_):
        starts.wait()
        return [shared.array(8, np.float32) for shared in block]

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(work, range(4)))
    finally:
        sys.setswitchinterval(before)
    assert all(one is other for thread in found[1:] for one, other in zip(found[0], thread, strict=True))
    assert np.isnan(found[0][0]).all()
