"""The tables of a run on a GPU: targets, and operations per second compared with the stated peak and the best product."""

from __future__ import annotations

from statistics import median

from ..evaluation import of_kind
from ..reports.tables import ReportTable, number, percent
from ..results import BenchReport
from .peaks import peak
from .targets import Outcome, Target, outcomes

BLANK = "–"


def target_table(report: BenchReport) -> ReportTable:
    """Each target, its figure, whether it was held, and for one that was not where the time goes."""
    rows: list[list[str]] = []
    strong: list[int] = []
    for outcome in outcomes(report):
        strong += [len(rows)] if outcome.state == "missed" else []
        rows.append([outcome.target.what, _limit(outcome.target), _figure(outcome), outcome.state, outcome.note])
    return ReportTable("Targets", ["", "target", "measured", "", "note"], rows, strong)


def _limit(target: Target) -> str:
    if target.least is None:
        return "stated"
    return f"{'≥' if target.least else '≤'} {_with_unit(target.limit, target.unit)}"


def _figure(outcome: Outcome) -> str:
    return BLANK if outcome.figure is None else _with_unit(outcome.figure, outcome.target.unit)


def _with_unit(value: float, unit: str) -> str:
    return f"{100.0 * value:.1f} %" if unit == "%" else f"{value:.3f}x" if unit else f"{value:g}"


def best_rate(report: BenchReport, precision: str) -> float | None:
    """Operations a second of the fastest products of this run in that precision, single ones and chains; None without any."""
    products = [(case.flop, t) for case in report.kernels if case.precision == precision and case.flop for t in case.timings]
    chains = [(case.flop, t) for case in report.cases if case.precision == precision for t in of_kind(case, "floor")]
    return max((flop / median(t.seconds) for flop, t in (*products, *chains)), default=None)


def utilization_table(report: BenchReport) -> ReportTable:
    """Model FLOP utilisation: the operations of the products of a step over its time, as shares of two rates."""
    stated = peak(str(report.machine.get("device", {}).get("name", "")))
    rows = []
    for case in report.cases:
        best, rate = best_rate(report, case.precision), stated.rate(case.precision) if stated else None
        for timing in case.timings if case.part != "cpu" else ():
            reached = case.flop / median(timing.seconds)
            rows.append(
                [
                    f"{case.network}, {case.precision}: {timing.name}", number(1e-12 * reached),
                    percent(reached / rate if rate else None), percent(reached / best if best else None),
                ]
            )  # fmt: skip
    source = f" ({stated.source})" if stated else ""
    headings = ["", "TFLOP/s", f"of the stated peak{source}", "of the best product here"]
    return ReportTable("Operations a second", headings, rows, [])


def blank(table: ReportTable) -> ReportTable:
    """The table of a dry run: the contenders without figures."""
    return table._replace(rows=[[row[0], *(BLANK for _ in row[1:])] for row in table.rows])
