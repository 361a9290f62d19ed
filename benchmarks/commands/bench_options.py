"""The options of `fusedstep bench`, declared once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from typer import Option

from ...framework.cli.declared import changed, option_name
from ...framework.cli.options import Variant


@dataclass(frozen=True)
class CpuOptions:
    """Those of a measurement on the processor."""

    networks: Annotated[
        str, Option(metavar="LIST", help='Such as "784-512-512-10@256,64-128-10@32": widths, then @ and the batch.')
    ] = ""
    grid: Annotated[
        str, Option(metavar="NAME", help="Networks by name, without --networks: quick, standard, scaling, or none.")
    ] = "quick"
    backends: Annotated[str, Option(metavar="LIST", help="Backends of fusedstep. Default: all that work here.")] = ""
    peers: Annotated[
        str,
        Option(metavar="LIST", help="Others beside it: torch, torch-compile, jax, sklearn, handwritten, or all."),
    ] = ""
    precision: Annotated[str, Option(metavar="LIST", help="float32, float64, or both.")] = "float32"
    variant: Variant = "plain"
    rounds: Annotated[int, Option(help="How often each contender has its turn.")] = 7
    seconds: Annotated[float, Option(help="Length of a timed burst of calls.")] = 0.15
    pause: Annotated[float, Option(help="Seconds of rest before a burst, so that idle threads fall asleep.")] = 0.05
    kernels: Annotated[bool, Option("--kernels", help="Time memory-bound kernels too, beside a copy.")] = False
    out: Annotated[Path | None, Option(metavar="FILE.json", help="Write everything, as it comes, raw times too.")] = None
    html: Annotated[Path | None, Option(metavar="FILE.html", help="Write one page with tables and figures.")] = None
    markdown: Annotated[Path | None, Option(metavar="FILE.md", help="Write the tables as Markdown.")] = None
    png: Annotated[Path | None, Option(metavar="FILE.png", help="Write one figure, for a README.")] = None
    compare: Annotated[
        Path | None, Option(metavar="OLD.json", help="Say what got slower or faster since an earlier --out.")
    ] = None
    fail_slower: Annotated[
        float | None,
        Option(metavar="RATIO", help="With --compare: exit code 1 if a step got slower by more, such as 1.1."),
    ] = None


@dataclass(frozen=True)
class BenchOptions(CpuOptions):
    """All of them; what comes after the device belongs to a run on a GPU."""

    device: Annotated[
        str, Option(metavar="NAME", help="cpu; or cuda: a fixed set of parts on a GPU, with the options below.")
    ] = "cpu"
    output: Annotated[
        Path | None, Option(metavar="DIR", help="cuda: folder of the report. Default: benchmarks/results.")
    ] = None
    parts: Annotated[str, Option(metavar="LIST", help="cuda: only these parts, such as adam,784-tf32.")] = ""
    budget: Annotated[
        float | None, Option(metavar="SECONDS", help="cuda: for these parts together. Default: 450 for all.")
    ] = None
    resume: Annotated[bool, Option("--resume", help="cuda: take up the newest report of this device there.")] = False
    dry_run: Annotated[
        bool, Option("--dry-run", help="cuda: walk through everything without a device, and measure nothing.")
    ] = False

    def foreign(self) -> list[str]:
        """The options that were given and belong to the other device."""
        of_cpu = {option_name(field.name) for field in fields(CpuOptions)}
        return [name for name in changed(self) if name != "--device" and (name in of_cpu) == (self.device == "cuda")]
