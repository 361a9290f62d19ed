"""Converts values to host arrays: lists, NumPy arrays, and CPU arrays of any DLPack library.

Independent of any particular backend.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DtypeError, FusedstepError, MixedBackends
from ..kernels.targets.storage import bfloat16
from .entries import describe, numbers_of, require_unmasked, unreadable

Array = Any
_DLPACK_CPU = 1
_NOT_READ = (TypeError, ValueError, RuntimeError, AttributeError, BufferError, LookupError, ArithmeticError)
"""What libraries raise for values that they cannot hand over."""


def dlpack_device(values: Any) -> int:
    """The kind of device of a DLPack array; raises DtypeError for one without values, such as a meta tensor of PyTorch."""
    try:
        return int(values.__dlpack_device__()[0])
    except _NOT_READ as error:
        raise DtypeError(
            f"expected an array with values that can be read; got a {describe(values)} ({error}); "
            "give one with values, on the host or on the device of the backend"
        ) from error


def plain_tensor(values: Any) -> Any:
    """A tensor of PyTorch without its graph, and with lazy conjugations and negations carried out; others as they are."""
    for step in ("detach", "resolve_conj", "resolve_neg"):
        if hasattr(values, step):
            values = getattr(values, step)()
    return values


def on_host(values: Any, backend: str = "numpy") -> np.ndarray[Any, Any]:
    """`values` as a NumPy array, without a copy if possible.

    Subclasses such as np.matrix count as the array that they hold, and objects that are all numbers as numbers.

    Raises: MixedBackends for an array on a GPU; DtypeError for anything but an array of real numbers.
    """
    host = values if type(values) is np.ndarray else as_array(values, backend)
    if not is_real(host):
        host = numbers_of(host, values)
    return host if host.dtype.isnative else host.astype(host.dtype.newbyteorder("="))


def as_array(values: Any, backend: str = "numpy") -> np.ndarray[Any, Any]:
    """`values` as a NumPy array of any type, also of text and objects; raises as `on_host` otherwise."""
    if isinstance(values, np.ndarray):
        if isinstance(values, np.ma.MaskedArray):
            require_unmasked(values)
        return np.asarray(values)
    try:
        if hasattr(values, "__dlpack_device__"):
            return _from_dlpack(values, backend)
        if isinstance(values, (list, tuple)) and any(map(_is_special, set(map(type, values)))):
            values = [as_array(row, backend) for row in values]
        return np.asarray(values)
    except _NOT_READ as error:
        if isinstance(error, FusedstepError):
            raise
        raise unreadable(values, error) from error


def _is_special(kind: type) -> bool:
    """Whether NumPy would lose the mask of such a row, or cannot read it: rows of other libraries."""
    return issubclass(kind, np.ma.MaskedArray) or (hasattr(kind, "__dlpack_device__") and not issubclass(kind, np.ndarray))


def _from_dlpack(values: Any, backend: str) -> np.ndarray[Any, Any]:
    if dlpack_device(values) != _DLPACK_CPU:
        raise MixedBackends(
            f"expected an array on the host for backend {backend!r}; got a {describe(values)} on a GPU; "
            f'convert it with fs.asarray(array, backend="{backend}")'
        )
    if hasattr(values, "resolve_neg"):
        return _from_torch(values)
    try:
        return np.from_dlpack(values.detach() if hasattr(values, "detach") else values)
    except (BufferError, RuntimeError, TypeError):
        return np.asarray(values)


def _from_torch(values: Any) -> np.ndarray[Any, Any]:
    """By PyTorch, which exports a lazily negated tensor by DLPack with the wrong sign, and one that is fake with any values."""
    try:
        return np.asarray(values.numpy(force=True))
    except TypeError:
        return np.asarray(values.float().numpy(force=True))  # bfloat16 and 8 bits, which NumPy lacks and float32 holds


def is_real(array: Any) -> bool:
    """Whether an array holds real numbers; includes bfloat16, which NumPy treats as an opaque type."""
    return array.dtype.kind in "fiub" or str(array.dtype) == "bfloat16"


def cast(host: np.ndarray[Any, Any], dtype: str | None) -> np.ndarray[Any, Any]:
    """The array in that type; the same object if it already has it."""
    return host if dtype is None else host.astype(bfloat16() if dtype == "bfloat16" else dtype, copy=False)


def c_order(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same values, contiguous in row-major order."""
    return np.ascontiguousarray(array) if not array.flags.c_contiguous else array


def stable_order(keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The indices that sort whole numbers, equal ones by index; fast where none, or few of them, are equal."""
    order = np.argsort(keys)
    ordered = keys[order]
    if bool(np.any(ordered[1:] == ordered[:-1])):
        return np.argsort(keys, kind="stable")
    return order
