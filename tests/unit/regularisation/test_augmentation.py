"""Augmentation of minibatches: the same numbers on every backend, the right distributions, and mixed targets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta as beta_distribution
from scipy.stats import kstest
from sklearn.datasets import load_digits

import fusedstep as fs
from fusedstep.errors import HyperparameterError
from fusedstep.framework.tables.splits import split
from fusedstep.framework.training.augmentation import Augmentations, Draw

BACKENDS = ["numpy", "numba"]


def make_step(backend="numpy", loss=None, outputs=3, dtype="float64", seed=4):
    model = fs.Sequential(fs.Linear(7, 9), fs.Tanh(), fs.Linear(9, outputs)).initialize(0, backend, dtype)
    return fs.TrainStep(model, loss or fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=seed, backend=backend)


def batch(rows=50, backend="numpy"):
    rng = np.random.default_rng(2)
    return rng.normal(size=(rows, 7)), rng.integers(0, 3, rows).astype(np.int32)


def applied(item, step, number=1, x=None, y=None):
    """New arrays of what one augmentation makes of a minibatch."""
    if x is None:
        x, y = batch()
    before = x.copy(), y.copy()
    made = Augmentations([item], step).apply(x, y, number)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])
    return tuple(np.array(m) for m in made)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a6_gaussian_noise_acts_in_training_with_the_given_deviation_only(backend):
    """Mean and variance within five standard errors; new numbers in every step; nothing in evaluation."""
    sigma, shape = 0.7, (400, 250)
    model = fs.Sequential(fs.GaussianNoise(sigma), fs.Linear(250, 2)).initialize(0, backend)
    step = fs.TrainStep(model, fs.MSE(), fs.SGD(1e-3), seed=3, backend=backend)
    x = np.full(shape, 2.0, "f4")
    tape = step.new_tape(model.arena.new())
    noise = []
    for number in (1, 2):
        tape.begin(shape[0])
        tape.set_step(number)
        noise.append(np.array(model.layers[0].forward(x, tape), dtype="f8") - 2.0)
    for e in noise:
        assert abs(e.mean()) < 5 * sigma / np.sqrt(e.size)
        assert abs(e.var() - sigma**2) < 5 * sigma**2 * np.sqrt(2 / e.size)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 5 / np.sqrt(noise[0].size)
    plain = fs.Sequential(fs.Linear(250, 2)).initialize(1, backend)
    plain.load_parameters({"0.Linear.weight": model.parameters()["1.Linear.weight"],
                           "0.Linear.bias": model.parameters()["1.Linear.bias"]})  # fmt: skip
    np.testing.assert_array_equal(np.array(model(x)), np.array(plain(x)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a6_noise_on_the_inputs_of_a_linear_model_is_an_l2_penalty(backend):
    """Notes 002: E (y~ - y)^2 = (y^ - y)^2 + sigma^2 sum w^2; so weights end near those of ridge regression."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    y = x @ np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    sigma = 0.6
    ridge = np.linalg.solve(x.T @ x + len(x) * sigma**2 * np.eye(5), x.T @ y)
    least_squares = np.linalg.lstsq(x, y, rcond=None)[0]
    model = fs.Sequential(fs.GaussianNoise(sigma), fs.Linear(5, 1, bias=False)).initialize(0, backend, "float64")
    step = fs.TrainStep(model, fs.MSE(), fs.SGD(0.02), seed=1, backend=backend)
    mean = np.zeros(5)
    for t in range(1500):
        step(x, y)
        if t >= 300:
            mean += np.array(model.parameters()["1.Linear.weight"])[:, 0] / 1200
    assert np.abs(mean - ridge).max() < 0.05
    assert np.abs(least_squares - ridge).max() > 0.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "item", [fs.GaussianNoise(0.5), fs.FeatureMasking(0.3, -1.0), fs.Mixup(0.4)], ids=["noise", "masking", "mixup"]
)
def test_b10_backends_draw_the_same_numbers_and_other_seeds_steps_and_places_others(item, dtype):
    x, y = batch()
    x = x.astype(dtype)
    made = [applied(item, make_step(backend, dtype=dtype), 5, x, y) for backend in BACKENDS]
    for first, second in zip(*made, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-6 if dtype == "float32" else 1e-12, atol=1e-6)
    others = [applied(item, make_step(dtype=dtype), 6, x, y), applied(item, make_step(dtype=dtype, seed=5), 5, x, y)]
    for other in others:
        assert np.mean(other[0] != made[0][0]) > 0.1
    again = applied(item, make_step(dtype=dtype), 5, x, y)
    np.testing.assert_array_equal(again[0], made[0][0])
    step = make_step(dtype=dtype)
    both = Augmentations([fs.FeatureMasking(0.0), item], step).apply(x, y, 5)
    assert np.mean(np.array(both[0]) != made[0][0]) > 0.1


