"""Operations of a backend that need whole rows or columns: softmax, the losses on it, normalisation, sums, maxout, patches.

They are declared and explained in kernels/rows/reference.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...kernels.rows import reference
from .arrays import Arrays

Array = Any


class Rows(Arrays):
    """Row operations by name.

    Attributes: row_table – operation -> what runs it: a function of the array library and the arguments of the operation. A
        subclass whose library does some of them better has a table of its own, {**Backend.row_table, "softmax": own_softmax}.
    """

    row_table: Mapping[str, Callable[..., Any]] = reference.ROWS

    def rows(self, operation: str, *arguments: Any) -> bool:
        """Runs a row operation.

        Args: operation – a name of kernels/rows/reference.py; arguments – in its order, the arrays that it writes among them.
        Returns: whether the operation wrote `sums`, of those that have it; else False.
        Raises: MixedBackends; ValueError for an unknown name; ShapeError for a wrong number of arguments.
        """
        known = reference.ROWS.get(operation)
        if known is None:
            raise ValueError(f"expected a row operation out of {', '.join(reference.ROWS)}; got {operation!r}")
        self.require(*known.arrays(arguments))
        return bool(self.row_table[operation](self._row_target, *arguments))

    @property
    def _row_target(self) -> Any:
        """What the functions of `row_table` get first."""
        return self.xp

    def argmax(self, x: Array) -> Array:
        """The column of the largest value of each row, the first among equals."""
        self.require(x)
        return self.xp.argmax(self.wide(x), axis=1)
