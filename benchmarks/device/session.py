"""A complete run on a GPU: one part after the other, each written as soon as it is finished; resumable."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import OutputPathError
from .. import machine
from ..profiles import profile
from ..result_files import load, save, write
from ..results import BenchReport, Case, KernelCase, Profile, ReportPart
from .allowance import GRACE, Allowance, OutOfTime, watchdog
from .kernels import Bench
from .place import DRY, Place
from .plan import SECONDS, STEPS, DevicePlan
from .report import markdown
from .steps import Progress, precision_here, problem_of, processor_beside_device, steps_beside_peers
from .targets import gaps

DONE, CUT, FAILED = "done", "cut", "failed"
WORTH = {DONE: 2, CUT: 1, FAILED: 0}
TURN = {None: 0, CUT: 1, FAILED: 2}
"""The order of parts by their last state: failed parts come last, because they may end the process again."""
LATE = ("cut", f"failed with {OutOfTime.__name__}")
"""Prefixes of the reasons of contenders that were left out for lack of time."""
LEAST = 0.25
"""Fraction of its time below which a part is not started."""
NO_TIME = "no time was left; run the command again with --resume"
REPEATS = 5
KERNELS = ("copy", "products", "adam", "softmax", "rows")


@dataclass
class Found:
    """What a part found, and why it is not all of it."""

    cases: list[Case] = field(default_factory=list)
    kernels: list[KernelCase] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    cut: str = ""
    broken: str = ""


class Session:
    """Carries out a plan.

    Args: plan; place; folder – for the two files; resume – whether the newest report of this device there is continued;
        progress – receives status messages; done – called with each finished part.
    Attributes: report; path – of the JSON file; the Markdown is beside it; lost – why no part was begun any more, "" where all
        were.
    Raises: DataFileError for a file that cannot be continued; OutputPathError where nothing can be written.
    """

    def __init__(
        self, plan: DevicePlan, place: Place, folder: Path, resume: bool, progress: Progress, done: Callable[[ReportPart], None]
    ) -> None:
        self.plan, self.place, self.progress, self.done = plan, place, progress, done
        self._bench: Bench | None = None
        self.lost = ""
        name = "dry-run" if plan.dry else slug(str(place.facts["name"]))
        earlier = sorted(folder.glob(f"{name}-????-??-??.json")) if resume else []
        if earlier:
            self.path = earlier[-1]
            self.report = _filled(load(self.path, plan.dry))
            self._note_round()
        else:
            self.path = folder / f"{name}-{datetime.now(UTC):%Y-%m-%d}.json"
            if not plan.dry:
                _set_aside(self.path)
            settings = {
                "device": DRY if plan.dry else "cuda", "dry_run": plan.dry, "budget": plan.total, "parts": plan.names,
            }  # fmt: skip
            self.report = BenchReport(machine.describe() | {"device": place.facts}, settings, left_out=list(place.left_out))

    def _note_round(self) -> None:
        """The report says which parts were wanted by any call, and when and from which sources it was continued."""
        settings, now = self.report.settings, machine.describe()
        asked = {*settings.get("parts", ()), *self.plan.names}
        settings["parts"] = [name for name in SECONDS if name in asked]
        settings["continued"] = [
            *settings.get("continued", ()), {name: now[name] for name in ("date", "commit", "changed", "libraries")},
        ]  # fmt: skip

    def run(self) -> BenchReport:
        """All parts that are wanted and not done, as long as there is a device; returns everything that was found."""
        due = self._due()
        fractions = self.plan.fractions(due)
        total, whole, behind = sum(fractions.values()), Allowance(math.inf), 0.0
        self._write()
        for name in due:
            fraction = fractions[name]
            if not self.plan.dry and total - whole.spent < LEAST * fraction:
                late = ReportPart(name, CUT, reason=NO_TIME)
                if name not in {part.name for part in self.report.parts}:  # else what it came to before is the better answer
                    self._keep(late, Found())
                self.done(late)
                continue
            self._begin(name)
            # A part that took too long takes the time of those after it, but leaves them a quarter of their own.
            allowance = Allowance(max(fraction - behind, LEAST * fraction))
            with watchdog(fraction + GRACE):
                part, found = self._part(name, allowance)
                self.lost = self.place.lost()
            if self.lost:
                why = "; ".join(filter(None, (part.reason, f"the device was lost: {self.lost}")))
                part = ReportPart(name, FAILED, reason=why)
            behind = 0.0 if self.plan.dry else behind + allowance.spent - fraction
            part.seconds = allowance.spent
            self.done(self._keep(part, found))
            if self.lost:
                break
        return self.report

    def _due(self) -> list[str]:
        """The parts that are wanted and not done, in the order of TURN."""
        known = {part.name: part.state for part in self.report.parts}
        if not self.plan.dry and self._unprofiled():
            known.pop("profile", None)
        due = [name for name in self.plan.names if known.get(name) != DONE]
        return sorted(due, key=lambda name: TURN[known.get(name)])

    def _unprofiled(self) -> list[str]:
        """Parts whose step missed a target and has no profile yet, the one that missed it by most first."""
        profiled = {(made.network, made.precision) for made in self.report.profiles}
        cases = {case.part: (case.network, case.precision) for case in self.report.cases}
        return [part for part in gaps(self.report) if self.plan.dry or cases[part] not in profiled]

    def _begin(self, name: str) -> None:
        """Notes that a part was begun, in case that the process ends in it."""
        self._take(ReportPart(name, FAILED, reason="started but not finished: the process ended"), Found())
        self._write()

    def _part(self, name: str, allowance: Allowance) -> tuple[ReportPart, Found]:
        """One part; what goes wrong in it is its own reason, and the others are run all the same."""
        part, found = ReportPart(name, DONE), Found()
        try:
            found = self._work(name, allowance)
            if found.broken or found.cut:
                part = ReportPart(name, FAILED if found.broken else CUT, reason=found.broken or found.cut)
        except Exception as error:  # whatever it is: the machine is there for minutes only, and the reason is kept
            part = ReportPart(name, FAILED, reason=in_short(error))
        try:
            self.place.tidy()
        except Exception as error:  # a device that is lost cannot be tidied up either; what was measured before is kept
            part.reason = "; ".join(filter(None, (part.reason, f"cleanup failed: {in_short(error)}")))
        return part, found

    def _work(self, name: str, allowance: Allowance) -> Found:
        progress: Progress = lambda what: self.progress(f"{name}: {what}")  # noqa: E731
        if name not in KERNELS:
            self._bench = None  # its arrays make room
        if name in STEPS:
            case = steps_beside_peers(STEPS[name], self.place, self.plan, progress, allowance)
            return self._judged(case, self.plan.sampling.rounds)
        if name == "cpu":
            case = processor_beside_device(self.place, self.plan, progress, allowance)
            return self._judged(case, self.plan.processor_sampling.rounds)
        if name == "profile":
            return self._profiles(progress, allowance)
        if self._bench is None:
            self._bench = Bench(self.place, self.plan.sizes, self.plan.sampling, self.progress)
        kernels: list[KernelCase] = getattr(self._bench, name)(allowance)
        return Found(kernels=kernels, cut=_shortened(kernels, self.plan.sampling.rounds), broken=self._broken(kernels))

    def _judged(self, case: Case, rounds: int) -> Found:
        """A case with what its part's time did not suffice for, and with what went wrong in our own steps."""
        late = [left.name for left in case.left_out if left.reason.startswith(LATE)]
        cut = [_shortened([case], rounds), f"no time for {', '.join(late)}" if late else ""]
        return Found([case], cut="; ".join(filter(None, cut)), broken=self._broken([case]))

    def _broken(self, cases: Sequence[Case | KernelCase]) -> str:
        """The failures of fusedstep contenders."""
        return "; ".join(
            f"{left.name}: {left.reason}" for case in cases for left in case.left_out
            if left.name.partition(",")[0] == self.place.backend.name and left.reason.startswith(("failed", "computes"))
        )  # fmt: skip

    def _profiles(self, progress: Progress, allowance: Allowance) -> Found:
        """Of the steps that missed a target, beside those that are there already."""
        found, wanted = Found(profiles=list(self.report.profiles)), self._unprofiled()
        for number, name in enumerate(wanted):
            steps = STEPS[name]
            if number and allowance.below(0.3):
                found.cut = f"no time for {', '.join(wanted[number:])}"
                break
            problem = problem_of(steps.network, precision_here(steps.precision, self.place), self.plan)
            progress(f"profile of {name}")
            try:
                made = profile(problem, self.place.backend, 1 if self.plan.dry else REPEATS)
            except Exception as error:  # the others are made all the same
                found.broken = "; ".join(filter(None, (found.broken, f"{name}: {in_short(error)}")))
                continue
            made.precision = problem.precision
            found.profiles.append(made)
            self.place.tidy()
        return found

    def _take(self, part: ReportPart, found: Found) -> None:
        """Puts a part into the report, in place of an earlier attempt that was worth no more."""
        report = self.report
        earlier = next((p for p in report.parts if p.name == part.name), None)
        before: list[Case | KernelCase] = [*report.cases, *report.kernels]
        now: list[Case | KernelCase] = [*found.cases, *found.kernels]
        if earlier is not None and _worth(part, now) < _worth(earlier, [case for case in before if case.part == part.name]):
            return
        both: list[tuple[list[Any], list[Any]]] = [
            (report.cases, found.cases), (report.kernels, found.kernels), (report.profiles, found.profiles),
        ]  # fmt: skip
        for stored, new in both:
            for one in new:
                one.part = part.name
            stored[:] = [one for one in stored if one.part != part.name] + new
        report.parts = [p for p in report.parts if p.name != part.name] + [part]

    def _keep(self, part: ReportPart, found: Found) -> ReportPart:
        """Takes a part and writes the report; where what it found cannot be written, its failure instead."""
        report = self.report
        before = list(report.cases), list(report.kernels), list(report.profiles), list(report.parts)
        self._take(part, found)
        try:
            self._write()
        except OutputPathError:
            raise
        except Exception as error:  # figures that nobody expected: the other parts are to be kept
            report.cases, report.kernels, report.profiles, report.parts = before
            part = ReportPart(part.name, FAILED, part.seconds, f"cannot be written: {in_short(error)}")
            self._take(part, Found())
            self._write()
        return part

    def _write(self) -> None:
        """Both files; the figures first, in case that the tables cannot be made of them."""
        save(self.report, self.path)
        write(self.path.with_suffix(".md"), markdown(self.report))


