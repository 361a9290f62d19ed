"""`fusedstep bench`: times steps, trainings or predictions, their matrix products alone, and other libraries, in one run."""

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
    """Measure the time of a training step, compared with its limit and other libraries.

    The limit ("floor") is the time of the matrix products of a step alone. All contenders start from the same weights, their
    losses are compared before timing, and they are timed in turn, so that background load affects all of them alike. On a busy
    or shared machine timings vary widely: check the quartiles. With --fit, --predict or --start, or several of them, whole
    epochs, predictions or new processes are timed in the same way; with --ranks, steps and epochs of
    several processes over MPI.
    """
    from rich.console import Console

    from .device_bench import is_on_a_gpu, measure

    console = Console(highlight=False)
    if is_on_a_gpu(options):
        try:
            code = measure(console, options)
        except KeyboardInterrupt as stopped:
            raise KeyboardInterrupt("the finished parts are in the report; --resume continues with the others") from stopped
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
        workloads=options.workloads, ranks=options.ranks,
    )  # fmt: skip
    if options.png is not None and options.grid == "none" and not options.networks.strip():
        raise HyperparameterError("expected a network for --png; got --grid none; use another --grid, or --networks")
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
        raise KeyboardInterrupt(f"the finished networks are in {out}") from stopped
    terminal.show_end(console, report)
    _write(console, report, options)
    if earlier is not None:
        _compare(console, earlier, report, limit)


def _files(options: BenchOptions) -> list[Path]:
    """The files to write."""
    return [path for path in (options.out, options.html, options.markdown, options.png) if path is not None]


def _require_writable(paths: list[Path]) -> None:
    """Raises OutputPathError before measuring, which can take hours."""
    from ...framework.export.output_paths import require_writable

    for path in paths:
        require_writable(path)


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
    """Prints the changes; exit code 1 if steps of fusedstep are slower by more than `limit` and by more than the noise."""
    from ..comparison import compare, same_machine, slower_than
    from ..reports.tables import comparison_table
    from ..reports.terminal import show

    changes: list[Change] = compare(old, new)
    if not changes:
        console.print("Nothing to compare: the runs share no combination of network, variant, precision and number of threads.")
    else:
        show(console, comparison_table(changes))
        console.print('"per limit": the ratio of the times, each divided by the limit of its own run, if it has one.')
    if not same_machine(old, new):
        console.print("[yellow]The earlier run was on another machine: compare only values per limit.[/yellow]")
    if limit is None:
        return
    slower = slower_than(changes, limit)
    for change in slower:
        console.print(f"[red bold]slower[/red bold] by more than {limit:g}: {change.where}: {change.name}, {change.ratio:.2f}x")
    if slower or not changes:
        raise typer.Exit(1)
