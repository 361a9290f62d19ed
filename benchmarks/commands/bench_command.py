"""`fusedstep bench`: times training steps beside the matrix products alone and beside other libraries, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...framework.cli.options import Debug

if TYPE_CHECKING:
    from rich.console import Console

    from ..comparison import Change
    from ..results import Report


def bench(
    networks: Annotated[
        str, typer.Option(metavar="LIST", help='Such as "784-512-512-10@256,64-128-10@32": widths, then @ and the batch.')
    ] = "",
    grid: Annotated[
        str, typer.Option(metavar="NAME", help="Networks by name, without --networks: quick, standard, scaling, or none.")
    ] = "quick",
    backends: Annotated[str, typer.Option(metavar="LIST", help="Backends of fusedstep. Default: all that work here.")] = "",
    peers: Annotated[
        str,
        typer.Option(metavar="LIST", help="Others beside it: torch, torch-compile, jax, sklearn, handwritten, or all."),
    ] = "",
    precision: Annotated[str, typer.Option(metavar="LIST", help="float32, float64, or both.")] = "float32",
    variant: Annotated[
        str,
        typer.Option(metavar="NAME", help="plain: ReLU and Adam. full: LayerNorm, GELU, dropout, clipping and AdamW."),
    ] = "plain",
    rounds: Annotated[int, typer.Option(help="How often each contender has its turn.")] = 7,
    seconds: Annotated[float, typer.Option(help="Length of a timed burst of calls.")] = 0.15,
    pause: Annotated[float, typer.Option(help="Seconds of rest before a burst, so that idle threads fall asleep.")] = 0.05,
    kernels: Annotated[bool, typer.Option("--kernels", help="Time memory-bound kernels too, beside a copy.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write everything, as it comes, raw times too.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write one page with tables and figures.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE.md", help="Write the tables as Markdown.")] = None,
    png: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Write one figure, for a README.")] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="OLD.json", help="Say what got slower or faster since an earlier --out.")
    ] = None,
    fail_slower: Annotated[
        float | None,
        typer.Option(metavar="RATIO", help="With --compare: exit code 1 if a step got slower by more, such as 1.1."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="cpu; or cuda: a fixed set of parts on a GPU, with the options below.")
    ] = "cpu",
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="cuda: folder of the report. Default: benchmarks/results.")
    ] = None,
    parts: Annotated[str, typer.Option(metavar="LIST", help="cuda: only these parts, such as adam,784-tf32.")] = "",
    budget: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="cuda: for these parts together. Default: 450 for all.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="cuda: take up the newest report of this device there.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="cuda: walk through everything without a device, and measure nothing.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Measure how fast a training step is here, beside its limit and other libraries.

    The limit ("floor") is the matrix products of a step alone. All contenders start from the same weights, their losses are
    compared before anything is timed, and they take turns, so that a busy moment hits all of them. Figures of a busy or a
    shared machine spread widely: look at the quartiles.
    """
    del debug
    from rich.console import Console

    from .device_bench import measure, require_device

    here = {
        "--networks": networks, "--grid": grid != "quick", "--backends": backends, "--peers": peers,
        "--precision": precision != "float32", "--variant": variant != "plain", "--rounds": rounds != 7,
        "--seconds": seconds != 0.15, "--pause": pause != 0.05, "--kernels": kernels, "--out": out, "--html": html,
        "--markdown": markdown, "--png": png, "--compare": compare, "--fail-slower": fail_slower,
    }  # fmt: skip
    there = {"--output": output, "--parts": parts, "--budget": budget, "--resume": resume, "--dry-run": dry_run}
    if require_device(device, there if device == "cpu" else here):
        try:
            code = measure(Console(highlight=False), parts, budget, output, resume, dry_run)
        except KeyboardInterrupt as stopped:
            raise KeyboardInterrupt("the parts that were done are in the report; --resume goes on with the others") from stopped
        if code:
            raise typer.Exit(code)
        return

    from ...errors import HyperparameterError
    from ..machine import describe
    from ..reports import terminal
    from ..result_files import load, save
    from ..session import Plan, run
    from ..timing import Pace
    from .watching import watch

    if fail_slower is not None and (compare is None or fail_slower < 1.0):
        raise HyperparameterError(
            f"expected --fail-slower RATIO >= 1 with --compare OLD.json; got {fail_slower:g}"
            + ("" if compare else " without --compare")
            + "; write --compare OLD.json --fail-slower 1.1"
        )
    plan = Plan(
        networks, grid, backends, peers, precision, variant, Pace(rounds, seconds, pause), kernels,
        profiles=out is not None or html is not None,
    )  # fmt: skip
    if png is not None and grid == "none" and not networks.strip():
        raise HyperparameterError("expected a network to draw with --png; got --grid none; use another --grid, or --networks")
    earlier = None if compare is None else load(compare)
    _require_writable(out, html, markdown, png)
    if (html or png) is not None:
        _require_figures()
    console = Console(highlight=False)
    terminal.show_beginning(console, describe())

    kept = False

    def done(case: Any, so_far: Report) -> None:
        nonlocal kept
        terminal.show_case(console, case)
        if out is not None:
            save(so_far, out)
            kept = True

    try:
        report = watch(console, lambda tell: run(plan, tell, done))
    except KeyboardInterrupt as stopped:
        if not kept:
            raise
        raise KeyboardInterrupt(f"the networks that were done are in {out}") from stopped
    terminal.show_end(console, report)
    _write(console, report, out, html, markdown, png)
    if earlier is not None:
        _compare(console, earlier, report, fail_slower)


def _require_writable(*paths: Path | None) -> None:
    """Raises OutputPathError before hours of measuring, not after them."""
    from ...errors import OutputPathError

    for path in paths:
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise OutputPathError(f"expected a file in a folder that exists; got {str(path)!r}; make the folder first")


def _require_figures() -> None:
    from ..reports.style import settings

    settings()


def _write(
    console: Console, report: Report, out: Path | None, html: Path | None, markdown: Path | None, png: Path | None
) -> None:
    from ..result_files import save, write

    if out is not None:
        save(report, out)
    if html is not None:
        from ..reports.html import html as page

        write(html, page(report))
    if markdown is not None:
        from ..reports.markdown import markdown as text

        write(markdown, text(report))
    if png is not None:
        from ..reports.picture import picture

        write(png, picture(report))
    for path in (out, html, markdown, png):
        if path is not None:
            console.print(f"Written: {path}", soft_wrap=True, markup=False)


def _compare(console: Console, old: Report, new: Report, limit: float | None) -> None:
    """Prints what changed; exit code 1 for steps of ours that are slower by more than `limit` and than the noise."""
    from ..comparison import compare, same_machine, slower_than
    from ..reports.tables import comparison_table
    from ..reports.terminal import show

    changes: list[Change] = compare(old, new)
    if not changes:
        console.print("Nothing to compare: no network, variant, precision and number of threads is in both runs.")
    else:
        show(console, comparison_table(changes))
        console.print('"per limit": the same of the times in units of the limit of their own run, where there is one.')
    if not same_machine(old, new):
        console.print("[yellow]The earlier run was made on another machine: only units of the limit can be compared.[/yellow]")
    if limit is None:
        return
    slower = slower_than(changes, limit)
    for change in slower:
        console.print(f"[red bold]slower[/red bold] by more than {limit:g}: {change.where}: {change.name}, {change.ratio:.2f}x")
    if slower or not changes:
        raise typer.Exit(1)
