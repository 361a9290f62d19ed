"""Bar figures: fraction of the floor, time relative to the best peer, and time of a step by part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..evaluation import best_peer, fraction_of_floor, grid, summary, to_best_peer
from ..results import BenchReport, Case, Profile, Timing
from .style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, YELLOW, hatch, look, settings
from .tables import number
from .wording import WORDING

BAR = 0.8
"""Height of all bars of a network together."""

LINE = 100
"""Characters of a line of the legend."""


def floor_figure(report: BenchReport) -> Any:
    """The share of the floor, a bar for each network and contender; None where nothing has a floor."""
    best = summary(grid(report)).get("best", {}).get("fraction_of_floor")
    if best is None:
        return None
    title = f"fusedstep runs at {100 * best:.0f} % of the speed of the matrix products alone"
    return _grouped(grid(report), fraction_of_floor, title, "time of the matrix products alone / time of the step, in %", 100.0)


def peer_figure(report: BenchReport, workload: str = "step") -> Any:
    """Time relative to the best peer, a bar for each network and contender; None where there are no peers."""
    cases = [case for case in grid(report, workload) if best_peer(case) is not None]
    best = summary(cases).get("best", {}).get("to_best_peer")
    if best is None:
        return None
    if workload == "start":
        title = "New processes beside the import of PyTorch"
        return _grouped(cases, to_best_peer, title, "time / that of the import of PyTorch", 1.0)
    title = f"{WORDING[workload].subject} takes {best:.2f} times as long as the best peer's"
    return _grouped(cases, to_best_peer, title, "time / the best peer's (1 = as fast; shorter is faster)", 1.0)


def _grouped(
    cases: list[Case], measure: Callable[[Case, Timing], float | None], title: str, label: str, scale: float
) -> Any:
    """Horizontal bars, a group for each network; `scale` is where the line of the limit stands."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(t.name for case in cases for t in case.timings if t.kind in ("ours", "peer")))
    with settings():
        height = BAR / max(1, len(names))
        figure = Figure(figsize=(7.2, 0.9 + len(cases) * (0.25 + 0.16 * len(names))), layout="constrained")
        axes = figure.subplots()
        widest = max((v for c in cases for t in c.timings if (v := measure(c, t))), default=1.0)
        end = scale * min(max(1.15, 1.12 * widest), 4.0)
        for place, name in enumerate(names):
            for row, case in enumerate(cases):
                timing = next((t for t in case.timings if t.name == name), None)
                value = None if timing is None else measure(case, timing)
                if value is None:
                    continue
                at = row + (place - (len(names) - 1) / 2) * height
                axes.barh(
                    at, scale * value, 0.9 * height, color=look(name)[0], edgecolor="#333333", linewidth=0.4, hatch=hatch(name)
                )  # fmt: skip
                inside = scale * value > 0.92 * end
                text = f"{scale * value:.0f} %" if scale == 100.0 else f"{value:.2f}"
                text += " →" * (scale * value > end)
                axes.annotate(
                    text, (min(scale * value, end), at), (-3 if inside else 3, 0), textcoords="offset points", va="center",
                    ha="right" if inside else "left", fontsize=7, zorder=3,
                    bbox=None if inside else {"facecolor": "white", "edgecolor": "none", "pad": 0.5},
                )  # fmt: skip
        axes.axvline(scale, color="#333333", linewidth=1.0, linestyle="--")
        axes.set(xlim=(0, end), xlabel=label, title=title, yticks=range(len(cases)))
        axes.set_yticklabels([_label(case) for case in cases])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        _legend(figure, names)
    return figure


def _label(case: Case) -> str:
    extra = "" if case.precision == "float32" else f"\n{case.precision}"
    batch = case.parsed.batch
    sizes = {"fit": f"{case.rows:,} rows, batch {batch:,}", "predict": f"{batch:,} row{'s' * (batch > 1)}"}
    return f"{case.parsed.shape}\n{sizes.get(case.workload, f'batch {batch}')}{extra}"


def _legend(figure: Any, names: list[str]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=look(name)[0], edgecolor="#333333", linewidth=0.4, hatch=hatch(name), label=name) for name in names
    ]
    wide = sum(len(name) + 6 for name in names)
    columns = min(7, -(-len(names) // -(-wide // LINE)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8)


STAGE_LOOKS = {
    "matmul": BLUE, "forward": SKY, "loss": ORANGE, "backward": GREEN, "update": VERMILION, "sum": PURPLE, "other": YELLOW,
}  # fmt: skip


PART_NAMES = {
    "matmul": "matrix products", "forward": "forward, the rest", "backward": "backward, the rest",
    "sum": "sum of gradients", "other": "interpreter and waiting",
}  # fmt: skip


def parts_of(profile: Profile) -> dict[str, float]:
    """Seconds of a step by part: all matrix products, then what else each stage does."""
    parts: dict[str, float] = {}
    for row in profile.rows:
        part = "matmul" if "matmul" in row["operation"] else row["stage"]
        parts[part] = parts.get(part, 0.0) + row["seconds"]
    return parts


def profile_figure(profiles: list[Profile]) -> Any:
    """Time of a step by part: one stacked bar for each network and backend; None without profiles."""
    if not profiles:
        return None
    from matplotlib.figure import Figure

    parts = [parts_of(profile) for profile in profiles]
    totals = [sum(p.values()) or 1.0 for p in parts]
    names = list(dict.fromkeys(name for p in parts for name in p))
    fraction = sum(p.get("matmul", 0.0) / total for p, total in zip(parts, totals, strict=True)) / len(parts)
    with settings():
        figure = Figure(figsize=(7.2, 1.2 + 0.38 * len(profiles)), layout="constrained")
        axes = figure.subplots()
        left = [0.0] * len(profiles)
        for name in names:
            widths = [100.0 * p.get(name, 0.0) / total for p, total in zip(parts, totals, strict=True)]
            label = PART_NAMES.get(name, name)
            colour = STAGE_LOOKS.get(name, GREY)
            axes.barh(range(len(profiles)), widths, 0.7, left, color=colour, edgecolor="#333333", linewidth=0.4, label=label)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        axes.set(
            xlim=(0, 100), xlabel="fraction of the time of a step, in %", yticks=range(len(profiles)),
            title=f"Matrix products take {100 * fraction:.0f} % of a step on average",
        )  # fmt: skip
        labels = [f"{p.network}, {p.backend}\n{number(1e3 * total)} ms" for p, total in zip(profiles, totals, strict=True)]
        axes.set_yticklabels(labels)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure
