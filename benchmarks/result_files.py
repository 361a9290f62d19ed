"""Report files: JSON with times and derived figures, written atomically, and read back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import DataFileError, OutputPathError
from .device.targets import as_values, outcomes
from .evaluation import figures
from .results import BenchReport, Case, KernelCase, LeftOut, Profile, ReportPart, Timing

FORMAT, VERSION = "fusedstep-bench", 1


def to_json(report: BenchReport) -> str:
    """The text of the file; that of a dry run holds no times and no figures, that of a run on a GPU its targets."""
    document: dict[str, Any] = {"format": FORMAT, "version": VERSION, **asdict(report)}
    if report.parts:
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


def save(report: BenchReport, path: Path) -> None:
    """Writes the file; raises OutputPathError if that fails."""
    write(path, to_json(report))


def write(path: Path, content: str | bytes) -> None:
    """Writes a file atomically; raises OutputPathError if that fails."""
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(path)
    except OSError as error:
        raise OutputPathError(
            f"expected a writable file; got {str(path)!r} ({error.strerror}); choose another folder"
        ) from error


def load(path: Path, dry: bool = False) -> BenchReport:
    """Reads a file that `save` wrote.

    Args: dry – whether a dry run is expected, or measurements.
    Raises: DataFileError if it is missing, not JSON, of another format or version, or a dry run when measurements are expected.
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


def _report(document: dict[str, Any]) -> BenchReport:
    return BenchReport(
        document["machine"],
        document["settings"],
        [Case(**_parts(case)) for case in document["cases"]],
        [KernelCase(**_parts(case)) for case in document["kernels"]],
        [Profile(**profile) for profile in document["profiles"]],
        [LeftOut(**left) for left in document["left_out"]],
        [ReportPart(**part) for part in document.get("parts", [])],
    )


def _parts(case: dict[str, Any]) -> dict[str, Any]:
    timings = [Timing(**{k: v for k, v in timing.items() if k != "figures"}) for timing in case["timings"]]
    return {**case, "timings": timings, "left_out": [LeftOut(**left) for left in case["left_out"]]}
