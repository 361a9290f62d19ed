"""The list of all checks and the report of a run; the checks themselves are in the other files of this folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..contract import Backend

REALS = ("float32", "float64")


class ConformanceError(AssertionError):
    """The backend violates the contract."""


class Sizes(NamedTuple):
    """The shapes that checks use: matrices [rows, columns], lengths of flat arrays, (m, k, n) of products; and training steps.

    The shapes of FULL are around the limits of blocks: 128 rows or columns, 16,384 elements.
    """

    matrices: tuple[tuple[int, int], ...]
    lengths: tuple[int, ...]
    products: tuple[tuple[int, int, int], ...]
    steps: int


FULL = Sizes(
    ((0, 5), (1, 1), (1, 7), (5, 1), (3, 4), (127, 33), (129, 31), (2, 127), (3, 128), (2, 129), (128, 129)),
    (0, 1, 127, 128, 129, 16_383, 16_384, 16_385),
    ((0, 4, 3), (4, 3, 0), (4, 0, 3), (1, 1, 1), (1, 7, 5), (5, 7, 1), (3, 1, 4), (6, 6, 6), (127, 128, 129),
     (129, 127, 128), (65, 300, 33)),
    20,
)  # fmt: skip
SMALL = Sizes(((0, 5), (1, 1), (3, 6), (5, 1)), (0, 1, 65), ((0, 4, 3), (4, 0, 3), (1, 1, 1), (3, 5, 4), (3, 3, 3)), 4)


@dataclass(frozen=True)
class Check:
    """One requirement: calling it with a backend raises ConformanceError if the backend does not meet it.

    Attributes: group – one of GROUPS; name – unique in its group.
    """

    group: str
    name: str
    function: Callable[[Backend], None]

    def __call__(self, backend: Backend) -> None:
        """Runs the check, without NumPy's warnings about overflow, which some checks cause on purpose."""
        with np.errstate(all="ignore"):
            self.function(backend)

    def __str__(self) -> str:
        return f"{self.group}/{self.name}"


_registered: list[tuple[str, str, Callable[..., None]]] = []


def check(group: str, **axes: Sequence[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: registers function(backend, sizes, **settings) as one check per combination of the values in `axes`."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        name = function.__name__.strip("_")
        for choice in itertools.product(*axes.values()):
            settings = dict(zip(axes, choice, strict=True))
            full = "-".join([name, *(str(getattr(value, "name", getattr(value, "__name__", value))) for value in choice)])
            _registered.append((group, full, partial(function, **settings)))
        return function

    return register


GROUPS = (
    "signatures", "arrays", "errors", "products", "random", "formulas", "updates", "rows", "reductions", "training",
)  # fmt: skip
"""The groups of checks, in the order in which to fix a new backend."""


def checks(groups: Iterable[str] | None = None, small: bool = False) -> list[Check]:
    """The checks that a backend must pass.

    Args: groups – only these of GROUPS; small – only small arrays and few steps, for simulators.
    """
    wanted = GROUPS if groups is None else tuple(groups)
    unknown = set(wanted) - set(GROUPS)
    if unknown:
        raise ValueError(f"expected groups out of {', '.join(GROUPS)}; got {', '.join(sorted(unknown))}")
    sizes = SMALL if small else FULL
    return [
        Check(group, name, partial(function, sizes=sizes))
        for chosen in GROUPS
        for group, name, function in _registered
        if group == chosen and group in wanted
    ]


@dataclass(frozen=True)
class Report:
    """The result of a run: (check, None or the error message) for each check; `print` shows it as text."""

    backend: str
    results: tuple[tuple[Check, str | None], ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return not self.failures

    @property
    def failures(self) -> dict[str, str]:
        """Name of each failed check -> error message."""
        return {str(check): message for check, message in self.results if message is not None}

    def __str__(self) -> str:
        lines = [f"backend {self.backend}: {len(self.results) - len(self.failures)} of {len(self.results)} checks passed"]
        for group in GROUPS:
            here = [message for check, message in self.results if check.group == group]
            if here:
                failed = sum(message is not None for message in here)
                lines.append(f"  {group:<12} {len(here) - failed:>4} passed" + (f" {failed:>4} FAILED" if failed else ""))
        lines += [f"FAILED {name}: {message}" for name, message in self.failures.items()]
        return "\n".join(lines)


def run(backend: Backend, groups: Iterable[str] | None = None, small: bool = False) -> Report:
    """Runs the checks one after the other; an exception of any type counts as a failure of its check."""
    results: list[tuple[Check, str | None]] = []
    for one in checks(groups, small):
        message = None
        try:
            one(backend)
        except Exception as error:
            message = str(error) if isinstance(error, ConformanceError) else f"{type(error).__name__}: {error}"
        results.append((one, message))
    return Report(backend.name, tuple(results))
