"""Checks that every public method exists, with the parameters of the contract."""

from __future__ import annotations

import inspect

from ...kernels.rows.reference import ROWS
from ..contract import Backend
from ..profiling import DENSE
from .comparison import expect
from .suite import REALS, Sizes, check

METHODS = tuple(
    name for name, member in inspect.getmembers(Backend)
    if not name.startswith("_") and inspect.isroutine(member) and name not in ROWS
)  # fmt: skip
"""All public methods of the contract except deprecated ones."""


@check("signatures", method=METHODS)
def signature(backend: Backend, sizes: Sizes, method: str) -> None:  # noqa: ARG001
    """Parameters have the names, order and defaults of the contract; additional ones follow and have defaults."""
    own = getattr(type(backend), method, None)
    expect(callable(own), f"expected a method {method}; the backend has none")
    wanted = list(inspect.signature(getattr(Backend, method)).parameters.values())
    got = list(inspect.signature(own).parameters.values()) if own is not None else []
    expect(
        [(p.name, p.kind, p.default) for p in got[: len(wanted)]] == [(p.name, p.kind, p.default) for p in wanted],
        f"expected {method}({', '.join(map(str, wanted))}); got {method}({', '.join(map(str, got))})",
    )
    expect(
        all(p.default is not p.empty or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in got[len(wanted) :]),
        f"expected further parameters of {method} to have defaults; got {', '.join(map(str, got))}",
    )


@check("signatures")
def row_operations(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """All row operations are in `row_table`; none is a method of the class, because methods would never be called."""
    expect(set(ROWS) <= set(backend.row_table), f"expected all of {set(ROWS)} in row_table; got {set(backend.row_table)}")
    methods = [name for name in ROWS if getattr(type(backend), name) is not getattr(Backend, name)]
    expect(not methods, f"expected row operations in row_table; got methods {', '.join(methods)}")


@check("signatures")
def description(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """Name, device, precisions, and whether it can run."""
    expect(isinstance(backend, Backend), "expected a subclass of fusedstep.backends.Backend")
    expect(isinstance(backend.name, str) and backend.name not in ("", "base", "auto"), f"expected a name; got {backend.name!r}")
    own = [name for name in DENSE if getattr(type(backend), name) is not getattr(Backend, name)]
    expect(backend.fuses or not own, f"expected fuses = True, because it overrides {', '.join(own)}; got {backend.fuses}")
    expect(isinstance(backend.device, str) and bool(backend.device), f"expected a device name; got {backend.device!r}")
    expect(set(REALS) <= set(backend.precisions), f"expected precisions to hold {REALS}; got {backend.precisions}")
    expect(type(backend).unavailable() is None, f"expected to be available; got {type(backend).unavailable()}")
    expect(backend.name in repr(backend), f"expected repr to hold the name; got {backend!r}")
