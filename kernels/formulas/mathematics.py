"""Transcendental functions as short polynomials, for targets whose own functions are slow or missing.

They use only plain arithmetic, so they vectorise and give the same bits on every compiled target.
"""

from __future__ import annotations

from ..vocabulary import (
    Value,
    absolute,
    erf_rational,
    exp,
    exponent,
    floor,
    mantissa,
    maximum,
    minimum,
    polynomial,
    power_of_two,
    select,
    sqrt,
)


def _reduced_exponential(x: Value) -> tuple[Value, Value]:
    """(n, e^r - 1) with x = n ln 2 + r, |r| <= ln(2) / 2, n an integer; both exponentials are computed from it."""
    n = floor(x * 1.44269504088896341 + 0.5)
    r = x - n * 0.693359375
    r = r - n * -2.12194440e-4
    p = polynomial(
        r, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1
    )  # fmt: skip
    return n, p * r * r + r


def exp_polynomial(x: Value) -> Value:
    """e^x in float32: x = n ln 2 + r with |r| <= ln(2)/2, and a polynomial of degree 6 for e^r.

    Relative error < 1.2e-7 for -87.3 <= x <= 88.7228; 0 below this interval, infinity above it; NaN stays NaN.
    Source: the two-step reduction of Cody and Waite (1980); coefficients of Cephes (Moshier), expf.
    """
    clamped = minimum(maximum(x, -87.3), 88.722839)
    n, rest = _reduced_exponential(clamped)
    value = (rest + 1.0) * power_of_two(minimum(n, 127.0)) * select(n > 127.0, 2.0, 1.0)
    return select(x < -87.3, 0.0, select(x > 88.722839, float("inf"), value))


def expm1_polynomial(x: Value) -> Value:
    """e^x - 1 in float32: with x = n ln 2 + r as in `exp_polynomial`, 2^n (e^r - 1) + (2^n - 1).

    Relative error < 4e-7 for x <= 87; above 88.7 infinity; NaN stays NaN.
    Source: the polynomial of Cephes (Moshier), expf.
    """
    clamped = minimum(maximum(x, -87.3), 88.0)
    n, rest = _reduced_exponential(clamped)
    scale = power_of_two(n)
    value = scale * rest + (scale - 1.0)
    return select(x > 88.0, exp(x), value)


def log_polynomial(x: Value) -> Value:
    """ln(x) in float32 for normal x > 0: x = m 2^e with m in [sqrt(1/2), sqrt(2)), a polynomial of degree 9 in m - 1.

    Relative error < 1.2e-7. Negative numbers, zero and subnormal numbers are treated as the smallest normal number;
    infinity and NaN are returned unchanged.
    Source: coefficients of Cephes (Moshier), logf.
    """
    normal = maximum(x, 1.17549435e-38)
    e = exponent(normal)
    m = mantissa(normal)
    large = m > 1.41421356237309505
    e = select(large, e + 1.0, e)
    r = select(large, m * 0.5, m) - 1.0
    p = polynomial(
        r, 7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
        2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
    )  # fmt: skip
    square = r * r
    tail = p * r * square + e * -2.12194440e-4 - 0.5 * square
    return select(normal < float("inf"), r + tail + e * 0.693359375, normal)


def log1p_polynomial(x: Value) -> Value:
    """ln(1 + x) in float32 for finite x > -1: the logarithm of the rounded sum, corrected for its rounding error.

    Relative error < 2e-7; NaN stays NaN.
    Source: Higham, Accuracy and Stability of Numerical Algorithms (2002), section 1.14.1.
    """
    u = 1.0 + x
    lost = (u - 1.0) - x
    return log_polynomial(u) - lost / u


def tanh_polynomial(x: Value) -> Value:
    """tanh(x) in float32: 1 - 2 / (e^(2|x|) + 1) with the sign of x, and an odd polynomial for |x| < 0.4.

    Relative error < 2.5e-7; NaN stays NaN.
    Source: the series of tanh around 0; Cephes (Moshier), tanhf, for the interval's coefficients.
    """
    size = absolute(x)
    square = x * x
    p = polynomial(square, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
    near = p * square * x + x
    far = 1.0 - 2.0 / (exp(2.0 * size) + 1.0)
    return select(size < 0.4, near, select(x < 0.0, -far, far))


def erf_short(x: Value) -> Value:
    """erf(x) in float32: 1 - (a1 t + ... + a5 t^5) e^(-x^2) with t = 1 / (1 + p |x|).

    Absolute error < 7e-7: 1.5e-7 from the formula, the rest from rounding.
    Source: Abramowitz and Stegun (1964), 7.1.26.
    """
    size = absolute(x)
    t = 1.0 / (1.0 + 0.3275911 * size)
    p = polynomial(t, 1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    value = 1.0 - p * t * exp(-size * size)
    return select(x < 0.0, -value, value)


def normal_quantile(p: Value) -> Value:
    """The z with P(Z > z) = p for a standard normal Z, for 0 < p <= 1/2.

    Absolute error < 1e-5 for p >= 1.2e-8; it grows to 3e-3 at p = 1.2e-10, the smallest p that random bits produce.

    z = sqrt(2) x P(w) with x = 1 - 2p and w = -ln(4 p (1 - p)).
    Source: Giles (2010), Approximating the erfinv function, single precision.
    """
    w = -log_polynomial(4.0 * p * (1.0 - p))
    a = w - 2.5
    centre = polynomial(
        a, 2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
        0.246640727, 1.50140941,
    )  # fmt: skip
    b = sqrt(maximum(w, 5.0)) - 3.0
    tail = polynomial(
        b, -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
        1.00167406, 2.83297682,
    )  # fmt: skip
    return 1.4142135623730951 * (1.0 - 2.0 * p) * select(w < 5.0, centre, tail)


def sine_of_turns(turns: Value) -> Value:
    """sin(2 pi turns) in float32 and float64: reduced to |r| <= 1/4, which is exact, and the series of degree 21 there.

    Absolute error < 3e-7 in float32 and 1e-15 in float64, for the turns as they are rounded; cos(2 pi turns) is that of
    turns + 1/4.
    """
    r = turns - floor(turns + 0.5)
    r = select(r > 0.25, 0.5 - r, select(r < -0.25, -0.5 - r, r))
    return r * polynomial(
        r * r, 0.0011309237482517954, -0.012031585942120619, 0.10422916220813978, -0.7181223017785001, 3.8199525848482803,
        -15.094642576822984, 42.058693944897634, -76.70585975306136, 81.60524927607504, -41.341702240399755, 6.283185307179586,
    )  # fmt: skip


SINGLE_PRECISION = (
    ("exp", exp_polynomial),
    ("expm1", expm1_polynomial),
    ("log", log_polynomial),
    ("log1p", log1p_polynomial),
    ("tanh", tanh_polynomial),
    ("erf", erf_short),
)
"""(operation, function) pairs: operations that compiled float32 kernels compute by these functions."""

ERROR_FUNCTION = (("erf", erf_rational),)
"""Likewise, for targets without an error function."""
