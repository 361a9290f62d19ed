"""Plans against float64: every layout, type, accumulation and epilogue, through a fake cuBLASLt that checks its arguments."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

from fusedstep.backends.conformance import close
from fusedstep.backends.cublaslt import Epilogue, Gemms, Unsuited
from fusedstep.backends.cublaslt.fake import FakeCublasLt, HostDevice
from fusedstep.kernels.formulas.activations import ACTIVATIONS

DTYPES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
TYPES = [("float32", "float32"), ("float64", "float64")] + [
    (small, out) for small in ("float16", "bfloat16") for out in (small, "float32")
]
SHAPES = ((1, 1, 1), (3, 5, 2), (65, 33, 130), (1, 7, 5), (6, 7, 1), (16, 16, 16))


@pytest.fixture
def gemms() -> Gemms:
    device = HostDevice()
    return Gemms(FakeCublasLt(device), device)


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(DTYPES[dtype])


def laid_out(x, transposed):
    """The same matrix, as the transpose of a row-major array where asked for."""
    return np.ascontiguousarray(x.T).T if transposed else np.ascontiguousarray(x)


def near(result, reference, out):
    """Within the table of tolerances for products in float32 or float64, and half a unit in the last place of `out`."""
    if out in ("float32", "float64"):
        close(result, reference, out, "product")
    else:
        eps = float(ml_dtypes.finfo(DTYPES[out]).eps)
        np.testing.assert_allclose(result.astype(np.float64), reference, rtol=0.51 * eps, atol=1e-5)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("transposes", list(itertools.product([False, True], repeat=2)), ids=["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize(("dtype", "out"), TYPES)
def test_products_are_those_of_float64(gemms, dtype, out, transposes, accumulate):
    for m, k, n in SHAPES:
        scale = k**-0.25
        a = laid_out(normal((m, k), dtype) * DTYPES[dtype](scale), transposes[0])
        b = laid_out(normal((k, n), dtype, 1) * DTYPES[dtype](scale), transposes[1])
        c = normal((m, n), out, 2)
        want = a.astype(float) @ b.astype(float) + (c.astype(float) if accumulate else 0.0)
        gemms.matmul(a, b, c, accumulate)
        near(c, want, out)


def test_a_second_product_of_the_same_kind_is_one_call_and_makes_nothing(gemms):
    a, b, c = normal((8, 4), "float32"), normal((4, 6), "float32"), np.empty((8, 6), np.float32)
    gemms.matmul(a, b, c)
    handles, products = dict(gemms.library.live), gemms.library.products
    with gemms.library.device.capture():
        gemms.matmul(a, b, c)
    assert gemms.library.live == handles
    assert gemms.library.products == products + 1


@pytest.mark.parametrize("rows", [slice(0, 5), slice(1, 6), slice(3, 4)])
def test_some_rows_and_some_columns_of_larger_arrays(gemms, rows):
    a, b, c = normal((9, 12), "float32"), normal((20, 8), "float32", 1), np.zeros((9, 8), np.float32)
    gemms.matmul(a[rows, 1:6], b[2:12:1][:5], c[rows])
    close(c[rows], a[rows, 1:6].astype(float) @ b[2:7].astype(float), "float32", "product")
    assert not c[6:].any()


def test_arrays_with_gaps_between_elements_and_other_types_are_refused(gemms):
    a, c = normal((4, 4), "float32"), np.empty((4, 4), np.float32)
    for first, second, out in (
        (a[:, ::2], a[:2], c), (a, a[::-1], c), (a, a, c.T), (a.astype(int), a.astype(int), c), (a, a.astype("f8"), c),
        (a, a, np.empty((4, 4), np.float64)), (np.broadcast_to(a[:1], (4, 4)), a, c),
    ):  # fmt: skip
        with pytest.raises(Unsuited):
            gemms.matmul(first, second, out)


def test_tf32_rounds_its_inputs_to_ten_bits(gemms):
    a, b = normal((32, 32), "float32") / 4, normal((32, 32), "float32", 1) / 4
    exact, coarse = np.empty((32, 32), np.float32), np.empty((32, 32), np.float32)
    gemms.matmul(a, b, exact)
    gemms.matmul(a, b, coarse, tf32=True)
    error = np.abs(coarse - exact).max()
    # Two factors, each with a relative error of at most 2^-11, in 32 terms.
    bound = (np.abs(a) @ np.abs(b)).max() * 2.0**-10
    assert 1e-6 < error < bound


# Epilogues

SMALL = ("float32", "float16", "bfloat16")


def forward_arrays(dtype, shape=(12, 8, 24)):
    rows, inputs, width = shape
    x, w = normal((rows, inputs), dtype) / DTYPES[dtype](2), normal((inputs, width), dtype, 1) / DTYPES[dtype](2)
    b = normal((width,), dtype, 2)
    z = x.astype(float) @ w.astype(float)
    return x, w, b, z, np.empty((rows, width), DTYPES[dtype])


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("dtype", SMALL)
def test_forward_epilogues(gemms, dtype, biased):
    x, w, b, z, y = forward_arrays(dtype)
    z = z + b.astype(float) if biased else z
    bias = {"vector": b} if biased else {}
    extra = Epilogue.BIAS if biased else Epilogue(0)
    if biased:
        assert gemms.fused(x, w, y, Epilogue.BIAS, None, **bias)
        near(y, z, dtype)
    assert gemms.fused(x, w, y, Epilogue.RELU | extra, None, **bias)
    near(y, np.maximum(z, 0.0), dtype)
    mask = np.full((12, 16), 255, np.uint8)
    assert gemms.fused(x, w, y, Epilogue.RELU_AUX | extra, None, aux=mask, aux_leading=128, **bias)
    near(y, np.maximum(z, 0.0), dtype)
    bits = np.unpackbits(mask, axis=1, bitorder="little")[:, :24]
    np.testing.assert_array_equal(bits, y > 0)
    gelu = ACTIVATIONS["gelu_tanh"].value(z)
    assert gemms.fused(x, w, y, Epilogue.GELU | extra, None, **bias)
    near(y, gelu, dtype)
    kept = np.empty_like(y)
    assert gemms.fused(x, w, y, Epilogue.GELU_AUX | extra, None, aux=kept, aux_leading=24, **bias)
    near(y, gelu, dtype)
    near(kept, z, dtype)


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu_tanh"])
@pytest.mark.parametrize("dtype", SMALL)
def test_backward_epilogues(gemms, dtype, activation, summed):
    x, w, b, _, y = forward_arrays(dtype)
    if activation == "relu":
        aux, leading, forward, back = np.empty((12, 16), np.uint8), 128, Epilogue.RELU_AUX_BIAS, Epilogue.DRELU
    else:
        aux, leading, forward, back = np.empty_like(y), 24, Epilogue.GELU_AUX_BIAS, Epilogue.DGELU
    assert gemms.fused(x, w, y, forward, None, vector=b, aux=aux, aux_leading=leading)
    dy, above = normal((12, 10), dtype, 3), normal((24, 10), dtype, 4)
    out, gradient = np.empty_like(y), np.full(24, np.nan, DTYPES[dtype])
    side = {"vector": gradient} if summed else {}
    epilogue = Epilogue(back | 16) if summed else back
    assert gemms.fused(dy, above.T, out, epilogue, None, aux=aux, aux_leading=leading, **side)
    kept = y if activation == "relu" else aux
    want = (dy.astype(float) @ above.astype(float).T) * ACTIVATIONS[activation].slope(kept.astype(float))
    near(out, want, dtype)
    if summed:
        eps = float(ml_dtypes.finfo(DTYPES[dtype]).eps)
        np.testing.assert_allclose(gradient.astype(float), out.astype(float).sum(0), rtol=eps, atol=12 * eps)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(("dtype", "out"), [pair for pair in TYPES if pair[0] != "float64"])
def test_weight_and_bias_gradient_in_one_product(gemms, dtype, out, accumulate):
    x, dz = normal((40, 6), dtype) / DTYPES[dtype](4), normal((40, 10), dtype, 1) / DTYPES[dtype](4)
    dw, db = normal((6, 10), out, 2), np.full(10, np.nan, DTYPES[out])
    want = x.astype(float).T @ dz.astype(float) + (dw.astype(float) if accumulate else 0.0)
    assert gemms.fused(x.T, dz, dw, Epilogue.BGRADA, None, vector=db, accumulate=accumulate)
    near(dw, want, out)
    near(db, dz.astype(float).sum(0), out)


def test_the_row_bias_of_bgradb_sums_the_other_operand(gemms):
    a, b = normal((6, 9), "float32") / 3, normal((9, 4), "float32", 1) / 3
    out, sums = np.empty((6, 4), np.float32), np.empty(6, np.float32)
    assert gemms.fused(a, b, out, Epilogue.BGRADB, None, vector=sums)
    close(out, a.astype(float) @ b.astype(float), "float32", "product")
    close(sums, a.astype(float).sum(1), "float32", "product")


def test_float64_has_no_epilogue(gemms):
    x, w, b = normal((4, 4), "float64"), normal((4, 4), "float64"), normal((4,), "float64")
    assert not gemms.fused(x, w, np.empty((4, 4)), Epilogue.BIAS, None, vector=b)


def test_a_bias_at_an_odd_address_or_of_another_type_is_left_to_a_kernel(gemms):
    x, w, y = normal((4, 4), "float32"), normal((4, 4), "float32"), np.empty((4, 4), np.float32)
    odd = np.zeros(9, np.float32)[1:5] if np.zeros(9, np.float32).ctypes.data % 16 == 0 else np.zeros(9, np.float32)[:4]
    assert not gemms.fused(x, w, y, Epilogue.BIAS, None, vector=odd)
    assert not gemms.fused(x, w, y, Epilogue.BIAS, None, vector=np.zeros(4, np.float16))
