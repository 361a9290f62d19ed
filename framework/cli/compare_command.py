"""`fusedstep compare A B`: trains the same small network on two backends and compares them after every step."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import FullPrecision


def compare(
    backend_a: Annotated[str, typer.Argument(help="Reference backend, such as numpy.", show_default=False)],
    backend_b: Annotated[str, typer.Argument(help="Backend to compare with it.", show_default=False)],
    steps: Annotated[int, typer.Option(help="Number of training steps.")] = 50,
    precision: FullPrecision = "float32",
    seed: Annotated[int, typer.Option(help="Seed for data, weights, dropout and shuffles.")] = 0,
) -> None:
    """Train the same small network on two backends and show how much their results differ.

    Prints the relative difference of the loss and of the parameters for each step (largest difference divided by largest value,
    for the parameter that differs most), and whether initial weights, dropout masks and shuffles are bit-identical. Exit code 1
    if the losses differ by more than 1e-5 in float32 or 1e-12 in float64, or if any of these bits differ.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from .console import new_console
    from .lockstep import TOLERANCES, Lockstep

    run = Lockstep(backend_a, backend_b, steps, precision, seed)
    console = new_console()
    names = [escape(name) for name in run.names]
    console.print(f"[bold]{names[0]}[/bold] and [bold]{names[1]}[/bold], {precision}, seed {seed}: {run.description}")
    table = Table("step", f"{names[0]} loss", f"{names[1]} loss", "difference", "of parameters", "most in", box=SIMPLE_HEAD)
    for column in table.columns[:5]:
        column.justify = "right"
    for row in run:
        table.add_row(
            str(row.step), f"{row.losses[0]:.7f}", f"{row.losses[1]:.7f}", f"{row.loss:.1e}", f"{row.parameters:.1e}", row.name
        )
    console.print(table)
    for what, same in run.bits.items():
        console.print(f"{what}: " + ("[green]bit-identical[/green]" if same else "[red]different[/red]"))
    tolerance = TOLERANCES[precision]
    verdict = f"largest difference of the loss {run.worst_loss:.1e}, of the parameters {run.worst_parameters:.1e}"
    if run.passed:
        console.print(f"[green bold]passed[/green bold]: {verdict}; tolerance of the loss {tolerance:g}")
        return
    console.print(f"[red bold]failed[/red bold]: {verdict}; tolerance of the loss {tolerance:g}; bits must be identical")
    raise typer.Exit(1)
