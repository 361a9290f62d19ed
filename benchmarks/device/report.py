"""The report of a run on a GPU as Markdown: targets first, then every part with its results so far."""

from __future__ import annotations

from typing import Any

from ..reports.markdown import markdown_table
from ..reports.tables import KERNEL_NOTE, ReportTable, absences, case_table, kernel_table, machine_line, profile_table
from ..results import BenchReport, Case, KernelCase
from .plan import SECONDS
from .tables import blank, target_table, utilization_table

DRY_RUN = (
    "**DRY RUN: nothing was measured.** All code was run at tiny sizes with a fake device and clock; "
    "this report contains no times and claims no figures."
)
STEP_NOTE = (
    "All data are on the device as one array, together with the shuffled row indices of each minibatch. Every step gathers its "
    "rows, and its time includes this; only the products alone (GEMMs) gather none. fusedstep gathers them in the graph, with "
    "several steps per launch as in a Trainer, or by an additional kernel for 'single steps'; torch by indexing; torch-compile "
    "and torch-max-autotune inside the compiled function; torch-graph inside its graph of several steps; jax inside the jit, "
    "jax-scan in each iteration of its scan over several steps. Times are for one step."
)
STATES = {"done": "done", "cut": "cut short", "failed": "failed"}


def markdown(report: BenchReport) -> str:
    """The whole report."""
    device = report.machine.get("device", {})
    parts = ["# fusedstep bench --device cuda" + (" (DRY RUN)" if report.dry else "")]
    if report.dry:
        parts.append(DRY_RUN)
    parts += [_device_line(device), machine_line(report), *_versions(report.machine), f"{report.machine.get('date')}"]
    parts += [
        f"Continued {then['date']}, commit {str(then['commit'])[:10]}" + " with changes" * bool(then["changed"])
        for then in report.settings.get("continued", ())
    ]
    parts.append(_table(report, target_table(report)))
    parts.append("## Parts\n\n" + "\n".join([*(_state(report, part.name) for part in report.parts), *_missing(report)]))
    parts += [f"- left out: {line}" for line in absences(report.left_out)]
    everything: list[Case | KernelCase] = [*report.kernels, *report.cases]
    for case in everything:
        parts.append(_table(report, _case(case) if isinstance(case, Case) else _kernel(case)))
        parts += [f"- left out: {line}" for line in absences(case.left_out)]
    if report.kernels:
        parts.append(KERNEL_NOTE)
    if report.cases:
        parts += [STEP_NOTE, _table(report, utilization_table(report))]
    for profile in report.profiles:
        table = profile_table(profile)
        parts.append(_table(report, table._replace(title=f"Profile: {table.title}, {profile.precision}")))
    return "\n\n".join(parts) + "\n"


def _table(report: BenchReport, table: ReportTable) -> str:
    # The targets of a dry run are their own blanks.
    return markdown_table(blank(table) if report.dry and table.title != "Targets" else table)


def _kernel(case: KernelCase) -> ReportTable:
    counted = {t.name: t.launches for t in case.timings if t.launches is not None}
    return _with_column(kernel_table(case), "launches", counted)


def _case(case: Case) -> ReportTable:
    counted = {t.name: t.steps for t in case.timings if t.kind != "floor"}
    return _with_column(case_table(case), "steps a call", counted if max(counted.values(), default=1) > 1 else {})


def _with_column(table: ReportTable, heading: str, counted: dict[str, int]) -> ReportTable:
    """A table with one more column of numbers, by the name in the first one; itself where there are none."""
    if not counted:
        return table
    rows = [[*row, str(counted.get(row[0], ""))] for row in table.rows]
    return table._replace(headings=[*table.headings, heading], rows=rows)


def _state(report: BenchReport, name: str) -> str:
    part = next(part for part in report.parts if part.name == name)
    took = "" if report.dry else f", {part.seconds:.0f} s"
    return f"- {name}: {STATES[part.state]}{took}" + (f": {part.reason}" if part.reason else "")


def _missing(report: BenchReport) -> list[str]:
    """The parts without results: those that were requested, and those that were not."""
    there, wanted = {part.name for part in report.parts}, report.settings.get("parts", ())
    late = [f"- {name}: not started" for name in wanted if name not in there]
    others = [name for name in SECONDS if name not in there and name not in wanted]
    return late + ([f"- not requested: {', '.join(others)}"] if others else [])


def _versions(machine: dict[str, Any]) -> list[str]:
    found = ", ".join(f"{name} {version}" for name, version in machine.get("libraries", {}).items())
    return [f"Versions: {found}."] if found else []


def _device_line(device: dict[str, object]) -> str:
    if "stand_in" in device:
        return f"In place of a device: {device['stand_in']}."
    memory = device.get("memory_bytes")
    size = f"{memory / 2**30:.0f} GiB, " if isinstance(memory, int) else ""
    return (
        f"{device.get('name')}, {size}compute capability {device.get('capability')}, CUDA driver {device.get('driver')}, "
        f"runtime {device.get('runtime')}"
    )
