"""Products by oneMKL: each layout gives what float64 gives, nothing else is written, what MKL cannot do is left to NumPy."""

import numpy as np
import pytest

from fusedstep.kernels.targets import products
from fusedstep.kernels.targets.blas import _mkl
from fusedstep.kernels.targets.products import multiply

pytestmark = pytest.mark.skipif(_mkl() is None, reason="the package mkl is not installed")
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}


@pytest.fixture(autouse=True)
def by_mkl(monkeypatch):
    """The number of products that MKL computed."""
    monkeypatch.setattr(products, "mkl", _mkl)
    products._gemm.cache_clear()
    calls = []
    real = products._gemm

    def counted(*layouts):
        gemm = real(*layouts)
        return None if gemm is None else lambda *places: (calls.append(layouts), gemm(*places))

    monkeypatch.setattr(products, "_gemm", counted)
    yield calls
    real.cache_clear()


def matrix(rng, rows, columns, dtype, form):
    if form == "transposed":
        return rng.standard_normal((columns, rows)).astype(dtype).T
    if form == "part":
        return rng.standard_normal((rows + 2, columns + 3)).astype(dtype)[1:-1, 2:-1]
    if form == "part, transposed":
        return rng.standard_normal((columns + 2, rows + 3)).astype(dtype)[1:-1, 2:-1].T
    return rng.standard_normal((rows, columns)).astype(dtype)


FORMS = ("whole", "transposed", "part", "part, transposed")


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (5, 1, 3), (5, 3, 1), (1, 7, 1), (64, 33, 17)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_layout_gives_the_product(dtype, shape, accumulate, by_mkl):
    rng = np.random.default_rng(0)
    m, k, n = shape
    for form_a in FORMS:
        for form_b in FORMS:
            a, b = matrix(rng, m, k, dtype, form_a), matrix(rng, k, n, dtype, form_b)
            around = rng.standard_normal((m + 2, n + 3)).astype(dtype)
            out, before = around[1:-1, 2:-1], around.copy()
            wanted = a.astype("f8") @ b.astype("f8") + (out.astype("f8") if accumulate else 0.0)
            multiply(a, b, out, accumulate)
            assert np.abs(out - wanted).max() <= TOLERANCE[dtype] * max(1.0, np.abs(wanted).max())
            before[1:-1, 2:-1] = out
            assert np.array_equal(around, before), "something beside the result was written"
    assert len(by_mkl) == len(FORMS) ** 2


def test_arrays_of_the_same_layout_are_not_mixed_up():
    rng = np.random.default_rng(1)
    b = matrix(rng, 6, 5, "float32", "whole")
    first, second = (matrix(rng, 4, 6, "float32", "transposed") for _ in range(2))
    for a in (first, second, first):
        out = np.empty((4, 5), np.float32)
        multiply(a, b, out)
        assert np.allclose(out, a @ b, rtol=1e-5, atol=1e-5)


def test_what_it_cannot_read_or_write_is_left_to_numpy(by_mkl):
    rng = np.random.default_rng(2)
    a, b, out = (rng.standard_normal((8, 8)).astype(np.float32) for _ in range(3))
    multiply(a, b, out, least=8**3)
    assert not by_mkl, "so small that NumPy is as quick"
    multiply(a, b, out)
    assert len(by_mkl) == 1
    by_mkl.clear()
    fixed = out.copy()
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        multiply(a, b, fixed)
    bytes_ = np.zeros(8 * 8 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(8, 8)
    gaps = np.zeros((8, 16), np.float32)[:, ::2]
    shared = a.copy()
    for what, (left, right, to) in {
        "another type": (a.astype("f8"), b, out.astype("f8")),
        "whole numbers": tuple(x.astype(int) for x in (a, b, out)),
        "bytes the other way round": tuple(x.astype(">f4") for x in (a, b, out)),
        "gaps": (gaps, b, out),
        "backwards": (a[::-1], b, out),
        "one row again and again": (np.broadcast_to(a[0], (8, 8)), b, out),
        "an odd address": (bytes_, b, out),
        "a result by columns": (a, b, out.T),
        "a result that is a factor": (shared, b, shared),
        "a result that overlaps a factor": (shared[:4, :4], b[:4, :4], shared[2:6, 2:6]),
        "nothing to add up": (a[:, :0], b[:0], out),
        "no rows": (a[:0], b, out[:0]),
    }.items():
        wanted = left @ right
        multiply(left, right, to)
        assert not by_mkl, what
        assert np.allclose(to, wanted, rtol=1e-5, atol=1e-5), what


def test_without_mkl_everything_is_left_to_numpy(monkeypatch, by_mkl):
    monkeypatch.setattr(products, "mkl", lambda: None)
    a, out = np.ones((8, 8), np.float32), np.empty((8, 8), np.float32)
    multiply(a, a, out)
    assert not by_mkl
    assert (out == 8.0).all()
