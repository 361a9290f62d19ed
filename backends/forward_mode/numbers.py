"""Dual numbers over any array library: arrays that carry their derivative along one direction.

Operations on them are in backend.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import NotDifferentiable
from ..contract import Array, Backend

DTYPES = frozenset({"float32", "float64", "int32", "int64", "uint8", "uint32", "uint64", "bool"})
"""Names of dtypes that are looked up in the array library."""


def _comparison(name: str) -> Callable[[Dual, Any], Dual]:
    """A comparison of values, whose result has no tangent."""

    def compare(self: Dual, other: Any) -> Dual:
        return Dual(getattr(self.value, name)(_parts(other)[0]), None, self.space)

    return compare


class Dual:
    """value + tangent e with e^2 = 0: an array and its derivative along one direction.

    Args: value – an array; tangent – an array of the same shape, or None for 0; space – the functions of dual numbers.
    """

    __slots__ = ("space", "tangent", "value")

    def __init__(self, value: Array, tangent: Array | None, space: DualSpace) -> None:
        self.value = value
        self.tangent = tangent
        self.space = space

    def __array_namespace__(self, **_: Any) -> DualSpace:
        return self.space

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotDifferentiable(no_derivative("a conversion to a host array"))

    def __array_ufunc__(self, function: Any, *_: Any, **__: Any) -> Any:
        raise NotDifferentiable(no_derivative(f"numpy.{function.__name__}"))

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def ndim(self) -> int:
        return len(self.value.shape)

    @property
    def T(self) -> Dual:
        return Dual(self.value.T, None if self.tangent is None else self.tangent.T, self.space)

    def __float__(self) -> float:
        return float(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __getitem__(self, key: Any) -> Dual:
        return Dual(self.value[key], None if self.tangent is None else self.tangent[key], self.space)

    def __setitem__(self, key: Any, other: Any) -> None:
        value, tangent = _parts(other)
        self.value[key] = value
        if self.tangent is not None:
            self.tangent[key] = 0.0 if tangent is None else tangent
        elif tangent is not None:
            raise NotDifferentiable(no_derivative("a result that depends on the parameters in an array that is held constant"))

    def _made(self, value: Array, tangent: Array | None) -> Dual:
        """A result; the tangent is broadcast to the shape of the value."""
        if tangent is not None and tuple(tangent.shape) != tuple(value.shape):
            tangent = self.space.xp.broadcast_to(tangent, tuple(value.shape))
        return Dual(value, tangent, self.space)

    def __neg__(self) -> Dual:
        return Dual(-self.value, None if self.tangent is None else -self.tangent, self.space)

    def __add__(self, other: Any) -> Dual:
        value, tangent = _parts(other)
        return self._made(self.value + value, _sum(self.tangent, tangent))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Dual:
        value, tangent = _parts(other)
        return self._made(self.value - value, _sum(self.tangent, None if tangent is None else -tangent))

    def __rsub__(self, other: Any) -> Dual:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> Dual:
        value, tangent = _parts(other)
        first = None if self.tangent is None else self.tangent * value
        return self._made(self.value * value, _sum(first, None if tangent is None else self.value * tangent))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Dual:
        value, tangent = _parts(other)
        quotient = self.value / value
        first = None if self.tangent is None else self.tangent / value
        return self._made(quotient, _sum(first, None if tangent is None else -quotient * tangent / value))

    def __rtruediv__(self, other: Any) -> Dual:
        quotient = other / self.value
        return Dual(quotient, None if self.tangent is None else -quotient * self.tangent / self.value, self.space)

    def _whole(self, other: Any, operation: str) -> Dual:
        """An operation on integers, which have no tangent."""
        if self.tangent is not None:
            raise NotDifferentiable(no_derivative(operation))
        return Dual(getattr(self.value, operation)(_parts(other)[0]), None, self.space)

    def __floordiv__(self, other: Any) -> Dual:
        return self._whole(other, "__floordiv__")

    def __mod__(self, other: Any) -> Dual:
        return self._whole(other, "__mod__")

    __lt__, __le__ = _comparison("__lt__"), _comparison("__le__")
    __gt__, __ge__ = _comparison("__gt__"), _comparison("__ge__")
    __eq__, __ne__ = _comparison("__eq__"), _comparison("__ne__")  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Dual({self.value!r}, {self.tangent!r})"


def no_derivative(what: str) -> str:
    """The error message for an operation without a known derivative."""
    return (
        f"expected only operations whose derivative is known here; got {what}; write the layer or loss with its tape's "
        "backend (tape.backend.map, matmul, …) and the functions of that backend's xp, or use a first-order optimiser"
    )


def _parts(x: Any) -> tuple[Any, Any]:
    """(value, tangent) of a dual number; (x, None) for anything else."""
    return (x.value, x.tangent) if isinstance(x, Dual) else (x, None)


def _sum(a: Array | None, b: Array | None) -> Array | None:
    """a + b, where None is 0."""
    return b if a is None else a if b is None else a + b


class DualSpace:
    """The functions of an array library, for dual numbers; a function that is not defined here raises NotDifferentiable.

    Args: backend – values and tangents are its arrays.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.xp = backend.xp
        self.words = {"erf": self.erf, "maximum": self.maximum, "minimum": self.minimum}
        """Operations of formulas whose derivative is defined here, not by their expansion; see kernels/vocabulary.py."""

    def __getattr__(self, name: str) -> Any:
        if name in DTYPES:
            return getattr(self.xp, name)
        raise NotDifferentiable(no_derivative(name))

    def constant(self, value: Array) -> Dual:
        """An array that does not depend on the parameters."""
        return Dual(value, None, self)

    def _chain(self, x: Dual, value: Array, derivative: Callable[[], Array]) -> Dual:
        """The value, with the tangent derivative() x' by the chain rule."""
        return Dual(value, None if x.tangent is None else derivative() * x.tangent, self)

    def _linear(self, x: Dual, function: Callable[[Array], Array]) -> Dual:
        """A linear function, applied to the value and to the tangent."""
        return Dual(function(x.value), None if x.tangent is None else function(x.tangent), self)

    # Making

    def empty(self, shape: Any, dtype: Any = None) -> Dual:
        return self.zeros(shape, dtype)

    def zeros(self, shape: Any, dtype: Any = None) -> Dual:
        value = self.xp.zeros(shape, dtype=dtype)
        real = dtype in (None, self.xp.float32, self.xp.float64)
        return Dual(value, self.xp.zeros(shape, dtype=dtype) if real else None, self)

    def zeros_like(self, x: Dual) -> Dual:
        return self.constant(self.xp.zeros_like(x.value))

    def full_like(self, x: Dual, value: float) -> Dual:
        return self.constant(self.xp.full_like(x.value, value))

    def arange(self, stop: int, dtype: Any = None) -> Dual:
        return self.constant(self.xp.arange(stop, dtype=dtype))

    def asarray(self, x: Any, dtype: Any = None) -> Dual:
        return self.astype(x, dtype) if isinstance(x, Dual) else self.constant(self.xp.asarray(x, dtype=dtype))

    def astype(self, x: Dual, dtype: Any) -> Dual:
        if dtype is None or x.dtype == dtype:
            return x
        real = dtype in (self.xp.float32, self.xp.float64)
        tangent = x.tangent if real else None
        return Dual(self._cast(x.value, dtype), None if tangent is None else self._cast(tangent, dtype), self)

    def _cast(self, x: Array, dtype: Any) -> Array:
        return self.xp.astype(x, dtype) if hasattr(self.xp, "astype") else x.astype(dtype)

    # Shapes

    def reshape(self, x: Dual, shape: Any) -> Dual:
        return self._linear(x, lambda a: self.xp.reshape(a, shape))

    def take(self, x: Dual, indices: Any, axis: int) -> Dual:
        return self._linear(x, lambda a: self.xp.take(a, _parts(indices)[0], axis=axis))

    def concat(self, parts: Sequence[Dual], axis: int = 0) -> Dual:
        moves = any(p.tangent is not None for p in parts)
        tangents = [self.xp.zeros_like(p.value) if p.tangent is None else p.tangent for p in parts] if moves else []
        value = self.xp.concat([p.value for p in parts], axis=axis)
        return Dual(value, self.xp.concat(tangents, axis=axis) if moves else None, self)

    # Reductions

    def sum(self, x: Dual, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Dual:
        return self._linear(x, lambda a: self.xp.sum(a, axis=axis, dtype=dtype, keepdims=keepdims))

    def mean(self, x: Dual, axis: Any = None, keepdims: bool = False) -> Dual:
        return self._linear(x, lambda a: self.xp.mean(a, axis=axis, keepdims=keepdims))

    def argmax(self, x: Dual, axis: Any = None) -> Dual:
        return self.constant(self.xp.argmax(x.value, axis=axis))

    def max(self, x: Dual, axis: int, keepdims: bool = False) -> Dual:
        """Its tangent is that of the first element that attains the maximum."""
        value = self.xp.max(x.value, axis=axis, keepdims=keepdims)
        if x.tangent is None:
            return self.constant(value)
        shape = [1] * x.ndim
        shape[axis] = x.shape[axis]
        first = self.xp.expand_dims(self.xp.argmax(x.value, axis=axis), axis=axis)
        hit = self.xp.reshape(self.xp.arange(x.shape[axis], dtype=first.dtype), tuple(shape)) == first
        picked = self.xp.where(hit, x.tangent, self.xp.zeros_like(x.tangent))
        return Dual(value, self.xp.sum(picked, axis=axis, keepdims=keepdims), self)

    # Choices

    def where(self, condition: Dual, a: Any, b: Any) -> Dual:
        (x, dx), (y, dy) = _parts(a), _parts(b)
        value = self.xp.where(condition.value, x, y)
        if dx is None and dy is None:
            return self.constant(value)
        zero = self.xp.zeros_like(dx if dx is not None else dy)
        return Dual(value, self.xp.where(condition.value, zero if dx is None else dx, zero if dy is None else dy), self)

    def logical_not(self, x: Dual) -> Dual:
        return self.constant(self.xp.logical_not(x.value))

    def maximum(self, a: Any, b: Any) -> Dual:
        """If a = b, the derivative is that of b, so max(x, 0) has the derivative 0 at 0, as in the layers."""
        a, b = self._both(a, b)
        return self.where(a <= b, b, a)

    def minimum(self, a: Any, b: Any) -> Dual:
        """If a = b, the derivative is that of b."""
        a, b = self._both(a, b)
        return self.where(a >= b, b, a)

    def _both(self, a: Any, b: Any) -> tuple[Dual, Dual]:
        like = a if isinstance(a, Dual) else b
        return self.asarray(a, like.dtype), self.asarray(b, like.dtype)

    # Functions

    def abs(self, x: Dual) -> Dual:
        """The derivative at 0 is 1, from the right, as in the branches of the formulas."""
        one = self.xp.ones_like(x.value)
        return self._chain(x, self.xp.abs(x.value), lambda: self.xp.where(x.value >= 0.0, one, -one))

    def exp(self, x: Dual) -> Dual:
        y = self.xp.exp(x.value)
        return self._chain(x, y, lambda: y)

    def expm1(self, x: Dual) -> Dual:
        y = self.xp.expm1(x.value)
        return self._chain(x, y, lambda: y + 1.0)

    def log(self, x: Dual) -> Dual:
        return self._chain(x, self.xp.log(x.value), lambda: 1.0 / x.value)

    def log1p(self, x: Dual) -> Dual:
        return self._chain(x, self.xp.log1p(x.value), lambda: 1.0 / (1.0 + x.value))

    def sqrt(self, x: Dual) -> Dual:
        y = self.xp.sqrt(x.value)
        return self._chain(x, y, lambda: 0.5 / y)

    def tanh(self, x: Dual) -> Dual:
        y = self.xp.tanh(x.value)
        return self._chain(x, y, lambda: 1.0 - y * y)

    def erf(self, x: Dual) -> Dual:
        from ...kernels.vocabulary import erf

        return self._chain(x, erf(x.value), lambda: 2.0 / math.sqrt(math.pi) * self.xp.exp(-x.value * x.value))

    def matmul(self, a: Dual, b: Dual) -> Dual:
        xp = self.xp
        first = None if a.tangent is None else xp.matmul(a.tangent, b.value)
        second = None if b.tangent is None else xp.matmul(a.value, b.tangent)
        return Dual(xp.matmul(a.value, b.value), _sum(first, second), self)
