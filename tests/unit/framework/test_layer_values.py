"""Layers and predictions beside their formulas written out in NumPy, in float64."""

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import Random, backend
from fusedstep.kernels.formulas.random import dropout

BACKENDS = ["numpy", "numba"]
RNG = np.random.default_rng(11)
X = RNG.normal(size=(7, 4))


def placed(name, *layers):
    """A model of these layers, and its parameters on the host."""
    model = fs.Sequential(*layers).initialize(3, name, "float64")
    return model, {key: np.array(values) for key, values in model.parameters().items()}


@pytest.mark.parametrize("name", BACKENDS)
def test_a1_a_linear_layer_is_a_product_and_a_bias(name):
    model, values = placed(name, fs.Linear(4, 3, bias_init=0.5))
    expected = X @ values["0.Linear.weight"] + values["0.Linear.bias"]
    np.testing.assert_allclose(np.array(model(X)), expected, rtol=1e-13)


@pytest.mark.parametrize("pieces", [2, 5])
@pytest.mark.parametrize("name", BACKENDS)
def test_a3_maxout_is_the_largest_of_its_affine_pieces(name, pieces):
    model, values = placed(name, fs.Maxout(4, 3, pieces, bias_init=fs.Normal(1.0)))
    weight, bias = values["0.Maxout.weight"], values["0.Maxout.bias"]
    affine = [X @ weight[:, 3 * k : 3 * k + 3] + bias[3 * k : 3 * k + 3] for k in range(pieces)]
    np.testing.assert_allclose(np.array(model(X)), np.max(affine, axis=0), rtol=1e-13)


@pytest.mark.parametrize("name", BACKENDS)
def test_a5_inverted_dropout_is_the_notes_dropout_with_rescaled_weights(name):
    run, p = backend(name), 0.2
    keep = 1.0 - p
    x, w = RNG.normal(size=(2000, 4)), RNG.normal(size=(4, 3))
    random = Random(run.random_state(5), 1)
    inverted, plain = run.empty(x.shape, "float64"), run.empty(x.shape, "float64")
    run.map(dropout, inverted, run.asarray(x, "float64"), p, 1.0 / keep, random=random)
    run.map(dropout, plain, run.asarray(x, "float64"), p, 1.0, random=random)
    inverted, plain = run.to_numpy(inverted), run.to_numpy(plain)
    np.testing.assert_allclose(inverted @ (keep * w), plain @ w, atol=1e-12)  # the same network in training
    saved = np.mean(plain != 0.0)
    assert abs(saved - keep) < 4.0 * np.sqrt(p * keep / x.size)
    model = fs.Sequential(fs.Dropout(p), fs.Linear(4, 3, bias=False)).initialize(0, name, "float64")
    model.load_parameters({"1.Linear.weight": keep * w})
    np.testing.assert_allclose(np.array(model(x)), (keep * x) @ w, atol=1e-12)  # and when it is used


@pytest.mark.parametrize("name", BACKENDS)
def test_a14_probabilities_lie_on_the_simplex_and_the_label_is_the_largest(name):
    model = fs.mlp([4, 6, 3]).initialize(1, name, "float64")
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=0)
    y = RNG.integers(0, 3, len(X))
    probabilities = np.array(model.predict_proba(X))
    assert probabilities.min() >= 0.0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    labels = np.array(model.predict(X))
    assert np.array_equal(labels, probabilities.argmax(axis=1))
    measured = step.evaluate(X, y)
    assert measured["accuracy"] == pytest.approx(np.mean(labels == y))
    assert measured["error"] == pytest.approx(np.mean(labels != y))
