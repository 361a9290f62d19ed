"""The results of a run as plain values, for a JSON file with format and version number.

Only raw times are stored; evaluation.py computes everything else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .networks import Network, parse

UNITS = {
    "step": "", "fit": "epoch of ", "predict": "prediction of ", "start": "start of ", "ranks": "", "ranks-fit": "epoch of ",
}  # fmt: skip
"""Workload -> what is timed, before the name of a network."""


@dataclass
class LeftOut:
    """A contender that was not timed, with reason and fix; where – a network, or "" for all."""

    name: str
    reason: str
    remedy: str = ""
    where: str = ""


@dataclass
class Timing:
    """Times of one contender.

    Args: kind – "ours", "peer", "floor", "copy", or "sum" (of the gradient over processes); device; version – of its library;
        calls – in the last burst; seconds – per call, or per step of a call with several, one value per round; losses – of the
        first steps; memory – bytes by use, with their computed "total" and, in sweeps, the measured value "taken", for
        fusedstep; bytes moved for a copy; launches – of fusedstep kernels in one call, if counted; steps – per call; ranks –
        number of processes, 0 where that is not what is measured.
    """

    name: str
    kind: str
    calls: int
    seconds: list[float]
    device: str = "cpu"
    version: str = ""
    losses: list[float] = field(default_factory=list)
    memory: Any = None
    launches: int | None = None
    steps: int = 1
    ranks: int = 0


@dataclass
class Case:
    """One workload of one network with all its contenders.

    Args: network – such as "784-512-512-10@256"; sweep – name of the sweep that it belongs to, or ""; flop – of the matrix
        products of a step (or epoch, or prediction); device – "cpu", or "cuda" if the contenders ran on a GPU; workload –
        a key of UNITS; rows – that a step (or epoch, or prediction) processes, 0 in older files, for the
        batch; others as in Problem.
    """

    network: str
    variant: str
    precision: str
    threads: int
    flop: int
    parameters: int
    sweep: str = ""
    timings: list[Timing] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    device: str = "cpu"
    part: str = ""
    workload: str = "step"
    rows: int = 0

    @property
    def parsed(self) -> Network:
        """The network."""
        return parse(self.network)[0]

    @property
    def title(self) -> str:
        """A one-line description."""
        where = f"{self.threads} thread{'s' * (self.threads != 1)}" if self.device == "cpu" else self.device
        return f"{UNITS[self.workload]}{self.network}, {self.variant}, {self.precision}, {where}"


@dataclass
class KernelCase:
    """One kernel with all its contenders and, if it is memory-bound, the copy for comparison.

    Args: kernel – name; size – in words; moved – minimum bytes read and written, each array once; flop – of a matrix product, 0
        for memory-bound kernels.
    """

    kernel: str
    size: str
    moved: int
    precision: str = "float32"
    timings: list[Timing] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    flop: int = 0
    part: str = ""


@dataclass
class Profile:
    """A profile of a step: rows of place, stage, operation, seconds, flop and bytes."""

    network: str
    backend: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    precision: str = "float32"
    part: str = ""


@dataclass
class ReportPart:
    """One part of a run that is written part by part.

    Args: name; state – "done", "cut" (its time ended before everything was measured) or "failed"; seconds – duration; reason –
        if the state is not "done".
    """

    name: str
    state: str
    seconds: float = 0.0
    reason: str = ""


@dataclass
class BenchReport:
    """A whole run: machine, settings, cases of steps, cases of kernels, profiles, what was left out everywhere; and the parts
    of a run that was written part by part, by whose names the cases and profiles say where they come from.
    """

    machine: dict[str, Any]
    settings: dict[str, Any]
    cases: list[Case] = field(default_factory=list)
    kernels: list[KernelCase] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    parts: list[ReportPart] = field(default_factory=list)

    @property
    def dry(self) -> bool:
        """Whether it was a dry run: all code ran with a fake device and clock, and nothing was measured."""
        return bool(self.settings.get("dry_run"))
