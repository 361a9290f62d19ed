"""`fusedstep example NAME`: runs an experiment of the lecture notes, and shows its results and figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import BackendName


def example(
    name: Annotated[str | None, typer.Argument(help="Name or number of the example, such as e5.", show_default=False)] = None,
    listed: Annotated[bool, typer.Option("--list", help="List all examples.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the figure.")] = Path("examples"),
    figure: Annotated[bool, typer.Option("--figure/--no-figure", help="Draw the figure, or not.")] = True,
    backend: BackendName = None,
) -> None:
    """Run an experiment of the lecture notes.

    Prints the measured results next to the theoretical ones, and saves a figure, NAME.png. Exit code 1 if a result is not as
    expected. The experiments are short files in the folder framework/examples of the package, meant to be copied.
    """
    from rich.markup import escape
    from rich.table import Table

    from ...errors import HyperparameterError
    from ..examples import EXAMPLES, find_example
    from .console import new_console

    console = new_console()
    if listed:
        table = Table("", "name", "question", "notes", box=None, padding=(0, 2, 0, 0))
        for one in EXAMPLES:
            table.add_row(one.row.upper(), one.name, one.question, one.source)
        console.print(table)
        return
    if name is None:
        raise HyperparameterError("expected the name of an example; got none; see fusedstep example --list")
    from ...backends import backend as find_backend

    chosen = find_example(name)
    run_on = find_backend(backend)
    if figure:
        from ..diagnostics.plots.style import settings
        from .figures import made, require_folder

        require_folder(out, "--out")
        with settings():
            made(out, "--out")  # If matplotlib or the folder is missing, fail here and not after the experiment.
    console.print(f"[bold]{chosen.row.upper()} {chosen.name}[/bold]: {escape(chosen.question)} (backend {run_on.name})\n")
    result = chosen.run(run_on.name)
    table = Table("result", "measured", "expected", "as expected", box=None, padding=(0, 2, 0, 0))
    table.columns[1].justify = "right"
    for finding in result.findings:
        mark = "[green]yes[/green]" if finding.holds else "[red]no[/red]"
        table.add_row(escape(finding.what), finding.shown, escape(finding.expected), mark)
    console.print(table)
    console.print(f"\n{escape(result.verdict)}" if result.holds else "\nSome results are not as expected.", soft_wrap=True)
    if figure:
        path = out / f"{chosen.name}.png"
        result.draw(path)
        console.print(f"Figure: [bold]{escape(str(path))}[/bold]", soft_wrap=True)
    if not result.holds:
        raise typer.Exit(1)
