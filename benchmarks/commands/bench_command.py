"""`fusedstep bench`: times training steps beside the matrix products alone and beside other libraries, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .bench_options import BenchOptions

if TYPE_CHECKING:
    from rich.console import Console

    from ..comparison import Change
    from ..results import BenchReport


def bench(options: BenchOptions) -> None:
    """Measure how fast a training step is here, beside its limit and other libraries.

    The limit ("floor") is the matrix products of a step alone. All contenders start from the same weights, their losses are
    compared before anything is timed, and they take turns, so that a busy moment hits all of them. Figures of a busy or a
    shared machine spread widely: look at the quartiles.
    """
    from rich.console import Console

    from .device_bench import is_on_a_gpu, measure

    console = Console(highlight=False)
    if is_on_a_gpu(options):
        try:
            code = measure(console, options)
        except KeyboardInterrupt as stopped:
            raise KeyboardInterrupt("the parts that were done are in the report; --resume goes on with the others") from stopped
        if code:
            raise typer.Exit(code)
        return

    from ...errors import HyperparameterError
    from ..machine import describe
    from ..reports import terminal
    from ..result_files import load, save
    from ..session import BenchPlan, run
    from ..timing import Sampling
    from .watching import watch

    limit, out = options.fail_slower, options.out
    if limit is not None and (options.compare is None or limit < 1.0):
        raise HyperparameterError(
            f"expected --fail-slower RATIO >= 1 with --compare OLD.json; got {limit:g}"
            + ("" if options.compare else " without --compare")
            + "; write --compare OLD.json --fail-slower 1.1"
        )
    plan = BenchPlan(
        options.networks, options.grid, options.backends, options.peers, options.precision, options.variant,
        Sampling(options.rounds, options.seconds, options.pause), options.kernels, profiles=bool(out or options.html),
    )  # fmt: skip
    if options.png is not None and options.grid == "none" and not options.networks.strip():
        raise HyperparameterError("expected a network to draw with --png; got --grid none; use another --grid, or --networks")
    earlier = None if options.compare is None else load(options.compare)
    _require_writable(_files(options))
    if options.html or options.png:
        _require_figures()
    terminal.show_beginning(console, describe())

    written = False

    def done(case: Any, so_far: BenchReport) -> None:
        nonlocal written
        terminal.show_case(console, case)
        if out is not None:
            save(so_far, out)
            written = True

    try:
        report = watch(console, lambda progress: run(plan, progress, done))
    except KeyboardInterrupt as stopped:
        if not written:
            raise
        raise KeyboardInterrupt(f"the networks that were done are in {out}") from stopped
    terminal.show_end(console, report)
    _write(console, report, options)
    if earlier is not None:
        _compare(console, earlier, report, limit)


def _files(options: BenchOptions) -> list[Path]:
    """That are to be written."""
    return [path for path in (options.out, options.html, options.markdown, options.png) if path is not None]


def _require_writable(paths: list[Path]) -> None:
    """Raises OutputPathError before hours of measuring, not after them."""
    from ...errors import OutputPathError

    for path in paths:
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise OutputPathError(f"expected a file in a folder that exists; got {str(path)!r}; make the folder first")


def _require_figures() -> None:
    from ..reports.style import settings

    settings()


def _write(console: Console, report: BenchReport, options: BenchOptions) -> None:
    from ..result_files import save, write

    if options.out is not None:
        save(report, options.out)
    if options.html is not None:
        from ..reports.html import html

        write(options.html, html(report))
    if options.markdown is not None:
        from ..reports.markdown import markdown

        write(options.markdown, markdown(report))
    if options.png is not None:
        from ..reports.picture import picture

        write(options.png, picture(report))
    for path in _files(options):
        console.print(f"Written: {path}", soft_wrap=True, markup=False)


def _compare(console: Console, old: BenchReport, new: BenchReport, limit: float | None) -> None:
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
