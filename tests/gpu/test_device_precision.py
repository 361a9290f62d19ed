"""Arrays of 16 bits, the precisions of a step and states in bfloat16 on a real device, beside the numpy backend."""

from __future__ import annotations

import kernel_cases as cases
import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.conformance.tolerances import tolerance
from fusedstep.backends.contract import Random
from fusedstep.kernels.formula import REGISTRY
from fusedstep.kernels.formulas.updates import RULES, update_formula

pytestmark = pytest.mark.gpu

NARROW = ("bfloat16", "float16")


@pytest.fixture(scope="module")
def cuda():
    return fs.backend("cuda")


@pytest.mark.parametrize("width", [1003, 1004])
@pytest.mark.parametrize("dtype", NARROW)
def test_rounding_is_that_of_numpy(cuda, dtype, width):
    values = np.random.default_rng(0).integers(0, 2**32, (50, width), np.uint32).view(np.float32)
    out = cuda.empty(values.shape, dtype)
    cuda.map(REGISTRY["as_stored"], out, cuda.asarray(values))
    got = cuda.to_numpy(out)
    with np.errstate(over="ignore", invalid="ignore"):
        want = values.astype(got.dtype)
    known = ~np.isnan(values)
    np.testing.assert_array_equal(np.isnan(got.astype(np.float32)), ~known)
    np.testing.assert_array_equal(got.view(np.uint16)[known], want.view(np.uint16)[known])


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize(("height", "width"), [(3, 3), (33, 10), (7, 1000), (5, 3000)])
def test_rows(cuda, height, width, dtype):
    cases.run_narrow_rows(cuda, height, width, dtype)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("flags", [(False, False), (True, False), (False, True)])
def test_products_accumulate_in_float32(cuda, dtype, flags):
    generator = np.random.default_rng(1)
    a, b = (generator.normal(size=s).astype(np.dtype(dtype)) for s in ((96, 512), (512, 64)))
    want = a.astype(np.float64) @ b.astype(np.float64)
    given = [cuda.asarray(np.ascontiguousarray(m.T) if f else m) for m, f in zip((a, b), flags, strict=True)]
    wide, narrow = cuda.zeros((96, 64)), cuda.zeros((96, 64), dtype)
    cuda.matmul(*given, wide, *flags)
    cuda.matmul(*given, narrow, *flags)
    np.testing.assert_allclose(cuda.to_numpy(wide), want, rtol=1e-5, atol=1e-4)
    unit = {"bfloat16": 2.0**-8, "float16": 2.0**-11}[dtype]
    np.testing.assert_allclose(cuda.to_numpy(narrow).astype(np.float64), want, rtol=unit, atol=1e-4)


def trained(backend, precision, steps=20, state_dtype=None):
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((256, 20)), generator.integers(0, 5, 256)
    model = fs.Sequential(
        fs.Linear(20, 64), fs.LayerNorm(64), fs.GELU(), fs.Dropout(0.2),
        fs.Residual(fs.Linear(64, 64), fs.Tanh()), fs.Maxout(64, 32), fs.Linear(32, 5),
    )  # fmt: skip
    optimizer = fs.AdamW(1e-2, epsilon=1e-5, clip_norm=1.0, state_dtype=state_dtype)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(0.1), optimizer, seed=7, backend=backend, precision=precision)
    losses = [float(step(x, y)) for _ in range(steps)]
    assert losses[-1] < losses[0]
    return np.array(losses), step


@pytest.mark.parametrize("precision", NARROW)
def test_steps_beside_numpy(cuda, precision):
    """A few: single roundings that went the other way grow from step to step, to twice the tolerance and more after ten."""
    losses, _ = trained(cuda, precision, steps=5)
    reference, _ = trained("numpy", precision, steps=5)
    assert tolerance(precision, "loss").allows(losses, reference).all()


