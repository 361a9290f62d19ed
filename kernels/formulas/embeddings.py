"""Formulas of embeddings of numbers, for matrices in which each number stands in as many columns as it has features."""

from __future__ import annotations

from ..formula import Each, Row, formula
from ..vocabulary import Value, floor, maximum, minimum, select
from .mathematics import sine_of_turns

TURN = 6.283185307179586


@formula
def periodic(x: Each, frequency: Row) -> tuple[Each, Each]:
    """(sin v, cos v) with v = 2 pi frequency x."""
    turns = frequency * x
    turns = turns - floor(turns + 0.5)  # so that adding 1/4 loses no digits
    return sine_of_turns(turns), sine_of_turns(turns + 0.25)


@formula
def periodic_backward(dsine: Each, dcosine: Each, sine: Each, cosine: Each, x: Each, frequency: Row) -> tuple[Each, Each]:
    """(dx, the contribution of each element to the gradient of the frequency)."""
    dv = TURN * (dsine * cosine - dcosine * sine)
    return dv * frequency, dv * x


@formula
def periodic_tangent(
    dx: Each, x: Each, sine: Each, cosine: Each, frequency: Row, dfrequency: Row
) -> tuple[Each, Each]:  # fmt: skip
    """The directional derivatives of (sin v, cos v) along (dx, dfrequency)."""
    dv = TURN * (frequency * dx + dfrequency * x)
    return cosine * dv, -sine * dv


def _in_bin(x: Value, start: Value, scale: Value) -> Value:
    return (x - start) * scale


@formula
def piecewise_linear(x: Each, start: Row, scale: Row, least: Row, most: Row) -> Each:
    """The fraction of a bin that x fills: (x - start) scale, at least `least` and at most `most`."""
    return minimum(maximum(_in_bin(x, start, scale), least), most)


@formula
def piecewise_linear_backward(dy: Each, x: Each, start: Row, scale: Row, least: Row, most: Row) -> Each:
    """dx = dy scale inside of a bin, else 0; at an edge that of the bin that begins there."""
    filled = _in_bin(x, start, scale)
    return select(filled >= least, select(filled < most, dy * scale, 0.0), 0.0)
