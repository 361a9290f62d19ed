"""Products through the real cuBLASLt: the cases of the fake, capture, allocation, and what its ReLU and GELU are."""

from __future__ import annotations

import numpy as np
import product_cases
import pytest
from product_cases import Cases, ProductTests

import fusedstep as fs
from fusedstep.backends.cuda.cublaslt import Epilogue, Gemms
from fusedstep.backends.cuda.cublaslt.checks import LibraryChecks
from fusedstep.kernels.targets import cache

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cuda():
    from fusedstep.backends import backend

    return backend("cuda")


@pytest.fixture(scope="module")
def cases(cuda) -> Cases:
    assert cuda.gemms is not None
    return Cases(cuda.gemms, cuda.xp.asarray, lambda x: x.get())


@pytest.fixture(autouse=True)
def skip_what_the_library_lacks(monkeypatch):
    """An epilogue that this version has not is a reason to skip its case; DenseProducts then takes another way."""

    def fused(self, a, b, out, epilogue, **more):
        if not self.gemms.fused(a, b, out, epilogue, None, **more):
            pytest.skip(f"cuBLASLt {self.gemms.library.version} has no {epilogue!r} of {a.dtype} into {out.dtype}")

    monkeypatch.setattr(product_cases.Cases, "fused", fused)


class TestProducts(ProductTests):
    """The cases of the fake, by the library."""


def asked(cuda, precision):
    """What the library's ReLU and GELU are, for the report; where they are not what they should be it warns of that."""
    checks = LibraryChecks(cuda, cuda.gemms)
    stored = "float32" if precision == "tf32" else precision
    return checks.relu(stored, precision == "tf32"), checks.gelu(stored, precision == "tf32")


@pytest.mark.filterwarnings("default:expected the .* of cuBLASLt:RuntimeWarning")
@pytest.mark.parametrize("precision", ["float32", "tf32", "float16", "bfloat16"])
def test_nan_passes_a_dense_relu_layer_whatever_the_relu_of_the_library_does(cuda, precision, record_property):
    relu, gelu = asked(cuda, precision)
    record_property("ReLU of cuBLASLt", str(relu))
    record_property("GELU of cuBLASLt is the form with tanh", str(gelu))
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((32, 64)).astype("f"), rng.integers(0, 10, 32)
    step = fs.TrainStep(network(), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=3, backend=cuda, precision=precision)
    assert np.isfinite(float(step(x, y)))
    x[5, 7] = np.nan
    logits = cuda.to_numpy(step.model(x))
    assert np.isnan(logits[5]).all()
    assert np.isfinite(np.delete(logits, 5, axis=0)).all()
    with pytest.raises(fs.NonFiniteLossError):
        float(step(x, y))


@pytest.mark.filterwarnings("default:expected the .* of cuBLASLt:RuntimeWarning")
def test_a_dense_gelu_layer_is_the_form_with_tanh_whatever_the_library_has(cuda):
    x = np.random.default_rng(2).standard_normal((32, 64)).astype("f")
    values = []
    for name in ("numpy", cuda):
        model = fs.Sequential(fs.Linear(64, 256), fs.GELU("tanh")).initialize(3, name)
        values.append(model.backend.to_numpy(model(x)))
    np.testing.assert_allclose(values[1], values[0], rtol=1e-5, atol=2e-5)


def test_the_bias_alone_is_fused_in_float32(cases):
    cases.forward("float32", True, Epilogue(0), (256, 512, 512))


def network():
    return fs.Sequential(fs.Linear(64, 256), fs.ReLU(), fs.Linear(256, 256), fs.ReLU(), fs.Linear(256, 10))


def test_after_warming_up_a_product_allocates_nothing_and_can_be_captured(cuda, allocations):
    cupy = cuda.xp
    rng = np.random.default_rng(0)
    a, b = (cuda.asarray(rng.normal(size=(256, 256)).astype("f")) for _ in range(2))
    out = cuda.empty((256, 256))
    stream = cupy.cuda.Stream(non_blocking=True)
    cuda.synchronize()
    with stream:
        cuda.matmul(a, b, out)
        stream.synchronize()
        want = out.get()
        out.fill(0.0)
        with allocations() as counter:
            stream.begin_capture()
            cuda.matmul(a, b, out)
            graph = stream.end_capture()
        assert counter.count == 0
        stream.synchronize()
        graph.launch(stream)
        stream.synchronize()
    np.testing.assert_array_equal(out.get(), want)


def test_a_new_product_while_capturing_is_refused(cuda):
    cupy = cuda.xp
    a, out = cuda.zeros((33, 77)), cuda.empty((33, 33))
    stream = cupy.cuda.Stream(non_blocking=True)
    cuda.synchronize()
    with stream:
        stream.begin_capture()
        try:
            with pytest.raises(fs.StateError, match="run the"):
                cuda.matmul(a, a, out, transpose_b=True)
        finally:
            stream.end_capture()


@pytest.mark.parametrize("fused", [True, False])
def test_training_is_that_of_numpy_fused_or_not(cuda, fused, monkeypatch):
    if not fused:
        monkeypatch.setattr(Gemms, "fused", lambda *_, **__: False)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((128, 64)).astype("f"), rng.integers(0, 10, 128)
    losses = []
    for name in ("numpy", cuda):
        step = fs.TrainStep(network(), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=3, backend=name)
        losses.append([float(step(x, y)) for _ in range(50)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_choices_are_remembered_beside_the_kernels(cuda, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    a, out = cuda.asarray(np.eye(64, dtype="f")), cuda.empty((64, 64))
    first = Gemms(cuda.gemms.library, cuda.gemms.device, 4)
    first.matmul(a, a, out)
    (file,) = tmp_path.glob("products_*.json")
    before = file.read_text()
    monkeypatch.setattr(type(cuda.gemms.device), "seconds", None)
    second = Gemms(cuda.gemms.library, cuda.gemms.device, 4)
    second.matmul(a, a, out)
    assert file.read_text() == before
    np.testing.assert_array_equal(out.get(), np.eye(64, dtype="f"))
