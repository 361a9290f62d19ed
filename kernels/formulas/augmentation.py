"""Formulas of augmentation: masks, and mixtures of two samples.

Noise is in random.py.
"""

from __future__ import annotations

from ..formula import Bits, Column, Each, Row, Scalar, formula
from ..vocabulary import absolute, select
from .random import to_uniform


@formula
def masked_features(x: Each, fraction: Scalar, value: Scalar, bits: Bits) -> Each:
    """value with probability `fraction`, else x."""
    return select(to_uniform(bits, x) >= fraction, x, value)


@formula
def mixed(x: Each, other: Each, part: Scalar) -> Each:
    """part x + (1 - part) other."""
    return other + part * (x - other)


@formula
def mixed_labels(label: Column, other: Column, number: Row, part: Scalar) -> Each:
    """part one_hot(label) + (1 - part) one_hot(other); `number` is the class of each column."""
    first = select(absolute(label - number) < 0.5, part, 0.0)
    return first + select(absolute(other - number) < 0.5, 1.0 - part, 0.0)
