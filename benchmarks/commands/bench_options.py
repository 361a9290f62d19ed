"""The options of `fusedstep bench`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from typer import Option

from ...framework.cli.declared import changed, option_name
from ...framework.cli.options import Variant


@dataclass(frozen=True)
class CpuOptions:
    """The options of a run on the CPU."""

    fit: Annotated[bool, Option("--fit", help="Time whole epochs, with shuffle and validation, instead of steps.")] = False
    predict: Annotated[bool, Option("--predict", help="Time predictions instead of steps.")] = False
    start: Annotated[
        bool, Option("--start", help="Time new processes instead of steps: to the first loss, and two commands.")
    ] = False
    ranks: Annotated[
        str,
        Option(
            metavar="LIST",
            help="Time steps and whole epochs of so many processes that train together, such as 1,2, beside PyTorch's "
            "DistributedDataParallel.",
        ),
    ] = ""
    networks: Annotated[
        str,
        Option(
            metavar="LIST",
            help='Widths, then @ and the batch size (--predict: rows), such as "784-512-512-10@256,64-128-10@32"; with --fit '
            'also the rows, as in "64-128-10@32/1504".',
        ),
    ] = ""
    grid: Annotated[
        str,
        Option(
            metavar="NAME",
            help="Named networks, if --networks is not given: quick, standard, scaling, or none; with --fit, --predict or "
            "--start: quick, standard or varied; with --ranks: quick.",
        ),
    ] = "quick"
    backends: Annotated[str, Option(metavar="LIST", help="Backends to measure. Default: all that work here.")] = ""
    peers: Annotated[
        str,
        Option(
            metavar="LIST",
            help="Libraries to compare with, or all. Steps: torch, torch-compile, jax, sklearn, handwritten. --fit: torch, "
            "jax-scan, sklearn. --predict: torch, sklearn, onnxruntime. --start: torch. --ranks: torch, which is its "
            "default.",
        ),
    ] = ""
    precision: Annotated[str, Option(metavar="LIST", help="float32, float64, or both.")] = "float32"
    variant: Variant = "plain"
    rounds: Annotated[int, Option(help="Rounds; each contender is timed once per round.")] = 7
    seconds: Annotated[float, Option(help="Duration of a timed burst of calls.")] = 0.15
    pause: Annotated[float, Option(help="Pause before a burst, in seconds, until spinning threads are idle.")] = 0.05
    kernels: Annotated[bool, Option("--kernels", help="Also time memory-bound kernels, compared with a copy.")] = False
    out: Annotated[Path | None, Option(metavar="FILE.json", help="Write all results as they arrive, with raw times.")] = None
    html: Annotated[Path | None, Option(metavar="FILE.html", help="Write a page with tables and figures.")] = None
    markdown: Annotated[Path | None, Option(metavar="FILE.md", help="Write the tables as Markdown.")] = None
    png: Annotated[Path | None, Option(metavar="FILE.png", help="Write a figure, for example for a README.")] = None
    compare: Annotated[
        Path | None, Option(metavar="OLD.json", help="Compare with an earlier --out and report changes.")
    ] = None
    fail_slower: Annotated[
        float | None,
        Option(metavar="RATIO", help="With --compare: exit code 1 if a step is slower by more than this ratio, such as 1.1."),
    ] = None


@dataclass(frozen=True)
class BenchOptions(CpuOptions):
    """All options; those after `device` belong to a run on a GPU."""

    device: Annotated[
        str, Option(metavar="NAME", help="cpu, or cuda for a fixed set of parts on a GPU, with the options below.")
    ] = "cpu"
    output: Annotated[
        Path | None, Option(metavar="DIR", help="cuda: folder for the report. Default: benchmarks/results.")
    ] = None
    parts: Annotated[str, Option(metavar="LIST", help="cuda: run only these parts, such as adam,784-tf32.")] = ""
    budget: Annotated[
        float | None, Option(metavar="SECONDS", help="cuda: time limit for these parts together. Default: 450 for all parts.")
    ] = None
    resume: Annotated[bool, Option("--resume", help="cuda: continue the newest report of this device in the folder.")] = False
    dry_run: Annotated[
        bool, Option("--dry-run", help="cuda: run all parts without a device, and measure nothing.")
    ] = False

    @property
    def workloads(self) -> tuple[str, ...]:
        """The selected workloads; steps if none is named."""
        by_ranks = ("ranks", "ranks-fit") if self.ranks else ()
        return tuple(name for name in ("fit", "predict", "start") if getattr(self, name)) + by_ranks or ("step",)

    def foreign(self) -> list[str]:
        """The given options that belong to the other device."""
        of_cpu = {option_name(field.name) for field in fields(CpuOptions)}
        return [name for name in changed(self) if name != "--device" and (name in of_cpu) == (self.device == "cuda")]
