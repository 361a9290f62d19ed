"""Converts values to host arrays: lists, NumPy arrays, and CPU arrays of any DLPack library.

Independent of any particular backend.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DtypeError, MixedBackends
from ..kernels.targets.storage import bfloat16

Array = Any
_DLPACK_CPU = 1


def describe(values: Any) -> str:
    """A short description of a value, for error messages."""
    kind = f"{type(values).__module__.partition('.')[0]}.{type(values).__name__}"
    shape, dtype = getattr(values, "shape", None), getattr(values, "dtype", None)
    return kind + (f" of shape {tuple(shape)}" if shape is not None else "") + (f" and dtype {dtype}" if dtype else "")


def on_host(values: Any, backend: str = "numpy") -> np.ndarray[Any, Any]:
    """`values` as a NumPy array, without a copy if possible.

    Raises: MixedBackends for an array on a GPU; DtypeError for anything but an array of real numbers.
    """
    given = values
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        count = int(np.asarray(values.mask).sum())
        raise DtypeError(
            f"expected numbers without a mask; got a {describe(values)} with {count} entries masked; "
            "fill them, such as with x.filled(0.0), or drop their rows"
        )
    if not isinstance(values, np.ndarray):
        if hasattr(values, "__dlpack_device__"):
            if int(values.__dlpack_device__()[0]) != _DLPACK_CPU:
                raise MixedBackends(
                    f"expected an array on the host for backend {backend!r}; got a {describe(values)} on a GPU; "
                    f'convert it with fs.asarray(array, backend="{backend}")'
                )
            if hasattr(values, "detach"):
                values = values.detach()
            try:
                values = np.from_dlpack(values)
            except (BufferError, RuntimeError, TypeError):
                try:
                    values = np.asarray(values)
                except (RuntimeError, TypeError, ValueError) as error:
                    raise DtypeError(
                        f"expected an array that NumPy can read; got a {describe(values)} ({error}); convert it to float32"
                    ) from error
        else:
            try:
                values = np.asarray(values)
            except ValueError as error:
                raise DtypeError(
                    f"expected numbers in a rectangular array; got a {describe(values)}; make all rows equally long"
                ) from error
    if not is_real(values):
        hint = "encode text as numbers first (fusedstep train does so for tables)"
        if hasattr(given, "toarray"):
            hint = "x.toarray() makes a sparse matrix dense"
        elif hasattr(given, "astype") and values.dtype == object:
            hint = f"x.astype(float) converts it if every entry is a number; {hint}"
        raise DtypeError(f"expected real numbers; got a {describe(given)}; {hint}")
    host: np.ndarray[Any, Any] = values
    return host if host.dtype.isnative else host.astype(host.dtype.newbyteorder("="))


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
