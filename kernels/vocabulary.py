"""The functions that formulas use: `exp`, `select`, `uint32`, and so on.

Each works on numbers, on arrays of any NumPy-like library, and on the symbols that a target traces.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from .symbols import Symbol, program_of

Value = Any
"""A number, an array, or a symbol of a program being traced."""


def _namespace(*values: Value) -> Any:
    """The array library of the first array among `values`; NumPy for plain numbers."""
    for value in values:
        if hasattr(value, "__array_namespace__"):
            return value.__array_namespace__()
    return np


def _own(word: str, *values: Value) -> Any:
    """The function that an array type defines for an operation, or None. Dual numbers do (backends/forward_mode/numbers.py)."""
    for value in values:
        space = getattr(value, "space", None)
        if space is not None:
            return space.words[word]
    return None


def _unary(word: str, x: Value) -> Value:
    if isinstance(x, Symbol):
        return x.program.emit(word, x)
    if hasattr(x, "__array_namespace__"):
        return getattr(x.__array_namespace__(), word)(x)
    return getattr(np, word)(np.float64(x) if isinstance(x, float | int) else x)


def exp(x: Value) -> Value:
    """e to the power x."""
    return _unary("exp", x)


def expm1(x: Value) -> Value:
    """e^x - 1, accurate for small x."""
    return _unary("expm1", x)


def log(x: Value) -> Value:
    """Natural logarithm, x > 0."""
    return _unary("log", x)


def log1p(x: Value) -> Value:
    """log(1 + x), accurate for small x."""
    return _unary("log1p", x)


def sqrt(x: Value) -> Value:
    """Square root, x >= 0."""
    return _unary("sqrt", x)


def tanh(x: Value) -> Value:
    """Hyperbolic tangent."""
    return _unary("tanh", x)


def sin(x: Value) -> Value:
    """Sine of x in radians."""
    return _unary("sin", x)


def cos(x: Value) -> Value:
    """Cosine of x in radians."""
    return _unary("cos", x)


def floor(x: Value) -> Value:
    """Largest integer <= x, as a real."""
    return _unary("floor", x)


def absolute(x: Value) -> Value:
    """|x|."""
    return _unary("abs", x)


def erf(x: Value) -> Value:
    """Error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    if isinstance(x, Symbol):
        return x.program.emit("erf", x)
    if isinstance(x, float | int):
        return math.erf(x)
    own = _own("erf", x)
    if own is not None:
        return own(x)
    return erf_rational(x)


def _either(word: str, a: Value, b: Value, takes_b: Callable[[], Value]) -> Value:
    """`b` where `takes_b()` holds, else `a`; while tracing one node, and for array types that define it their own function."""
    program = program_of(a, b)
    if program is not None:
        return program.emit(word, a, b)
    own = _own(word, a, b)
    return select(takes_b(), b, a) if own is None else own(a, b)


def maximum(a: Value, b: Value) -> Value:
    """The larger of two values; NaN if the first one is NaN."""
    return _either("maximum", a, b, lambda: a < b)


def minimum(a: Value, b: Value) -> Value:
    """The smaller of two values; NaN if the first one is NaN."""
    return _either("minimum", a, b, lambda: b < a)


def select(condition: Value, if_true: Value, if_false: Value) -> Value:
    """`if_true` where the condition holds, else `if_false`; both are always evaluated."""
    program = program_of(condition, if_true, if_false)
    if program is not None:
        return program.emit("select", condition, if_true, if_false)
    xp = _namespace(condition, if_true, if_false)
    if xp is np:
        return np.where(condition, if_true, if_false)
    like = next((v for v in (if_true, if_false) if hasattr(v, "__array_namespace__")), None)
    dtype = None if like is None else like.dtype
    arms = [v if hasattr(v, "__array_namespace__") else xp.asarray(v, dtype=dtype) for v in (if_true, if_false)]
    return xp.where(condition, *arms)


def sign(x: Value) -> Value:
    """-1, 0 or 1 with the sign of x."""
    return select(x > 0.0, 1.0, 0.0) - select(x < 0.0, 1.0, 0.0)


