"""Arrays of 16 bits on the cuda backend under Numba's simulator: the rounding of every bit pattern, and all row kernels."""

from __future__ import annotations

# ruff: noqa: E402 – modules can be skipped before they import what they need
import os

import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported: run this folder alone", allow_module_level=True)

ml_dtypes = pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")

import kernel_cases as cases
import numpy as np

from fusedstep.backends.conformance.tolerances import tolerance
from fusedstep.backends.contract import Random
from fusedstep.backends.numpy.backend import NumpyBackend
from fusedstep.errors import DtypeError
from fusedstep.kernels.formula import REGISTRY

NARROW = ("bfloat16", "float16")
CROSSING = np.array(
    [0.0, -0.0, 1.0, 1.00390625, 1.01171875, 1.0039063, -1.0117187, 3.3895314e38, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan,
     65504.0, 65519.9, 65520.0, -65520.0, 1e-40, 9e-41, 5.9604645e-08, 2.9802322e-08, 2.98024e-08, 6.1e-05],
    np.float32,
)  # fmt: skip
"""Ties, both signs of zero, the largest numbers and what rounds past them, subnormal numbers of both types."""


def copied(backend, values, dtype):
    """The values through a kernel that writes arrays of that type."""
    out = backend.empty(values.shape, dtype)
    backend.map(REGISTRY["add"], out, backend.asarray(values), backend.zeros(values.shape))
    return backend.to_numpy(out)


@pytest.mark.parametrize("dtype", NARROW)
def test_rounding_is_that_of_numpy(cuda, dtype):
    generator = np.random.default_rng(0)
    values = np.concatenate([CROSSING, generator.integers(0, 2**32, 500, np.uint32).view(np.float32)]).reshape(1, -1)
    with np.errstate(over="ignore"):
        want = (values + np.float32(0.0)).astype(np.dtype(dtype))
    got = copied(cuda, values, dtype)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(np.isnan(got.astype(np.float32)), np.isnan(values))
    known = ~np.isnan(values)
    np.testing.assert_array_equal(got.view(np.uint16)[known], want.view(np.uint16)[known])


def test_every_bfloat16_is_read_as_what_it_is(cuda):
    bits = np.arange(0, 2**16, 37, dtype=np.uint16).reshape(1, -1)
    x = bits.view(ml_dtypes.bfloat16)
    out = cuda.empty(x.shape)
    cuda.map(REGISTRY["add"], out, cuda.asarray(x), cuda.zeros(x.shape))
    np.testing.assert_array_equal(cuda.to_numpy(out), x.astype(np.float32))


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("width", [8, 9])
@pytest.mark.parametrize("name", ["bias_gelu_dropout", "gelu_backward", "binary_cross_entropy", "prelu_backward", "add"])
def test_formulas_agree_with_numpy(cuda, dtype, name, width):
    formula = REGISTRY[name]
    given = [a.astype(dtype) if isinstance(a, np.ndarray) else a for a in cases.arguments(formula, 3, width, "float32")]
    results = []
    for backend in (cuda, NumpyBackend()):
        kinds = zip(cases.output_shapes(formula, 3, width), formula.outputs, strict=True)
        outputs = [backend.empty(s, "float32" if k == "rowsum" else dtype) for s, k in kinds]
        arguments = [backend.asarray(a) if isinstance(a, np.ndarray) else a for a in given]
        random = Random(cases.state(backend), cases.STREAM) if formula.random else None
        backend.map(formula, tuple(outputs), *arguments, random=random)
        results.append([backend.to_numpy(o) for o in outputs])
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in given]
    for got, numpy, exact in zip(*results, cases.expected(formula, wide, 3, width), strict=True):
        assert got.dtype == numpy.dtype
        for result in (got, numpy):
            assert tolerance(dtype, "elementwise").allows(result, exact).all()


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize(("height", "width"), [(3, 3), (5, 10), (2, 33)])
def test_rows(cuda, height, width, dtype):
    cases.run_narrow_rows(cuda, height, width, dtype)
    cases.run_narrow_rows(NumpyBackend(), height, width, dtype)


@pytest.mark.parametrize("size", [256, 203])
@pytest.mark.parametrize("name", ["adam_outside_update", "lion_update", "lamb_direction", "adadelta_inside_update"])
def test_states_of_16_bits_are_rounded_as_on_numpy(cuda, name, size):
    """Where float32 itself agrees to the bit, so do the random roundings; elsewhere they differ by one unit."""
    formula = REGISTRY[name]
    ranges = [(0, 70, 0), (128, 192, 2), (192, 200, 1)]
    arrays, scalars = cases.update_arguments(formula, size, 3, "float32")
    results = []
    for backend in (cuda, NumpyBackend()):
        saved = {"u", "m", "v", "d"}
        given = [
            backend.asarray(a.copy(), "bfloat16" if n in saved else None)
            for n, a in zip(formula.parameters, arrays, strict=False)
        ]
        backend.update(formula, given, backend.asarray(scalars), backend.segments(ranges), Random(cases.state(backend), 3))
        results.append([backend.to_numpy(a) for a in given])
    narrow = 0
    for got, want, before in zip(*results, arrays, strict=True):
        if got.dtype == np.float32:
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
            continue
        narrow += 1
        assert np.mean(got != want) < 0.02
        assert tolerance("bfloat16", "elementwise").allows(got, want).all()
        assert np.mean(got.astype(np.float32) != before) > 0.5
        np.testing.assert_array_equal(got[200:], before[200:].astype(got.dtype))
    assert narrow


@pytest.mark.parametrize("dtype", NARROW)
def test_in_place(cuda, dtype):
    x = cuda.asarray(np.random.default_rng(1).normal(size=(4, 6)), dtype)
    y = cuda.empty((4, 6), dtype)
    cuda.rows("softmax", x, y)
    cuda.rows("softmax", x, x)
    np.testing.assert_array_equal(cuda.to_numpy(x), cuda.to_numpy(y))


@pytest.mark.parametrize("dtype", NARROW)
def test_products_accumulate_in_float32(cuda, dtype):
    for backend in (cuda, NumpyBackend()):
        ones = backend.asarray(np.ones((1, 4097)), dtype)
        small = backend.asarray(np.full((4097, 1), 2.0**-8), dtype)
        out, narrow = backend.zeros((1, 1)), backend.zeros((1, 1), dtype)
        backend.matmul(ones, small, out)
        backend.matmul(ones, small, narrow)
        assert float(backend.to_numpy(out)[0, 0]) == 4097 / 256
        assert float(backend.to_numpy(narrow)[0, 0]) == float(np.dtype(dtype).type(4097 / 256))


def test_a_kernel_refuses_an_array_of_another_kind(cuda):
    x, out = cuda.zeros((2, 3), "bfloat16"), cuda.zeros((2, 3), "bfloat16")
    with pytest.raises(DtypeError, match="float64"):
        cuda.map(REGISTRY["add"], out, x, cuda.zeros((2, 3), "float64"))
    with pytest.raises(DtypeError, match="bfloat16"):
        cuda.rows("softmax", x, cuda.zeros((2, 3)))
    with pytest.raises(DtypeError, match="expected row-major float32"):
        cuda.rows("column_sum", x, cuda.zeros((3,), "bfloat16"))


@pytest.mark.row("F3")
@pytest.mark.parametrize("name", cases.SUMMED)
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize(("height", "width", "launches"), [(7, 3, 1), (9, 10, 2), (3, 70, None)])
def test_the_bias_gradient_comes_with_the_loss(cuda, height, width, launches, dtype, name):
    assert cases.run_summed(cuda, height, width, dtype, name) == launches
