"""`fusedstep profile NETWORK`: shows the time of one training step by layer and pass."""

from __future__ import annotations

from typing import Annotated

import typer

from ...framework.cli.options import BackendName, FullPrecision, Variant


def profile(
    network: Annotated[
        str, typer.Argument(help='Widths, then @ and the batch size, such as "784-512-512-10@256".', show_default=False)
    ],
    backend: BackendName = None,
    precision: FullPrecision = "float32",
    variant: Variant = "plain",
    repeats: Annotated[int, typer.Option(help="Number of steps; the times are medians over them.")] = 20,
) -> None:
    """Show the time of one training step by layer and pass.

    For each layer, pass and kernel: milliseconds, fraction of the step, floating-point operations and bytes, and both per
    second. Kernels with few operations per second and many bytes per second are memory-bound.
    """
    from rich.console import Console

    from ...backends import backend as find_backend
    from ...backends.threads import num_threads
    from ...errors import HyperparameterError
    from ..networks import parse
    from ..problem import Problem
    from ..profiles import profile as measure
    from ..reports.tables import profile_table
    from ..reports.terminal import show
    from ..session import BenchPlan

    if repeats < 1:
        raise HyperparameterError(f"expected --repeats >= 1; got {repeats}; use --repeats 20")
    chosen = find_backend(backend)
    plan = BenchPlan(grid="none", backends=chosen.name, precisions=precision, variant=variant)
    networks = parse(network)
    console = Console(highlight=False)
    for wanted in networks:
        for name in plan.precision_list:
            problem = Problem(wanted, variant, name, num_threads())
            show(console, profile_table(measure(problem, chosen, repeats)), texts=2)
