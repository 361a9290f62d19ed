"""Creates inputs for checks, and compares results of a backend with the expected ones."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..contract import Array, Backend
from .suite import ConformanceError
from .tolerances import tolerance

Host = np.ndarray[Any, Any]


def expect(condition: bool, what: str) -> None:
    """Raises ConformanceError unless the condition holds."""
    if not condition:
        raise ConformanceError(what)


def generator(*key: object) -> np.random.Generator:
    """Random inputs that depend on the key only."""
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def normal(dtype: str, shape: Sequence[int], *key: object) -> Host:
    """Standard normal numbers, rounded to the dtype."""
    return generator("normal", tuple(shape), *key).standard_normal(tuple(shape)).astype(dtype)


def between(dtype: str, shape: Sequence[int], low: float, high: float, *key: object) -> Host:
    """Uniform numbers in [low, high), rounded to the dtype."""
    return generator("between", tuple(shape), *key).uniform(low, high, tuple(shape)).astype(dtype)


def labels(rows: int, classes: int, *key: object) -> Host:
    """Class labels, int32."""
    return generator("labels", rows, classes, *key).integers(0, classes, rows).astype(np.int32)


def host(backend: Backend, array: Array, shape: Sequence[int], dtype: str, what: str) -> Host:
    """The values of an array of the backend on the host; raises ConformanceError for a wrong type, shape or dtype."""
    expect(backend.is_array(array), f"{what}: expected an array of the backend; got a {type(array).__name__}")
    expect(tuple(array.shape) == tuple(shape), f"{what}: expected shape {tuple(shape)}; got {tuple(array.shape)}")
    expect(backend.dtype_name(array) == dtype, f"{what}: expected dtype {dtype}; got {array.dtype}")
    values = backend.to_numpy(array)
    expect(
        isinstance(values, np.ndarray) and values.shape == tuple(shape) and str(values.dtype) == dtype,
        f"{what}: expected to_numpy to keep shape {tuple(shape)} and dtype {dtype}; got {values.shape} {values.dtype}",
    )
    return values


def close(result: Any, reference: Any, dtype: str, kind: str, what: str = "result") -> None:
    """Raises ConformanceError unless host values agree within TOLERANCES[dtype, kind]; reports the largest difference."""
    result, reference = np.asarray(result), np.asarray(reference)
    expect(result.shape == reference.shape, f"{what}: expected shape {reference.shape}; got {result.shape}")
    allowed = tolerance(dtype, kind)
    wrong = ~allowed.allows(result, reference)
    if not wrong.any():
        return
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.where(wrong, np.abs(np.asarray(result, np.float64) - reference), -1.0)
    distance = np.where(np.isnan(distance), np.inf, distance)
    worst = np.unravel_index(int(np.argmax(distance)), distance.shape)
    place = tuple(int(i) for i in worst)
    raise ConformanceError(
        f"{what}: expected values within {allowed.atol:g} + {allowed.rtol:g} |reference| ({dtype} {kind}); "
        f"{int(wrong.sum())} of {wrong.size} are not; at {place} got {result[worst]!r} for {reference[worst]!r}"
    )


def exactly(result: Any, reference: Any, what: str = "result") -> None:
    """Raises ConformanceError unless host arrays have the same dtype, shape and bits (any NaN equals any NaN)."""
    result, reference = np.asarray(result), np.asarray(reference)
    expect(
        result.dtype == reference.dtype and result.shape == reference.shape,
        f"{what}: expected {reference.dtype} of shape {reference.shape}; got {result.dtype} of shape {result.shape}",
    )
    same = result == reference
    if result.dtype.kind == "f":
        same = (same & (np.signbit(result) == np.signbit(reference))) | (np.isnan(result) & np.isnan(reference))
    if not same.all():
        place = tuple(int(i) for i in np.argwhere(~same)[0])
        raise ConformanceError(
            f"{what}: expected the same bits; {int((~same).sum())} of {same.size} elements differ, the first at {place}: "
            f"{result[place]!r} for {reference[place]!r}"
        )


def holds(backend: Backend, array: Array, values: Any, what: str = "result") -> None:
    """Raises ConformanceError unless an array of the backend has the dtype, shape and bits of host values."""
    exactly(host(backend, array, values.shape, str(values.dtype), what), values, what)