@pytest.mark.parametrize("backend", BACKENDS)
def test_b10_feature_masking_replaces_the_given_share(backend):
    step = make_step(backend)
    x = np.random.default_rng(0).normal(size=(3000, 7))
    out, _ = applied(fs.FeatureMasking(0.3, 9.0), step, 1, x, np.zeros(3000, np.int32))
    gone = out == 9.0
    np.testing.assert_array_equal(out[~gone], x[~gone])
    assert abs(gone.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / gone.size)
    assert np.abs(gone.mean(0) - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 3000)
    out, _ = applied(fs.FeatureMasking(0.0), step, 1, x, np.zeros(3000, np.int32))
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_b10_mixup_mixes_inputs_and_targets_by_one_share(backend):
    x, y = batch()
    step = make_step(backend)
    mixed, targets = applied(fs.Mixup(0.7), step, 3, x, y)
    partner = np.roll(np.arange(50), -1)
    part = np.sum((mixed - x[partner]) * (x - x[partner])) / np.sum((x - x[partner]) ** 2)
    assert 0.0 < part < 1.0
    np.testing.assert_allclose(mixed, part * x + (1 - part) * x[partner], atol=1e-12)
    one_hot = np.eye(3)[y]
    np.testing.assert_allclose(targets, part * one_hot + (1 - part) * one_hot[partner], atol=1e-12)
    np.testing.assert_allclose(targets.sum(1), 1.0, atol=1e-12)
    _, mixed_again = applied(fs.Mixup(0.7), step, 3, x, targets)  # targets that are mixtures already
    np.testing.assert_allclose(mixed_again, part * targets + (1 - part) * targets[partner], atol=1e-12)
    numbers = np.random.default_rng(1).normal(size=(50, 2))
    _, targets = applied(fs.Mixup(0.7), make_step(backend, fs.MSE(), 2), 3, x, numbers)
    np.testing.assert_allclose(targets, part * numbers + (1 - part) * numbers[partner], atol=1e-12)
    alone, target = applied(fs.Mixup(0.7), step, 3, x[:1], y[:1])  # one row has no partner but itself
    np.testing.assert_allclose(alone, x[:1])
    np.testing.assert_allclose(target, one_hot[:1])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_b10_the_share_of_mixup_follows_its_beta_distribution(alpha):
    from scipy.special import betaincinv

    draw = Draw(make_step(), 0)
    parts = []
    for number in range(1, 2001):
        draw.begin(number)
        parts.append(betaincinv(alpha, alpha, draw.uniform()))
    assert kstest(parts, beta_distribution(alpha, alpha).cdf).pvalue > 1e-4


