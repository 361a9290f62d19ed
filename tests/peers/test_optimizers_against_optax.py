"""100 steps in float64 beside optax, wherever it defines the same rule: recorded gradients, and whole training runs.

Rules that optax has not (the notes' momentum forms, AdaGrad with epsilon outside) are in tests/unit/optimizers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
import pytest

import fusedstep as fs

pytestmark = pytest.mark.peers


def weights_only(parameters):
    """What decays in this library by default."""
    return {name: name.endswith("weight") for name in parameters}


def decayed(alpha):
    """The gradient of (alpha / 2) ||theta||^2 on the weights."""
    return optax.add_decayed_weights(alpha, mask=weights_only)


CASES = {
    "SGD": lambda: (fs.SGD(0.1), optax.sgd(0.1)),
    "SGD with l2": lambda: (fs.SGD(0.1, l2=0.02), optax.chain(decayed(0.02), optax.sgd(0.1))),
    "SGD with weight_decay": lambda: (
        fs.SGD(0.1, weight_decay=0.03),
        optax.chain(decayed(0.03), optax.sgd(0.1)),
    ),
    "Momentum sum": lambda: (fs.Momentum(0.05, 0.9, form="sum"), optax.sgd(0.05, momentum=0.9)),
    "Momentum update": lambda: (fs.Momentum(0.05, 0.9, form="update"), optax.sgd(0.05, momentum=0.9)),
    "Momentum velocity": lambda: (fs.Momentum(0.05, 0.9, form="velocity"), optax.sgd(0.05, momentum=0.9)),
    "Momentum average": lambda: (
        fs.Momentum(0.3, 0.9, form="average"),
        optax.chain(optax.ema(0.9, debias=False), optax.scale_by_learning_rate(0.3)),
    ),
    "Momentum sum with l2": lambda: (
        fs.Momentum(0.05, 0.8, form="sum", l2=0.02),
        optax.chain(decayed(0.02), optax.sgd(0.05, momentum=0.8)),
    ),
    "Nesterov": lambda: (fs.Nesterov(0.05, 0.9), optax.sgd(0.05, momentum=0.9, nesterov=True)),
    "AdaGrad inside": lambda: (
        fs.AdaGrad(0.05, 1e-7, epsilon_placement="inside"),
        optax.adagrad(0.05, initial_accumulator_value=0.0, eps=1e-7),
    ),
    "RMSProp inside": lambda: (
        fs.RMSProp(0.01, 0.9, 1e-6, epsilon_placement="inside"),
        optax.rmsprop(0.01, 0.9, 1e-6, eps_in_sqrt=True),
    ),
    "RMSProp outside": lambda: (
        fs.RMSProp(0.01, 0.9, 1e-6, epsilon_placement="outside"),
        optax.rmsprop(0.01, 0.9, 1e-6, eps_in_sqrt=False),
    ),
    "AdaDelta inside": lambda: (fs.AdaDelta(1.0, 0.9, 1e-4), optax.adadelta(1.0, 0.9, 1e-4)),
    "AdaDelta inside with l2": lambda: (
        fs.AdaDelta(1.0, 0.9, 1e-4, l2=0.01),
        optax.adadelta(1.0, 0.9, 1e-4, weight_decay=0.01, weight_decay_mask=weights_only),
    ),
    "Adam outside": lambda: (fs.Adam(0.01, 0.9, 0.999, 1e-8), optax.adam(0.01, 0.9, 0.999, 1e-8)),
    "Adam inside": lambda: (
        fs.Adam(0.01, 0.9, 0.999, 1e-6, epsilon_placement="inside"),
        optax.adam(0.01, 0.9, 0.999, eps=0.0, eps_root=1e-6),
    ),
    "Adam with l2": lambda: (
        fs.Adam(0.01, 0.8, 0.99, 1e-7, l2=0.05),
        optax.chain(decayed(0.05), optax.adam(0.01, 0.8, 0.99, 1e-7)),
    ),
    "AdamW": lambda: (
        fs.AdamW(0.01, 0.9, 0.999, 1e-8, weight_decay=0.1),
        optax.adamw(0.01, 0.9, 0.999, 1e-8, weight_decay=0.1, mask=weights_only),
    ),
    "NAdam": lambda: (fs.NAdam(0.01, 0.9, 0.999, 1e-8), optax.nadam(0.01, 0.9, 0.999, 1e-8)),
    "NAdam with weight_decay": lambda: (
        fs.NAdam(0.01, 0.9, 0.99, 1e-8, weight_decay=0.1),
        optax.nadamw(0.01, 0.9, 0.99, 1e-8, weight_decay=0.1, mask=weights_only),
    ),
    "Adamax": lambda: (fs.Adamax(0.01, 0.9, 0.99, 1e-8), optax.adamax(0.01, 0.9, 0.99, 1e-8)),
    "Adamax with weight_decay": lambda: (
        fs.Adamax(0.01, 0.9, 0.99, 1e-8, weight_decay=0.1),
        optax.adamaxw(0.01, 0.9, 0.99, 1e-8, weight_decay=0.1, mask=weights_only),
    ),
    "Lion": lambda: (fs.Lion(0.003, 0.9, 0.99), optax.lion(0.003, 0.9, 0.99, weight_decay=0.0)),
    "Lion with weight_decay": lambda: (
        fs.Lion(0.003, 0.9, 0.99, weight_decay=0.1),
        optax.lion(0.003, 0.9, 0.99, weight_decay=0.1, mask=weights_only),
    ),
    "LAMB": lambda: (fs.LAMB(0.01, 0.9, 0.999, 1e-6), optax.lamb(0.01, 0.9, 0.999, 1e-6)),
    "LAMB with weight_decay": lambda: (
        fs.LAMB(0.01, 0.9, 0.999, 1e-6, weight_decay=0.1),
        optax.lamb(0.01, 0.9, 0.999, 1e-6, weight_decay=0.1, mask=weights_only),
    ),
    "SignDescent": lambda: (fs.SignDescent(0.002), optax.sign_sgd(0.002)),
    "clip_norm": lambda: (
        fs.SGD(0.1, clip_norm=0.3),
        optax.chain(optax.clip_by_global_norm(0.3), optax.sgd(0.1)),
    ),
    "clip_value": lambda: (fs.SGD(0.1, clip_value=0.02), optax.chain(optax.clip(0.02), optax.sgd(0.1))),
    "clip_norm, clip_value, l2": lambda: (
        fs.Adam(0.01, clip_norm=0.4, clip_value=0.05, l2=0.01),
        optax.chain(optax.clip_by_global_norm(0.4), optax.clip(0.05), decayed(0.01), optax.adam(0.01)),
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def float64_in_jax():
    """JAX computes in float32 unless told otherwise."""
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        yield


def network_loss(parameters, x, y):
    """Cross-entropy of the network of conftest.py."""
    h = jnp.tanh(x @ parameters["0.Linear.weight"] + parameters["0.Linear.bias"])
    h = jax.nn.relu(h @ parameters["2.Linear.weight"] + parameters["2.Linear.bias"])
    z = h @ parameters["4.Linear.weight"] + parameters["4.Linear.bias"]
    return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1).mean()


def run_theirs(problem, transformation, gradient_at):
    """Parameters [STEPS, count]; gradient_at(parameters, item) for the items of each step."""

    @jax.jit
    def step(parameters, state, item):
        updates, state = transformation.update(gradient_at(parameters, item), state, parameters)
        return optax.apply_updates(parameters, updates), state

    parameters = {name: jnp.asarray(value) for name, value in problem.first.items()}
    assert all(value.dtype == jnp.float64 for value in parameters.values())
    state = transformation.init(parameters)
    items = problem.gradients if gradient_at is recorded else list(zip(problem.x, problem.y, strict=True))
    rows = []
    for item in items:
        parameters, state = step(parameters, state, item)
        rows.append(problem.flat(parameters[name] for name in problem.first))
    return jnp.array(rows)


def recorded(parameters, item):
    """The gradient that was recorded, wherever the parameters are."""
    return item


def own(parameters, item):
    """The gradient by JAX's differentiation."""
    return jax.grad(network_loss)(parameters, *item)


@pytest.mark.row("C5", "C6")
@pytest.mark.parametrize("case", CASES)
def test_recorded_gradients(case, problem):
    ours, transformation = CASES[case]()
    theirs = run_theirs(problem, transformation, recorded)
    for backend in ("numpy", "numba"):
        mine = problem.run_recorded(ours, backend, problem.gradients)
        problem.require_same(mine, theirs, f"{case} on {backend}")


@pytest.mark.parametrize("case", CASES)
def test_training_run(case, problem):
    ours, transformation = CASES[case]()
    theirs = run_theirs(problem, transformation, own)
    for backend in ("numpy", "numba"):
        mine = problem.run_training(ours, backend, problem.x, problem.y)
        problem.require_same(mine, theirs, f"{case} on {backend}")
