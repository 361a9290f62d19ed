"""The work of `fusedstep bench --device cuda`: finds the device, runs the parts, and prints where the report is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import HyperparameterError, OutputPathError
from .bench_options import BenchOptions

if TYPE_CHECKING:
    from rich.console import Console

    from ..device.targets import Outcome
    from ..results import ReportPart

DEVICES = ("cpu", "cuda")


def is_on_a_gpu(options: BenchOptions) -> bool:
    """Whether --device selects a GPU.

    Raises: HyperparameterError for another device, and for options that do not belong to it.
    """
    device = options.device
    if device not in DEVICES:
        raise HyperparameterError(f"expected --device cpu or cuda; got {device!r}; leave it out for the CPU")
    foreign = options.foreign()
    if foreign:
        other = "cuda" if device == "cpu" else "cpu"
        raise HyperparameterError(
            f"expected options of --device {device}; got {', '.join(foreign)}, which belong{'s' * (len(foreign) == 1)} to "
            f"--device {other}; leave {'it' if len(foreign) == 1 else 'them'} out, or change the device"
        )
    return device == "cuda"


def measure(console: Console, options: BenchOptions) -> int:
    """Runs all parts and writes each as soon as it is finished.

    Returns: the exit code: 0, or 1 if a selected part failed, or allowance.ENDED if another process should continue.
    Raises: HyperparameterError, BackendUnavailable, OutputPathError, DataFileError.
    """
    from ..device.place import find_place, prepare_process
    from ..device.plan import DevicePlan

    dry = options.dry_run
    plan = DevicePlan(options.parts, options.budget, dry)
    folder = options.output or default_folder()
    if not folder.is_dir():
        raise OutputPathError(f"expected a folder that exists; got {str(folder)!r}; create it, or choose another --output")
    prepare_process(dry)
    place = find_place(dry)

    from ..device.allowance import ENDED
    from ..device.session import Session
    from ..device.targets import outcomes
    from .watching import watch

    where = f"a fake device: {place.facts['stand_in']}" if dry else place.facts["name"]
    console.print(f"DRY RUN on {where}" if dry else f"{where}", markup=False)
    for left in place.left_out:
        console.print(f"left out: {left.name}: {left.reason}", markup=False)

    def run(progress: Any) -> Session:
        session = Session(plan, place, folder, options.resume, progress, lambda part: _show(console, part, dry))
        session.run()
        return session

    session = watch(console, run, log=not dry)
    if not dry:
        for outcome in outcomes(session.report):
            _show_outcome(console, outcome)
    for path in (session.path, session.path.with_suffix(".md")):
        console.print(f"Written: {path}", soft_wrap=True, markup=False)
    if session.lost:
        console.print("the device was lost: run it again with --resume, which starts with the other parts", markup=False)
        return ENDED
    return int(any(part.state == "failed" for part in session.report.parts if part.name in plan.names))


def default_folder() -> Path:
    """`benchmarks/results` in a checkout, otherwise the current folder."""
    from ..machine import ROOT

    results = ROOT / "benchmarks" / "results"
    return results if results.is_dir() and (ROOT / ".git").exists() else Path()


def _show(console: Console, part: ReportPart, dry: bool) -> None:
    took = "" if dry else f", {part.seconds:.0f} s"
    console.print(f"{part.name}: {part.state}{took}" + (f": {part.reason}" if part.reason else ""), markup=False)


def _show_outcome(console: Console, outcome: Outcome) -> None:
    target, figure, state, note = outcome
    shown = "" if figure is None else f" ({figure:.3f})"
    console.print(f"{state}: {target.what}{shown}" + (f": {note}" if note else ""), markup=False)
