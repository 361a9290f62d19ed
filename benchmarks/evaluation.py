"""Figures from the raw times: the floor, the fraction of it, the best peer, and the ratio to it by round."""

from __future__ import annotations

from statistics import median
from typing import Any

from .results import BenchReport, Case, KernelCase, Timing
from .statistics import geometric_mean, pair_ratio, spread

BOUND = 0.7
"""Below this fraction of the best peer's time for the matrix products alone, what is between them decides."""


def of_kind(case: Case | KernelCase, kind: str) -> list[Timing]:
    """The timings of one kind, in their order."""
    return [timing for timing in case.timings if timing.kind == kind]


def smallest(timings: list[Timing]) -> Timing | None:
    """The timing with the smallest median, or None."""
    return min(timings, key=lambda t: median(t.seconds), default=None)


def floor(case: Case, device: str = "cpu") -> Timing | None:
    """The fastest variant of the matrix products alone on that device."""
    return smallest([t for t in of_kind(case, "floor") if t.device == device])


def best_peer(case: Case, ranks: int | None = None) -> Timing | None:
    """The fastest of the other libraries, with that number of processes if it is given."""
    return smallest([t for t in of_kind(case, "peer") if ranks in (None, t.ranks)])


def best_ours(case: Case) -> Timing | None:
    """The fastest of fusedstep's backends."""
    return smallest(of_kind(case, "ours"))


def fraction_of_floor(case: Case, timing: Timing) -> float | None:
    """Time of the floor over time of the step, the median over the rounds; None without a floor."""
    limit = floor(case, timing.device)
    return None if limit is None else pair_ratio(limit.seconds, timing.seconds)


def to_best_peer(case: Case, timing: Timing) -> float | None:
    """Time over that of the best peer with as many processes, the median over the rounds; below 1 is faster, None without."""
    peer = best_peer(case, timing.ranks)
    return None if peer is None else pair_ratio(timing.seconds, peer.seconds)


def products_to_best_peer(case: Case) -> float | None:
    """Time of the floor over that of the best peer, the median over the rounds; None if one of them is missing."""
    limit = floor(case)
    return None if limit is None else to_best_peer(case, limit)


def one_process(case: Case, timing: Timing) -> Timing | None:
    """The same library in one process with all threads, beside several; None for others."""
    name = timing.name.partition(", ")[0]
    return next((t for t in case.timings if (t.name, t.ranks) == (name, 1)), None) if timing.ranks > 1 else None


def to_one_process(case: Case, timing: Timing) -> float | None:
    """Time of several processes over that of one, the median over the rounds; None for others."""
    one = one_process(case, timing)
    return None if one is None else pair_ratio(timing.seconds, one.seconds)


def bound(case: Case, timing: Timing) -> float | None:
    """What that ratio would be if nothing but the sum of the gradient were added: 1 + time of the sum / time of a step."""
    one = one_process(case, timing)
    summed = next((t for t in of_kind(case, "sum") if t.ranks == timing.ranks), None)
    return None if one is None or summed is None or timing.kind != "ours" else 1.0 + pair_ratio(summed.seconds, one.seconds)


def figures(case: Case, timing: Timing) -> dict[str, Any]:
    """All figures of one contender for tables, in plain units.

    Returns: median_ms, low_ms and high_ms (quartiles), samples_per_second, gflop_per_second (matrix products only),
        fraction_of_floor, to_best_peer, to_one_process and bound, which may be None.
    """
    times = spread(timing.seconds)
    return {
        "median_ms": 1e3 * times.median,
        "low_ms": 1e3 * times.low,
        "high_ms": 1e3 * times.high,
        "samples_per_second": (case.rows or case.parsed.batch) / times.median,
        "gflop_per_second": 1e-9 * case.flop / times.median,
        "fraction_of_floor": fraction_of_floor(case, timing),
        "to_best_peer": to_best_peer(case, timing),
        "to_one_process": to_one_process(case, timing),
        "bound": bound(case, timing),
    }


def grid(report: BenchReport, workload: str = "step") -> list[Case]:
    """The cases of a workload that belong to no sweep."""
    return [case for case in report.cases if case.workload == workload and not case.sweep]


def by_products(cases: list[Case]) -> tuple[list[Case], list[Case]]:
    """Those in which the matrix products alone take less than BOUND of the best peer's time, and those in which they take more.

    Cases without a floor or a peer are in neither.
    """
    known = [(case, fraction) for case in cases if (fraction := products_to_best_peer(case)) is not None]
    return [case for case, fraction in known if fraction < BOUND], [case for case, fraction in known if fraction >= BOUND]


def summary(cases: list[Case]) -> dict[str, dict[str, float]]:
    """Geometric means over the cases, for each backend and for the best one ("best").

    Returns: name -> {"to_best_peer", "fraction_of_floor", "networks"}; means without a case are left out.
    """
    found: dict[str, dict[str, float]] = {}
    names = list(dict.fromkeys(t.name for case in cases for t in of_kind(case, "ours")))
    for name in [*names, "best"]:
        chosen = [(case, t) for case in cases if (t := _chosen(case, name)) is not None]
        means = {"networks": float(len(chosen))}
        for key, measure in (("to_best_peer", to_best_peer), ("fraction_of_floor", fraction_of_floor)):
            values = [v for case, t in chosen if (v := measure(case, t)) is not None]
            if values:
                means[key] = geometric_mean(values)
        if chosen:
            found[name] = means
    return found


def _chosen(case: Case, name: str) -> Timing | None:
    if name == "best":
        return best_ours(case)
    return next((t for t in of_kind(case, "ours") if t.name == name), None)


def fastest_copy(case: KernelCase, device: str = "cpu") -> Timing | None:
    """The faster of the copies beside a kernel on that device."""
    return smallest([t for t in of_kind(case, "copy") if t.device == device])


def copied_bytes(timing: Timing) -> int:
    """Bytes that a copy moved, reads and writes, as its timing notes it."""
    return int(timing.memory)


def fraction_of_copy(case: KernelCase, timing: Timing) -> float | None:
    """Rate of a kernel over the rate of the copy on its device, the median over the rounds."""
    copy = fastest_copy(case, timing.device)
    if copy is None:
        return None
    return pair_ratio(copy.seconds, timing.seconds) * case.moved / copied_bytes(copy)
