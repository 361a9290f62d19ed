"""Dual numbers over any array library: arrays that carry their derivative along one direction.

Operations on them are in backend.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ...errors import NotDifferentiable
from ...kernels.vocabulary import erf
from ..contract import Array, Backend

DTYPES = frozenset({"float32", "float64", "int32", "int64", "uint8", "uint32", "uint64", "bool"})
"""Names of dtypes that are looked up in the array library."""


DERIVATIVES: dict[str, Callable[[Any, Array, Array], Array]] = {
    "abs": lambda xp, x, _y: xp.where(x >= 0.0, xp.ones_like(x), -xp.ones_like(x)),
    "exp": lambda _xp, _x, y: y,
    "expm1": lambda _xp, _x, y: y + 1.0,
    "log": lambda _xp, x, _y: 1.0 / x,
    "log1p": lambda _xp, x, _y: 1.0 / (1.0 + x),
    "sqrt": lambda _xp, _x, y: 0.5 / y,
    "tanh": lambda _xp, _x, y: 1.0 - y * y,
}
"""Elementwise function -> its derivative, from (array library, x, y = function(x)). That of abs at 0 is 1, from the right, as
in the branches of the formulas."""
LINEAR = frozenset({"reshape", "take", "sum", "mean"})
"""Functions that are linear in their first argument."""
CONSTANT = frozenset({"zeros_like", "full_like", "arange", "argmax", "logical_not", "searchsorted", "floor"})
"""Functions whose results do not depend on the parameters, or have the derivative 0."""


def _without_tangent(name: str, integers: bool = False) -> Callable[[Dual, Any], Dual]:
    """An operator whose result has no tangent; integers – raises NotDifferentiable if the left operand has one."""

    def operate(self: Dual, other: Any) -> Dual:
        if integers and self.tangent is not None:
            raise NotDifferentiable(no_derivative(name))
        return Dual(getattr(self.value, name)(_parts(other)[0]), None, self.space)

    return operate


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

    __floordiv__, __mod__ = _without_tangent("__floordiv__", integers=True), _without_tangent("__mod__", integers=True)
    __lt__, __le__ = _without_tangent("__lt__"), _without_tangent("__le__")
    __gt__, __ge__ = _without_tangent("__gt__"), _without_tangent("__ge__")
    __eq__, __ne__ = _without_tangent("__eq__"), _without_tangent("__ne__")  # type: ignore[assignment]
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
        for table, function in ((DERIVATIVES, self._elementwise), (LINEAR, self._linear), (CONSTANT, self._constant)):
            if name in table:
                return partial(function, name)
        raise NotDifferentiable(no_derivative(name))

    def constant(self, value: Array) -> Dual:
        """An array that does not depend on the parameters."""
        return Dual(value, None, self)

    def _constant(self, name: str, *arguments: Any, **options: Any) -> Dual:
        """The result of a function of CONSTANT."""
        return self.constant(getattr(self.xp, name)(*(_parts(a)[0] for a in arguments), **options))

    def _elementwise(self, name: str, x: Dual) -> Dual:
        """The result of a function of DERIVATIVES, by the chain rule."""
        y = getattr(self.xp, name)(x.value)
        return Dual(y, None if x.tangent is None else DERIVATIVES[name](self.xp, x.value, y) * x.tangent, self)

    def _linear(self, name: str, x: Dual, *arguments: Any, **options: Any) -> Dual:
        """The result of a function of LINEAR, which is applied to the value and to the tangent."""
        function, plain = getattr(self.xp, name), [_parts(a)[0] for a in arguments]
        value, tangent = (None if a is None else function(a, *plain, **options) for a in _parts(x))
        return Dual(value, tangent, self)

    # Making

    def empty(self, shape: Any, dtype: Any = None) -> Dual:
        return self.zeros(shape, dtype)

    def zeros(self, shape: Any, dtype: Any = None) -> Dual:
        value = self.xp.zeros(shape, dtype=dtype)
        real = dtype in (None, self.xp.float32, self.xp.float64)
        return Dual(value, self.xp.zeros(shape, dtype=dtype) if real else None, self)

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

    def concat(self, parts: Sequence[Dual], axis: int = 0) -> Dual:
        moves = any(p.tangent is not None for p in parts)
        tangents = [self.xp.zeros_like(p.value) if p.tangent is None else p.tangent for p in parts] if moves else []
        value = self.xp.concat([p.value for p in parts], axis=axis)
        return Dual(value, self.xp.concat(tangents, axis=axis) if moves else None, self)

    # Reductions

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

    def sort(self, x: Dual) -> Dual:
        """Of integers only."""
        if x.tangent is not None:
            raise NotDifferentiable(no_derivative("sort"))
        return self.constant(self.xp.sort(x.value))

    # Choices

    def where(self, condition: Dual, a: Any, b: Any) -> Dual:
        (x, dx), (y, dy) = _parts(a), _parts(b)
        value = self.xp.where(condition.value, x, y)
        if dx is None and dy is None:
            return self.constant(value)
        zero = self.xp.zeros_like(dx if dx is not None else dy)
        return Dual(value, self.xp.where(condition.value, zero if dx is None else dx, zero if dy is None else dy), self)

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

    def erf(self, x: Dual) -> Dual:
        tangent = None if x.tangent is None else 2.0 / math.sqrt(math.pi) * self.xp.exp(-x.value * x.value) * x.tangent
        return Dual(erf(x.value), tangent, self)

    def matmul(self, a: Dual, b: Dual) -> Dual:
        xp = self.xp
        first = None if a.tangent is None else xp.matmul(a.tangent, b.value)
        second = None if b.tangent is None else xp.matmul(a.value, b.tangent)
        return Dual(xp.matmul(a.value, b.value), _sum(first, second), self)
