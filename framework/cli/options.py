"""Options that several commands share; declared.py builds commands from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .names import ACTIVATIONS, OPTIMIZERS

DEBUG_KEY = "fusedstep.debug"
"""Key of the typer context that stores whether to show tracebacks."""


def _remember(context: typer.Context, value: bool) -> bool:
    metadata: dict[str, Any] = context.meta
    metadata[DEBUG_KEY] = metadata.get(DEBUG_KEY, False) or value
    return value


Debug = Annotated[
    bool,
    typer.Option("--debug", callback=_remember, is_eager=True, help="Show the traceback of an error with its message."),
]

# Where it runs
BackendName = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="numpy, numba, cupy, cuda or auto. Default: FUSEDSTEP_BACKEND, otherwise the best that works on this machine.",
    ),
]
Precision = Annotated[
    str, typer.Option(metavar="NAME", help="float32 or float64; tf32, bfloat16 or float16 if the backend supports it.")
]
FullPrecision = Annotated[str, typer.Option(metavar="NAME", help="float32 or float64.")]
Seed = Annotated[int, typer.Option(help="Seed for split, weights, dropout and shuffles.")]

# Data, also of `predict`; the others are in data_options.py
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="CHARACTER",
        help="Between the cells of a text file: one character, or tab, space, comma, semicolon, bar. Default: inferred.",
        show_default=False,
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option("--encoding", metavar="NAME", help="Of a text file, such as latin-1. Default: inferred.", show_default=False),
]
Decimal = Annotated[
    str | None,
    typer.Option("--decimal", metavar="MARK", help="Decimal mark of a text file, . or a comma. Default: inferred.",
                 show_default=False),
]  # fmt: skip
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header", help="Whether the first row of a text file holds names. Default: inferred.", show_default=False
    ),
]
MaxUnpacked = Annotated[
    str | None,
    typer.Option(
        "--max-unpacked",
        metavar="SIZE",
        help="Memory that a compressed or sparse file may become, such as 8GB. Default: 128 MiB, or 50 times its size.",
        show_default=False,
    ),
]

# The network and its training
Hidden = Annotated[
    str | None, typer.Option(metavar="WIDTHS", help='Widths of the hidden layers, such as "256,128"; none: a linear model.')
]
Activation = Annotated[str | None, typer.Option(metavar="NAME", help=f"{ACTIVATIONS}.")]
NumberEmbedding = Annotated[
    str | None, typer.Option(metavar="NAME", help="How columns of numbers are embedded: periodic or none.")
]
Ensemble = Annotated[
    int | None,
    typer.Option(help="Networks that share most weights, are trained together and predict the mean of all. Default: 1."),
]
Optimizer = Annotated[str | None, typer.Option(metavar="NAME", help=f"{OPTIMIZERS}; case-insensitive.")]
ClassWeight = Annotated[
    str | None,
    typer.Option(metavar="balanced", help="Rare classes count as much as frequent ones in the loss.", show_default=False),
]
BatchSize = Annotated[int | None, typer.Option(help="Rows per minibatch.")]

# Checkpoints
CheckpointFolder = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="DIR",
        help="Folder for checkpoints, from which --resume goes on. Default: none.",
        show_default=False,
    ),
]
CheckpointEvery = Annotated[
    int | None, typer.Option(metavar="STEPS", help="Steps between two checkpoints. Default: one after each epoch.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in DIR, or start if there is none.")]

# What is measured
Variant = Annotated[
    str, typer.Option(metavar="NAME", help="plain: ReLU and Adam. full: LayerNorm, GELU, dropout, clipping and AdamW.")
]
