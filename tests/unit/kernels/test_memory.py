"""Where arrays of the host begin."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import backend
from fusedstep.kernels.targets.memory import LINE, PAGE, aligned_empty, aligned_zeros


def place(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bool", "int64"])
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (3, 5), (7, 1, 9), (1000, 33)])
def test_arrays_begin_on_a_cache_line_with_the_shape_and_type_asked_for(shape, dtype):
    for _ in range(5):
        empty, zeros = aligned_empty(shape, dtype), aligned_zeros(shape, dtype)
        for array in (empty, zeros):
            assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
            assert array.flags.c_contiguous
            assert array.flags.writeable
            assert place(array) % LINE == 0 or array.size == 0
        assert not zeros.any()


def test_large_arrays_begin_at_different_places_of_a_page():
    made = [make((40, 1000), "float32") for _ in range(4) for make in (aligned_empty, aligned_zeros)]
    assert len({place(array) % PAGE for array in made}) == len(made)
    assert all(place(array) % LINE == 0 for array in made)
    with fs.use_backend("numba"):
        step = fs.TrainStep(fs.mlp([200, 300, 3]), fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=0)
    arrays = [step.state.arena.values, step.gradient, *step.state.states.values()]
    assert len({place(array) % PAGE for array in arrays}) == 4


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_parameters_gradients_and_states_begin_on_a_cache_line(name):
    with fs.use_backend(name):
        step = fs.TrainStep(fs.mlp([7, 13, 3]), fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=0)
    arrays = [step.state.arena.values, step.gradient, *step.state.states.values()]
    assert [place(a) % LINE for a in arrays] == [0] * len(arrays)


@pytest.mark.parametrize("classes", [1, 2, 10, 32, 33, 100])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("labels", ["int8", "int32", "int64", "uint64"])
def test_softmax_cross_entropy_of_few_and_of_many_classes_follows_float64(classes, dtype, labels):
    rng = np.random.default_rng(classes)
    rows, numpy = 4000, backend("numpy")
    logits = (5.0 * rng.standard_normal((rows, classes))).astype(dtype)
    label = rng.integers(0, classes, rows).astype(labels)
    weights = rng.uniform(0.5, 2.0, classes).astype(dtype)
    losses, gradient = np.empty(rows, dtype), np.empty_like(logits)
    on, off = 0.9 + 0.1 / classes, 0.1 / classes
    numpy.rows("softmax_cross_entropy", logits, label, weights, on, off, 0.25, losses, gradient)

    wide = logits.astype(np.float64)
    log_p = wide - wide.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    wanted = np.full((rows, classes), off)
    wanted[np.arange(rows), label] = on
    weight = weights.astype(np.float64)[label][:, None]
    tolerance = 2e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(losses, -(weight * wanted * log_p).sum(axis=1), rtol=4 * tolerance, atol=4 * tolerance)
    derivative = 0.25 * weight * (np.exp(log_p) * wanted.sum(axis=1, keepdims=True) - wanted)
    np.testing.assert_allclose(gradient, derivative, rtol=4 * tolerance, atol=tolerance)


def test_labels_of_any_shape_are_compared_with_a_bound():
    numbers = np.array([[1, 2], [3, 4]])
    assert backend("numpy").all_below(numbers, 5)
    assert not backend("numpy").all_below(numbers, 4)
    assert not backend("numpy").all_below(-numbers, 5)
