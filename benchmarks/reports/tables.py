"""The tables of a report as lists of text, the same for terminal, Markdown and HTML."""

from __future__ import annotations

from statistics import median
from typing import Any, NamedTuple

from ...framework.html import table
from ...kernels.targets.gemm_choices import in_words
from ..comparison import Change
from ..evaluation import (
    BOUND,
    best_ours,
    best_peer,
    bound,
    by_products,
    copied_bytes,
    figures,
    fraction_of_copy,
    grid,
    products_to_best_peer,
    summary,
    to_best_peer,
    to_one_process,
)
from ..results import BenchReport, Case, KernelCase, LeftOut, Profile, Timing
from ..statistics import spread
from .wording import WORDING

ORDER = ("ours", "peer", "floor", "copy", "sum")


FORCING = ("OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Variables with which a BLAS library runs as on another processor."""

KERNEL_NOTE = (
    "Bytes are the minimum that must be read and written, each array once. Rates above the copy rate are possible: what "
    "fits in the cache of the processor never waits for memory, and an update in place writes to lines that it has just read."
)


class ReportTable(NamedTuple):
    """A title, headings (the first column is text, the others are numbers), rows, and the indices of rows that stand out."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    strong: list[int]

    def _repr_html_(self) -> str:
        """For notebooks."""
        return table(self.title, self.headings, self.rows, self.strong)


def number(value: float) -> str:
    """Three digits that count: 0.0123, 1.23, 12.3, 123, 1,234."""
    if value >= 100.0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10.0 else f"{value:.2f}" if value >= 1.0 else f"{value:.3g}"


def percent(fraction: float | None) -> str:
    """0.876 as "88 %", and nothing for None."""
    return "" if fraction is None else f"{100.0 * fraction:.0f} %"


def times(ratio: float | None) -> str:
    """1.234 as "1.23x", and nothing for None."""
    return "" if ratio is None else f"{ratio:.2f}x"


def _ordered(timings: list[Timing]) -> list[Timing]:
    return sorted(timings, key=lambda t: (ORDER.index(t.kind), median(t.seconds)))


def case_table(case: Case) -> ReportTable:
    """One network: a row for each contender, then the products alone.

    "of floor" is the time of the floor over that of the step; "/ peer" the time over that of the best peer; by ranks, "/ one
    process" the time over that of one process, and "bound" 1 + the time of the sum of the gradient over that.
    """
    rows: list[list[str]] = []
    strong: list[int] = []
    for timing in _ordered(case.timings):
        found = figures(case, timing)
        if timing.kind == "ours":
            strong.append(len(rows))
        floor = timing.kind in ("floor", "sum")
        rows.append(
            [
                timing.name, number(found["median_ms"]), f"{number(found['low_ms'])}–{number(found['high_ms'])}",
                "" if floor or timing.ranks or case.workload == "start" else number(found["samples_per_second"]),
                number(found["gflop_per_second"]) if case.flop and not timing.ranks else "",
                percent(found["fraction_of_floor"]), "" if floor else times(found["to_best_peer"]),
                times(found["to_one_process"]) if timing.kind != "sum" else "", times(found["bound"]),
            ]
        )  # fmt: skip
    headings = ["", WORDING[case.workload].unit, "quartiles", "samples/s", "GFLOP/s", "of floor", "/ peer"]
    headings += ["/ one process", "bound"]
    shown = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    return ReportTable(case.title, [headings[k] for k in shown], [[row[k] for k in shown] for row in rows], strong)


def overview_table(report: BenchReport, workload: str) -> ReportTable | None:
    """All networks of a workload in one table: the fastest backend beside the best peer; None unless there are several.

    "/ GEMMs" is the time over that of the matrix products alone, "GEMMs / peer" their time over that of the best peer.
    """
    rows = []
    for case in grid(report, workload):
        ours, peer = best_ours(case), best_peer(case)
        if ours is None or peer is None or workload == "start" or ours.ranks:
            continue
        found, fraction = figures(case, ours), products_to_best_peer(case)
        rows.append(
            [
                case.network, number(found["median_ms"]), f"{number(1e3 * median(peer.seconds))} ({peer.name})",
                times(found["to_best_peer"]), times(found["fraction_of_floor"] and 1.0 / found["fraction_of_floor"]),
                percent(fraction),
            ]
        )  # fmt: skip
    headings = ["", WORDING[workload].unit, "best peer", "/ peer", "/ GEMMs", "GEMMs / peer"]
    return ReportTable(f"{WORDING[workload].section} at a glance", headings, rows, []) if len(rows) > 1 else None


def kernel_table(case: KernelCase) -> ReportTable:
    """One kernel: a row for each contender, then the copies; a product by its operations, any other by its bytes."""
    rows: list[list[str]] = []
    strong: list[int] = []
    for timing in _ordered(case.timings):
        if timing.kind == "ours":
            strong.append(len(rows))
        ms = spread([1e3 * s for s in timing.seconds])
        row = [timing.name, number(ms.median), f"{number(ms.low)}–{number(ms.high)}"]
        if case.flop:
            rows.append([*row, number(1e-12 * case.flop / median(timing.seconds))])
            continue
        moved = copied_bytes(timing) if timing.kind == "copy" else case.moved
        fraction = "" if timing.kind == "copy" else percent(fraction_of_copy(case, timing))
        rows.append([*row, number(1e-9 * moved / median(timing.seconds)), fraction])
    headings = ["", "ms", "quartiles", *(["TFLOP/s"] if case.flop else ["GB/s", "of the copy rate"])]
    return ReportTable(f"{case.kernel}, {case.size}, {case.precision}", headings, rows, strong)


def profile_table(profile: Profile) -> ReportTable:
    """One step: for each stage its sum and a row for each layer and kernel; the whole step last."""
    total = sum(row["seconds"] for row in profile.rows) or 1.0
    rows: list[list[str]] = []
    strong: list[int] = []
    for stage in dict.fromkeys(row["stage"] for row in profile.rows):
        strong.append(len(rows))
        parts = [row for row in profile.rows if row["stage"] == stage]
        rows.append([stage, "", *_amounts(_together(parts), total)])
        rows += [[row["place"], row["operation"], *_amounts(row, total)] for row in parts]
    strong.append(len(rows))
    rows.append(["step", "", *_amounts(_together(profile.rows), total)])
    headings = ["place", "operation", "ms", "share", "MFLOP", "GFLOP/s", "MB", "GB/s"]
    return ReportTable(f"{profile.network} on {profile.backend}", headings, rows, strong)


def _together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: sum(row[key] for row in rows) for key in ("seconds", "flop", "bytes")}


def _amounts(row: dict[str, Any], total: float) -> list[str]:
    seconds = row["seconds"]
    flop, moved = row["flop"], row["bytes"]
    amounts = [f"{1e3 * seconds:.3f}", percent(seconds / total)]
    for amount in (flop, moved):
        amounts.append(number(1e-6 * amount) if amount else "")
        amounts.append(number(1e-9 * amount / seconds) if amount and seconds else "")
    return amounts


def comparison_table(changes: list[Change]) -> ReportTable:
    """Then and now: for each network that both runs have, a row for each contender that both have."""
    rows: list[list[str]] = []
    strong: list[int] = []
    where = ""
    for change in changes:
        if change.where != where:
            where = change.where
            strong.append(len(rows))
            rows.append([where, *[""] * 6])
        rows.append(
            [
                f"  {change.name}", number(change.old_ms), number(change.new_ms), times(change.absolute),
                times(change.relative), f"±{percent(change.noise)}", change.verdict,
            ]
        )  # fmt: skip
    headings = ["", "ms then", "ms now", "now/then", "per limit", "noise", "verdict"]
    return ReportTable("Compared with the earlier run", headings, rows, strong)


def sentences(report: BenchReport) -> list[str]:
    """The result in words: geometric means over the networks of the grid."""
    bounded = [line for workload in ("fit", "predict") for line in _bounded(report, workload)]
    return _sentences(summary(grid(report))) + bounded + _started(report) + _by_ranks(report)


def _sentences(known: dict[str, dict[str, float]]) -> list[str]:
    found = []
    for name, means in known.items():
        who = "The best backend of each network" if name == "best" else name
        count = _counted(means["networks"])
        if name == "best" and any(means == other for n, other in known.items() if n != name):
            continue
        parts = []
        if "to_best_peer" in means:
            parts.append(f"takes {means['to_best_peer']:.2f} times as long as the best peer")
        if "fraction_of_floor" in means:
            parts.append(f"reaches {percent(means['fraction_of_floor'])} of the speed of the matrix products alone")
        if parts:
            found.append(f"{who} {' and '.join(parts)} ({count}).")
    return found


def _counted(networks: float) -> str:
    return f"geometric mean of {networks:.0f} networks" if networks > 1.0 else "one network"


def _bounded(report: BenchReport, workload: str) -> list[str]:
    """The means for each backend, apart for the networks in which the products alone take less than BOUND, and more."""
    few, many = map(summary, by_products(grid(report, workload)))
    found = []
    for name in dict.fromkeys([*few, *many]):
        if name == "best":
            continue
        parts = [
            f"{means[name]['to_best_peer']:.2f} times as long as the best peer where the matrix products alone take {bound} "
            f"{percent(BOUND)} of that peer's time ({_counted(means[name]['networks'])})"
            for means, bound in ((few, "less than"), (many, "at least"))
            if name in means
        ]
        found.append(f"{WORDING[workload].subject} on {name} takes {', and '.join(parts)}.")
    return found


def _started(report: BenchReport) -> list[str]:
    return [
        f"{WORDING['start'].subject} ({timing.name}) takes {median(timing.seconds):.2f} s, {ratio:.2f} times as long as "
        "the import of PyTorch."
        for case in grid(report, "start")
        for timing in case.timings
        if timing.kind == "ours" and (ratio := to_best_peer(case, timing)) is not None
    ]


def _by_ranks(report: BenchReport) -> list[str]:
    found = []
    for case in [*grid(report, "ranks"), *grid(report, "ranks-fit")]:
        for timing in case.timings:
            ratio, limit, peer = to_one_process(case, timing), bound(case, timing), to_best_peer(case, timing)
            if timing.kind == "ours" and ratio is not None:
                found.append(
                    f"{WORDING[case.workload].subject} ({timing.name}, {case.network}) takes {ratio:.2f} times as long as in "
                    "one process" + (f", with a bound of {limit:.2f}" if limit else "")
                    + (f", and {peer:.2f} times as long as DistributedDataParallel" if peer else "") + "."
                )
    return found


def absences(left_out: list[LeftOut]) -> list[str]:
    """The contenders that were left out, with the reason and the fix."""
    return [
        f"{left.name}{f' ({left.where})' if left.where else ''}: {left.reason}" + (f" – {left.remedy}" if left.remedy else "")
        for left in left_out
    ]


def machine_line(report: BenchReport) -> str:
    """The machine in a line."""
    machine = report.machine
    memory = machine.get("memory_bytes")
    parts = [
        str(machine.get("cpu")), f"{machine.get('usable_processors')} cores",
        f"{memory / 2**30:.0f} GiB" if memory else "", str(machine.get("system")), f"Python {machine.get('python')}",
    ]  # fmt: skip
    choices = machine.get("blas_choices")
    if choices:
        parts.append(f"BLAS: {in_words(choices)}")
    commit = machine.get("commit")
    if commit:
        parts.append(f"commit {commit[:10]}" + (" with changes" if machine.get("changed") else ""))
    return ", ".join(part for part in parts if part)


def cautions(report: BenchReport) -> list[str]:
    """Warnings: if other programs were busy when the run started, and if a variable limits a BLAS library."""
    found = []
    load, cores = report.machine.get("load_average"), report.machine.get("usable_processors") or 1
    if load is not None and load >= 0.5 * cores:
        found.append(f"This machine was busy when the run started (load {load:.1f} on {cores} cores): expect a wide spread.")
    for name, value in (report.machine.get("variables") or {}).items():
        if name in FORCING:
            found.append(
                f"{name}={value} was set: that library may not use all instructions of this processor; unset it before you "
                "compare libraries."
            )
    return found
