"""Every formula and row kernel of the cupy and cuda backends on a real device, against NumPy in float64."""

import kernel_cases as cases
import numpy as np
import pytest

from fusedstep.backends.contract import Random
from fusedstep.backends.numpy.backend import NumpyBackend
from fusedstep.errors import DtypeError, MixedBackends
from fusedstep.kernels.formula import REGISTRY

pytestmark = pytest.mark.gpu

DTYPES = ("float32", "float64")
BORDERS = (1, 31, 32, 33, 255, 256, 257, 1023, 1024, 1025)
"""Sizes around the borders of warps and blocks."""
SHAPES = ((1, 1), (3, 31), (33, 32), (2, 33), (257, 3), (5, 255), (4, 256), (1, 257), (3, 1023), (1025, 2), (2, 1025))
SEGMENTS = [(0, 1000, 0), (1024, 1025, 1), (1088, 5000, 2), (5056, 70_001, 0)]


def ids(formula):
    return formula.name


# Elementwise


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("formula", cases.MAPS, ids=ids)
def test_formula(gpu_backend, formula, dtype):
    for rows, width in SHAPES if dtype == "float32" else SHAPES[:4]:
        cases.run_map(gpu_backend, formula, rows, width, dtype)
    cases.run_map(gpu_backend, formula, 0, 4, dtype)
    if "each" in formula.outputs and "each" in formula.kinds:
        cases.run_map(gpu_backend, formula, 33, 65, dtype, in_place=True)


@pytest.mark.parametrize("width", [*BORDERS, 2, 3, 4, 5])
def test_random_bits_are_those_of_numpy(gpu_backend, width):
    numpy = NumpyBackend()
    for first_row in (0, 2**32 - 2):
        bits = [
            b.to_numpy(b.random_bits(37, width, Random(b.random_state(cases.SEED, 3, first_row), 9)))
            for b in (gpu_backend, numpy)
        ]
        np.testing.assert_array_equal(*bits)


def test_permutation_is_that_of_numpy(gpu_backend):
    numpy = NumpyBackend()
    orders = [b.to_numpy(b.permutation(1000, Random(cases.state(b), 3))) for b in (gpu_backend, numpy)]
    np.testing.assert_array_equal(*orders)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("formula", cases.UPDATES, ids=ids)
def test_update(gpu_backend, formula, dtype):
    before = gpu_backend.launches
    cases.run_update(gpu_backend, formula, SEGMENTS, 70_100, dtype)
    assert gpu_backend.launches == before + 1
    cases.run_update(gpu_backend, formula, SEGMENTS, 70_100, dtype, gate=True)


@pytest.mark.parametrize("size", BORDERS)
def test_update_of_every_size(gpu_backend, size):
    cases.run_update(gpu_backend, REGISTRY["adam_outside_update"], [(0, size, 0)], size, "float32")
    cases.run_update(gpu_backend, REGISTRY["adam_outside_update"], [(0, size, 0)], size + 100, "float32")


def test_nan_stays_nan_through_relu(gpu_backend):
    x = gpu_backend.asarray(np.array([[np.nan, -1.0, 2.0]], np.float32))
    out = gpu_backend.empty((1, 3))
    gpu_backend.map(REGISTRY["relu"], out, x)
    np.testing.assert_array_equal(gpu_backend.to_numpy(out), [[np.nan, 0.0, 2.0]])


def test_more_elements_than_32_bits_count(gpu_backend):
    count = 2**31 + 1000
    xp = gpu_backend.xp
    if xp.cuda.runtime.memGetInfo()[0] < 3 * 4 * count:
        pytest.skip(f"needs {12 * count >> 30} GiB of free device memory")
    x = xp.full((count,), 2.0, dtype=xp.float32)
    gpu_backend.map(REGISTRY["combination"], x, x, x, 1.0, 2.5)
    assert float(x[-1]) == 7.0
    assert bool((x == 7.0).all())
    gpu_backend.map(REGISTRY["add_bias"], x[: 2**31].reshape(2, -1), x[: 2**31].reshape(2, -1), x[: 2**30])
    assert float(x[2**31 - 1]) == 14.0
    del x
    xp.get_default_memory_pool().free_all_blocks()  # others are at work on the same device