def test_b10_losses_whose_targets_cannot_be_mixed_are_refused():
    for loss in (
        fs.MultiClassHinge(), fs.SoftmaxCrossEntropy(label_smoothing=0.1), fs.SoftmaxCrossEntropy(class_weights=[1, 2, 3]),
        fs.Hinge(),
    ):  # fmt: skip
        step = make_step(loss=loss)
        fs.Trainer(step, augment=[fs.FeatureMasking(0.1)])
        with pytest.raises(HyperparameterError, match="mixed"):
            fs.Trainer(step, augment=[fs.Mixup()])


def test_b10_wrong_settings_are_refused():
    for make in (
        lambda: fs.InputNoise(0.0), lambda: fs.InputNoise(-1), lambda: fs.FeatureMasking(1.0), lambda: fs.FeatureMasking(-0.1),
        lambda: fs.FeatureMasking(0.1, float("nan")), lambda: fs.Mixup(0), lambda: fs.Mixup("1"),
    ):  # fmt: skip
        with pytest.raises(HyperparameterError):
            make()
    for wrong in (fs.Mixup(), [fs.Mixup], ["mixup"], [fs.Dropout(0.1)]):
        with pytest.raises(HyperparameterError, match="expected"):
            fs.Trainer(make_step(), augment=wrong)


class Doubled(fs.Augmentation):
    """One of a user's own."""

    def apply(self, inputs, targets, draw):
        out = draw.empty("x", tuple(inputs.shape))
        draw.backend.copy(inputs + inputs, out)
        return out, targets


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shuffle", ["never", "each_epoch"])
def test_b10_the_trainer_steps_on_augmented_minibatches(backend, shuffle):
    """The same as training on data that was augmented beforehand; the data of the caller stays as it is."""
    x, y = batch(90)
    x = x.astype("f4")
    before = x.copy()
    first, second = (make_step(backend, dtype="float32") for _ in range(2))
    history = fs.Trainer(first, shuffle=shuffle, augment=[Doubled()]).fit(x, y, epochs=2, batch_size=40)
    doubled = fs.Trainer(second, shuffle=shuffle).fit(x + x, y, epochs=2, batch_size=40)
    assert history["loss"] == doubled["loss"]
    np.testing.assert_array_equal(np.array(first.model.arena.values), np.array(second.model.arena.values))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_b10_training_with_all_of_them_learns_digits(backend):
    digits = load_digits()
    x, y = (digits.data / 16.0).astype("f4"), digits.target
    model = fs.mlp([64, 64, 10])
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(3e-3), seed=0, backend=backend)
    augment = [fs.InputNoise(0.05), fs.FeatureMasking(0.1), fs.Mixup(0.2)]
    train, _, test = split(y, (0.25, 0.0), seed=0)
    fs.Trainer(step, augment=augment).fit(x[train], y[train], epochs=12, batch_size=64)
    assert step.evaluate(x[test], y[test])["accuracy"] > 0.92


def test_b10_pieces_of_a_minibatch_are_augmented_with_the_numbers_of_their_rows():
    """Noise and masks are those of the whole minibatch, so steps in pieces give the same parameters, up to rounding."""
    x, y = batch(64)
    ends = []
    for size in (None, 24):
        model = fs.Sequential(fs.Linear(7, 9), fs.Tanh(), fs.Linear(9, 3)).initialize(0, "numpy", "float64")
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=4, backend="numpy", micro_batch=size)
        fs.Trainer(step, augment=[fs.InputNoise(0.3), fs.FeatureMasking(0.2)]).fit(x, y, epochs=3, batch_size=64)
        ends.append(np.array(model.arena.values))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_b10_steps_in_16_bits_are_augmented(precision):
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    x, y = batch(64)
    losses = []
    for wanted in ("float32", precision):
        step = fs.TrainStep(
            fs.mlp([7, 9, 3]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=4, backend="numpy", precision=wanted
        )
        augment = [fs.InputNoise(0.3), fs.FeatureMasking(0.2), fs.Mixup(0.5)]
        losses.append(fs.Trainer(step, augment=augment).fit(x.astype("f4"), y, epochs=5, batch_size=32)["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)
