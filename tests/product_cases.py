"""Cases of planned products that a fake on the host and a real device are both put through, against float64.

Arrays are made by `place` (NumPy -> array of the device) and read by `host` (the other way).
"""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

from fusedstep.backends.conformance import close
from fusedstep.backends.cuda.cublaslt import Epilogue
from fusedstep.kernels.formulas.activations import ACTIVATIONS

DTYPES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
TYPES = [("float32", "float32"), ("float64", "float64")] + [
    (small, out) for small in ("float16", "bfloat16") for out in (small, "float32")
]
SMALL = ("float32", "float16", "bfloat16")
SHAPES = ((1, 1, 1), (3, 5, 2), (65, 33, 130), (1, 7, 5), (6, 7, 1), (16, 16, 16))


class Unsupported(Exception):
    """The library has no such epilogue."""


class Cases:
    """The cases on one device.

    Args: gemms – its plans; place, host – see the module.
    """

    def __init__(self, gemms, place, host):
        self.gemms = gemms
        self.place = place
        self.host = host

    def fused(self, a, b, out, epilogue, **more):
        if not self.gemms.fused(a, b, out, epilogue, None, **more):
            raise Unsupported(f"{epilogue.name} of {a.dtype} into {out.dtype}")

    def empty(self, shape, dtype):
        """Filled with what no result is."""
        return self.place(np.full(shape, np.nan if dtype != "uint8" else 255).astype(DTYPES.get(dtype, np.uint8)))

    def laid_out(self, x, transposed):
        """The same matrix, as the transpose of a row-major array where asked for."""
        return self.place(np.ascontiguousarray(x.T)).T if transposed else self.place(np.ascontiguousarray(x))

    def near(self, result, reference, out):
        """Within the tolerances of products for float32 and float64, else within half a unit in the last place of `out`."""
        result = self.host(result)
        if out in ("float32", "float64"):
            close(result, reference, out, "product")
        else:
            eps = float(ml_dtypes.finfo(DTYPES[out]).eps)
            np.testing.assert_allclose(result.astype(np.float64), reference, rtol=0.51 * eps, atol=1e-5)

    def products(self, dtype, out, transposes, accumulate):
        for m, k, n in SHAPES:
            scale = DTYPES[dtype](k**-0.25)
            a, b, c = normal((m, k), dtype) * scale, normal((k, n), dtype, 1) * scale, normal((m, n), out, 2)
            want = a.astype(float) @ b.astype(float) + (c.astype(float) if accumulate else 0.0)
            target = self.place(c)
            self.gemms.matmul(self.laid_out(a, transposes[0]), self.laid_out(b, transposes[1]), target, accumulate)
            self.near(target, want, out)

    def tf32(self):
        a, b = normal((32, 32), "float32") / 4, normal((32, 32), "float32", 1) / 4
        exact, coarse = self.empty((32, 32), "float32"), self.empty((32, 32), "float32")
        self.gemms.matmul(self.place(a), self.place(b), exact)
        self.gemms.matmul(self.place(a), self.place(b), coarse, tf32=True)
        error = np.abs(self.host(coarse) - self.host(exact)).max()
        # Two factors, each with a relative error of at most 2^-10 (truncated, at worst), in 32 terms.
        bound = (np.abs(a) @ np.abs(b)).max() * 2.0**-9
        assert 1e-6 < error < bound

    def forward(self, dtype, biased, epilogue, shape=(12, 8, 24)):
        rows, inputs, width = shape
        half = DTYPES[dtype](0.5)
        x, w, b = normal((rows, inputs), dtype) * half, normal((inputs, width), dtype, 1) * half, normal((width,), dtype, 2)
        z = x.astype(float) @ w.astype(float) + (b.astype(float) if biased else 0.0)
        y = self.empty((rows, width), dtype)
        given = {"vector": self.place(b)} if biased else {}
        if epilogue.takes_mask:
            given |= {"aux": self.empty((rows, -(-width // 128) * 16), "uint8"), "aux_leading": -(-width // 128) * 128}
        elif epilogue.takes_input:
            given |= {"aux": self.empty((rows, width), dtype), "aux_leading": width}
        self.fused(self.place(x), self.place(w), y, Epilogue(epilogue | Epilogue.BIAS) if biased else epilogue, **given)
        name = "relu" if epilogue & Epilogue.RELU else "gelu_tanh" if epilogue & Epilogue.GELU else "identity"
        self.near(y, ACTIVATIONS[name].value(z), dtype)
        if epilogue.takes_mask:
            bits = np.unpackbits(self.host(given["aux"]), axis=1, bitorder="little")[:, :width]
            np.testing.assert_array_equal(bits, self.host(y) > 0)
        elif epilogue.takes_input:
            self.near(given["aux"], z, dtype)
        return y, given.get("aux"), given.get("aux_leading", 0)

    def backward(self, dtype, activation, summed):
        forward, back = {
            "relu": (Epilogue.RELU_AUX, Epilogue.DRELU), "gelu_tanh": (Epilogue.GELU_AUX, Epilogue.DGELU),
        }[activation]  # fmt: skip
        y, aux, leading = self.forward(dtype, True, forward)
        dy, above = normal((12, 10), dtype, 3), normal((24, 10), dtype, 4)
        out, gradient = self.empty((12, 24), dtype), self.empty((24,), dtype)
        side = {"vector": gradient} if summed else {}
        epilogue = Epilogue(back | 16) if summed else back
        self.fused(self.place(dy), self.place(above).T, out, epilogue, aux=aux, aux_leading=leading, **side)
        saved = self.host(y if activation == "relu" else aux).astype(float)
        want = (dy.astype(float) @ above.astype(float).T) * ACTIVATIONS[activation].derivative(saved)
        self.near(out, want, dtype)
        if summed:
            eps = float(ml_dtypes.finfo(DTYPES[dtype]).eps)
            np.testing.assert_allclose(self.host(gradient).astype(float), want.sum(0), rtol=eps, atol=60 * eps)

    def weight_gradient(self, dtype, out, accumulate):
        quarter = DTYPES[dtype](0.25)
        x, dz = normal((40, 6), dtype) * quarter, normal((40, 10), dtype, 1) * quarter
        dw = normal((6, 10), out, 2)
        target, db = self.place(dw), self.empty((10,), out)
        want = x.astype(float).T @ dz.astype(float) + (dw.astype(float) if accumulate else 0.0)
        self.fused(self.place(x).T, self.place(dz), target, Epilogue.BGRADA, vector=db, accumulate=accumulate)
        self.near(target, want, out)
        self.near(db, dz.astype(float).sum(0), out)


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(DTYPES[dtype])


class ProductTests:
    """The cases as tests, for a module that has the fixture `cases`."""

    @pytest.mark.parametrize("accumulate", [False, True])
    @pytest.mark.parametrize("transposes", list(itertools.product([False, True], repeat=2)), ids=["nn", "nt", "tn", "tt"])
    @pytest.mark.parametrize(("dtype", "out"), TYPES)
    def test_products_are_those_of_float64(self, cases, dtype, out, transposes, accumulate):
        cases.products(dtype, out, transposes, accumulate)

    def test_tf32_rounds_its_inputs_to_ten_bits(self, cases):
        cases.tf32()

    @pytest.mark.parametrize("biased", [False, True])
    @pytest.mark.parametrize(
        "epilogue", [Epilogue.RELU, Epilogue.RELU_AUX, Epilogue.GELU, Epilogue.GELU_AUX], ids=lambda e: e.name
    )
    @pytest.mark.parametrize("dtype", SMALL)
    def test_forward_epilogues(self, cases, dtype, epilogue, biased):
        cases.forward(dtype, biased, epilogue)

    @pytest.mark.parametrize("summed", [False, True])
    @pytest.mark.parametrize("activation", ["relu", "gelu_tanh"])
    @pytest.mark.parametrize("dtype", SMALL)
    def test_backward_epilogues(self, cases, dtype, activation, summed):
        cases.backward(dtype, activation, summed)

    @pytest.mark.parametrize("accumulate", [False, True])
    @pytest.mark.parametrize(("dtype", "out"), [pair for pair in TYPES if pair[0] != "float64"])
    def test_weight_and_bias_gradient_in_one_product(self, cases, dtype, out, accumulate):
        cases.weight_gradient(dtype, out, accumulate)
