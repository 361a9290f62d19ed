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
        call, one value a round; losses – of the first steps; memory – bytes by use, with their "total", for our own steps;
        bytes moved for a copy.
    """

    name: str
    kind: str
    calls: int
    seconds: list[float]
    device: str = "cpu"
    version: str = ""
    losses: list[float] = field(default_factory=list)
    memory: Any = None


@dataclass
class Case:
    """One network with all its contenders.

    Args: network – such as "784-512-512-10@256"; sweep – name of the sweep that it belongs to, or ""; flop – of the matrix
        products of a step; the others as in Problem.
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

    @property
    def parsed(self) -> Network:
        """The network."""
        return parse(self.network)[0]

    @property
    def title(self) -> str:
        """What it is, in a line."""
        return f"{self.network}, {self.variant}, {self.precision}, {self.threads} thread{'s' * (self.threads != 1)}"


@dataclass
class KernelCase:
    """One memory-bound kernel with all its contenders and the copy beside them.

    Args: kernel – name; size – in words; moved – bytes that have to be read and written at least, each array once.
    """

    kernel: str
    size: str
    moved: int
    precision: str = "float32"
    timings: list[Timing] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


@dataclass
class Profile:
    """Where the time of a step goes: rows of place, stage, operation, seconds, flop and bytes."""

    network: str
    backend: str
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Report:
    """A whole run: machine, settings, cases of steps, cases of kernels, profiles, and what was left out everywhere."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    cases: list[Case] = field(default_factory=list)
    kernels: list[KernelCase] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def to_json(report: Report) -> str:
    """The text of the file."""
    from .evaluation import figures

    document: dict[str, Any] = {"format": FORMAT, "version": VERSION, **asdict(report)}
    for case, plain in zip(report.cases, document["cases"], strict=True):
        for timing, values in zip(case.timings, plain["timings"], strict=True):
            values["figures"] = figures(case, timing)
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def save(report: Report, path: Path) -> None:
    """Writes the file; raises OutputPathError where that cannot be."""
    write(path, to_json(report))


def write(path: Path, content: str | bytes) -> None:
    """Writes a file; raises OutputPathError where that cannot be."""
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise OutputPathError(
            f"expected a file that can be written; got {str(path)!r} ({error.strerror}); choose another folder"
        ) from error


def load(path: Path) -> Report:
    """Reads a file that `save` wrote.

    Raises: DataFileError where it is missing, not JSON, something else, or of another version.
    """
    advice = "give a file that `fusedstep bench --out FILE.json` wrote"
    try:
        document = json.loads(path.read_text())
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
        return _report(document)
    except (KeyError, TypeError) as error:
        raise DataFileError(f"expected complete results; got {str(path)!r} with parts missing ({error}); {advice}") from error


def _report(document: dict[str, Any]) -> Report:
    return Report(
        document["machine"],
        document["settings"],
        [Case(**_parts(case)) for case in document["cases"]],
        [KernelCase(**_parts(case)) for case in document["kernels"]],
        [Profile(**profile) for profile in document["profiles"]],
        [LeftOut(**left) for left in document["left_out"]],
    )


def _parts(case: dict[str, Any]) -> dict[str, Any]:
    timings = [Timing(**{k: v for k, v in timing.items() if k != "figures"}) for timing in case["timings"]]
    return {**case, "timings": timings, "left_out": [LeftOut(**left) for left in case["left_out"]]}
