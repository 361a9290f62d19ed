"""Every formula that claims to be a derivative, against differences of the formula that it belongs to, in float64.

The tables are those of the library: a new activation or elementwise loss is covered without being named here.
"""

from __future__ import annotations

import numpy as np
import pytest

from fusedstep.kernels.formula import REGISTRY
from fusedstep.kernels.formulas import activations, losses
from fusedstep.kernels.formulas.activations import ACTIVATIONS, dense_backward, dense_forward
from fusedstep.kernels.formulas.elementwise import softmax_derivative

BOUND = 1e-7
STEP = 1e-3

SETTING = 0.13
"""The value of every scalar that an activation has."""


def difference(function, x, h=STEP):
    """The derivative by the five-point rule, whose error is h^4 / 30 times the fifth derivative."""
    return (8.0 * (function(x + h) - function(x - h)) - (function(x + 2 * h) - function(x - 2 * h))) / (12.0 * h)


def relative(got, expected):
    return float((np.abs(got - expected) / np.maximum(np.abs(expected), 1e-3)).max())


@pytest.fixture
def points():
    """Both signs, tails included, nowhere nearer to a corner at 0 than the differences reach."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0.0, 2.0, 300), np.linspace(-8.0, 8.0, 101), [-0.01, 0.01]])
    return x[np.abs(x) > 3 * STEP]


def settings_of(activation):
    return [SETTING] * len(activation.settings)


@pytest.mark.row("A2")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_of_every_activation(name, points):
    activation = ACTIVATIONS[name]
    settings = settings_of(activation)
    y = activation.value(points, *settings)
    saved = y if activation.keeps == "output" else points
    expected = difference(lambda x: activation.value(x, *settings), points)
    assert relative(np.broadcast_to(activation.derivative(saved, *settings), points.shape), expected) < BOUND


@pytest.mark.row("A2")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_at_zero_is_a_subgradient(name):
    activation = ACTIVATIONS[name]
    settings = settings_of(activation)
    zero = np.zeros(1)
    saved = activation.value(zero, *settings) if activation.keeps == "output" else zero
    derivative = float(np.broadcast_to(activation.derivative(saved, *settings), (1,))[0])
    left, right = (
        float(((activation.value(np.array([s * 1e-7]), *settings) - activation.value(zero, *settings)) / (s * 1e-7))[0])
        for s in (-1.0, 1.0)
    )
    assert min(left, right) - 1e-6 <= derivative <= max(left, right) + 1e-6
    if name == "relu":
        assert derivative == 0.0


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_bounds_of_saturating_activations(name):
    activation = ACTIVATIONS[name]
    with np.errstate(over="ignore"):
        ends = activation.value(np.array([-800.0, 800.0]), *settings_of(activation))
    for bound, end in zip(activation.bounds, ends, strict=True):
        if bound is not None:
            assert float(end) == bound


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_backward_of_every_dense_layer(name, bias, dropout, points):
    """dense_backward on what dense_forward kept, mask included, against differences of dense_forward."""
    activation = ACTIVATIONS[name]
    keep_input = activation.keeps == "input"
    rng = np.random.default_rng(1)
    shift = rng.normal(size=points.size)
    random = [0.3, 1.0 / 0.7, rng.integers(0, 2**32, points.size, dtype=np.uint32)] if dropout else []
    forward = dense_forward(activation, bias, dropout, keep_input)
    backward = dense_backward(activation, dropout)
    z = points - shift if bias else points

    def run(z):
        return forward(z, *([shift] if bias else []), *settings_of(activation), *random)

    def output(z):
        result = run(z)
        return result[0] if keep_input else result

    saved = run(z)[1] if keep_input else run(z)
    dy = rng.normal(size=points.size)
    got = backward(dy, saved, *settings_of(activation), *random)
    assert relative(got, dy * difference(output, z)) < BOUND
    if dropout:
        assert (got == 0.0).mean() > 0.15


def test_prelu_and_its_products(points):
    rng = np.random.default_rng(2)
    alpha, dy, dx, dalpha = (rng.normal(size=points.size) for _ in range(4))
    by_x = difference(lambda x: activations.prelu(x, alpha), points)
    by_alpha = difference(lambda a: activations.prelu(points, a), alpha)
    back_x, back_alpha = activations.prelu_backward(dy, points, alpha)
    assert relative(back_x, dy * by_x) < BOUND
    assert relative(back_alpha, dy * by_alpha) < BOUND
    assert relative(activations.prelu_tangent(dx, points, alpha, dalpha), dx * by_x + dalpha * by_alpha) < BOUND


ELEMENTWISE_LOSSES = [
    f for f in REGISTRY.values() if f.function.__module__ == losses.__name__ and f.outputs == ("rowsum", "each")
]

FIRST = {"kl_divergence": "probability", "symmetric_kl": "probability"}
FURTHER = {"binary_focal": (1.5, 0.5, 2.0), "huber": (0.8,), "pinball": (0.3,)}
"""Arguments between target and factor."""
KINKS = {"absolute_error": 0.0, "huber": 0.8, "pinball": 0.0}
"""|y - t| where the slope or its derivative jumps."""
TARGET = {
    "binary_focal": "bit", "hinge": "sign", "kl_divergence": "probability", "symmetric_kl": "probability",
    "binary_cross_entropy": "probability",
}  # fmt: skip


def sample(kind, size, seed):
    rng = np.random.default_rng(seed)
    if kind == "probability":
        return rng.uniform(0.1, 0.9, size)
    if kind == "bit":
        return rng.choice([0.0, 1.0], size)
    if kind == "sign":
        return rng.choice([-1.0, 1.0], size)
    return rng.normal(0.0, 2.0, size)


def test_elementwise_losses_were_found():
    assert {f.name for f in ELEMENTWISE_LOSSES} >= {"squared_error", "binary_cross_entropy", "hinge", *FIRST}


@pytest.mark.parametrize("loss", ELEMENTWISE_LOSSES, ids=str)
def test_gradient_of_every_elementwise_loss(loss):
    name = loss.name.removeprefix("weighted_")
    y = sample(FIRST.get(name), 500, 3)
    target = sample(TARGET.get(name), 500, 4)
    if name == "hinge":
        keep = np.abs(1.0 - target * y) > 3 * STEP
        y, target = y[keep], target[keep]
    if name == "binary_cross_entropy":
        y = y[np.abs(y) > 3 * STEP]
        target = target[: y.size]
    if name in KINKS:
        keep = np.abs(np.abs(y - target) - KINKS[name]) > 3 * STEP
        y, target = y[keep], target[keep]
    factor, further, weight = 0.37, FURTHER.get(name, ()), (0.6,) if loss.name != name else ()
    expected = factor * difference(lambda v: loss(v, target, *further, factor, *weight)[0], y)
    assert relative(loss(y, target, *further, factor, *weight)[1], expected) < BOUND


def test_gradient_of_the_bhattacharyya_distance():
    rng = np.random.default_rng(5)
    q, p = rng.dirichlet(np.ones(6), 40), rng.dirichlet(np.ones(6), 40)

    def distance(q):
        return losses.negative_log(losses.bhattacharyya_coefficient(q, p).sum(axis=1))

    coefficient = losses.bhattacharyya_coefficient(q, p).sum(axis=1)[:, None]
    gradient = losses.bhattacharyya_gradient(q, p, coefficient, 0.37)
    for k in range(6):
        direction = np.eye(6)[k]
        h = 1e-3 * q[:, k]
        expected = difference(lambda s, d=direction, h=h: distance(q + (s * h)[:, None] * d), np.zeros(40), 1.0) / h
        assert relative(gradient[:, k], 0.37 * expected) < BOUND


def test_softmax_slope():
    rng = np.random.default_rng(6)
    x, dy = rng.normal(size=(30, 5)), rng.normal(size=(30, 5))

    def softmax(x):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    y = softmax(x)
    dx = softmax_derivative(dy, y, (dy * y).sum(axis=1, keepdims=True))
    for k in range(5):
        shift = np.eye(5)[k]
        expected = difference(lambda s, e=shift: (dy * softmax(x + s[:, None] * e)).sum(axis=1), np.zeros(30))
        assert relative(dx[:, k], expected) < BOUND


def test_losses_stay_finite_at_the_limits_of_their_domain():
    edge = np.array([0.0, 1.0])
    for loss in (losses.kl_divergence, losses.symmetric_kl):
        for q in edge:
            for p in edge:
                value, gradient = loss(np.array([q]), np.array([p]), 1.0)
                assert np.isfinite(value).all(), (loss, q, p)
                assert np.isfinite(gradient).all(), (loss, q, p)
    value, gradient = losses.binary_cross_entropy(np.array([-1e4, 1e4]), edge, 1.0)
    np.testing.assert_array_equal(value, [0.0, 0.0])
    np.testing.assert_array_equal(gradient, [0.0, 0.0])