# Rows


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "width"), [*SHAPES, (10_000, 10), (70, 1024), (0, 3)])
def test_rows(gpu_backend, rows, width, dtype):
    cases.run_rows(gpu_backend, rows, width, dtype)


@pytest.mark.parametrize("name", cases.SUMMED)
@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("rows", "width", "launches"),
    [
        (1, 2, 1), (256, 10, 1), (65_536, 10, 1), (33, 129, 1), (20_000, 1000, 2), (3000, 1500, None), (700, 5000, 2),
        (300, 12_000, None),
    ],
)
def test_the_bias_gradient_comes_with_the_loss(gpu_backend, rows, width, launches, dtype, name):
    if dtype == "float64" and width == 1000:
        launches = None
    if gpu_backend.name == "cupy":
        launches = None
        if dtype not in gpu_backend.precisions:
            pytest.skip(f"the cupy backend has no {dtype}")
    assert cases.run_summed(gpu_backend, rows, width, dtype, name) == launches


def test_a_sum_over_everything_is_one_launch_also_when_replayed(gpu_backend):
    """The counter of the blocks is 0 again after each, so that a captured launch may follow another one."""
    if gpu_backend.name == "cupy":
        pytest.skip("the cupy backend sums with CuPy's own reductions")
    cupy = gpu_backend.xp
    x = gpu_backend.asarray(np.random.default_rng(0).normal(size=1_000_003).astype("f"))
    want = [gpu_backend.item(gpu_backend.sum_of_squares(x)), gpu_backend.item(gpu_backend.total(x))]
    stream, out = cupy.cuda.Stream(non_blocking=True), gpu_backend.zeros((2,))
    gpu_backend.synchronize()
    with stream:

        def both():
            out[0:1] = gpu_backend.sum_of_squares(x)
            out[1:2] = gpu_backend.total(x)

        both()
        stream.synchronize()
        before = gpu_backend.launches
        stream.begin_capture()
        both()
        graph = stream.end_capture()
        assert gpu_backend.launches == before + 2
        for _ in range(5):
            out.fill(0.0)
            graph.launch(stream)
            stream.synchronize()
            assert gpu_backend.to_numpy(out).tolist() == want


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [*BORDERS, 1_000_003])
def test_sums(gpu_backend, size, dtype):
    cases.run_sums(gpu_backend, size, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_limit_norm(gpu_backend, dtype):
    cases.run_limit(gpu_backend, dtype)


def test_the_same_call_gives_the_same_bits(gpu_backend):
    x = gpu_backend.asarray(np.random.default_rng(0).normal(size=(3000, 513)).astype("f"))
    results = []
    for _ in range(3):
        sums, terms = gpu_backend.zeros((513,)), gpu_backend.empty((3000,))
        gpu_backend.rows("column_sum", x, sums)
        gpu_backend.map(REGISTRY["row_product"], terms, x, x)
        squares = gpu_backend.item(gpu_backend.sum_of_squares(x.reshape(-1)))
        results.append((gpu_backend.to_numpy(sums).tobytes(), gpu_backend.to_numpy(terms).tobytes(), squares))
    assert results[0] == results[1] == results[2]


# Arrays and products


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
def test_products(gpu_backend, dtype, transpose_a, transpose_b, accumulate):
    generator = np.random.default_rng(0)
    for m, k, n in ((1, 1, 1), (3, 5, 2), (65, 33, 130), (1, 7, 5), (6, 7, 1), (4, 0, 3)):
        a, b, c = (generator.normal(size=s).astype(dtype) for s in ((m, k), (k, n), (m, n)))
        given = [np.ascontiguousarray(x.T) if t else x for x, t in ((a, transpose_a), (b, transpose_b))]
        out = gpu_backend.asarray(c.copy())
        gpu_backend.matmul(*map(gpu_backend.asarray, given), out, transpose_a, transpose_b, accumulate)
        want = a.astype(float) @ b.astype(float) + (c if accumulate else 0.0)
        np.testing.assert_allclose(gpu_backend.to_numpy(out), want, **cases.tolerance(dtype, k))


def test_arrays_come_and_go(gpu_backend):
    host = np.arange(12, dtype=np.float32).reshape(3, 4)
    device = gpu_backend.asarray(host.T)
    assert device.flags.c_contiguous
    np.testing.assert_array_equal(gpu_backend.to_numpy(device), host.T)
    assert gpu_backend.asarray(device) is device or gpu_backend.asarray(device).data.ptr == device.data.ptr
    assert gpu_backend.asarray(host, "float64").dtype == "float64"
    out = gpu_backend.empty((2, 3))
    gpu_backend.take_rows(device, gpu_backend.asarray(np.array([3, 0])), out)
    np.testing.assert_array_equal(gpu_backend.to_numpy(out), host.T[[3, 0]])
    gpu_backend.copy(host.T[:2], out)
    np.testing.assert_array_equal(gpu_backend.to_numpy(out), host.T[:2])
    with pytest.raises(MixedBackends, match=r"fs\.asarray"):
        gpu_backend.rows("softmax", host, device)
    with pytest.raises(MixedBackends):
        NumpyBackend().asarray(device)


def test_arrays_of_other_libraries_on_the_device_are_taken_over(gpu_backend):
    device = gpu_backend.asarray(np.ones((2, 3), np.float32))

    class Foreign:
        def __dlpack__(self, **options):
            return device.__dlpack__(**options)

        def __dlpack_device__(self):
            return device.__dlpack_device__()

    assert gpu_backend.asarray(Foreign()).data.ptr == device.data.ptr


def test_a_state_moves_to_another_step(gpu_backend):
    state = gpu_backend.random_state(1, 5, 3)
    gpu_backend.set_step(state, 2**32 + 9)
    assert gpu_backend.to_numpy(state).tolist() == [1, 0, 9, 3]


def test_wrong_types_are_refused(gpu_backend):
    x, out = gpu_backend.zeros((2, 3)), gpu_backend.zeros((2, 3))
    with pytest.raises((DtypeError, TypeError)):
        gpu_backend.map(REGISTRY["add"], out, x, gpu_backend.zeros((2, 3), "float64"))


def test_the_backend_reports_that_it_runs(gpu_backend):
    from fusedstep.backends import selection

    assert selection.why_not(gpu_backend.name) is None


# Streams, waiting, allocation


def work(backend, arrays):
    """A forward and backward pass in miniature: maps with and without random bits, row sums, rows, update."""
    x, y, labels, losses, sums, state, theta, gradient, m, v, scalars, table = arrays
    backend.map(REGISTRY["bias_gelu_tanh_dropout"], y, x, sums, 0.5, 2.0, random=Random(state, 1))
    backend.map(REGISTRY["row_product"], losses, x, y)
    backend.rows("softmax_cross_entropy", y, labels, None, 1.0, 0.0, 0.1, losses, y)
    backend.rows("column_sum", y, sums)
    backend.limit_norm(scalars[0], backend.sum_of_squares(gradient), 1.0)
    backend.update(REGISTRY["adam_outside_update"], [theta, gradient, m, v], scalars, table)


def fresh(backend):
    generator = np.random.default_rng(3)
    x = generator.normal(size=(300, 70)).astype("f")
    flat = [np.abs(generator.normal(size=1000)).astype("f") for _ in range(4)]
    scalars = generator.uniform(0.1, 0.9, (7, 1)).astype("f")
    host = [x, np.zeros_like(x), np.arange(300, dtype=np.int32) % 70, np.zeros(300, "f"), np.zeros(70, "f")]
    arrays = [backend.asarray(a) for a in host]
    arrays += [backend.random_state(7), *map(backend.asarray, flat), backend.asarray(scalars)]
    return [*arrays, backend.segments([(0, 1000, 0)])]


def outcome(backend, arrays):
    return [backend.to_numpy(arrays[i]) for i in (1, 3, 4, 6, 8, 9, 10)]


def test_another_stream_is_used_and_a_graph_can_be_captured(gpu_backend):
    """Capture fails at a launch on another stream, at anything that waits, and at a copy from or to the host."""
    if gpu_backend.name == "cupy":
        pytest.skip("the cupy backend sums rows and columns with CuPy's own reductions, which allocate")
    cupy = gpu_backend.xp
    want = fresh(gpu_backend)
    work(gpu_backend, want)
    work(gpu_backend, want)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        work(gpu_backend, fresh(gpu_backend))
        got = fresh(gpu_backend)
        stream.synchronize()
        stream.begin_capture()
        work(gpu_backend, got)
        graph = stream.end_capture()
        graph.launch(stream)
        graph.launch(stream)
        stream.synchronize()
    for a, b in zip(outcome(gpu_backend, got), outcome(gpu_backend, want), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_stream_gives_the_same(gpu_backend):
    want, got = fresh(gpu_backend), fresh(gpu_backend)
    work(gpu_backend, want)
    gpu_backend.synchronize()
    stream = gpu_backend.xp.cuda.Stream(non_blocking=True)
    with stream:
        work(gpu_backend, got)
        stream.synchronize()
    for a, b in zip(outcome(gpu_backend, got), outcome(gpu_backend, want), strict=True):
        np.testing.assert_array_equal(a, b)


def test_maps_and_updates_allocate_nothing(gpu_backend, allocations):
    x, y, _, losses, sums, state, theta, gradient, m, v, scalars, table = fresh(gpu_backend)

    def calls():
        gpu_backend.map(REGISTRY["bias_gelu_tanh_dropout"], y, x, sums, 0.5, 2.0, random=Random(state, 1))
        gpu_backend.map(REGISTRY["squared_error"], (losses, y), x, y, 0.5)
        gpu_backend.update(REGISTRY["adam_outside_update"], [theta, gradient, m, v], scalars, table)

    calls()
    with allocations() as counter:
        calls()
    assert counter.count == 0


def test_row_kernels_allocate_nothing(gpu_backend, allocations):
    if gpu_backend.name == "cupy":
        pytest.skip("the cupy backend's row kernels are plain CuPy, with temporaries")
    x, y, labels, losses, sums, *_ = fresh(gpu_backend)

    def calls():
        gpu_backend.rows("softmax", x, y)
        gpu_backend.rows("softmax_cross_entropy", x, labels, None, 0.9, 0.01, 1.0, losses, y)
        gpu_backend.rows("column_sum", x, sums)
        gpu_backend.rows("layer_norm", x, sums, sums, 1e-5, y, losses, losses)

    calls()
    with allocations() as counter:
        calls()
    assert counter.count == 0


def test_nothing_waits_for_the_device(gpu_backend):
    """Behind work that takes a while, the host is done handing out a step before the device is."""
    cupy = gpu_backend.xp
    arrays = fresh(gpu_backend)
    work(gpu_backend, arrays)
    a = cupy.ones((8192, 8192), dtype=cupy.float32)
    b = cupy.empty_like(a)
    cupy.matmul(a, a, out=b)
    gpu_backend.synchronize()
    for _ in range(20):
        cupy.matmul(a, a, out=b)
    work(gpu_backend, arrays)
    done = cupy.cuda.Event()
    done.record()
    assert not done.done
    done.synchronize()


def test_kernels_that_were_compiled_beforehand_come_from_the_cache():
    from fusedstep.kernels.targets import cache
    from fusedstep.kernels.targets.cuda.kernel import CudaKernel
    from fusedstep.tools.warm_cache import compile_fraction, part

    if cache.folder() is None:
        pytest.skip("the kernel cache is switched off")
    assert compile_fraction(0, 60) == []
    for variant in part(0, 60):
        stats = CudaKernel(variant.source()).compiled.stats
        assert (sum(stats.cache_hits.values()), sum(stats.cache_misses.values())) == (1, 0), str(variant)
