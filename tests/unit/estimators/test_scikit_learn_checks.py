"""All checks that scikit-learn has for estimators pass, without expected failures, on both backends of a CPU."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import check_estimator, check_sample_weight_equivalence_on_dense_data

import fusedstep as fs

SKIPPED = {"check_array_api_input", "check_classifiers_multilabel_output_format_decision_function"}
"""The first needs array libraries that dispatch is switched on for, the second a method that neither class has."""
FEWEST = 55
"""Checks; if there are fewer, they were not those of an estimator."""


SMALL = {"hidden_layer_sizes": (32,), "max_iter": 60}
ALL = [(e, s, b) for e in (fs.MLPClassifier, fs.MLPRegressor) for s in (SMALL, {}) for b in ("numba", "numpy")]
SOME = (fs.MLPClassifier, SMALL, "numba"), (fs.MLPRegressor, SMALL, "numpy")


@pytest.mark.row("G1")
@pytest.mark.parametrize(
    ("estimator", "settings", "backend"),
    [case if case in SOME else pytest.param(*case, marks=pytest.mark.exhaustive) for case in ALL],
)
def test_every_check_of_scikit_learn_passes(estimator, settings, backend):
    results = check_estimator(estimator(backend=backend, **settings), on_skip=None, on_fail=None)
    by_status = {}
    for result in results:
        by_status.setdefault(result["status"], []).append((result["check_name"], result["exception"]))
    assert by_status.pop("failed", []) == []
    assert {name for name, _ in by_status.pop("skipped", [])} <= SKIPPED
    assert list(by_status) == ["passed"]
    assert len(by_status["passed"]) >= FEWEST


@pytest.mark.parametrize("estimator", [fs.MLPClassifier, fs.MLPRegressor])
@pytest.mark.parametrize("settings", [{"batch_size": None}, {"encoder": None}, {"precision": "float64"}])
def test_weights_equal_repetitions_in_full_batches(estimator, settings):
    check_sample_weight_equivalence_on_dense_data(estimator.__name__, estimator(backend="numpy", **settings))


def test_a_check_would_fail():
    """Predictions that forget the last row are found."""

    class Wrong(fs.MLPRegressor):
        def predict(self, X):
            return super().predict(X)[::-1]

    results = check_estimator(Wrong(backend="numpy", max_iter=5), on_skip=None, on_fail=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    assert {"check_methods_sample_order_invariance", "check_methods_subset_invariance"} <= failed
