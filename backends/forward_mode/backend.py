"""A backend on dual numbers, which gives forward-mode derivatives of all operations of the base class.

A backward pass on this backend gives the exact derivative of the gradient along a direction, which is a product with the
Hessian. Layers need no changes for that.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np

from ...errors import NotDifferentiable
from ..contract import Array, Backend, Scalar
from .numbers import Dual, DualSpace, no_derivative


class DualBackend(Backend):
    """The default operations of `Backend` on dual numbers whose values and tangents are arrays of another backend.

    Args: native – that backend.
    """

    name: ClassVar[str] = "dual"

    def __init__(self, native: Backend) -> None:
        super().__init__(DualSpace(native))
        self.native = native
        self.precisions = native.precisions  # type: ignore[misc]

    def pair(self, value: Array, tangent: Array | None = None) -> Dual:
        """value + tangent e, from two arrays of the native backend; without a tangent it is a constant."""
        return Dual(value, tangent, self.xp)

    def asarray(self, values: Any, dtype: str | None = None) -> Array:
        """A constant, or the dual number itself."""
        return values if isinstance(values, Dual) else self.pair(self.native.asarray(values, dtype))

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        """The value, without its tangent."""
        return self.native.to_numpy(array.value)

    def item(self, scalar: Scalar) -> float:
        """The value, without its tangent."""
        return self.native.item(scalar.value)

    def take_rows(self, array: Array, indices: Array, out: Array | None = None) -> Array:  # noqa: ARG002
        """Not supported: no pass uses it."""
        raise NotDifferentiable(no_derivative("take_rows"))

    def quiet(self) -> AbstractContextManager[Any]:
        """See Backend.quiet; the context of the native backend."""
        return self.native.quiet()