def _cast(word: str, x: Value) -> Value:
    if isinstance(x, Symbol):
        return x.program.emit(word, x)
    if isinstance(x, int):
        return getattr(np, word)(x)
    if isinstance(x, np.ndarray | np.generic):
        return x.astype(getattr(np, word))
    xp = _namespace(x)
    return xp.astype(x, getattr(xp, word))


def uint32(x: Value) -> Value:
    """The low 32 bits, as an unsigned integer."""
    return _cast("uint32", x)


def uint64(x: Value) -> Value:
    """The value as an unsigned 64-bit integer."""
    return _cast("uint64", x)


def real(x: Value, like: Value = None) -> Value:
    """An unsigned integer as a real number, in the precision of the kernel (of `like` when called on arrays)."""
    if isinstance(x, Symbol):
        return x.program.emit("real", x)
    dtype = getattr(like, "dtype", np.float64)
    if isinstance(x, np.ndarray | np.generic):
        return x.astype(dtype)
    xp = _namespace(x)
    return xp.astype(x, getattr(like, "dtype", xp.float64))


def exponent(x: Value) -> Value:
    """floor(log2(x)) as a real, exactly, for normal x > 0."""
    if isinstance(x, Symbol):
        return x.program.emit("exponent", x)
    xp = _namespace(x)
    if xp is np:
        return (np.frexp(x)[1] - 1).astype(np.asarray(x).dtype)
    guess = xp.floor(xp.log2(x))
    rest = x / 2.0**guess
    return guess + select(rest >= 2.0, 1.0, 0.0 * rest) - select(rest < 1.0, 1.0, 0.0 * rest)


def mantissa(x: Value) -> Value:
    """x / 2**exponent(x), in [1, 2), exactly, for normal x > 0."""
    if isinstance(x, Symbol):
        return x.program.emit("mantissa", x)
    xp = _namespace(x)
    if xp is np:
        return (2.0 * np.frexp(x)[0]).astype(np.asarray(x).dtype)
    return x / 2.0 ** exponent(x)


def power_of_two(n: Value) -> Value:
    """2**n, exactly, for an integer n stored as a real, within the exponent range of normal numbers."""
    if isinstance(n, Symbol):
        return n.program.emit("power_of_two", n)
    if _namespace(n) is np:
        return np.ldexp(np.ones_like(n), np.asarray(n).astype(np.int32))
    return 2.0**n


def polynomial(x: Value, *coefficients: Value) -> Value:
    """c_0 x^n + c_1 x^(n-1) + … + c_n by Horner's rule, for coefficients c_0, …, c_n."""
    return reduce(lambda value, c: value * x + c, coefficients)


def erf_rational(x: Value) -> Value:
    """erf(x) in float64: three rational approximations, for |x| <= 0.46875, for |x| < 4, and above.

    Relative error < 1e-15.
    Source: Cody (1969), Rational Chebyshev approximations for the error function.
    """
    size = absolute(x)
    small = minimum(size, 0.5)
    s = small * small
    top = polynomial(s, 1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
                     3.20937758913846947e3)
    bottom = polynomial(s, s + 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
    near = x * top / bottom

    y = minimum(maximum(size, 0.46875), 4.0)
    top = polynomial(y, 2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
                     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
                     1.23033935479799725e3)
    bottom = polynomial(y, y + 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
                        3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3)
    middle = 1.0 - exp(-y * y) * top / bottom

    z = minimum(maximum(size, 4.0), 6.0)
    s = 1.0 / (z * z)
    top = polynomial(s, 1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
                     1.60837851487422766e-2, 6.58749161529837803e-4)
    bottom = polynomial(s, s + 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1, 6.05183413124413191e-2,
                        2.33520497626869185e-3)
    far = 1.0 - exp(-z * z) / z * (5.6418958354775628695e-1 - s * top / bottom)

    value = select(size < 4.0, middle, far)
    return select(size <= 0.46875, near, select(x < 0.0, -value, value))
