"""Losses against their formulas in float64 (B1 to B6), their stability, and the targets that they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import backend
from fusedstep.framework.engine.arena import Arena
from fusedstep.framework.engine.tape import Tape

BACKENDS = ["numpy", "numba"]
rng = np.random.default_rng(11)
LOGITS, LABELS = rng.standard_normal((7, 5)) * 3, rng.integers(0, 5, 7)


def evaluate(loss: fs.Loss, outputs, targets, run: str, dtype: str = "float64"):
    chosen = backend(run)
    y = chosen.asarray(np.array(outputs, dtype))
    tape = Tape(Arena([], chosen, dtype), training=True)
    tape.begin(len(y))
    rows, gradient = loss.evaluate(y, loss.prepare(targets, y.shape[1], chosen, dtype), tape)
    return np.array(rows, np.float64), np.array(gradient, np.float64)


def log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


@pytest.mark.row("B1")
@pytest.mark.parametrize("run", BACKENDS)
def test_squared_error(run: str) -> None:
    t = rng.standard_normal((7, 5))
    rows, gradient = evaluate(fs.MSE(), LOGITS, t, run)
    np.testing.assert_allclose(rows, ((LOGITS - t) ** 2).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(gradient, 2 * (LOGITS - t) / 7, rtol=1e-13)
    np.testing.assert_allclose(evaluate(fs.MSE("sum"), LOGITS, t, run)[1], 2 * (LOGITS - t), rtol=1e-13)


@pytest.mark.row("G8")
@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1 / 7), ("sum", 1.0)])
def test_absolute_error_and_huber(run: str, reduction: str, factor: float) -> None:
    t = rng.standard_normal((7, 5))
    t[0], t[1] = LOGITS[0], LOGITS[1] + 0.5
    d = LOGITS - t
    rows, gradient = evaluate(fs.MAE(reduction), LOGITS, t, run)
    np.testing.assert_allclose(rows, np.abs(d).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(gradient, factor * np.sign(d), rtol=1e-13)
    assert not gradient[0].any(), "the subgradient at y = t"
    rows, gradient = evaluate(fs.Huber(0.5, reduction), LOGITS, t, run)
    small = np.abs(d) <= 0.5
    np.testing.assert_allclose(rows, np.where(small, d**2 / 2, 0.5 * (np.abs(d) - 0.25)).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(gradient, factor * np.where(small, d, 0.5 * np.sign(d)), rtol=1e-13)


@pytest.mark.row("G8")
@pytest.mark.parametrize("run", BACKENDS)
def test_quantiles(run: str) -> None:
    """Each target is compared with one output for each level; the constant of least loss is the quantile of the targets."""
    levels, t = np.array([0.1, 0.7]), rng.standard_normal((7, 2))
    y = LOGITS[:, :4].copy()
    y[0, 1] = t[0, 0]
    d = y - np.repeat(t, 2, axis=1)
    q = np.tile(levels, 2)
    rows, gradient = evaluate(fs.Quantile(levels), y, t, run)
    np.testing.assert_allclose(rows, np.maximum((1 - q) * d, -q * d).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(gradient, np.where(d > 0, 1 - q, np.where(d < 0, -q, 0.0)) / 7, rtol=1e-13)
    assert gradient[0, 1] == 0.0
    for given in (t.tolist(), np.repeat(t, 2, axis=1)):  # prepared targets may be prepared again
        for a, b in zip(evaluate(fs.Quantile([0.1, 0.7]), y, given, run), (rows, gradient), strict=True):
            np.testing.assert_array_equal(a, b)
    sample = np.random.default_rng(0).standard_normal(101)
    candidates = np.sort(sample)
    totals = [evaluate(fs.Quantile(0.25, "sum"), np.full((101, 1), c), sample, run)[0].sum() for c in candidates]
    assert candidates[np.argmin(totals)] == np.quantile(sample, 0.25)


@pytest.mark.row("G8")
@pytest.mark.parametrize("run", BACKENDS)
def test_poisson(run: str) -> None:
    t = rng.poisson(2.0, (7, 5))
    rows, gradient = evaluate(fs.Poisson(), LOGITS, t, run)
    np.testing.assert_allclose(rows, (np.exp(LOGITS) - t * LOGITS).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(gradient, (np.exp(LOGITS) - t) / 7, rtol=1e-12)


@pytest.mark.row("G8")
@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal(run: str, gamma: float) -> None:
    weights = np.array([1.0, 0.0, 2.0, 0.5, 3.0])
    logp = log_softmax(LOGITS)[np.arange(7), LABELS]
    p, w = np.exp(logp), weights[LABELS]
    rows, gradient = evaluate(fs.Focal(gamma, weights), LOGITS, LABELS, run)
    np.testing.assert_allclose(rows, -w * (1 - p) ** gamma * logp, rtol=1e-11)
    slope = w * ((1 - p) ** gamma - gamma * (1 - p) ** (gamma - 1) * p * logp)
    np.testing.assert_allclose(gradient, slope[:, None] * (np.exp(log_softmax(LOGITS)) - np.eye(5)[LABELS]) / 7, rtol=1e-10)
    if gamma == 0.0:
        plain = evaluate(fs.SoftmaxCrossEntropy(class_weights=weights), LOGITS, LABELS, run)
        for a, b in zip((rows, gradient), plain, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-16)


@pytest.mark.row("G8")
@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_binary_focal_is_focal_of_two_logits(run: str, gamma: float) -> None:
    z, t = LOGITS[:, :1], LABELS % 2
    rows, gradient = evaluate(fs.BinaryFocal(gamma, [0.3, 2.0]), z, t, run)
    both = np.concatenate([np.zeros_like(z), z], axis=1)
    wanted, pair = evaluate(fs.Focal(gamma, [0.3, 2.0]), both, t, run)
    np.testing.assert_allclose(rows, wanted, rtol=1e-11)
    np.testing.assert_allclose(gradient[:, 0], pair[:, 1], rtol=1e-11)
    if gamma == 0.0:
        several = rng.integers(0, 2, (7, 5))
        plain = evaluate(fs.BinaryCrossEntropy(), LOGITS, several, run)
        for a, b in zip(evaluate(fs.BinaryFocal(0.0), LOGITS, several, run), plain, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
def test_focal_where_the_probability_of_the_label_is_1_or_0(run: str, dtype: str, gamma: float) -> None:
    z = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [0.0, 0.0, 30.0]])
    rows, gradient = evaluate(fs.Focal(gamma), z, np.array([0, 0, 2]), run, dtype)
    np.testing.assert_allclose(rows, [0.0, 2e4, 0.0], atol=1e-6)
    np.testing.assert_allclose(gradient, [[0, 0, 0], [-1 / 3, 1 / 3, 0], [0, 0, 0]], atol=1e-6)
    rows, gradient = evaluate(fs.BinaryFocal(gamma), [[1e4], [-1e4], [1e4]], [1, 1, 0], run, dtype)
    np.testing.assert_allclose(rows, [0.0, 1e4, 1e4], atol=1e-6)
    np.testing.assert_allclose(gradient[:, 0], [0, -1 / 3, 1 / 3], atol=1e-6)


@pytest.mark.row("G8")
@pytest.mark.parametrize("run", BACKENDS)
def test_what_models_of_counts_and_quantiles_predict(run: str) -> None:
    x = np.random.default_rng(0).standard_normal((40, 3)).astype("f")
    y = np.random.default_rng(1).poisson(np.exp(x[:, 0]))
    model = fs.mlp([3, 8, 1])
    step = fs.TrainStep(model, fs.Poisson(), fs.Adam(1e-2), backend=run)
    fs.Trainer(step).fit(x, y, epochs=3)
    assert model.head == "log_rates"
    predicted = np.array(model.predict(x))
    np.testing.assert_allclose(predicted, np.exp(np.array(model(x))[:, 0]), rtol=1e-5)
    scores = step.evaluate(x, y)
    assert scores["mae"] == pytest.approx(np.abs(predicted - y).mean(), rel=1e-5)
    assert scores["r2"] == pytest.approx(1 - ((predicted - y) ** 2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-4)
    with pytest.raises(fs.StateError, match="log_rates"):
        model.predict_proba(x)
    with pytest.raises(fs.NonFiniteDataError, match="the data are finite"):
        model.predict(np.full((1, 3), 1e6, "f") * np.sign(np.array(model(np.eye(3, dtype="f"))[:, 0])))

    model = fs.mlp([3, 8, 3])
    step = fs.TrainStep(model, fs.Quantile([0.1, 0.5, 0.9]), fs.Adam(1e-2), backend=run)
    fs.Trainer(step).fit(x, y, epochs=3)
    assert np.array(model.predict(x)).shape == (40, 3)
    assert step.evaluate(x, y)["mae"] == pytest.approx(np.abs(np.array(model.predict(x)) - y[:, None]).mean(), rel=1e-5)


def test_settings_and_repr() -> None:
    for loss, text in (
        (fs.MSE(), "MSE()"), (fs.MSE("sum"), "MSE(reduction='sum')"), (fs.Huber(0.5), "Huber(delta=0.5)"),
        (fs.Quantile(np.array([0.1, 0.9])), "Quantile(levels=(0.1, 0.9))"), (fs.Quantile(), "Quantile()"),
        (fs.Focal(1, [1, 2]), "Focal(gamma=1.0, class_weights=(1.0, 2.0))"),
        (fs.SoftmaxCrossEntropy(0.1), "SoftmaxCrossEntropy(label_smoothing=0.1)"),
    ):  # fmt: skip
        assert repr(loss) == text
        assert repr(type(loss)(**loss.settings)) == text


@pytest.mark.row("B2", "B6")
@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("form", ["notes", "uniform"])
def test_cross_entropy_with_smoothing_and_weights(run: str, form: str) -> None:
    eps, weights = 0.2, np.array([1.0, 0.0, 2.0, 0.5, 3.0])
    q = np.full((7, 5), eps / 4 if form == "notes" else eps / 5)
    q[np.arange(7), LABELS] = 1 - eps if form == "notes" else 1 - eps + eps / 5
    expected = -(q * log_softmax(LOGITS)).sum(axis=1) * weights[LABELS]
    derivative = (np.exp(log_softmax(LOGITS)) - q) * weights[LABELS][:, None] / 7
    rows, gradient = evaluate(fs.SoftmaxCrossEntropy(eps, form, weights), LOGITS, LABELS, run)
    np.testing.assert_allclose(rows, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, derivative, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("run", BACKENDS)
def test_labels_equal_one_hot_distributions(run: str) -> None:
    hard = evaluate(fs.SoftmaxCrossEntropy(), LOGITS, LABELS, run)
    soft = evaluate(fs.SoftmaxCrossEntropy(), LOGITS, np.eye(5)[LABELS], run)
    for a, b in zip(hard, soft, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.row("B2")
@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_overflow_at_logits_of_1e4(run: str, dtype: str) -> None:
    z = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]])
    rows, gradient = evaluate(fs.SoftmaxCrossEntropy(), z, np.array([0, 0]), run, dtype)
    np.testing.assert_allclose(rows, [0.0, 2e4], atol=1e-30)
    np.testing.assert_allclose(gradient, [[0, 0, 0], [-0.5, 0.5, 0]], atol=1e-30)
    rows, gradient = evaluate(fs.BinaryCrossEntropy(), [[1e4], [-1e4], [1e4]], [1, 0, 0], run, dtype)
    np.testing.assert_allclose(rows, [0.0, 0.0, 1e4], atol=1e-30)
    np.testing.assert_allclose(gradient[:, 0], [0.0, 0.0, 1 / 3], rtol=1e-6, atol=1e-30)


@pytest.mark.row("B3")
@pytest.mark.parametrize("run", BACKENDS)
def test_binary_cross_entropy(run: str) -> None:
    z, t = LOGITS[:, :2], rng.random((7, 2))
    s = 1 / (1 + np.exp(-z))
    rows, gradient = evaluate(fs.BinaryCrossEntropy(), z, t, run)
    np.testing.assert_allclose(rows, (-t * np.log(s) - (1 - t) * np.log(1 - s)).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(gradient, (s - t) / 7, rtol=1e-11)


@pytest.mark.row("B4")
@pytest.mark.parametrize("run", BACKENDS)
def test_hinges(run: str) -> None:
    t = np.array([1, -1, 1, -1, 1, 1, -1])
    y = LOGITS[:, :1] / 2
    rows, gradient = evaluate(fs.Hinge(), y, t, run)
    margin = 1 - t * y[:, 0]
    np.testing.assert_allclose(rows, np.maximum(0, margin), rtol=1e-13)
    np.testing.assert_allclose(gradient[:, 0], np.where(margin > 0, -t, 0) / 7)
    np.testing.assert_array_equal(evaluate(fs.Hinge(), y, (t + 1) // 2, run)[0], rows)

    rows, gradient = evaluate(fs.MultiClassHinge(), LOGITS, LABELS, run)
    for i, label in enumerate(LABELS):
        others = [k for k in range(5) if k != label]
        rival = max(others, key=lambda k, i=i: LOGITS[i, k])
        value = max(0.0, 1 + LOGITS[i, rival] - LOGITS[i, label])
        assert rows[i] == pytest.approx(value, abs=1e-12)
        expected = np.zeros(5)
        if value > 0:
            expected[rival], expected[label] = 1 / 7, -1 / 7
        np.testing.assert_allclose(gradient[i], expected, rtol=1e-12)


def _rows(n: int) -> np.ndarray:
    raw = rng.random((n, 5)) + 0.01
    return raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.row("B5")
@pytest.mark.parametrize("run", BACKENDS)
def test_divergences(run: str) -> None:
    p, q = _rows(7), _rows(7)
    kl = (p * np.log(p / q)).sum(axis=1)
    np.testing.assert_allclose(evaluate(fs.KLDivergence(), q, p, run)[0], kl, rtol=1e-10)
    both = kl + (q * np.log(q / p)).sum(axis=1)
    np.testing.assert_allclose(evaluate(fs.SymmetricKL(), q, p, run)[0], both, rtol=1e-10)
    distance = -np.log(np.sqrt(p * q).sum(axis=1))
    np.testing.assert_allclose(evaluate(fs.Bhattacharyya(), q, p, run)[0], distance, rtol=1e-10)
    zero = np.array([[0.0, 1.0]])
    rows, gradient = evaluate(fs.KLDivergence(), [[0.25, 0.75]], zero, run)
    assert rows[0] == pytest.approx(-math.log(0.75))
    assert np.isfinite(gradient).all()


def test_cross_entropy_is_kl_plus_entropy() -> None:
    p = _rows(7)
    entropy = -(p * np.log(p)).sum(axis=1)
    cross = evaluate(fs.SoftmaxCrossEntropy(), LOGITS, p, "numpy")[0]
    kl = evaluate(fs.KLDivergence(), np.exp(log_softmax(LOGITS)), p, "numpy")[0]
    np.testing.assert_allclose(cross, kl + entropy, rtol=1e-12)


def test_a_final_softmax_is_fused_into_the_loss() -> None:
    x = rng.standard_normal((20, 4))
    y = rng.integers(0, 3, 20)
    losses, probabilities = [], []
    for layers in ([fs.Linear(4, 3)], [fs.Linear(4, 3), fs.Softmax()]):
        model = fs.Sequential(*layers)
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="numpy", precision="float64")
        losses.append([float(step(x, y)) for _ in range(5)])
        probabilities.append(model.predict_proba(x))
    assert losses[0] == losses[1]
    np.testing.assert_allclose(*probabilities, rtol=1e-13)
    np.testing.assert_allclose(probabilities[0].sum(axis=1), 1.0, rtol=1e-12)


BAD = [
    (fs.SoftmaxCrossEntropy(), np.array([0, 5, 1]), fs.LabelError, r"0 to 4.*got 5 in row 2 \(counted from 1\)"),
    (fs.SoftmaxCrossEntropy(), np.array([0, -1, 1]), fs.LabelError, r"got -1 in row 2"),
    (fs.SoftmaxCrossEntropy(), np.array([0, 0.5, 1]), fs.LabelError, "whole numbers"),
    (fs.SoftmaxCrossEntropy(), np.array([0, np.nan, 1]), fs.LabelError, "NaN"),
    (fs.SoftmaxCrossEntropy(), np.array(["a", "b", "c"]), fs.DtypeError, "real numbers"),
    (fs.SoftmaxCrossEntropy(), np.ones((3, 5)), fs.LabelError, "divide each row"),
    (fs.SoftmaxCrossEntropy(), np.eye(5)[:3] + np.eye(5)[1:4], fs.LabelError, "several labels a row use BinaryCrossEntropy"),
    (fs.SoftmaxCrossEntropy(), np.zeros((3, 5), bool), fs.LabelError, "several labels a row use BinaryCrossEntropy"),
    (fs.SoftmaxCrossEntropy(0.1), np.eye(5)[:3] + np.eye(5)[1:4], fs.LabelError, "several labels a row use BinaryCrossEntropy"),
    (fs.SoftmaxCrossEntropy(), np.full((3, 5), 0.9), fs.LabelError, "or use BinaryCrossEntropy"),
    (fs.KLDivergence(), np.eye(5)[:3] + np.eye(5)[1:4], fs.LabelError, r"BinaryCrossEntropy \(without Softmax\)"),
    (fs.SoftmaxCrossEntropy(), np.full((3, 5), 2.0), fs.LabelError, "by its sum$"),
    (fs.SoftmaxCrossEntropy(), np.full((3, 5), -0.2), fs.LabelError, "give probabilities, or use MSE"),
    (fs.MultiClassHinge(), np.ones((3, 5)), fs.ShapeError, "BinaryCrossEntropy takes several labels a row"),
    (fs.SoftmaxCrossEntropy(), np.ones((3, 4)), fs.ShapeError, "as wide as the last layer"),
    (fs.SoftmaxCrossEntropy(0.1), np.eye(5)[:3], fs.HyperparameterError, "distributions"),
    (fs.SoftmaxCrossEntropy(class_weights=[1, 2]), np.array([0, 1, 1]), fs.ShapeError, "5 class weights"),
    (fs.SoftmaxCrossEntropy(class_weights={5: 2.0}), np.array([0, 1, 1]), fs.LabelError, "0 to 4, .* got one of label 5"),
    (fs.SoftmaxCrossEntropy(), np.array([[0], [1], [5]]), fs.LabelError, r"got 5 in row 3"),
    (fs.SoftmaxCrossEntropy(), [[0], [1], [0.5]], fs.LabelError, "whole numbers"),
    (fs.SoftmaxCrossEntropy(), [[1.0, 0, 0, 0, 0], [1.0]], fs.DtypeError, "equally long"),
    (fs.SoftmaxCrossEntropy(), [[0.5] * 5], fs.LabelError, "divide each row"),
    (fs.SoftmaxCrossEntropy(0.1), [[1.0, 0, 0, 0, 0]], fs.HyperparameterError, "distributions"),
    (fs.SoftmaxCrossEntropy(), np.zeros((2, 5, 1)), fs.ShapeError, "expected labels"),
    (fs.MultiClassHinge(), np.zeros((3, 2)), fs.ShapeError, r"y\.ravel\(\)"),
    (fs.SoftmaxCrossEntropy(), [[1, 1, 0, 0, 0]] * 3, fs.LabelError, "BinaryCrossEntropy .*divide each row"),
    (fs.MultiClassHinge(), np.eye(5), fs.ShapeError, r"y\.argmax\(axis=1\)"),
    (fs.MSE(), np.zeros((3, 2)), fs.ShapeError, r"\[rows, 5\]"),
    (fs.Poisson(), np.array([[0, 1, 2, -1, 0]] * 3), fs.LabelError, r"counts >= 0; got -1\.0"),
    (fs.Poisson(), np.array([[0, 1, 2, np.nan, 0]] * 3), fs.LabelError, "counts >= 0; got nan"),
    (fs.Quantile([0.2, 0.8]), np.zeros(3), fs.ShapeError, "a multiple of 2 outputs, one for each level of each target; got 5"),
    (fs.Quantile([0.1] * 5), np.zeros((3, 2)), fs.ShapeError, r"targets \[rows, 1\]"),
    (fs.Focal(), np.array([0, 5, 1]), fs.LabelError, r"0 to 4.*got 5 in row 2"),
    (fs.Focal(), np.eye(5)[:3], fs.ShapeError, r"y\.argmax\(axis=1\)"),
    (fs.Focal(class_weights=[1, 2]), np.array([0, 1, 1]), fs.ShapeError, "5 class weights"),
    (fs.BinaryFocal(), np.full((3, 5), 0.5), fs.LabelError, "targets 0 and 1; .*use BinaryCrossEntropy for probabilities"),
    (fs.BinaryFocal(), np.full((3, 5), -1), fs.LabelError, "between 0 and 1"),
    (fs.BinaryCrossEntropy(), np.full((3, 5), 1.5), fs.LabelError, "between 0 and 1"),
    (fs.Hinge(), np.full((3, 5), 2.0), fs.LabelError, "-1 and 1"),
    (fs.Hinge(), np.array([[-1.0, 0, 1, 1, 1]] * 3), fs.LabelError, "all three"),
    (fs.KLDivergence(), np.ones((3, 5)), fs.LabelError, "probabilities"),
]


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_targets(case: int, run: str) -> None:
    loss, targets, error, words = BAD[case]
    with pytest.raises(error, match=words):
        loss.prepare(targets, 5, backend(run), "float32")


@pytest.mark.parametrize(
    "make",
    [
        lambda: fs.SoftmaxCrossEntropy(label_smoothing=1.0),
        lambda: fs.SoftmaxCrossEntropy(smoothing="other"),
        lambda: fs.SoftmaxCrossEntropy(class_weights=[-1.0]),
        lambda: fs.SoftmaxCrossEntropy(label_smoothing="a"),
        lambda: fs.SoftmaxCrossEntropy(class_weights=5),
        lambda: fs.SoftmaxCrossEntropy(class_weights="12"),
        lambda: fs.SoftmaxCrossEntropy(class_weights=["1", "2"]),
        lambda: fs.SoftmaxCrossEntropy(class_weights="Balanced"),
        lambda: fs.SoftmaxCrossEntropy(class_weights={}),
        lambda: fs.SoftmaxCrossEntropy(class_weights={0: -1.0}),
        lambda: fs.SoftmaxCrossEntropy(class_weights={-1: 1.0}),
        lambda: fs.SoftmaxCrossEntropy(class_weights={0.5: 1.0}),
        lambda: fs.SoftmaxCrossEntropy(class_weights={0: 1.0, "b": 1.0}),
        lambda: fs.SoftmaxCrossEntropy(class_weights=[0.0, 0.0]),
        lambda: fs.SoftmaxCrossEntropy(class_weights=[]),
        lambda: fs.SoftmaxCrossEntropy(class_weights=np.eye(2)),
        lambda: fs.SoftmaxCrossEntropy(class_weights=[1.0, float("inf")]),
        lambda: fs.Huber(0.0),
        lambda: fs.Huber("1"),
        lambda: fs.Quantile(1.0),
        lambda: fs.Quantile([0.5, 0.0]),
        lambda: fs.Quantile([]),
        lambda: fs.Quantile("0.5"),
        lambda: fs.Quantile([[0.1, 0.9]]),
        lambda: fs.BinaryFocal(-1.0),
        lambda: fs.BinaryFocal(class_weights=[1.0, 2.0, 3.0]),
        lambda: fs.Focal(-1.0),
        lambda: fs.Focal(class_weights=[0.0, 0.0]),
        lambda: fs.MSE("average"),
        lambda: fs.MSE(None),
    ],
)
def test_bad_settings(make) -> None:
    with pytest.raises(fs.HyperparameterError, match=r"expected .*; got .*; "):
        make()


def test_class_weights_as_an_array() -> None:
    for weights in (np.array([1, 2]), np.array([1.0, 2.0], "f4"), (1, np.float32(2.0))):
        assert fs.SoftmaxCrossEntropy(class_weights=weights).class_weights == (1.0, 2.0)


@pytest.mark.parametrize("run", BACKENDS)
def test_nested_lists_of_distributions(run: str) -> None:
    p = _rows(7)
    for loss in (fs.SoftmaxCrossEntropy(), fs.KLDivergence()):
        for a, b in zip(evaluate(loss, _rows(7), p.tolist(), run), evaluate(loss, _rows(7), p, run), strict=True):
            assert a.shape == b.shape
    listed, whole = (evaluate(fs.SoftmaxCrossEntropy(), LOGITS, t, run) for t in (p.tolist(), p))
    for a, b in zip(listed, whole, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("dtype", [">i2", ">i4", ">i8", ">u4", ">f4", ">f8"])
def test_labels_and_targets_of_the_other_byte_order(run: str, dtype: str) -> None:
    for loss in (fs.SoftmaxCrossEntropy(), fs.MultiClassHinge()):
        foreign, native = (evaluate(loss, LOGITS, labels, run) for labels in (LABELS.astype(dtype), LABELS))
        for a, b in zip(foreign, native, strict=True):
            np.testing.assert_array_equal(a, b)
    targets = np.arange(35).reshape(7, 5)
    for a, b in zip(*(evaluate(fs.MSE(), LOGITS, t, run) for t in (targets.astype(dtype), targets)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize(("loss", "other"), [
    (fs.SoftmaxCrossEntropy(), "BinaryCrossEntropy"), (fs.Focal(), "BinaryFocal"), (fs.MultiClassHinge(), "Hinge"),
])  # fmt: skip
def test_one_output_is_not_a_choice_between_classes(run: str, loss: fs.Loss, other: str) -> None:
    with pytest.raises(fs.ShapeError, match=f"expected at least two outputs; got 1; use {other} for one"):
        loss.prepare(np.zeros(3, int), 1, backend(run), "float32")


def test_which_losses_need_distributions_as_outputs() -> None:
    from fusedstep.framework.losses import LOSSES

    assert {name for name, kind in LOSSES.items() if kind.needs_simplex} == {"KLDivergence", "SymmetricKL", "Bhattacharyya"}
