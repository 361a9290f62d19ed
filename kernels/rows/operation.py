"""The declaration of a row operation: name, kinds of its arguments in order, its outputs, and its reference.

Operations are declared in reference.py; each target has a table, name -> implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from itertools import compress
from typing import Annotated, Any

from ...errors import ShapeError

Matrix = Annotated[Any, "matrix"]
"""Reals [rows, columns]."""
Vector = Annotated[Any, "vector"]
"""Reals, one a row or one a column."""
Labels = Annotated[Any, "labels"]
"""Whole numbers, int32 [n]."""
Table = Annotated[Any, "table"]
"""Numbers of columns, int32 [n, m], negative where nothing is."""
Winners = Annotated[Any, "winners"]
"""Which of several was the largest, uint8 [rows, columns]."""
Number = Annotated[Any, "number"]
"""One real number for the whole call."""
Flag = Annotated[Any, "flag"]
"""True or False."""
WrittenMatrix = Annotated[Matrix, "written"]
WrittenVector = Annotated[Vector, "written"]
WrittenWinners = Annotated[Winners, "written"]
WrittenLabels = Annotated[Labels, "written"]


class RowOperation:
    """A named function of whole rows or columns.

    Calling it with a backend runs the reference on that one's array library: reals that are read come to it in the type that is
    computed in.

    Attributes: kinds – of all arguments, such as "matrix" or "written vector"; required – how many must be given; arrays that
        are optional may be None; weighs – whether the last argument may be weights of the rows.
    """

    def __init__(self, name: str, reference: Callable[..., Any], kinds: tuple[str, ...], required: int) -> None:
        self.name = name
        self.reference = reference
        self.kinds = kinds
        self.required = required
        self.weighs = _arguments(reference)[-1] == "row_weights"
        self._counts = range(required, len(kinds) + 1)
        self._arrays = [kind not in ("number", "flag") for kind in kinds]
        self._reads = [kind in ("matrix", "vector") for kind in kinds]

    def arrays(self, arguments: Sequence[Any]) -> list[Any]:
        """Those of the arguments that are arrays; raises ShapeError where there are too few or too many arguments."""
        if len(arguments) not in self._counts:
            raise ShapeError(f"{self!r} expected {self.required} to {len(self.kinds)} arguments; got {len(arguments)}")
        return [array for array in compress(arguments, self._arrays) if array is not None]

    def in_order(self, *arguments: Any, **named: Any) -> tuple[Any, ...]:
        """Arguments of which some are given by name, in the order of the operation, with the defaults of the others."""
        bound = signature(self.reference).bind(None, *arguments, **named)
        bound.apply_defaults()
        return bound.args[1:]

    def __call__(self, backend: Any, *arguments: Any) -> Any:
        """The reference on arrays of a backend."""
        reads = zip(arguments, self._reads, strict=False)
        return self.reference(backend.xp, *(backend.wide(a) if read and a is not None else a for a, read in reads))

    def __repr__(self) -> str:
        return f"<row operation {self.name}>"


ROWS: dict[str, RowOperation] = {}
"""All row operations, and so the table of the reference, which runs on any array library."""


def row_operation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: declares the operation of which this function is the reference, with the kinds that its annotations say."""
    # By hand, because `inspect` and `typing` would take a fiftieth of the import of the package for it.
    names = _arguments(function)[1:]
    hints = (function.__globals__[function.__annotations__[name]] for name in names)
    kinds = tuple(" ".join(reversed(hint.__metadata__)) for hint in hints)
    required = len(names) - len(function.__defaults__ or ())
    ROWS[function.__name__] = RowOperation(function.__name__, function, kinds, required)
    return function


def _arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def scaled(factor: float, scale: Any) -> Any:
    """A factor times the number in an array [1], where there is one."""
    return factor if scale is None else factor * scale[0]
