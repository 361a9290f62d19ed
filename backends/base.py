"""The contract of a backend, runnable on any NumPy-like array library; its operations are in backends/contract, by family.

A subclass overrides what its library does better; everything else keeps working through the methods inherited here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..kernels.rows.reference import ROWS
from .contract.products import Products
from .contract.random import Random as Random
from .contract.reductions import Reductions
from .contract.rows import Rows
from .executors.base import Executor, Work
from .executors.plain import PlainExecutor

Array = Any
"""An array of the backend's library."""
Scalar = Any
"""A number that may still be on the device; `float(backend.item(s))` waits for it."""


class Unavailable(NamedTuple):
    """Why a backend cannot run here.

    Attributes: reason; remedy – how to fix it; cause – the original error, if there was one; expected – whether somebody who
        lets `auto` choose may expect this backend and has to be told; False where nothing of it is installed.
    """

    reason: str
    remedy: str
    cause: BaseException | None = None
    expected: bool = True


class Backend(Products, Rows, Reductions):
    """Arrays, products and kernels on one device; this class runs on any array library that follows the array API.

    Contract: matrices are [rows, columns] in row-major order; every operation writes into arrays that the caller gives
    (`out`), which may be the same as an elementwise input; reals are float32 or float64, labels int32, the winners of
    maxout uint8. Where `precisions` names a type of 16 bits, matrices, and vectors with one number per column, may have
    that type as well: their values are computed with in float32, and results are rounded to nearest when they are
    written. Operations refuse arrays of another library with MixedBackends.

    Args: xp – the module of the array library.
    """

    name: ClassVar[str] = "base"
    device: ClassVar[str] = "cpu"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float64")
    _find: ClassVar[Callable[[str], Any]]
    """Finds the backend of a name, where a pickle is read; selection.py gives it."""

    def __init__(self, xp: Any = np) -> None:
        self.xp = xp
        self.array_type: type = type(xp.zeros(1))

    @classmethod
    def unavailable(cls) -> Unavailable | None:
        """None where this backend can run, else the reason; must not raise."""
        return None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., bool]:
            """Row operations were methods in 0.2.0."""
            if name not in ROWS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            warnings.warn(
                f"Backend.{name} is deprecated since 0.3.0; call backend.rows({name!r}, ...)", DeprecationWarning, stacklevel=2
            )
            return lambda *arguments, **options: self.rows(name, *ROWS[name].in_order(*arguments, **options))

    def __repr__(self) -> str:
        return f"<fusedstep backend {self.name}>"

    def __deepcopy__(self, _: Any) -> Backend:
        return self  # it holds no numbers

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle names it: where it is read, the backend of that name must be known."""
        return type(self)._find, (self.name,)

    # Steps

    def exclusive(self) -> AbstractContextManager[Any]:
        """Within it no other thread captures, replays or plans work on the same device; a thread may enter it again."""
        return nullcontext()

    def quiet(self) -> AbstractContextManager[Any]:
        """Within it the array library does not warn of overflow: a step checks its loss and gradient itself."""
        return nullcontext()

    def executor(self, work: Work) -> Executor:
        """What carries out the steps of a TrainStep on this backend."""
        return PlainExecutor(self, work)
