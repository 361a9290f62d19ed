"""Checks of settings that the second-order methods share; the general ones are in framework/settings.py."""

from __future__ import annotations

from typing import Any

from ...errors import HyperparameterError
from .line_search import LineSearch


def search_or(value: Any, default: LineSearch) -> LineSearch:
    """`value`, or the default for None; raises HyperparameterError for anything but a line search."""
    if value is None:
        return default
    if not isinstance(value, LineSearch):
        raise HyperparameterError(
            f"expected a line search such as fs.StrongWolfe(); got {value!r}; did you forget ()?"
        )
    return value
