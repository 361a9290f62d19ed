"""What both recorders do with operations that are no kernel calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base import NotRecordable

Array = Any


def refuse(*_: Any, **__: Any) -> Any:
    """In place of operations whose results a pass would look at, or that a record does not hold."""
    raise NotRecordable("an operation that is not captured")


def recorded_zeros(recorder: Any, shape: Sequence[int], dtype: str = "float32") -> Array:
    """A buffer that is filled with zeros in every pass."""
    array = recorder.empty(shape, dtype)
    recorder.fill(array, 0.0)
    return array


def recorded_asarray(recorder: Any, values: Any, dtype: str | None = None) -> Array:
    """Numbers as an array, made once; arrays only where they stay what they are."""
    array = super(type(recorder), recorder).asarray(values, dtype)
    if hasattr(values, "dtype") and array is not values:
        raise NotRecordable("a conversion of an array")
    return array


def require_rows(arrays: Sequence[Any]) -> None:
    """Raises NotRecordable where an array has gaps, because flattening it would make a copy."""
    for array in arrays:
        if isinstance(array, np.ndarray) and not array.flags.c_contiguous:
            raise NotRecordable(f"an array with strides {array.strides}")
