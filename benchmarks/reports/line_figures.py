"""Figures with lines: throughput against the batch, and the sweeps of the grid "scaling"."""

from __future__ import annotations

from statistics import median
from typing import Any

from ..evaluation import best_ours
from ..results import BenchReport, Case, Timing
from ..scaling import AXES, place
from .style import look, settings


def batches(report: BenchReport) -> list[Case]:
    """The cases of the network shape that was timed with most batches, at least two; by batch."""
    shapes: dict[tuple[object, ...], dict[int, Case]] = {}
    for case in report.cases:
        if case.sweep in ("", "batch") and case.workload == "step":
            key = (case.parsed.shape, case.precision, case.threads)
            shapes.setdefault(key, {})[case.parsed.batch] = case
    most = max(shapes.values(), key=len, default={})
    return [most[batch] for batch in sorted(most)] if len(most) > 1 else []


def throughput_figure(report: BenchReport) -> Any:
    """Samples per second against rows per minibatch, both logarithmic; None without several batches of one network."""
    cases = batches(report)
    if not cases:
        return None
    from matplotlib.figure import Figure

    peak = max(cases, key=lambda case: _rate(case, best_ours(case)))
    title = f"{cases[0].parsed.shape}: fusedstep is fastest with minibatches of {peak.parsed.batch:,} rows"
    with settings():
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        axes = figure.subplots()
        for name in _names(cases):
            points = [(c.parsed.batch, _rate(c, t)) for c in cases for t in c.timings if t.name == name]
            colour, mark = look(name)
            axes.plot(*zip(*points, strict=True), color=colour, marker=mark, label=name, markeredgecolor="#333333")
        axes.set(xscale="log", yscale="log", xlabel="rows per minibatch", ylabel="samples / s", title=title)
        _plain_ticks(axes, [case.parsed.batch for case in cases])
        figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _rate(case: Case, timing: Timing | None) -> float:
    return 0.0 if timing is None else case.parsed.batch / median(timing.seconds)


def _names(cases: list[Case]) -> list[str]:
    return list(dict.fromkeys(t.name for case in cases for t in case.timings if t.kind in ("ours", "peer")))


def _plain_ticks(axes: Any, values: list[int]) -> None:
    """Numbers as people write them: the values themselves below, and 1, 2, 5, 10, … at the side, or more where it is short."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xticks(values, [f"{v:,}" for v in values])
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high > 5.0 * low else tuple(map(float, range(1, 10)))))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())


def scaling_figure(report: BenchReport) -> Any:
    """Time and memory of a step against batch, width, depth and threads, a row of panels each; None without sweeps."""
    sweeps = [name for name in AXES if any(case.sweep == name for case in report.cases)]
    if not sweeps:
        return None
    from matplotlib.figure import Figure

    with settings():
        figure = Figure(figsize=(7.2, 2.5 * len(sweeps) + 0.5), layout="constrained")
        panels = figure.subplots(len(sweeps), 2, squeeze=False)
        for (times, sizes), sweep in zip(panels, sweeps, strict=True):
            cases = [case for case in report.cases if case.sweep == sweep]
            at = [place(sweep, case.parsed, case.threads) for case in cases]
            _times(times, sweep, cases, at)
            _sizes(sizes, sweep, cases, at)
        handles = {
            label: h for axes in panels.flat for h, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles)), fontsize=8)
    return figure


def _times(axes: Any, sweep: str, cases: list[Case], at: list[int]) -> None:
    """Times of the contenders as lines, the floor as a dashed one."""
    from ..evaluation import floor

    for name in _names(cases):
        points = [(x, 1e3 * median(t.seconds)) for x, c in zip(at, cases, strict=True) for t in c.timings if t.name == name]
        colour, mark = look(name)
        axes.plot(*zip(*points, strict=True), color=colour, marker=mark, label=name, markeredgecolor="#333333", markersize=5)
    limits = [(x, 1e3 * median(limit.seconds)) for x, c in zip(at, cases, strict=True) if (limit := floor(c)) is not None]
    if limits:
        axes.plot(*zip(*limits, strict=True), color="#333333", linestyle="--", label="matrix products alone")
    ours = [0.0 if (timing := best_ours(case)) is None else median(timing.seconds) for case in cases]
    axes.set(xscale="log", yscale="log", xlabel=AXES[sweep], ylabel="ms a step", title=_title(sweep, "time", ours, at))
    _plain_ticks(axes, at)


def _sizes(axes: Any, sweep: str, cases: list[Case], at: list[int]) -> None:
    """Memory of our own steps: what was taken as marks, the formula as dotted lines."""
    last: list[float] = []
    for name in _names(cases):
        known = [
            (x, t.memory["total"], t.memory.get("taken"))
            for x, c in zip(at, cases, strict=True) for t in c.timings if t.name == name and t.kind == "ours" and t.memory
        ]  # fmt: skip
        if not known:
            continue
        colour, mark = look(name)
        last = [total for _, total, _ in known]
        axes.plot([x for x, _, _ in known], [1e-6 * total for total in last], color=colour, linestyle=":",
                  label=f"{name}, computed memory")  # fmt: skip
        axes.plot([x for x, _, size in known if size], [1e-6 * size for _, _, size in known if size], color=colour, marker=mark,
                  linestyle="", markeredgecolor="#333333", markersize=5)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel=AXES[sweep], ylabel="MB", title=_title(sweep, "memory", last, at))
    _plain_ticks(axes, at)


def _title(sweep: str, what: str, values: list[float], at: list[int]) -> str:
    """What the first and the last point of our line say."""
    if len(values) != len(at) or not all(values) or at[0] == at[-1]:
        return f"{what.capitalize()} by {sweep}"
    factor = values[-1] / values[0]
    if sweep == "threads" and what == "time":
        return f"{at[-1]} threads: {1 / factor:.1f} x as fast"
    return f"{at[-1] // at[0]} x the {sweep}: {factor:.3g} x the {what}"


def memory_points(report: BenchReport) -> dict[str, list[tuple[str, int]]]:
    """Backend -> (network, bytes of the step's buffers), for the steps that tell; empty where none does."""
    found: dict[str, list[tuple[str, int]]] = {}
    for case in report.cases:
        for timing in case.timings:
            if timing.kind == "ours" and timing.memory is not None:
                found.setdefault(timing.name, []).append((case.network, int(timing.memory["total"])))
    return found
