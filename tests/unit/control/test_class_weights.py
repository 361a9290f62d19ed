"""Class weights by label and "balanced", alone and with sample weights (G3)."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight
from weight_cases import COLUMNS, COUNTS, FRACTIONS, LABELS, OUTPUTS, REPEATED, X, parameters

import fusedstep as fs

pytestmark = pytest.mark.row("G3")
BACKENDS = ["numpy", "numba"]


def new_step(class_weights, backend="numpy", outputs=OUTPUTS, **options):
    model = fs.mlp([COLUMNS, 12, outputs]).initialize(3, backend, "float64")
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(class_weights=class_weights), fs.Adam(0.01), seed=1, **options)


def fit(class_weights, x=X, y=LABELS, backend="numpy", **options):
    """(step, history) of a short fit."""
    step = new_step(class_weights, backend)
    given = {"epochs": 3, "batch_size": None, **options}
    return step, fs.Trainer(step, shuffle="never").fit(x, y, validation=(X, LABELS), **given)


def same(one, other, rtol=1e-11):
    np.testing.assert_allclose(parameters(one[0]), parameters(other[0]), rtol=rtol)
    for column in ("loss", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(one[1][column], other[1][column], rtol=rtol)


@pytest.mark.row("G3")
@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_by_label_are_those_of_a_list(backend):
    steps = [new_step(given, backend) for given in ({2: 0.5, 0: 3}, [3.0, 1.0, 0.5], {np.int64(0): 3.0, 2: np.float32(0.5)})]
    losses = [[float(step(X, LABELS)) for _ in range(3)] for step in steps]
    assert losses[0] == losses[1] == losses[2]
    assert steps[0].evaluate(X, LABELS) == steps[1].evaluate(X, LABELS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_focal_takes_the_same_kinds(backend):
    wanted = compute_class_weight("balanced", classes=np.arange(OUTPUTS), y=LABELS).tolist()
    found = []
    for given in (wanted, dict(enumerate(wanted)), "balanced"):
        model = fs.mlp([COLUMNS, 12, OUTPUTS]).initialize(3, backend, "float64")
        step = fs.TrainStep(model, fs.Focal(2.0, given), fs.Adam(0.01), seed=1)
        history = fs.Trainer(step).fit(X, LABELS, epochs=3, batch_size=8, validation=(X, LABELS))
        found.append((history["loss"], history["val_loss"]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-12)
    with pytest.raises(fs.LabelError, match="got one of label 3"):
        fs.TrainStep(fs.mlp([COLUMNS, OUTPUTS]), fs.Focal(2.0, {3: 2.0}), fs.SGD(0.1), backend=backend)(X, LABELS)
    with pytest.raises(fs.HyperparameterError, match="expected two class weights"):
        fs.BinaryFocal(2.0, "balanced")


def test_what_is_given_may_change_afterwards():
    given = {0: 2.0}
    loss = fs.SoftmaxCrossEntropy(class_weights=given)
    given[0] = 3.0
    assert loss.class_weights == {0: 2.0}


@pytest.mark.row("G3")
@pytest.mark.parametrize("batch_size", [None, 8])
@pytest.mark.parametrize("data", ["device", "stream"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_balanced_is_what_scikit_learn_computes(backend, data, batch_size):
    wanted = compute_class_weight("balanced", classes=np.arange(OUTPUTS), y=LABELS)
    rows = fs.ArrayRows(X), fs.ArrayRows(LABELS)
    balanced = fit("balanced", *rows, backend=backend, data=data, batch_size=batch_size)
    np.testing.assert_allclose(balanced[0].class_weights, wanted, rtol=1e-14)
    same(balanced, fit(wanted, *rows, backend=backend, data=data, batch_size=batch_size))


@pytest.mark.parametrize("backend", BACKENDS)
def test_counts_are_sums_of_sample_weights(backend):
    wanted = compute_class_weight("balanced", classes=np.arange(OUTPUTS), y=LABELS, sample_weight=FRACTIONS)
    step, _ = fit("balanced", backend=backend, sample_weight=FRACTIONS)
    np.testing.assert_allclose(step.class_weights, wanted, rtol=1e-13)
    weighted = fit("balanced", backend=backend, sample_weight=COUNTS)
    same(weighted, fit("balanced", X[REPEATED], LABELS[REPEATED], backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_kinds_of_weights_are_multiplied(backend):
    by_class = np.array([0.5, 2.0, 1.5])
    plain, both = new_step(None, backend), new_step(by_class, backend)
    wanted = float(plain(X, LABELS, sample_weight=FRACTIONS * by_class[LABELS]))
    share = (FRACTIONS * by_class[LABELS]).sum() / FRACTIONS.sum()
    assert float(both(X, LABELS, sample_weight=FRACTIONS)) == pytest.approx(wanted * share, rel=1e-12)


def test_balanced_focal_loss():
    model = fs.mlp([COLUMNS, 12, OUTPUTS])
    step = fs.TrainStep(model, fs.Focal(class_weights="balanced"), fs.Adam(0.01), seed=1, backend="numba")
    fs.Trainer(step).fit(X, LABELS, epochs=2)
    wanted = compute_class_weight("balanced", classes=np.arange(OUTPUTS), y=LABELS)
    assert step.class_weights == pytest.approx(tuple(wanted))
    assert repr(step.loss) == "Focal(class_weights='balanced')"


def test_classes_that_do_not_occur():
    step = new_step("balanced", outputs=5)
    fs.Trainer(step).fit(X, LABELS, epochs=1)
    wanted = compute_class_weight("balanced", classes=np.arange(OUTPUTS), y=LABELS)
    assert step.class_weights == pytest.approx((*wanted, 1.0, 1.0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_before_a_fit_they_are_not_known(backend):
    step = new_step("balanced", backend)
    for call in (lambda: step(X, LABELS), lambda: step.evaluate(X, LABELS)):
        with pytest.raises(fs.StateError, match=r"expected the training data before .*\.fit\(x, y\)"):
            call()
    assert step.steps == 0
    assert step.memory(8).total > 0
    fs.Trainer(step).fit(X, LABELS, epochs=1)
    assert float(step(X, LABELS)) > 0.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_fit_balances_by_its_own_data(backend):
    step = new_step("balanced", backend)
    trainer = fs.Trainer(step, shuffle="never")
    trainer.fit(X, LABELS, epochs=1, batch_size=None)
    first, before = step.class_weights, parameters(step)
    labels = np.where(np.arange(len(LABELS)) < 20, 0, LABELS)
    loss = trainer.fit(X, labels, epochs=1, batch_size=None)["loss"][0]
    assert step.class_weights != first
    other = new_step(compute_class_weight("balanced", classes=np.arange(OUTPUTS), y=labels), backend)
    other.model.arena.values[...] = before
    assert loss == pytest.approx(other.evaluate(X, labels)["loss"], rel=1e-12)


def test_a_pickled_step_knows_them():
    step, _ = fit("balanced")
    copied = pickle.loads(pickle.dumps(step))
    assert copied.class_weights == step.class_weights
    assert copied.evaluate(X, LABELS) == step.evaluate(X, LABELS)


@pytest.mark.parametrize("class_weights", ["balanced", {1: 2.0}])
def test_a_resumed_training_has_the_same_bits(class_weights, tmp_path):
    checkpoint = {"checkpoint": fs.Checkpoint(tmp_path, every_steps=1), "batch_size": 8, "sample_weight": FRACTIONS}
    whole = fit(class_weights, batch_size=8, sample_weight=FRACTIONS)
    fit(class_weights, max_steps=7, **checkpoint)
    resumed = fit(class_weights, resume="auto", **checkpoint)
    assert parameters(resumed[0]).tobytes() == parameters(whole[0]).tobytes()
    with pytest.raises(fs.CheckpointError):
        fit([1.0, 2.0, 3.0], resume="auto", **checkpoint)


def test_methods_that_see_all_rows_balance_by_them():
    numbers = tuple(compute_class_weight("balanced", classes=np.unique(LABELS), y=LABELS))
    found = []
    for given in ("balanced", numbers):
        loss, model = fs.SoftmaxCrossEntropy(class_weights=given), fs.mlp([COLUMNS, 4, OUTPUTS], "tanh")
        for method in (fs.LBFGS(), fs.HessianFree()):
            found.append(fs.minimize(model.initialize(2, "numpy", "float64"), loss, X, LABELS, method, 3, backend="numpy").loss)
        assert fs.gradient_check(model, loss, X, LABELS)
        assert fs.gradient_check(loss, None, X[:, :OUTPUTS], LABELS)
    np.testing.assert_allclose(found[:2], found[2:], rtol=1e-12)
    ensemble = fs.mlp([COLUMNS, 4, OUTPUTS], "tanh", n_ensemble=2)
    assert fs.gradient_check(ensemble, fs.SoftmaxCrossEntropy(class_weights="balanced"), X, LABELS)
