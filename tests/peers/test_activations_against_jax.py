"""Every activation that jax.nn has, with its first and second derivative: in float64, far from 0 too, and in float32.

The second derivative is that of the dual numbers, which products with a Hessian are made of.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.conformance.tolerances import tolerance
from fusedstep.backends.forward_mode.backend import DualBackend
from fusedstep.framework.layers.activations import ACTIVATION_LAYERS

pytestmark = pytest.mark.peers

THEIRS = {name: getattr(jax.nn, name) for name in ACTIVATION_LAYERS if name != "prelu"}
THEIRS["gelu"] = lambda x: jax.nn.gelu(x, approximate=False)
NEAR = np.concatenate([np.linspace(-20.0, 20.0, 801), [-1e-3, 1e-3, -1e-9, 1e-9]])
FAR = np.array([s * x for x in (30.0, 60.0, 87.0, 100.0, 700.0, 745.0, 1e4, 3.4e38, 1.7e308) for s in (-1.0, 1.0)])
BACKENDS = ("numpy", "numba")
CORNERS = ("relu", "leaky_relu", "elu")


@pytest.fixture(autouse=True)
def float64_in_jax():
    """JAX computes in float32 unless told otherwise."""
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        yield


def ours(name, backend, x):
    """y and dy/dx by the kernels of a backend, as arrays of the host."""
    layer, run = ACTIVATION_LAYERS[name](), fs.backend(backend)
    given, ones = run.asarray(x.reshape(1, -1)), run.asarray(np.ones((1, x.size), x.dtype))
    y, derivative = (run.empty(given.shape, str(x.dtype)) for _ in range(2))
    with run.quiet():
        run.map(layer.activation.forward, y, given, *layer.scalars)
        run.map(layer.activation.backward, derivative, ones, y if layer.activation.keeps == "output" else given, *layer.scalars)
    return [run.to_numpy(a).reshape(-1) for a in (y, derivative)]


def our_second_derivative(name, backend, x):
    """By dual numbers, whose value is x and whose tangent is 1."""
    layer, run = ACTIVATION_LAYERS[name](), DualBackend(fs.backend(backend))
    ones = run.native.asarray(np.ones((1, x.size)))
    given = run.pair(run.native.asarray(x.reshape(1, -1)), ones)
    y, derivative = (run.empty(given.shape, "float64") for _ in range(2))
    run.map(layer.activation.forward, y, given, *layer.scalars)
    saved = y if layer.activation.keeps == "output" else given
    run.map(layer.activation.backward, derivative, run.pair(ones), saved, *layer.scalars)
    return np.zeros(x.size) if derivative.tangent is None else run.native.to_numpy(derivative.tangent).reshape(-1)


def theirs(name, x, derivatives):
    """The value and so many derivatives by JAX, in float64."""
    functions = [THEIRS[name]]
    for _ in range(derivatives):
        functions.append(jax.grad(functions[-1]))
    return [np.asarray(jax.vmap(f)(jnp.asarray(x, jnp.float64))) for f in functions]


@pytest.mark.row("A2")
@pytest.mark.parametrize("name", THEIRS)
def test_value_and_two_derivatives(name):
    x = NEAR if name not in CORNERS else NEAR[NEAR != 0.0]
    expected = theirs(name, x, 2)
    for backend in BACKENDS:
        for got, wanted in zip([*ours(name, backend, x), our_second_derivative(name, backend, x)], expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13, err_msg=backend)


@pytest.mark.row("A2")
@pytest.mark.parametrize("name", THEIRS)
def test_value_and_derivative_far_from_zero(name):
    """Where e^x overflows or vanishes, they are the limits: no NaN."""
    expected = theirs(name, FAR, 1)
    for backend in BACKENDS:
        for got, wanted in zip(ours(name, backend, FAR), expected, strict=True):
            assert np.isfinite(got).all()
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13, err_msg=backend)


@pytest.mark.parametrize("name", THEIRS)
def test_float32_is_within_the_table(name):
    x = np.concatenate([NEAR[NEAR != 0.0], FAR[np.abs(FAR) < 1e39]]).astype(np.float32)
    expected = theirs(name, x, 1)
    for backend in BACKENDS:
        for got, wanted in zip(ours(name, backend, x), expected, strict=True):
            assert got.dtype == np.float32
            allowed = tolerance("float32", "elementwise").allows(got, wanted)
            assert allowed.all(), (backend, x[~allowed], got[~allowed], wanted[~allowed])
