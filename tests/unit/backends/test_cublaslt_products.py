"""Plans against float64: every layout, type, accumulation and epilogue, through a fake cuBLASLt that checks its arguments."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2]))

from product_cases import SMALL, Cases, ProductTests, normal

from fusedstep.backends.conformance import close
from fusedstep.backends.cuda.cublaslt import Epilogue, Gemms, Unsuited
from fusedstep.tests.fakes.cublaslt import FakeCublasLt, HostDevice


@pytest.fixture
def gemms() -> Gemms:
    device = HostDevice()
    return Gemms(FakeCublasLt(device), device)


@pytest.fixture
def cases(gemms) -> Cases:
    return Cases(gemms, lambda x: x, lambda x: x)


class TestProducts(ProductTests):
    """The cases, by the fake."""


def test_a_second_product_of_the_same_kind_is_one_call_and_makes_nothing(gemms):
    a, b, c = normal((8, 4), "float32"), normal((4, 6), "float32"), np.empty((8, 6), np.float32)
    gemms.matmul(a, b, c)
    handles, products = dict(gemms.library.live), gemms.library.products
    with gemms.library.device.capture():
        gemms.matmul(a, b, c)
    assert gemms.library.live == handles
    assert gemms.library.products == products + 1


@pytest.mark.parametrize("rows", [slice(0, 5), slice(1, 6), slice(2, 4), slice(3, 4)])
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


# Epilogues


@pytest.mark.parametrize("dtype", SMALL)
def test_a_bias_alone(cases, dtype):
    cases.forward(dtype, True, Epilogue(0))


def test_masks_of_several_blocks_of_columns(cases):
    cases.forward("float32", True, Epilogue.RELU_AUX, (5, 8, 300))


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
    odd = np.zeros(9, np.float32)[1:5]  # NumPy's own arrays start at multiples of 16 bytes
    assert not gemms.fused(x, w, y, Epilogue.BIAS, None, vector=odd)
    assert not gemms.fused(x, w, y, Epilogue.BIAS, None, vector=np.zeros(4, np.float16))
