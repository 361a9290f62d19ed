"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

DEBUG_KEY = "fusedstep.debug"
"""Where a context keeps whether tracebacks are wanted."""


def _remember(context: typer.Context, value: bool) -> bool:
    metadata: dict[str, Any] = context.meta
    metadata[DEBUG_KEY] = metadata.get(DEBUG_KEY, False) or value
    return value


Debug = Annotated[
    bool,
    typer.Option("--debug", callback=_remember, is_eager=True, help="Show the traceback of an error, beside its message."),
]

BackendName = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="numpy, numba, cupy, cuda or auto. Default: FUSEDSTEP_BACKEND, else the best that works here.",
    ),
]
