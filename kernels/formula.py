"""A formula: a scalar Python function, with the role of each argument in the surrounding loop.

It is entered in a registry of all formulas, so table-driven tests cover new ones automatically.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property
from types import FunctionType
from typing import Annotated, Any

from . import symbols
from .symbols import Program

Each = Annotated[Any, "each"]
"""One value per element of the output [rows, width]."""
Row = Annotated[Any, "row"]
"""One value per column, the same for all rows: a vector [width], such as a bias."""
Column = Annotated[Any, "column"]
"""One value per row: a vector [rows]."""
Scalar = Annotated[Any, "scalar"]
"""One real number for the whole call."""
Bits = Annotated[Any, "bits"]
"""32 random bits per element, which the loop computes from (seed, stream, step, row, column)."""
Group = Annotated[Any, "group"]
"""One real number per parameter group, in updates of the arena only."""
RowSum = Annotated[Any, "rowsum"]
"""An output that is summed over each row: a vector [rows]."""


@dataclass(frozen=True, eq=False)
class Formula:
    """A named scalar function and the kinds of its arguments and results.

    Calling it evaluates the function on numbers or arrays; `trace` gives the program that targets compile.
    """

    name: str
    function: Callable[..., Any]
    parameters: tuple[str, ...]
    kinds: tuple[str, ...]
    outputs: tuple[str, ...]
    overwrites: tuple[str, ...] = ()
    """For updates of the arena: the name of the parameter that each output replaces; empty for other formulas."""

    def __call__(self, *arguments: Any) -> Any:
        """The plain value, in whatever type and precision the arguments have."""
        return self.function(*arguments)

    @cached_property
    def given(self) -> tuple[str, ...]:
        """The kinds of the arguments that a caller passes: all except the random bits."""
        return tuple(kind for kind in self.kinds if kind != "bits")

    @cached_property
    def places(self) -> tuple[str, ...]:
        """The kinds of the outputs, then of all arguments."""
        return (*self.outputs, *self.kinds)

    @cached_property
    def overwritten(self) -> tuple[int, ...]:
        """The indices of `overwrites` in `parameters`."""
        return tuple(map(self.parameters.index, self.overwrites))

    @cached_property
    def random(self) -> bool:
        """Whether the formula takes random bits, which the loop has to compute."""
        return "bits" in self.kinds

    @cached_property
    def flat(self) -> bool:
        """Whether the result does not depend on row and column, so that the arrays may be treated as flat vectors."""
        return not {"row", "column", "bits"} & set(self.kinds) and "rowsum" not in self.outputs

    def __repr__(self) -> str:
        return f"<formula {self.name}>"


REGISTRY: dict[str, Formula] = {}


def make_formula(
    name: str,
    function: Callable[..., Any],
    kinds: Mapping[str, str],
    outputs: tuple[str, ...],
    overwrites: tuple[str, ...] = (),
) -> Formula:
    """Creates a formula and registers it under `name`; used for formulas that are composed from others.

    The same definition may be registered repeatedly, for example when a notebook cell is run again; the last one is used.

    Raises: ValueError if a different formula has that name.
    """
    made = Formula(name, function, tuple(kinds), tuple(kinds.values()), outputs, overwrites)
    known = REGISTRY.get(name)
    if known is not None and not _redefines(made, known):
        raise ValueError(
            f"expected a name that no other formula has; got {name!r}, which {known.function.__module__}."
            f"{known.function.__qualname__} has; give {function.__module__}.{function.__qualname__} another name"
        )
    REGISTRY[name] = made
    return made


def _redefines(made: Formula, known: Formula) -> bool:
    """Whether two formulas of the same name are defined in the same place, so that the new one may replace the old one."""
    if made.function is known.function:
        return (made.parameters, made.kinds, made.outputs, made.overwrites) == (
            known.parameters, known.kinds, known.outputs, known.overwrites,
        )  # fmt: skip
    return _same_origin(made.function, known.function)


def _same_origin(a: Any, b: Any) -> bool:
    """Whether two values are equal, or are functions defined in the same place whose closures have the same origin."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, FunctionType):
        if (a.__module__, a.__qualname__) != (b.__module__, b.__qualname__):
            return False
        if a.__name__ == "<lambda>" and a.__code__ != b.__code__:
            return False
        inner = [tuple(cell.cell_contents for cell in f.__closure__ or ()) for f in (a, b)]
        return _same_origin(*inner)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same_origin, a, b))
    if is_dataclass(a):
        return all(_same_origin(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return bool(a == b)


def formula(function: Callable[..., Any]) -> Formula:
    """Decorator: reads the kinds from the annotations (`x: Each, bias: Row -> Each`) and registers the formula."""
    hints = typing.get_type_hints(function, include_extras=True)
    returned = hints.pop("return")
    parts = typing.get_args(returned) if typing.get_origin(returned) is tuple else (returned,)
    kinds = {name: hint.__metadata__[0] for name, hint in hints.items()}
    made = make_formula(function.__name__, function, kinds, tuple(p.__metadata__[0] for p in parts))
    object.__setattr__(made, "__doc__", function.__doc__)
    return made


@cache
def trace(target: Formula, expansions: tuple[tuple[str, Callable[..., Any]], ...] = ()) -> Program:
    """The straight-line program of a formula, in the vocabulary of a target.

    Args: target – the formula; expansions – (operation, function) pairs: operations that the target lacks, or has only in a
        slow form, and the function that computes each from other operations.
    """
    program = Program(dict(expansions))
    arguments = [
        program.input(name, symbols.UINT32 if kind == "bits" else symbols.REAL, uniform=kind in ("scalar", "group"))
        for name, kind in zip(target.parameters, target.kinds, strict=True)
    ]
    return program.finish(target.function(*arguments))