@pytest.mark.parametrize("precision", ["float32", *NARROW])
def test_f5_pieces_and_the_loss_scale_take_the_bias_gradient_from_the_loss(cuda, precision, monkeypatch):
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((1000, 20)), generator.integers(0, 500, 1000)
    summed, rows = [], type(cuda).rows
    monkeypatch.setattr(cuda, "fuses", False)

    def summing(self, operation, *arguments):
        if operation == "column_sum":
            summed.append(arguments[0].shape[1])
        return rows(self, operation, *arguments)

    monkeypatch.setattr(type(cuda), "rows", summing)
    model = fs.Sequential(fs.Linear(20, 64), fs.Tanh(), fs.Linear(64, 500))
    options = {"precision": precision, "micro_batch": 300}
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=7, backend="cuda", **options)
    derivative = cuda.to_numpy(model.predict_proba(x)) - np.eye(500)[y]
    scale = step.loss_scale
    step(x, y)
    assert summed == [64] * 4
    start, stop = next(place for p, place in step.ranges.items() if p.shape == (500,))
    got = cuda.to_numpy(step.gradient)[start:stop] / scale
    allowed = {"float32": 1e-6, "bfloat16": 2.0**-8, "float16": 2.0**-11}[precision]
    np.testing.assert_allclose(got, derivative.mean(axis=0), atol=allowed)


def test_tf32_stores_float32_and_stays_near_it(cuda):
    losses, step = trained(cuda, "tf32")
    reference, _ = trained(cuda, "float32")
    assert str(step.gradient.dtype) == "float32"
    np.testing.assert_allclose(losses, reference, rtol=5e-3)


@pytest.mark.parametrize("precision", ["tf32", *NARROW])
def test_cupy_says_which_backend_has_what_it_lacks(precision):
    model = fs.mlp([4, 3])
    with pytest.raises(fs.DtypeError, match='write backend="cuda"'):
        fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="cupy", precision=precision)


def test_float16_overflow_asks_the_device_nothing_and_recovers(cuda):
    _, step = trained(cuda, "float16", steps=2)
    before = cuda.to_numpy(step.model.arena.values)
    step.state.loss_scale.numbers = (2.0**24, 3.0)
    generator = np.random.default_rng(3)
    x, y = 100.0 * generator.standard_normal((256, 20)), generator.integers(0, 5, 256)
    loss = step(x, y)
    np.testing.assert_array_equal(cuda.to_numpy(step.model.arena.values), before)
    assert np.isfinite(float(loss))
    assert step.state.loss_scale.numbers == (2.0**23, 0.0)


@pytest.mark.parametrize("size", [70_100, 70_101])
def test_states_of_16_bits_are_rounded_as_on_numpy(cuda, size):
    formula = update_formula(RULES["adam_outside"])
    arrays, scalars = cases.update_arguments(formula, size, 1, "float32")
    results = []
    for backend in (cuda, fs.backend("numpy")):
        names = zip(formula.parameters, arrays, strict=False)
        given = [backend.asarray(a.copy(), "bfloat16" if n in ("m", "v") else None) for n, a in names]
        source = Random(cases.state(backend), 3)
        backend.update(formula, given, backend.asarray(scalars), backend.segments([(0, size, 0)]), source)
        results.append([backend.to_numpy(a) for a in given])
    for got, want in zip(*results, strict=True):
        if got.dtype == np.float32:
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        else:
            assert np.mean(got != want) < 0.02
            assert tolerance("bfloat16", "elementwise").allows(got, want).all()


def test_training_with_states_in_bfloat16(cuda):
    losses, _ = trained(cuda, "bfloat16", state_dtype="bfloat16")
    reference, _ = trained(cuda, "bfloat16")
    assert abs(losses[-1] - reference[-1]) < 0.1 * (reference[0] - reference[-1])


def test_a_model_trained_in_16_bits_predicts_on_numpy(cuda, tmp_path):
    _, step = trained(cuda, "bfloat16")
    x = np.random.default_rng(5).standard_normal((40, 20))
    fs.save(step.model, tmp_path / "model.safetensors")
    there = cuda.to_numpy(step.model.predict_proba(x))
    np.testing.assert_allclose(fs.load(tmp_path / "model.safetensors", backend="numpy").predict_proba(x), there, atol=1e-5)
