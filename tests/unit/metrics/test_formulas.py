"""Each metric of the table against scikit-learn, to 1e-12: plain, with weights, with classes that do not occur."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusedstep.framework.metrics import labels, numbers, probabilities, ranking
from fusedstep.framework.metrics.named import measure
from fusedstep.framework.metrics.predictions import Predicted, predictions
from fusedstep.framework.metrics.scorers import named
from fusedstep.framework.metrics.table import METRICS

sklearn = pytest.importorskip("sklearn")

ROWS = 60
KINDS = {
    "two classes": Predicted("classes", 2),
    "two classes, probabilities": Predicted("classes", 2, "probabilities"),
    "two classes, one logit": Predicted("classes", 2),
    "five classes": Predicted("classes", 5),
    "five classes, scores": Predicted("classes", 5, "scores"),
    "three questions": Predicted("labels", 3),
    "a number": Predicted("numbers", 1),
    "three numbers": Predicted("numbers", 3),
}


def made_up(kind: str, weighted: bool, seed: int = 0):
    """Predictions with ties among scores, and a class among five that is never predicted."""
    of, rng = KINDS[kind], np.random.default_rng(seed)
    width = 1 if kind.endswith("one logit") else of.count
    outputs = np.round(rng.standard_normal((ROWS, width)), 1).astype(np.float32)
    if of.kind == "numbers":
        targets = outputs + rng.standard_normal((ROWS, width)).astype(np.float32) + 3.0
    elif of.kind == "labels" or width == 1:
        targets = (outputs + rng.standard_normal((ROWS, width)) > 0.2).astype(np.float32)
    else:
        targets = (outputs + 1.5 * rng.standard_normal((ROWS, width))).argmax(axis=1).astype(np.int32)
        if width == 5:
            outputs[:, 3] = -9.0
    if of.form == "probabilities":
        powers = np.exp(outputs)
        outputs = powers / powers.sum(axis=1, keepdims=True)
    weights = rng.integers(0, 4, ROWS) * rng.uniform(0.5, 2.0, ROWS) if weighted else None
    return predictions(of, outputs, targets, weights)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_g4_metrics_are_those_of_scikit_learn(kind, weighted):
    p, compared = made_up(kind, weighted), 0
    for name, metric in METRICS.items():
        try:
            metric.require(p.of, weighted)
        except ValueError:
            continue
        if name == "neg_max_error" and (weighted or p.of.count > 1):
            continue  # scikit-learn takes neither
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is undefined for a class that is never predicted
            expected = named(name).value(p)
        assert metric.value(p) == pytest.approx(expected, rel=1e-12, abs=1e-12), name
        compared += 1
    assert compared >= {"numbers": 7, "labels": 13, "classes": 15}[p.of.kind]


@pytest.mark.parametrize("kind", KINDS)
def test_g4_a_row_of_weight_0_is_left_out_and_one_of_weight_2_counts_twice(kind):
    of = KINDS[kind]
    plain = made_up(kind, False)
    outputs = plain.answers if of.kind == "numbers" else plain.ranks
    if of.kind == "classes" and plain.probabilities is not None:
        outputs = plain.probabilities if of.form == "probabilities" else np.log(plain.probabilities)
    outputs, targets = outputs.reshape(ROWS, -1), plain.targets
    times = np.random.default_rng(1).integers(0, 3, ROWS)
    again = np.repeat(np.arange(ROWS), times)
    weighted = predictions(of, outputs, targets, times.astype(np.float64))
    repeated = predictions(of, outputs[again], targets[again])
    for name, metric in METRICS.items():
        try:
            metric.require(of, True)
        except ValueError:
            continue
        assert metric.value(weighted) == pytest.approx(metric.value(repeated), rel=1e-12, abs=1e-12), name


def test_g4_what_is_undefined_is_nan():
    scores, yes = np.array([0.1, 0.4, 0.3]), np.ones(3, bool)
    assert math.isnan(ranking.area_under_curve(scores, yes))
    assert math.isnan(ranking.area_under_curve(scores, ~yes))
    assert math.isnan(ranking.average_precision(scores, ~yes))
    assert math.isnan(numbers.r2(np.full(3, 2.0), scores))
    assert math.isnan(numbers.explained_variance(np.full(3, 2.0), scores))
    counts = labels.counts_of(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    np.testing.assert_array_equal(counts.f1(math.nan), [2 / 3, 2 / 3, math.nan])
    np.testing.assert_array_equal(counts.precision(), [1.0, 0.5, 0.0])


def test_g4_confusion_matrix_and_calibration_are_those_of_scikit_learn():
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import confusion_matrix

    p = made_up("five classes", True)
    np.testing.assert_allclose(
        labels.confusion_matrix(p.targets, p.answers, 5, p.weights),
        confusion_matrix(p.targets, p.answers, labels=range(5), sample_weight=p.weights), rtol=1e-12,
    )  # fmt: skip
    q = made_up("two classes", False)
    found = probabilities.calibration(q.targets == 1, q.probabilities[:, 1])
    observed, predicted = calibration_curve(q.targets, q.probabilities[:, 1], n_bins=10)
    np.testing.assert_allclose(found.observed, observed, rtol=1e-12)
    np.testing.assert_allclose(found.predicted, predicted, rtol=1e-12)
    assert found.weight.sum() == ROWS


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(1, 3)), min_size=2, max_size=30))
def test_g4_area_under_the_curve_counts_pairs(rows):
    scores, wanted, weights = (np.array(column) for column in zip(*rows, strict=True))
    pairs = [
        (w * v, (a > b) + 0.5 * (a == b))
        for a, w in zip(scores[wanted], weights[wanted], strict=True)
        for b, v in zip(scores[~wanted], weights[~wanted], strict=True)
    ]
    expected = sum(w * won for w, won in pairs) / sum(w for w, _ in pairs) if pairs else math.nan
    assert ranking.area_under_curve(scores, wanted, weights.astype(float)) == pytest.approx(expected, nan_ok=True)


def test_g4_area_under_the_curve_of_each_class():
    from sklearn.metrics import roc_auc_score

    p = made_up("five classes", True)
    alone = ranking.one_against_rest(ranking.area_under_curve, p.probabilities, p.targets, p.weights)
    for k in range(5):
        expected = roc_auc_score(p.targets == k, p.probabilities[:, k], sample_weight=p.weights)
        assert alone[k] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "name", ["d2_log_loss_score", "f1_samples", "neg_mean_poisson_deviance", "roc_auc_ovo", "jaccard_samples"]
)
def test_g4_other_scorers_are_taken_from_scikit_learn(name):
    from sklearn import metrics

    metric = measure(name)
    assert metric.greater_is_better
    kind = {"d2_log_loss_score": "five classes", "neg_mean_poisson_deviance": "a number", "roc_auc_ovo": "five classes"}
    p = made_up(kind.get(name, "three questions"), name != "roc_auc_ovo")
    metric.require(p.of, p.weights is not None)
    weights = {} if p.weights is None else {"sample_weight": p.weights}
    if name == "neg_mean_poisson_deviance":
        p = predictions(p.of, np.abs(p.answers[:, None]) + 0.1, np.abs(p.targets[:, None]) + 0.1, p.weights)
        expected = -metrics.mean_poisson_deviance(p.targets, p.answers, **weights)
    elif name == "roc_auc_ovo":
        expected = metrics.roc_auc_score(p.targets, p.probabilities, multi_class="ovo")
    elif name == "d2_log_loss_score":
        expected = metrics.d2_log_loss_score(p.targets, p.probabilities, **weights)
    else:
        function = metrics.f1_score if name == "f1_samples" else metrics.jaccard_score
        expected = function(p.targets, p.answers, average="samples", zero_division=0.0, **weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert metric.value(p) == pytest.approx(expected, rel=1e-12)
