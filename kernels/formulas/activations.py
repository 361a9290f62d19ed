"""Activation functions and their derivatives, one pair of small functions each.

Derivatives are expressed in the output y if possible, so that a layer stores only one array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..formula import Each, Formula, Row, formula, make_formula
from ..vocabulary import Value, erf, exp, expm1, maximum, select, tanh
from .random import dropout_factor


@dataclass(frozen=True, eq=False)
class Activation:
    """An elementwise function and its derivative.

    Args: name – as in the layer's name; value – y = value(x, *settings); derivative – dy/dx as derivative(y or x, *settings);
        keeps – what the backward pass needs: "output" if the derivative is a function of y, "input" if it is one of x;
        settings – names of the scalars; bounds – (lower, upper) limits at which the output saturates, for diagnostics.
    """

    name: str
    value: Callable[..., Value]
    derivative: Callable[..., Value]
    keeps: str = "output"
    settings: tuple[str, ...] = ()
    bounds: tuple[float | None, float | None] = (None, None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and unpickled activations are the same object as in the table, because kernels are cached by it."""
        return activation_named, (self.name,)

    @property
    def forward(self) -> Formula:
        """y = value(x, *settings)."""
        return dense_forward(self, bias=False, dropout=False)

    @property
    def backward(self) -> Formula:
        """dx = dy derivative(saved, *settings)."""
        return dense_backward(self, dropout=False)


def identity(x: Value) -> Value:
    """y = x."""
    return x * 1.0


def identity_derivative(y: Value) -> Value:
    """dy/dx = 1."""
    return y * 0.0 + 1.0


def relu(x: Value) -> Value:
    """y = max(0, x); NaN stays NaN. Source: Nair and Hinton (2010)."""
    return maximum(x, 0.0)


def relu_derivative(y: Value) -> Value:
    """dy/dx = 1 where y > 0, else 0: the subgradient at 0 is 0."""
    return select(y > 0.0, 1.0, 0.0)


def leaky_relu(x: Value, slope: Value) -> Value:
    """y = x where x > 0, else slope x. Source: Maas, Hannun and Ng (2013)."""
    return select(x > 0.0, x, slope * x)


def leaky_relu_derivative(y: Value, slope: Value) -> Value:
    """dy/dx = 1 where y > 0, else slope (slope > 0, so y has the sign of x)."""
    return select(y > 0.0, 1.0, slope)


def elu(x: Value, a: Value) -> Value:
    """y = x where x > 0, else a (e^x - 1). Source: Clevert, Unterthiner and Hochreiter (2016)."""
    return select(x > 0.0, x, a * expm1(select(x > 0.0, 0.0, x)))


def elu_derivative(y: Value, a: Value) -> Value:
    """dy/dx = 1 where y > 0, else y + a (a > 0)."""
    return select(y > 0.0, 1.0, y + a)


def sigmoid(x: Value) -> Value:
    """y = 1 / (1 + e^-x)."""
    return 1.0 / (1.0 + exp(-x))


def sigmoid_derivative(y: Value) -> Value:
    """dy/dx = y (1 - y)."""
    return y * (1.0 - y)


def hyperbolic_tangent(x: Value) -> Value:
    """y = tanh x."""
    return tanh(x)


def hyperbolic_tangent_derivative(y: Value) -> Value:
    """dy/dx = 1 - y^2."""
    return 1.0 - y * y


def silu(x: Value) -> Value:
    """y = x sigmoid(x). Source: Elfwing, Uchibe and Doya (2018)."""
    return x * sigmoid(x)


def silu_derivative(x: Value) -> Value:
    """dy/dx = s (1 + x (1 - s)) with s = sigmoid(x)."""
    s = sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


def _mish_terms(x: Value) -> tuple[Value, Value, Value]:
    """w = e^-|x| <= 1, and a, b with tanh(softplus(x)) = a / b, computed without overflow or cancellation."""
    positive = x > 0.0
    w = exp(select(positive, -x, x))
    a = select(positive, 1.0 + 2.0 * w, w * (w + 2.0))
    return w, a, a + 2.0 * select(positive, w * w, 1.0)


def mish(x: Value) -> Value:
    """y = x tanh(softplus(x)), softplus(x) = log(1 + e^x). Source: Misra (2019)."""
    _, a, b = _mish_terms(x)
    return x * (a / b)


def mish_derivative(x: Value) -> Value:
    """dy/dx = t + x (1 - t^2) sigmoid(x) with t = tanh(softplus(x))."""
    w, a, b = _mish_terms(x)
    return a / b + x * (4.0 * w * (1.0 + w) * select(x > 0.0, w, 1.0) / (b * b))


def gelu(x: Value) -> Value:
    """y = x Phi(x) with the normal distribution function Phi. Source: Hendrycks and Gimpel (2016)."""
    return 0.5 * x * (1.0 + erf(x * 0.70710678118654752))


def gelu_derivative(x: Value) -> Value:
    """dy/dx = Phi(x) + x phi(x)."""
    return 0.5 * (1.0 + erf(x * 0.70710678118654752)) + x * 0.39894228040143268 * exp(-0.5 * x * x)


