"""Checks of hyperparameters for layers, losses, optimisers and the training loop; each returns the plain Python value.

NumPy scalars are accepted as numbers; bool, text, NaN and infinity are not. Arrays are checked in backends/arrays.py.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from numbers import Real
from typing import Any

from ..errors import HyperparameterError

LARGEST = 3.4e38
"""Larger values are infinite in float32."""
SMALLEST = 1.2e-38
"""Smaller positive values are 0 in float32 on processors that flush denormal numbers."""
MOST_SHOWN = 80
"""Characters of a value in a message."""


def shown(value: Any) -> str:
    """A value in a message; of a long one, such as an array that came in the place of a setting, the beginning."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{' '.join(text[: MOST_SHOWN - 1].split())}…"


def whole(value: Any, name: str, low: int = 1, high: int | None = None, advice: str = "") -> int:
    """`value` as an int >= low, and <= high if given.

    Args: name – its name in the message, such as "epochs" or "inputs of Linear"; advice – what to do instead.
    Raises: HyperparameterError.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        limits = f">= {low}" if high is None else f"from {low} to {high}"
        raise HyperparameterError(
            f"expected {name} to be a whole number {limits}; got {shown(value)}; {advice or f'pass an int such as {low}'}"
        )
    return number


def real(
    value: Any, name: str, low: float = -LARGEST, high: float = LARGEST, ends: str = "[]", advice: str = ""
) -> float:
    """`value` as a float between low and high.

    Args: ends – "[" or "(", then "]" or ")": whether each limit is included; others as in `whole`.
    Raises: HyperparameterError, also for NaN and for values that float32 cannot represent.
    """
    number = math.nan
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    above = number >= low if ends[0] == "[" else number > low
    below = number <= high if ends[1] == "]" else number < high
    if not (above and below):
        lower = "(-inf" if low == -LARGEST else f"{ends[0]}{low:g}"
        upper = "inf)" if high == LARGEST else f"{high:g}{ends[1]}"
        if not advice:
            advice = "that is infinite in float32" if LARGEST < abs(number) < math.inf else "pass a number in that range"
        raise HyperparameterError(f"expected {name} in {lower}, {upper}; got {shown(value)}; {advice}")
    return number


def finite(value: Any, name: str, advice: str = "") -> float:
    """Any finite number."""
    return real(value, name, advice=advice)


def positive(value: Any, name: str, advice: str = "") -> float:
    """A finite number > 0."""
    return real(value, name, 0.0, ends="(]", advice=advice)


def not_negative(value: Any, name: str, advice: str = "") -> float:
    """A finite number >= 0."""
    return real(value, name, 0.0, advice=advice)


def fraction(value: Any, name: str, advice: str = "") -> float:
    """A number in [0, 1)."""
    return real(value, name, 0.0, 1.0, "[)", advice)


def flag(value: Any, name: str, advice: str = "pass one of them") -> bool:
    """True or False, of Python or of NumPy."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise HyperparameterError(f"expected {name} to be True or False; got {shown(value)}; {advice}")
    return bool(value)


def epsilon_above_zero(value: Any, name: str = "epsilon") -> float:
    """An epsilon that keeps a denominator above 0: a number > 0 that is not 0 in float32."""
    return real(value, name, SMALLEST, advice="pass a small number such as 1e-8; smaller ones are 0 in float32")


def choice(value: Any, name: str, choices: Iterable[str]) -> str:
    """One of a set of names."""
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise HyperparameterError(
            f"expected {name} to be one of {', '.join(map(repr, known))}; got {shown(value)}; choose one of those names"
        )
    return value
