"""The targets of a run on a GPU, and their measured figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..evaluation import best_peer, floor, fraction_of_copy, of_kind, smallest
from ..results import BenchReport, Case, KernelCase, Timing
from ..statistics import pair_ratio
from .plan import STEPS

HELD, MISSED, OPEN, STATED = "held", "missed", "not measured", "stated"


class Target(NamedTuple):
    """One target.

    Args: part – the part of the run that measures it; what – in words; limit – the figure; least – whether it is the smallest
        that will do, else the largest; None for a figure that is only to be stated; unit – "%", "x" or ""; measure – the
        figure out of the part's case, None where it cannot be told.
    """

    part: str
    what: str
    limit: float
    least: bool | None
    unit: str
    measure: Callable[[Any], float | None]


class Outcome(NamedTuple):
    """A target and its result.

    Args: target; figure – None where it was not measured; state; note – why it was not measured, or where the time goes.
    """

    target: Target
    figure: float | None
    state: str
    note: str


def _ours(case: Case | KernelCase) -> Timing | None:
    """Our timing on the device, in the precision that the case asks for: the others have theirs in their names."""
    return next((t for t in of_kind(case, "ours") if t.device != "cpu" and "," not in t.name), None)


def _of_copy(case: KernelCase) -> float | None:
    ours = _ours(case)
    return None if ours is None else fraction_of_copy(case, ours)


def _torch_over_ours(case: Case | KernelCase) -> float | None:
    ours, torch = _ours(case), next((t for t in of_kind(case, "peer") if t.name == "torch"), None)
    return None if ours is None or torch is None else pair_ratio(torch.seconds, ours.seconds)


def _launches(case: KernelCase) -> float | None:
    ours = _ours(case)
    return None if ours is None else ours.launches


def _over_floor(case: Case) -> float | None:
    ours = _ours(case)
    limit = None if ours is None else floor(case, ours.device)
    return None if ours is None or limit is None else pair_ratio(ours.seconds, limit.seconds)


def _over_best_peer(case: Case) -> float | None:
    ours, peer = _ours(case), best_peer(case)
    return None if ours is None or peer is None else pair_ratio(ours.seconds, peer.seconds)


def _processor_over_device(case: Case) -> float | None:
    ours = smallest([t for t in of_kind(case, "ours") if t.device != "cpu"])
    processor = next((t for t in case.timings if t.device == "cpu"), None)
    return None if ours is None or processor is None else pair_ratio(processor.seconds, ours.seconds)


def targets() -> list[Target]:
    """All of them, in the order of the parts."""
    found = [
        Target("adam", "fused Adam over the arena: fraction of the copy rate", 0.90, True, "%", _of_copy),
        Target("adam", "fused Adam over the arena: time of torch's fused Adam over ours", 1.0, True, "x", _torch_over_ours),
        Target("adam", "fused Adam over the arena: launches per step", 1.0, False, "", _launches),
        Target("softmax", "softmax-cross-entropy, forward and backward: fraction of the copy rate", 0.80, True, "%", _of_copy),
    ]
    for part, steps in STEPS.items():
        name = f"{steps.network}, {steps.precision}"
        if steps.limit is not None:
            found.append(Target(part, f"{name}: step over its GEMM floor", steps.limit, False, "x", _over_floor))
        found.append(Target(part, f"{name}: step over that of the best peer", 1.0, False, "x", _over_best_peer))
    found += [
        Target("784-tf32", f"{STEPS['784-tf32'].network}, tf32: torch eager over ours", 2.0, True, "x", _torch_over_ours),
        Target("cpu", "4096 wide @ 8192: the processor's step over the GPU's", 0.0, None, "x", _processor_over_device),
    ]
    return found


def as_values(outcome: Outcome) -> dict[str, Any]:
    """An outcome as plain values, for a file."""
    target = outcome.target
    sign = {True: ">=", False: "<=", None: ""}[target.least]
    return {
        "what": target.what, "part": target.part, "sign": sign, "limit": target.limit, "figure": outcome.figure,
        "state": outcome.state, "note": outcome.note,
    }  # fmt: skip


def outcomes(report: BenchReport) -> list[Outcome]:
    """What became of each target; a dry run measures none."""
    return [_outcome(target, report) for target in targets()]


def _outcome(target: Target, report: BenchReport) -> Outcome:
    if report.dry:
        return Outcome(target, None, OPEN, "dry run")
    cases: list[Case | KernelCase] = [*report.cases, *report.kernels]
    case = next((c for c in cases if c.part == target.part), None)
    figure = None if case is None else target.measure(case)
    if figure is None:
        return Outcome(target, None, OPEN, _why_not(target.part, case, report))
    if target.least is None:
        return Outcome(target, figure, STATED, "")
    held = figure >= target.limit if target.least else figure <= target.limit
    return Outcome(target, figure, HELD if held else MISSED, "" if held else _where_it_goes(target.part, report))


def _why_not(part: str, case: Case | KernelCase | None, report: BenchReport) -> str:
    """The reason of the part, or the reasons of the contenders that were left out."""
    if case is None:
        return next((p.reason or p.state for p in report.parts if p.name == part), "the part was not run")
    left = [f"{absent.name}: {absent.reason}" for absent in (*case.left_out, *report.left_out)]
    return "; ".join(left) or "no contender to compare with"


def _where_it_goes(part: str, report: BenchReport) -> str:
    """The three operations of the step that take longest, where its profile is there."""
    if part not in STEPS:
        return ""
    case = next(c for c in report.cases if c.part == part)
    profile = next((p for p in report.profiles if (p.network, p.precision) == (case.network, case.precision)), None)
    if profile is None:
        return "no profile yet: run it again with --resume --parts profile"
    total = sum(row["seconds"] for row in profile.rows) or 1.0
    longest = sorted(profile.rows, key=lambda row: -row["seconds"])[:3]
    return "most time is spent in " + ", ".join(
        f"{row['operation']} ({row['place']}, {row['stage']}) {100.0 * row['seconds'] / total:.0f} %" for row in longest
    )


def gaps(report: BenchReport) -> list[str]:
    """The parts whose step missed a target, the one that missed it by most first; in a dry run two of all."""
    if report.dry:
        return list(STEPS)[:2]
    missed: dict[str, float] = {}
    for target, figure, state, _ in outcomes(report):
        if target.part in STEPS and state == MISSED and figure is not None:
            gap = figure / target.limit if not target.least else target.limit / figure
            missed[target.part] = max(gap, missed.get(target.part, 0.0))
    return sorted(missed, key=lambda part: -missed[part])
