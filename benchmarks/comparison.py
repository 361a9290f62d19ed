"""Compares two runs: what became slower or faster, and whether the difference exceeds the noise.

Absolute times are comparable only on the same quiet machine; times relative to the floor of their run also on others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from .evaluation import fastest_copy, floor
from .results import BenchReport, Case, KernelCase, Timing
from .statistics import pair_ratios, spread

LEAST_NOISE = 0.02
"""Smaller differences are never reported as slower or faster."""


@dataclass(frozen=True)
class Change:
    """One contender in the old and the new run.

    Args: where – the case; name; kind; old_ms, new_ms – medians; absolute – new over old; relative – the same for times
        relative to the floor, None if a run has no floor; noise – the ratio explained by the spreads of both runs, minus 1.
    """

    where: str
    name: str
    kind: str
    old_ms: float
    new_ms: float
    absolute: float
    relative: float | None
    noise: float

    @property
    def ratio(self) -> float:
        """The ratio that is used: relative to the floor if there is one."""
        return self.absolute if self.relative is None else self.relative

    @property
    def verdict(self) -> str:
        """"slower", "faster" or "same" within the noise."""
        if self.ratio > 1.0 + self.noise:
            return "slower"
        return "faster" if self.ratio < 1.0 / (1.0 + self.noise) else "same"


def compare(old: BenchReport, new: BenchReport) -> list[Change]:
    """Everything that is in both runs: same network, variant, precision, threads and contender; also kernels."""
    before: dict[tuple[object, ...], Case | KernelCase] = {_key(case): case for case in _cases(old)}
    changes = []
    for case in _cases(new):
        earlier = before.get(_key(case))
        if earlier is None:
            continue
        then = {timing.name: timing for timing in earlier.timings}
        changes += [_change(earlier, then[t.name], case, t) for t in case.timings if t.name in then]
    return changes


def slower_than(changes: list[Change], limit: float) -> list[Change]:
    """Contenders of fusedstep that became slower by more than `limit` and by more than the noise."""
    return [c for c in changes if c.kind == "ours" and c.ratio > limit and c.verdict == "slower"]


def same_machine(old: BenchReport, new: BenchReport) -> bool:
    """Whether both ran on the same model of processor with the same number of them."""
    return all(old.machine.get(key) == new.machine.get(key) for key in ("cpu", "usable_processors"))


def _cases(report: BenchReport) -> list[Case | KernelCase]:
    return [*report.cases, *report.kernels]


def _key(case: Case | KernelCase) -> tuple[object, ...]:
    if isinstance(case, Case):
        return (case.workload, case.network, case.variant, case.precision, case.threads)
    return (case.kernel, case.size, case.precision)


def _where(case: Case | KernelCase) -> str:
    return case.title if isinstance(case, Case) else f"{case.kernel}, {case.size}"


def _limit(case: Case | KernelCase, timing: Timing) -> Timing | None:
    """The divisor of a timing; None for the limits themselves."""
    if timing.kind in ("floor", "copy"):
        return None
    if isinstance(case, Case):
        return floor(case, timing.device)
    return fastest_copy(case, timing.device)


def _change(old_case: Case | KernelCase, old: Timing, new_case: Case | KernelCase, new: Timing) -> Change:
    old_limit, new_limit = _limit(old_case, old), _limit(new_case, new)
    relative = None
    old_values, new_values = old.seconds, new.seconds
    if old_limit is not None and new_limit is not None:
        old_values = pair_ratios(old.seconds, old_limit.seconds)
        new_values = pair_ratios(new.seconds, new_limit.seconds)
        relative = median(new_values) / median(old_values)
    old_ms, new_ms = 1e3 * median(old.seconds), 1e3 * median(new.seconds)
    noise = max(LEAST_NOISE, math.hypot(spread(old_values).relative, spread(new_values).relative))
    return Change(_where(new_case), new.name, new.kind, old_ms, new_ms, new_ms / old_ms, relative, noise)
