"""Muon: which parameters are orthogonalised, that they are, and what goes around it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import backend as find

BACKENDS = ("numpy", "numba")
rng = np.random.default_rng(9)
X = rng.standard_normal((96, 6))
Y = (X @ rng.standard_normal((6, 3))).argmax(axis=1)


def make_step(backend="numpy", optimizer=None, precision="float64", model=None, **options):
    model = model or fs.mlp([6, 12, 12, 8, 3], activation="tanh")
    optimizer = optimizer or fs.Muon(0.02, weight_decay=0.0)
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer, seed=1, backend=backend, precision=precision, **options)


def values(step):
    return np.array(step.backend.to_numpy(step.model.arena.values))


def matrices(step):
    return [step.model.arena.names[parameter] for parameter in step.state.matrices]


def test_hidden_matrices_are_all_but_the_last_unless_patterns_say_otherwise():
    assert matrices(make_step()) == ["0.Linear.weight", "2.Linear.weight", "4.Linear.weight"]
    assert matrices(make_step(optimizer=fs.Muon(matrices=["[24].*"]))) == ["2.Linear.weight", "4.Linear.weight"]
    assert len(matrices(make_step(optimizer=fs.Muon(matrices=["*"])))) == 4
    assert matrices(make_step(model=fs.mlp([6, 3]))) == []
    embedded = fs.mlp([6, 8, 3], categories={0: 4})
    assert matrices(make_step(model=embedded, precision="float32")) == [
        name for name, parameter in embedded.declared() if len(parameter.shape) == 2 and not parameter.gathered
    ][:-1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(12, 12), (40, 7), (7, 40), (1, 5)])
def test_c6_the_direction_of_a_matrix_has_singular_values_near_1(backend, shape):
    step = make_step(backend, model=fs.mlp([shape[0], shape[1], 3], activation="tanh"))
    x = rng.standard_normal((64, shape[0]))
    step(x, Y[:64])
    direction = step.state.arena.views_of(step.state.direction)[step.state.matrices[0]]
    found = np.linalg.svd(np.array(direction), compute_uv=False)
    largest = found[: min(shape) // 2 + 1]
    assert np.all((largest > 0.6) & (largest < 1.3)), found
    assert np.all(found < 1.3)
    # It has the singular vectors of the mean of the gradients.
    gradient = step.state.arena.views_of(step.gradient)[step.state.matrices[0]]
    left, _, right = np.linalg.svd(np.array(gradient), full_matrices=False)
    inner = left.T @ np.array(direction) @ right.T
    assert np.allclose(inner, np.diag(np.diag(inner)), atol=1e-6)


@pytest.mark.row("G11")
@pytest.mark.parametrize("backend", BACKENDS)
def test_it_trains_and_resumes_with_an_average(backend):
    step = make_step(backend, precision="float32", average=fs.EMA(0.9))
    trainer = fs.Trainer(step, schedule="cosine")
    history = trainer.fit(X.astype("f4"), Y, epochs=15, batch_size=16)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    copy = pickle.loads(pickle.dumps(step))
    for one in (step, copy):
        one(X[:16].astype("f4"), Y[:16])
    assert np.array_equal(values(copy), values(step))
    assert step.state.proven


@pytest.mark.parametrize("backend", BACKENDS)
def test_pruned_weights_stay_zero(backend):
    step = make_step(backend)
    step(X, Y)
    fs.prune(step, 0.5)
    for _ in range(3):
        step(X, Y)
    pruned = np.array(step.model.arena.mask) == 0.0
    assert pruned.any()
    assert np.all(values(step)[pruned] == 0.0)
    assert np.count_nonzero(values(step)) > 0


def test_a_schedule_changes_both_rates_by_the_same_factor():
    one = make_step(optimizer=fs.Muon(0.04, adam_lr=0.002, weight_decay=0.1))
    other = make_step(optimizer=fs.Muon(0.02, adam_lr=0.001, weight_decay=0.1))
    one.lr = 0.02
    for _ in range(3):
        one(X, Y)
        other(X, Y)
    assert np.allclose(values(one), values(other), rtol=0.0, atol=1e-15)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_that_is_not_finite_changes_nothing(backend):
    step = make_step(backend, on_nonfinite="skip")
    step(X, Y)
    before = values(step)
    step(np.full_like(X, np.nan), Y)
    assert step.skipped == 1
    assert np.array_equal(values(step), before)
    step(X, Y)
    assert np.isfinite(values(step)).all()


def test_a_gradient_of_zeros_changes_nothing():
    step = make_step()
    state, before = step.state, values(step)
    state.begin()
    state.apply(state.arena.new(), find("numpy").sum_of_squares(state.arena.new()))
    assert np.array_equal(values(step), before)
