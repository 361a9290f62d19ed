"""What a run found out, as plain values, and its file: JSON with a format and a version number.

Raw times are kept; whatever can be computed from them is computed by evaluation.py.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataFileError, OutputPathError
from .networks import Network, parse

FORMAT, VERSION = "fusedstep-bench", 1


@dataclass
class LeftOut:
    """A contender that was not timed, why, and what would mend it; where – a network, or "" for all."""

    name: str
    reason: str
    remedy: str = ""
    where: str = ""


@dataclass
class Timing:
    """Times of one contender.

    Args: kind – "ours", "peer", "floor" or "copy"; device; version – of its library; calls – in the last burst; seconds – per
        call, one value a round, or per step of a call that takes several; losses – of the first steps; memory – bytes by use,
        with their "total" by formula and, in sweeps, what was really "taken", for our own steps; bytes moved for a copy;
        launches – of our own kernels in one call, where they are counted; steps – of a call.
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


@dataclass
class Case:
    """One network with all its contenders.

    Args: network – such as "784-512-512-10@256"; sweep – name of the sweep that it belongs to, or ""; flop – of the matrix
        products of a step; device – "cpu", or "cuda" where the contenders ran on a GPU; the others as in Problem.
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

    @property
    def parsed(self) -> Network:
        """The network."""
        return parse(self.network)[0]

    @property
    def title(self) -> str:
        """What it is, in a line."""
        where = f"{self.threads} thread{'s' * (self.threads != 1)}" if self.device == "cpu" else self.device
        return f"{self.network}, {self.variant}, {self.precision}, {where}"


@dataclass
class KernelCase:
    """One kernel with all its contenders and, where it is bound by memory, the copy beside them.

    Args: kernel – name; size – in words; moved – bytes that have to be read and written at least, each array once; flop – of
        a matrix product, 0 for what is bound by memory.
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
    """Where the time of a step goes: rows of place, stage, operation, seconds, flop and bytes."""

    network: str
    backend: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    precision: str = "float32"
    part: str = ""


@dataclass
class Part:
    """One part of a run that is written part by part.

    Args: name; state – "done", "cut" (its time was over before everything was measured) or "failed"; seconds – that it took;
        reason – for a part that is not simply done.
    """

    name: str
    state: str
    seconds: float = 0.0
    reason: str = ""


@dataclass
class Report:
    """A whole run: machine, settings, cases of steps, cases of kernels, profiles, what was left out everywhere; and the parts
    of a run that was written part by part, by whose names the cases and profiles say where they come from.
    """

    machine: dict[str, Any]
    settings: dict[str, Any]
    cases: list[Case] = field(default_factory=list)
    kernels: list[KernelCase] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    @property
    def dry(self) -> bool:
        """Whether nothing was measured: all code was run, on stand-ins for the device and its clock."""
        return bool(self.settings.get("dry_run"))


def to_json(report: Report) -> str:
    """The text of the file; that of a dry run holds no times and no figures, that of a run on a GPU its targets."""
    from .evaluation import figures

    document: dict[str, Any] = {"format": FORMAT, "version": VERSION, **asdict(report)}
    if report.parts:
        from .device.targets import as_values, outcomes

        document["targets"] = [as_values(outcome) for outcome in outcomes(report)]
    for case, plain in zip(report.cases, document["cases"], strict=True):
        for timing, values in zip(case.timings, plain["timings"], strict=True):
            values["figures"] = None if report.dry else figures(case, timing)
    if report.dry:
        for plain in [*document["cases"], *document["kernels"]]:
            for values in plain["timings"]:
                values["seconds"] = []
        for plain in [*(row for profile in document["profiles"] for row in profile["rows"]), *document["parts"]]:
            plain["seconds"] = None
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def save(report: Report, path: Path) -> None:
    """Writes the file; raises OutputPathError where that cannot be."""
    write(path, to_json(report))


def write(path: Path, content: str | bytes) -> None:
    """Writes a file, whole or not at all; raises OutputPathError where that cannot be."""
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(path)
    except OSError as error:
        raise OutputPathError(
            f"expected a file that can be written; got {str(path)!r} ({error.strerror}); choose another folder"
        ) from error


def load(path: Path, dry: bool = False) -> Report:
    """Reads a file that `save` wrote.

    Args: dry – whether a dry run is wanted, or measurements.
    Raises: DataFileError where it is missing, not JSON, something else, of another version, or a dry run where none is wanted.
    """
    advice = "give a file that `fusedstep bench --out FILE.json` wrote"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataFileError(f"expected results of an earlier run; got {str(path)!r} ({error.strerror}); {advice}") from error
    except ValueError as error:
        raise DataFileError(f"expected results in JSON; got {str(path)!r}, which is not ({error}); {advice}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DataFileError(f"expected results of format {FORMAT!r}; got {str(path)!r} without it; {advice}")
    if document.get("version") != VERSION:
        raise DataFileError(
            f"expected results of version {VERSION}; got version {document.get('version')!r} in {str(path)!r}; "
            "run the old measurement again with this version of fusedstep"
        )
    try:
        report = _report(document)
    except (KeyError, TypeError) as error:
        raise DataFileError(f"expected complete results; got {str(path)!r} with parts missing ({error}); {advice}") from error
    if report.dry != dry:
        kinds = ("a measurement", "a dry run")
        raise DataFileError(f"expected results of {kinds[dry]}; got {kinds[report.dry]} in {str(path)!r}; {advice}")
    return report


def _report(document: dict[str, Any]) -> Report:
    return Report(
        document["machine"],
        document["settings"],
        [Case(**_parts(case)) for case in document["cases"]],
        [KernelCase(**_parts(case)) for case in document["kernels"]],
        [Profile(**profile) for profile in document["profiles"]],
        [LeftOut(**left) for left in document["left_out"]],
        [Part(**part) for part in document.get("parts", [])],
    )


def _parts(case: dict[str, Any]) -> dict[str, Any]:
    timings = [Timing(**{k: v for k, v in timing.items() if k != "figures"}) for timing in case["timings"]]
    return {**case, "timings": timings, "left_out": [LeftOut(**left) for left in case["left_out"]]}
