"""Random numbers as formulas: Philox4x32-10 and distributions derived from its bits.

Every number is a function of (seed, stream, step, row, column), so nothing is stored and all backends agree.
"""

from __future__ import annotations

from ..formula import Bits, Each, Scalar, formula
from ..vocabulary import Value, real, select, uint32, uint64
from .mathematics import normal_quantile

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)


def philox4x32(c0: Value, c1: Value, c2: Value, c3: Value, k0: Value, k1: Value) -> tuple[Value, Value, Value, Value]:
    """Philox4x32-10: four random 32-bit words from a counter of four words and a key of two.

    One round: (c0, c1, c2, c3) <- (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0)), then
    k0 += W0, k1 += W1, all modulo 2^32.

    Args: c0 … c3, k0, k1 – unsigned 32-bit integers (numbers, arrays or symbols).
    Source: Salmon, Moraes, Dror and Shaw (2011), Parallel random numbers: as easy as 1, 2, 3.
    """
    for round_number in range(ROUNDS):
        if round_number:
            k0 = uint32(uint64(k0) + KEY_STEPS[0])
            k1 = uint32(uint64(k1) + KEY_STEPS[1])
        first = uint64(c0) * MULTIPLIERS[0]
        second = uint64(c2) * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            uint32(second >> 32) ^ c1 ^ k0,
            uint32(second),
            uint32(first >> 32) ^ c3 ^ k1,
            uint32(first),
        )
    return c0, c1, c2, c3


def to_uniform(bits: Value, like: Value = None) -> Value:
    """A real in [0, 1) from the upper 24 bits, which float32 represents exactly: all precisions get the same number."""
    return real(bits >> 8, like) * 5.9604644775390625e-08


def to_normal(bits: Value, like: Value = None) -> Value:
    """A standard normal number: the lowest bit gives its sign, the other 31 its tail probability in (0, 1/2)."""
    tail = (real(bits >> 1, like) + 0.5) * 2.3283064365386963e-10
    size = normal_quantile(select(tail > 0.5, 0.5, tail))
    return size * (1.0 - 2.0 * real(bits & 1, like))


@formula
def uniform(low: Scalar, high: Scalar, bits: Bits) -> Each:
    """low + (high - low) u with u uniform in [0, 1)."""
    return low + (high - low) * to_uniform(bits, low)


@formula
def normal(mean: Scalar, deviation: Scalar, bits: Bits) -> Each:
    """mean + deviation z with z standard normal."""
    return mean + deviation * to_normal(bits, mean)


def dropout_factor(bits: Value, fraction: Value, scale: Value, like: Value) -> Value:
    """The factor of inverted dropout: scale where u >= fraction, else 0, with u uniform in [0, 1)."""
    return select(to_uniform(bits, like) >= fraction, scale, 0.0)


@formula
def dropout(x: Each, fraction: Scalar, scale: Scalar, bits: Bits) -> Each:
    """Inverted dropout: x scale where u >= fraction, else 0; `fraction` is the probability p of dropping, scale = 1/(1 - p).

    The backward pass is the same formula applied to dy, with the same bits.
    Source: Srivastava et al. (2014); the notes scale by 1 - p at test time instead, which has the same expectation.
    """
    return x * dropout_factor(bits, fraction, scale, x)


@formula
def gaussian_noise(x: Each, deviation: Scalar, bits: Bits) -> Each:
    """x + deviation z with z standard normal, independent for every element."""
    return x + deviation * to_normal(bits, x)