def _set_aside(path: Path) -> None:
    """Gives the report of an earlier run of that day another name, so that nothing measured is overwritten."""
    for file in (path, path.with_suffix(".md")):
        if file.exists():
            file.rename(file.with_name(f"{file.stem}-until-{datetime.now(UTC):%H%M%S}{file.suffix}"))


def in_short(error: Exception) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def _worth(part: ReportPart, cases: Sequence[Case | KernelCase]) -> tuple[int, int, int]:
    """What an attempt is worth: how far it came, how many took part, and in how many rounds all of them."""
    timings = [timing for case in cases for timing in case.timings]
    return WORTH[part.state], len(timings), min((len(timing.seconds) for timing in timings), default=0)


def _shortened(cases: Sequence[Case | KernelCase], rounds: int) -> str:
    """Says so where the time was over before all rounds were."""
    taken = min((len(t.seconds) for case in cases for t in case.timings), default=rounds)
    return f"{taken} of {rounds} rounds" if taken < rounds else ""


def slug(name: str) -> str:
    """The name of a device as part of a file's name: "NVIDIA H200" as "nvidia-h200"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _filled(report: BenchReport) -> BenchReport:
    """A dry run that was read again, with the times of the clock that stands still in place of those left out of its file."""
    if report.dry:
        cases: list[Case | KernelCase] = [*report.cases, *report.kernels]
        for timing in (timing for case in cases for timing in case.timings):
            timing.seconds = [1.0]
        for row in (row for made in report.profiles for row in made.rows):
            row["seconds"] = 1.0
        for part in report.parts:
            part.seconds = 0.0
    return report