def _gelu_inner(x: Value) -> Value:
    return tanh(0.79788456080286536 * (x + 0.044715 * x * x * x))


def gelu_tanh(x: Value) -> Value:
    """y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), the approximation of the same paper."""
    return 0.5 * x * (1.0 + _gelu_inner(x))


def gelu_tanh_derivative(x: Value) -> Value:
    """The exact derivative of the approximation."""
    t = _gelu_inner(x)
    inner_derivative = 0.79788456080286536 * (1.0 + 0.134145 * x * x)
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner_derivative


ACTIVATIONS = {
    a.name: a
    for a in (
        Activation("identity", identity, identity_derivative),
        Activation("relu", relu, relu_derivative, bounds=(0.0, None)),
        Activation("leaky_relu", leaky_relu, leaky_relu_derivative, settings=("slope",)),
        Activation("elu", elu, elu_derivative, settings=("a",)),
        Activation("sigmoid", sigmoid, sigmoid_derivative, bounds=(0.0, 1.0)),
        Activation("tanh", hyperbolic_tangent, hyperbolic_tangent_derivative, bounds=(-1.0, 1.0)),
        Activation("silu", silu, silu_derivative, keeps="input"),
        Activation("mish", mish, mish_derivative, keeps="input"),
        Activation("gelu", gelu, gelu_derivative, keeps="input"),
        Activation("gelu_tanh", gelu_tanh, gelu_tanh_derivative, keeps="input"),
    )
}
"""Name -> activation. Layers, tests and targets iterate over this table; a new activation is a new row."""


def activation_named(name: str) -> Activation:
    """The row of the table with that name."""
    return ACTIVATIONS[name]


@formula
def prelu(x: Each, alpha: Row) -> Each:
    """y = x where x > 0, else alpha x, with alpha learned. Source: He et al. (2015)."""
    return select(x > 0.0, x, alpha * x)


@formula
def prelu_backward(dy: Each, x: Each, alpha: Row) -> tuple[Each, Each]:
    """(dx, the contribution of each element to the gradient of alpha)."""
    return select(x > 0.0, dy, alpha * dy), select(x > 0.0, 0.0, x * dy)


@formula
def prelu_tangent(dx: Each, x: Each, alpha: Row, dalpha: Row) -> Each:
    """The directional derivative of prelu along (dx, dalpha)."""
    return select(x > 0.0, dx, alpha * dx + dalpha * x)


@cache
def dense_forward(activation: Activation, bias: bool, dropout: bool, keep_input: bool = False) -> Formula:
    """The elementwise part of a dense layer after its matrix product: y = dropout(activation(z + bias)).

    Arguments of the formula: z, [bias], *settings, [fraction, scale, bits]. With `keep_input` it also returns z + bias, for
    activations whose derivative is a function of their input.
    """
    kinds = {"z": "each", **({"bias": "row"} if bias else {}), **dict.fromkeys(activation.settings, "scalar")}
    if dropout:
        kinds.update(fraction="scalar", scale="scalar", bits="bits")

    def function(z: Any, *rest: Any) -> Any:
        settings = rest[bias : bias + len(activation.settings)]
        x = z + rest[0] if bias else z
        y = activation.value(x, *settings)
        if dropout:
            fraction, scale, bits = rest[-3:]
            y = y * dropout_factor(bits, fraction, scale, z)
        return (y, x) if keep_input else y

    parts = ["bias"] * bias + [activation.name] + ["dropout"] * dropout + ["saved"] * keep_input
    return make_formula("_".join(parts), function, kinds, ("each",) * (1 + keep_input))


@cache
def dense_backward(activation: Activation, dropout: bool) -> Formula:
    """The backward pass of `dense_forward`: dz = dy derivative(saved), with the dropout mask computed again.

    Arguments of the formula: dy, saved, *settings, [fraction, scale, bits]. A saved output to which dropout was
    applied is divided by `scale` first, which gives the output of the activation wherever the mask is not 0.
    """
    kinds = {"dy": "each", "saved": "each", **dict.fromkeys(activation.settings, "scalar")}
    if dropout:
        kinds.update(fraction="scalar", scale="scalar", bits="bits")

    def function(dy: Any, saved: Any, *rest: Any) -> Any:
        settings = rest[: len(activation.settings)]
        if not dropout:
            return dy * activation.derivative(saved, *settings)
        fraction, scale, bits = rest[-3:]
        if activation.keeps == "output":
            saved = saved / scale
        return dy * activation.derivative(saved, *settings) * dropout_factor(bits, fraction, scale, dy)

    parts = [activation.name] + ["dropout"] * dropout + ["backward"]
    return make_formula("_".join(parts), function, kinds, ("each",))


for _activation in ACTIVATIONS.values():
    for _dropout in (False, True):
        dense_backward(_activation, _dropout)
        for _bias in (False, True):
            for _keep in {False, _activation.keeps == "input"}:
                dense_forward(_activation, _bias, _dropout, _keep)
