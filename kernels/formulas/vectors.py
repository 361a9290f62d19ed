"""Formulas on flat vectors and square matrices, for second-order methods."""

from __future__ import annotations

from ..formula import Column, Each, Row, Scalar, formula
from ..vocabulary import absolute, exp, log, sign


@formula
def combination(x: Each, y: Each, a: Scalar, b: Scalar) -> Each:
    """a x + b y."""
    return a * x + b * y


@formula
def product(x: Each, y: Each) -> Each:
    """x y."""
    return x * y


@formula
def add_square(total: Each, x: Each, a: Scalar) -> Each:
    """total + a x^2."""
    return total + a * x * x


@formula
def precondition(x: Each, q: Each, damping: Scalar, exponent: Scalar) -> Each:
    """x / (|q| + damping)^exponent, damping > 0. Source: Martens (2010), section 4.7."""
    return x * exp(-exponent * log(absolute(q) + damping))


@formula
def sign_rows(x: Each, a: Column) -> Each:
    """x sign(a): each row of x times the sign of its element of a."""
    return x * sign(a)


@formula
def inverse_update(h: Each, s: Column, u: Column, s_row: Row, u_row: Row, scale: Scalar, factor: Scalar) -> Each:
    """h + factor s s^T - scale (u s^T + s u^T): the BFGS update of an inverse Hessian h, with u = h y."""
    return h + factor * s * s_row - scale * (u * s_row + s * u_row)
