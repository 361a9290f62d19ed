"""Steps in 16 bits: as good as float32 on real data, master weights in float32, a loss scale that skips and recovers."""

from __future__ import annotations

import copy
import pickle
from functools import cache

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.cupy.backend import CupyBackend
from fusedstep.backends.numpy.backend import NumpyBackend
from fusedstep.framework.engine.precision import FIRST_SCALE, precision_of
from fusedstep.kernels.formula import REGISTRY

pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")

NARROW = ("bfloat16", "float16")


def digits():
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn: pip install scikit-learn")
    bunch = datasets.load_digits()
    return (bunch.data / 16.0).astype(np.float32), bunch.target


def clusters(rows=6000, inputs=40, classes=12, seed=5):
    """Classes that overlap and that no linear model tells apart: each is four Gaussian clusters in random places."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(0.0, 1.0, (classes, 4, inputs))
    labels = generator.integers(0, classes, rows)
    x = centres[labels, generator.integers(0, 4, rows)] + generator.normal(0.0, 1.35, (rows, inputs))
    return x.astype(np.float32), labels


@cache
def accuracy_on_digits(precision):
    return accuracy(precision, digits(), 1300, (64, 64, 10), 12, 64)


def accuracy(precision, data, split, widths, epochs, batch, seed=0):
    x, y = data
    step = fs.TrainStep(
        fs.mlp(widths, dropout=0.1), fs.SoftmaxCrossEntropy(), fs.AdamW(2e-3), seed=seed, backend="numpy", precision=precision
    )
    fs.Trainer(step).fit(x[:split], y[:split], epochs=epochs, batch_size=batch)
    return float((np.asarray(step.model.predict(x[split:])) == y[split:]).mean())


def standard_error(a, b, rows):
    """Of the difference of two shares of so many rows."""
    return float(np.sqrt((a * (1 - a) + b * (1 - b)) / rows))


@pytest.mark.parametrize("precision", NARROW)
def test_f5_digits_are_learned_as_well_as_in_float32(precision):
    wide, narrow = accuracy_on_digits("float32"), accuracy_on_digits(precision)
    assert wide > 0.9
    assert abs(narrow - wide) <= standard_error(wide, narrow, len(digits()[1]) - 1300)


@pytest.mark.exhaustive
@pytest.mark.parametrize("precision", NARROW)
def test_f5_a_larger_task_is_learned_as_well_as_in_float32(precision):
    task = (clusters(), 4000, (40, 192, 192, 12), 6, 128)
    wide, narrow = accuracy("float32", *task), accuracy(precision, *task)
    assert 0.6 < wide < 0.99
    assert abs(narrow - wide) <= standard_error(wide, narrow, 2000)


def small(precision, backend="numpy", optimizer=None, **options):
    model = fs.Sequential(
        fs.Linear(6, 16), fs.LayerNorm(16), fs.GELU(), fs.Dropout(0.2), fs.Residual(fs.Linear(16, 16), fs.Tanh()),
        fs.PReLU(16), fs.Maxout(16, 8), fs.Linear(8, 3),
    )  # fmt: skip
    return fs.TrainStep(
        model, fs.SoftmaxCrossEntropy(0.1), optimizer or fs.Adam(3e-3), seed=4, backend=backend, precision=precision, **options
    )


@pytest.fixture
def batch():
    generator = np.random.default_rng(9)
    return generator.normal(size=(24, 6)).astype(np.float32), generator.integers(0, 3, 24)


@pytest.mark.parametrize("precision", NARROW)
def test_the_gradient_is_that_of_float32_within_the_rounding_of_the_type(precision, batch):
    unit = {"bfloat16": 2.0**-8, "float16": 2.0**-11}[precision]
    reference, step = small("float32"), small(precision)
    wanted, got = float(reference(*batch)), float(step(*batch))
    assert abs(got - wanted) <= 4 * unit * wanted
    exact, found = reference.gradient, step.gradient / (FIRST_SCALE if precision == "float16" else 1.0)
    assert found.dtype == np.float32
    # Each of the 8 layers rounds its output and its gradient once.
    assert np.linalg.norm(found - exact) <= 8 * unit * np.linalg.norm(exact)
    assert np.linalg.norm(found - exact) > 0.0


class CallByCall(NumpyBackend):
    """A subclass, whose steps are not recorded."""


@pytest.mark.parametrize("micro_batch", [None, 7])
@pytest.mark.parametrize("precision", NARROW)
def test_a_recorded_step_has_the_gradient_of_one_that_is_not(precision, micro_batch, batch):
    recorded, plain = (small(precision, backend=b, micro_batch=micro_batch) for b in ("numpy", CallByCall()))
    assert float(recorded(*batch)) == float(plain(*batch))
    np.testing.assert_array_equal(recorded.gradient, plain.gradient)
    bare = np.asarray(recorded.gradient).astype(recorded.weights.dtype).astype(np.float32)
    start, stop = next(place for p, place in recorded.ranges.items() if p.name == "weight")
    assert np.mean(bare[start:stop] != recorded.gradient[start:stop]) > 0.9, "weight gradients stay in float32"


@pytest.mark.parametrize("precision", NARROW)
@pytest.mark.parametrize("optimizer", [fs.LAMB(1e-2), fs.Nesterov(0.05, form="look_ahead"), fs.SGD(0.1)], ids=repr)
def test_parameters_stay_in_float32_and_move_by_less_than_a_16_bit_step(precision, optimizer, batch):
    step = small(precision, optimizer=optimizer)
    step.lr = 1e-5
    weights = step.model.parameters()["0.Linear.weight"]
    before = np.array(weights)
    for _ in range(3):
        step(*batch)
    moved = np.array(weights)
    assert moved.dtype == np.float32
    rounded = [a.astype(step.weights.dtype) for a in (moved, before)]
    assert np.mean(moved != before) > 0.5
    assert np.mean(rounded[0] != rounded[1]) < 0.1


def test_parameters_that_are_set_from_outside_count_at_once(batch):
    step = small("bfloat16")
    step(*batch)
    other = small("bfloat16")
    other.model.load_parameters({n: np.array(v) for n, v in step.model.parameters().items()})
    assert step.evaluate(*batch) == other.evaluate(*batch)


def test_targets_of_numbers_stay_in_float32():
    x = np.linspace(-1.0, 1.0, 64, dtype=np.float32).reshape(-1, 1)
    y = 1.0 + 2.0**-12 * x
    model = fs.Sequential(fs.Linear(1, 1, bias_init=1.0, weight_init=0.0))
    step = fs.TrainStep(model, fs.MSE(), fs.SGD(0.1), backend="numpy", precision="bfloat16")
    _, targets = step.prepare(x, y)
    assert targets.dtype == np.float32
    assert float(step(x, y)) == pytest.approx(float(np.mean((y - 1.0) ** 2)), rel=1e-5)
    assert "r2" in step.evaluate(x, y)


@pytest.mark.parametrize("optimizer", [fs.Adam(3e-3), fs.Nesterov(0.05, form="look_ahead"), fs.LAMB(1e-2)], ids=repr)
def test_overflow_skips_the_step_and_halves_the_scale(batch, optimizer):
    step = small("float16", optimizer=optimizer)
    step.state.loss_scale.numbers = (2.0**24, 5.0)
    before = np.array(step.model.arena.values)
    x, y = batch
    loss = step(100.0 * x, y)
    assert np.isfinite(float(loss))
    assert not np.isfinite(step.gradient).all()
    np.testing.assert_array_equal(step.model.arena.values, before)
    assert all(not np.any(s) for s in step.state.states.values())
    assert step.state.loss_scale.numbers == (2.0**23, 0.0)
    for _ in range(20):
        step(x, y)
    assert step.loss_scale < 2.0**23
    assert not np.array_equal(step.model.arena.values, before)


def test_an_overflow_that_no_scale_mends_is_an_error():
    step = fs.TrainStep(fs.mlp([2, 1]), fs.MSE("sum"), fs.SGD(1e-9), backend="numpy", precision="float16")
    x, y = np.ones((3, 2), np.float32), np.full((3, 1), 1e5, np.float32)
    before = np.array(step.model.arena.values)
    for number in range(1, 17):
        assert np.isfinite(float(step(x, y)))
        assert step.loss_scale == FIRST_SCALE * 0.5**number
    with pytest.raises(fs.NonFiniteLossError, match=r"gradient with NaN or infinity in step 17.*step 16 are kept"):
        step(x, y)
    np.testing.assert_array_equal(step.model.arena.values, before)
    assert step.steps == 16


@pytest.mark.parametrize(
    ("squares", "scale", "good", "wanted"),
    [
        (4.0, 1024.0, 0.0, (4.0 / 2**20, 2.0**-10, 0.0, 1024.0, 1.0)),
        (4.0, 1024.0, 1999.0, (4.0 / 2**20, 2.0**-10, 0.0, 2048.0, 0.0)),
        (4.0, 2.0**24, 1999.0, (4.0 / 2**48, 2.0**-24, 0.0, 2.0**24, 0.0)),
        (np.inf, 1024.0, 7.0, (np.inf, 2.0**-10, 0.0, 512.0, 0.0)),
        (np.nan, 1.0, 7.0, (np.nan, 1.0, np.nan, 1.0, 0.0)),
        (np.inf, 1.0, 7.0, (np.inf, 1.0, np.inf, 1.0, 0.0)),
    ],
)
def test_the_loss_scale_follows_its_rule(squares, scale, good, wanted):
    formula = REGISTRY["adapt_loss_scale"]
    for name in ("numpy", "numba"):
        backend = fs.backend(name)
        given = [backend.asarray([v], "float32") for v in (squares, scale, good)]
        outputs = (*(backend.zeros((1,)) for _ in range(3)), given[1], given[2])
        with backend.quiet():
            backend.map(formula, outputs, *given, 2000.0)
        np.testing.assert_array_equal([float(o[0]) for o in outputs], wanted)


def test_the_gradient_of_float16_is_clipped_without_its_scale(batch):
    steps = [small(p, optimizer=fs.SGD(1.0, clip_norm=0.01)) for p in ("float32", "float16")]
    moves = []
    for step in steps:
        before = np.array(step.model.arena.values)
        step(*batch)
        moves.append(np.linalg.norm(step.model.arena.values - before))
    assert moves[0] == pytest.approx(0.01, rel=1e-4)
    assert moves[1] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("precision", NARROW)
def test_a_copy_goes_on_as_the_original(precision, batch):
    step = small(precision)
    for _ in range(3):
        step(*batch)
    if precision == "float16":
        step.state.loss_scale.numbers = (512.0, 17.0)
    for other in (pickle.loads(pickle.dumps(step)), copy.deepcopy(step)):
        assert other.precision == step.precision
        assert other.loss_scale == step.loss_scale
        twin = copy.deepcopy(step)
        assert float(twin(*batch)) == float(other(*batch))
        np.testing.assert_array_equal(twin.model.arena.values, other.model.arena.values)


@pytest.mark.parametrize("precision", NARROW)
def test_a_model_trained_so_loads_and_predicts_in_float32(precision, batch, tmp_path):
    step = small(precision)
    for _ in range(3):
        step(*batch)
    fs.save(step.model, tmp_path / "model.safetensors")
    for name in ("numpy", "numba"):
        model = fs.load(tmp_path / "model.safetensors", backend=name)
        assert model.dtype == "float32"
        np.testing.assert_array_equal(model.arena.values, step.model.arena.values)
        np.testing.assert_array_equal(model.predict(batch[0]), step.model.predict(batch[0]))


def test_precisions_that_a_backend_lacks_are_refused_with_those_that_have_them():
    for precision, has in (("bfloat16", "numpy and cuda"), ("float16", "numpy and cuda"), ("tf32", "cuda")):
        with pytest.raises(fs.DtypeError, match=rf"float32, float64\); got '{precision}', which {has} can do"):
            small(precision, backend="numba")
    with pytest.raises(fs.DtypeError, match="tf32"):
        small("tf32")
    for precision in ("bfloat16", "float16", "tf32"):  # the class alone, which needs no device
        with pytest.raises(fs.DtypeError, match=f"'cupy'.*got '{precision}', which cuda.* can do; write backend=\"cuda\", or"):
            precision_of(precision, CupyBackend)
    with pytest.raises(fs.DtypeError, match="out of float32, float64, tf32, bfloat16, float16; got 'half'"):
        small("half")


def test_inputs_that_float16_cannot_hold(batch):
    x, y = batch
    x = x.copy()
    x[3, 2] = 7e4
    with pytest.raises(fs.NonFiniteDataError, match="float16 can hold"):
        small("float16").prepare(x, y)
    small("bfloat16").prepare(x, y)


def test_without_ml_dtypes_bfloat16_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(fs.MissingDependency, match='pip install "ml_dtypes>='):
        small("bfloat16")
    small("float16")


def test_memory_and_profile_count_16_bits(batch):
    wide, narrow = small("float32"), small("bfloat16")
    assert narrow.memory(4096).buffers < 0.6 * wide.memory(4096).buffers
    assert any(p.operation == "as_stored" for p in narrow.profile(*batch, repeats=2))
