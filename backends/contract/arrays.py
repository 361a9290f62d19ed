"""Arrays of a backend: making, converting, copying and looking at them, and the memory that they take.

What arrays belong to a backend is asked here as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ...errors import DtypeError, MixedBackends
from ...kernels.rows.operation import wide
from ...kernels.targets.storage import bfloat16
from ..arrays import c_order, cast, describe, on_host
from ..slots import Kind, Slot

Array = Any
Scalar = Any


class Arrays:
    """Arrays of the library `xp`.

    Attributes: xp – the module of the array library; array_type – the class of its arrays.
    """

    name: ClassVar[str]
    xp: Any
    array_type: type

    def dtype(self, name: str) -> Any:
        """The array library's data type of that name."""
        if name == "bfloat16":
            return bfloat16()
        try:
            return getattr(self.xp, name)
        except AttributeError:
            raise DtypeError(
                f"expected the name of a data type such as 'float32'; got {name!r}; see Backend.precisions"
            ) from None

    def dtype_name(self, array: Array) -> str:
        """The plain name of an array's data type, such as "float32", also where the library shows it with its own name."""
        return str(array.dtype).rpartition(".")[2]

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """An array with arbitrary content."""
        return self.xp.empty(tuple(shape), dtype=self.dtype(dtype))

    def zeros(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """An array of zeros."""
        return self.xp.zeros(tuple(shape), dtype=self.dtype(dtype))

    def asarray(self, values: Any, dtype: str | None = None) -> Array:
        """`values` (numbers, NumPy, this backend's or any CPU DLPack array) as a row-major array of this backend.

        Args: dtype – name of the wanted type; None keeps the type that came.
        Returns: an array of this backend; the same object where nothing had to change.
        Raises: DtypeError for text and objects; MixedBackends for an array of another device.
        """
        if isinstance(values, self.array_type) and not isinstance(values, np.ndarray):
            return self._convert(values, dtype)
        host = on_host(values, self.name)
        return self.xp.asarray(c_order(cast(host, dtype)))

    def _convert(self, array: Array, dtype: str | None) -> Array:
        return array if dtype is None or array.dtype == self.dtype(dtype) else self.xp.astype(array, self.dtype(dtype))

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        """A copy on the host."""
        return np.array(np.from_dlpack(array))

    def is_array(self, values: Any) -> bool:
        """Whether `values` belongs to this backend's array library."""
        return isinstance(values, self.array_type)

    def require(self, *arrays: Array) -> None:
        """Raises MixedBackends unless all arrays are this backend's own."""
        for array in arrays:
            if not isinstance(array, self.array_type):
                raise MixedBackends(
                    f"expected arrays of backend {self.name!r}; got a {describe(array)}; "
                    f'convert it with fs.asarray(array, backend="{self.name}")'
                )

    def wide(self, array: Array) -> Array:
        """The array in a type that is computed in: float32 where it has 16 bits, else itself."""
        return wide(self.xp, array)

    def _cast(self, values: Array, like: Array) -> Array:
        return values if values.dtype == like.dtype else self.xp.astype(values, like.dtype)

    def copy(self, source: Array, out: Array) -> None:
        """Overwrites `out` with the values of `source`, an array of this backend or of the host, or a list of numbers."""
        out[...] = source if self.is_array(source) else self.xp.asarray(source, dtype=out.dtype)

    def sender(self, out: Array) -> Callable[[Any], None]:
        """A function that overwrites `out`, a row-major array, with numbers of the host, for what is said in every step."""
        return partial(self.copy, out=out)

    def fill(self, array: Array, value: float) -> None:
        """Overwrites all elements with one number."""
        self.require(array)
        array[...] = value

    def take_rows(self, array: Array, indices: Array, out: Array | None = None) -> Array:
        """The rows of `array` that `indices` (integers of this backend) name, in `out` or in a new array."""
        taken = self.xp.take(array, indices, axis=0)
        if out is None:
            return taken
        out[...] = taken
        return out

    def all_below(self, array: Array, bound: int) -> bool:
        """Whether all of at least one number lie in [0, bound - 1]; waits for the device."""
        return bool(self.xp.all((array >= 0) & (array <= bound - 1)))

    def item(self, scalar: Scalar) -> float:
        """The value of a scalar of this backend; waits for the device."""
        return float(scalar)

    def synchronize(self) -> None:
        """Waits until all work that was handed out is done."""

    # Memory

    def slot(self, kinds: Sequence[Kind]) -> Slot:
        """Room for a minibatch that a loader's thread fills; `kinds` – (shape, dtype) of its arrays."""
        return Slot(self, kinds)

    def free_memory(self) -> int | None:
        """Bytes that arrays may still take on the device; None where arrays lie in the memory of the host."""
        return None

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether an error says that there was not enough memory, so that a smaller piece of the work may succeed."""
        return isinstance(error, MemoryError)

    def trim_memory(self) -> None:
        """Gives memory back that is kept for later but not in use."""
