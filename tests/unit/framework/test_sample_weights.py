"""Sample weights in steps and evaluations (G2): 0 is left out, 2 is twice, in the kernels of every loss."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, mean_squared_error, r2_score
from weight_cases import CASES, COLUMNS, COUNTS, FRACTIONS, LABELS, NUMBERS, REPEATED, ROWS, X, gradient, new_step, parameters

import fusedstep as fs
from fusedstep.kernels.targets.handwritten import WEIGHTS

pytestmark = pytest.mark.row("G2")
BACKENDS = ["numpy", "numba"]
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


class Interpreted(fs.TrainStep):
    """A step that is never replayed."""

    @property
    def recordable(self):
        return False


@pytest.mark.row("G2")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_whole_weights_are_repeated_rows(name, backend, reduction):
    y = CASES[name][1]
    weighted, repeated = new_step(name, reduction, backend), new_step(name, reduction, backend)
    for _ in range(4):
        loss, wanted = weighted(X, y, sample_weight=COUNTS), repeated(X[REPEATED], y[REPEATED])
        assert float(loss) == pytest.approx(float(wanted), rel=1e-12)
        np.testing.assert_allclose(gradient(weighted), gradient(repeated), **CLOSE)
    np.testing.assert_allclose(parameters(weighted), parameters(repeated), **CLOSE)
    figures, wanted = weighted.evaluate(X, y, sample_weight=COUNTS), repeated.evaluate(X[REPEATED], y[REPEATED])
    assert figures == pytest.approx(wanted, rel=1e-11)


@pytest.mark.row("G2")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_fractions_are_the_weighted_mean_of_single_rows(name, backend, reduction):
    y = CASES[name][1]
    step = new_step(name, reduction, backend, optimizer=fs.SGD(1e-300))  # leaves every bit of the parameters
    total, slopes = 0.0, 0.0
    for row, weight in enumerate(FRACTIONS):
        total += weight * float(step(X[row : row + 1], y[row : row + 1]))
        slopes = slopes + weight * gradient(step)
    divisor = FRACTIONS.sum() if reduction == "mean" else 1.0
    assert float(step(X, y, sample_weight=FRACTIONS)) == pytest.approx(total / divisor, rel=1e-12)
    np.testing.assert_allclose(gradient(step), slopes / divisor, **CLOSE)


@pytest.mark.parametrize("options", [{"micro_batch": 8}, {"deterministic": True}, {"kind": Interpreted}], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["MSE", "SoftmaxCrossEntropy", "Bhattacharyya"])
def test_other_ways_through_a_step(name, backend, options):
    y = CASES[name][1]
    plain, other = new_step(name, backend=backend), new_step(name, backend=backend, **options)
    for _ in range(3):
        assert float(other(X, y, sample_weight=FRACTIONS)) == pytest.approx(
            float(plain(X, y, sample_weight=FRACTIONS)), rel=1e-12
        )
        np.testing.assert_allclose(gradient(other), gradient(plain), **CLOSE)


@pytest.mark.parametrize("factor", [1e-300, 1e300, 7.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_only_ratios_count_in_a_mean(factor, dtype):
    step, scaled = new_step("MSE", dtype=dtype), new_step("MSE", dtype=dtype)
    for _ in range(2):
        loss = float(step(X, NUMBERS, sample_weight=FRACTIONS))
        assert float(scaled(X, NUMBERS, sample_weight=FRACTIONS * factor)) == pytest.approx(loss, rel=1e-6)
    assert scaled.evaluate(X, NUMBERS, sample_weight=FRACTIONS * factor) == pytest.approx(
        step.evaluate(X, NUMBERS, sample_weight=FRACTIONS), rel=1e-6
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_figures_are_those_of_scikit_learn(backend):
    step = new_step("SoftmaxCrossEntropy", backend=backend)
    step(X, LABELS)
    found = step.evaluate(X, LABELS, batch_rows=10, sample_weight=FRACTIONS)
    chances = step.model.predict_proba(X)
    assert found["loss"] == pytest.approx(log_loss(LABELS, chances, sample_weight=FRACTIONS), rel=1e-12)
    accuracy = accuracy_score(LABELS, chances.argmax(axis=1), sample_weight=FRACTIONS)
    assert found["accuracy"] == pytest.approx(accuracy, rel=1e-12)
    step = new_step("MSE", backend=backend)
    found, outputs = step.evaluate(X, NUMBERS, batch_rows=10, sample_weight=FRACTIONS), step.model.predict(X)
    squares = mean_squared_error(NUMBERS, outputs, sample_weight=FRACTIONS, multioutput="raw_values").sum()
    assert found["loss"] == pytest.approx(squares, rel=1e-12)
    r2 = r2_score(NUMBERS, outputs, sample_weight=FRACTIONS, multioutput="variance_weighted")
    assert found["r2"] == pytest.approx(r2, rel=1e-12)
    assert found["mae"] == pytest.approx(mean_absolute_error(NUMBERS, outputs, sample_weight=FRACTIONS), rel=1e-12)


class Doubled(fs.MSE):
    """A loss with an `evaluate` of its own, on top of one that knows weights."""

    def evaluate(self, y, targets, tape):
        rows, gradient_ = super().evaluate(y, targets, tape)
        return rows * 2.0, gradient_ * 2.0


class DoubledLabels(fs.SoftmaxCrossEntropy):
    """The same for a loss that is one row operation."""

    is_one_operation = False

    def evaluate(self, y, targets, tape):
        rows, gradient_ = super().evaluate(y, targets, tape)
        return rows * 2.0, gradient_ * 2.0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "kind"), [("MSE", Doubled), ("SoftmaxCrossEntropy", DoubledLabels)])
def test_custom_losses_are_weighted_once(name, kind, backend):
    y = CASES[name][1]
    plain = new_step(name, backend=backend)
    model = fs.Sequential(fs.Linear(COLUMNS, 16), fs.Tanh(), fs.Linear(16, 3)).initialize(3, backend, "float64")
    own = fs.TrainStep(model, kind(), fs.Momentum(0.01), seed=1)
    assert float(own(X, y, sample_weight=FRACTIONS)) == pytest.approx(2.0 * float(plain(X, y, sample_weight=FRACTIONS)))
    np.testing.assert_allclose(gradient(own), 2.0 * gradient(plain), **CLOSE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_may_come_as_they_like(backend):
    losses = set()
    for weights in (COUNTS, COUNTS.tolist(), COUNTS[:, None], COUNTS.astype(np.float32), fs.ArrayRows(COUNTS)):
        step = new_step("MSE", backend=backend)
        losses.add(float(step(X, NUMBERS, sample_weight=weights)))
    assert len(losses) == 1
    boolean, chosen = new_step("MSE", backend=backend), new_step("MSE", backend=backend)
    loss = float(chosen(X[COUNTS > 1], NUMBERS[COUNTS > 1]))
    assert float(boolean(X, NUMBERS, sample_weight=COUNTS > 1)) == pytest.approx(loss)


WRONG = {
    "negative": (np.where(np.arange(ROWS) == 4, -0.5, 1.0), fs.SampleWeightError, r"got -0\.5 in row 5"),
    "nan": (np.where(np.arange(ROWS) == 0, np.nan, 1.0), fs.SampleWeightError, r"got nan in row 1 "),
    "infinite": (np.where(np.arange(ROWS) == 36, np.inf, 1.0), fs.SampleWeightError, r"got inf in row 37"),
    "all zero": (np.zeros(ROWS), fs.SampleWeightError, r"got only 0 in all 37 rows"),
    "too few": (np.ones(ROWS - 1), fs.ShapeError, r"one weight for each of the 37 rows of x; got shape \(36,\)"),
    "two columns": (np.ones((ROWS, 2)), fs.ShapeError, r"got shape \(37, 2\)"),
    "text": (np.array(["a"] * ROWS), fs.DtypeError, "sample_weight"),
}


@pytest.mark.parametrize("micro_batch", [None, 10])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_weights_are_named_and_change_nothing(wrong, backend, micro_batch):
    weights, error, words = WRONG[wrong]
    step = new_step("MSE", backend=backend, micro_batch=micro_batch)
    before = parameters(step)
    with pytest.raises(error, match=words):
        step(X, NUMBERS, sample_weight=weights)
    with pytest.raises(error, match=words):
        step.evaluate(X, NUMBERS, sample_weight=weights)
    np.testing.assert_array_equal(parameters(step), before)
    assert step.steps == 0


@pytest.mark.parametrize("name", CASES)
def test_a_step_without_weights_has_no_argument_for_them(name):
    y = CASES[name][1]
    step = new_step(name, backend="numba")
    step(X, y)
    step(X, y, sample_weight=COUNTS)
    plain, weighted = step.executor._plans.values()
    assert [len(plan.minibatch) for plan in (plain, weighted)] == [2, 3]
    calls = [[call for capture in plan._captures for call in capture.calls] for plan in (plain, weighted)]
    assert len(calls[0]) == len(calls[1]), "no further pass"
    changed = 0
    for before, after in zip(*calls, strict=True):
        if before.name != after.name:
            assert after.name == f"weighted_{before.name}"
            assert len(after.arguments) == len(before.arguments) + 1
            changed += 1
    assert changed >= 1
    assert not [call.name for call in calls[0] if "weighted" in call.name]


def test_kernels_without_weights_do_not_mention_them():
    from fusedstep.kernels.rows import cpu
    from fusedstep.kernels.targets.handwritten import Weighted, _of_kernel

    for function in (cpu.softmax_cross_entropy, cpu.softmax_cross_entropy_soft, cpu.focal_loss, cpu.multi_class_hinge):
        assert WEIGHTS not in _of_kernel(function)
        assert WEIGHTS in _of_kernel(Weighted(function))


def test_overflow_through_a_weight_is_found():
    step = new_step("MSE", "sum", dtype="float32")
    with pytest.raises(fs.NonFiniteLossError, match="the loss MSE"):
        step(X, NUMBERS, sample_weight=np.full(ROWS, 3e38))
    assert float(step(X, NUMBERS)) > 0.0
