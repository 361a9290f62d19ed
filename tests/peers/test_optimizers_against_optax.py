"""100 steps in float64 beside optax, wherever it defines the same rule: recorded gradients, and whole training runs.

Rules that optax has not (the notes' momentum forms, AdaGrad with epsilon outside) are in tests/unit/optimizers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
import pytest
from optimizer_cases import optax_cases

pytestmark = pytest.mark.peers


CASES = list(optax_cases(optax))


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


WHOLE_RUNS = ("AdamW", "LAMB with weight_decay", "Nesterov", "clip_norm, clip_value, l2")
"""One rule of each kind; what differs between the others is compared on the same gradients."""


@pytest.mark.row("C5", "C6")
@pytest.mark.parametrize("case", CASES)
def test_recorded_gradients(case, problem):
    ours, transformation = optax_cases(optax)[case]
    theirs = run_theirs(problem, transformation, recorded)
    for backend in ("numpy", "numba"):
        mine = problem.run_recorded(ours, backend, problem.gradients)
        problem.require_same(mine, theirs, f"{case} on {backend}")


@pytest.mark.parametrize(
    "case", [case if case in WHOLE_RUNS else pytest.param(case, marks=pytest.mark.exhaustive) for case in CASES]
)
def test_training_run(case, problem):
    ours, transformation = optax_cases(optax)[case]
    theirs = run_theirs(problem, transformation, own)
    for backend in ("numpy", "numba"):
        mine = problem.run_training(ours, backend, problem.x, problem.y)
        problem.require_same(mine, theirs, f"{case} on {backend}")
