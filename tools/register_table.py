"""The table of all CUDA kernels, compiled for one compute capability without a device: registers, spills and so on.

`python -m fusedstep.tools.register_table` writes it to benchmarks/results; tests/ptx compares it with the current kernels.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache as once
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..kernels.targets.cuda.geometry import BLOCK
from .kernel_variants import Variant, digest, variants
from .ptx import CAPABILITY, OLDER, find_ptxas, ptx_for, require_single

SAVED = 20
"""Kernels after which the table is written again while it is being made."""
NAME = "ptx-sm90"
"""Of the files, without their endings."""


@dataclass(frozen=True)
class Entry:
    """What the compiler says of one kernel.

    Attributes: kernel, stored – which one; registers – of a thread; spills – bytes stored and loaded because they do not
        suffice; shared – bytes of a block; instructions – of the PTX, before the assembler; widest – bytes of its widest
        access to global memory; double – whether it has any float64 instruction; source – digest of what was compiled.
    """

    kernel: str
    stored: str
    registers: int
    spills: int
    shared: int
    instructions: int
    widest: int
    double: bool
    source: str


@once
def compilers(ptxas: str) -> dict[str, str]:
    """The versions that decide what the table says."""
    printed = subprocess.run([ptxas, "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "numpy": version("numpy"),
        "numba": version("numba"),
        "numba-cuda": version("numba-cuda"),
        "nvvm": next((version(p) for p in ("nvidia-nvvm", "nvidia-nvvm-cu12") if _installed(p)), "of the system"),
        "ptxas": re.findall(r"V(\d[\d.]*)", printed)[0],
    }


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


_INSTRUCTION = re.compile(r"^\s*(?:@!?%p\d+\s+)?([a-z][a-z0-9_]*)[.\s][^;]*;", re.MULTILINE)
_ACCESS = re.compile(r"\b(?:ld|st)\.global(?:\.[a-z]+)*?(?:\.(v[24]))?\.[bfsu](\d+)")


def entry(variant: Variant, text: str, ptxas: str) -> Entry:
    """Assembles the PTX of a kernel and reads what the assembler says.

    Raises: RuntimeError with the assembler's own words where it refuses the text.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.ptx"
        file.write_text(text, encoding="utf-8")
        architecture = f"-arch=sm_{CAPABILITY[0]}{CAPABILITY[1]}"
        command = [ptxas, "-v", architecture, str(file), "-o", str(file.with_suffix(".cubin"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"expected ptxas to take kernel {variant}; it said: {done.stderr}")
    printed = done.stderr
    widths = [int(bits) // 8 * int((vector or "v1")[1:]) for vector, bits in _ACCESS.findall(text)]
    body = text[text.index(".entry") :]
    return Entry(
        variant.kernel,
        variant.stored,
        int(re.findall(r"Used (\d+) registers", printed)[0]),
        sum(map(int, re.findall(r"(\d+) bytes spill", printed))),
        sum(map(int, re.findall(r"(\d+) bytes smem", printed))),
        sum(name not in ("reg", "shared", "param") for name in _INSTRUCTION.findall(body)),
        max(widths, default=0),
        ".f64" in text,
        digest(variant.source()),
    )


def _markdown(found: dict[str, str], entries: Sequence[Entry]) -> str:
    total = len(entries)
    spilled, doubled = sum(e.spills > 0 for e in entries), sum(e.double for e in entries)
    lines = [
        f"# CUDA kernels compiled for sm_{CAPABILITY[0]}{CAPABILITY[1]}",
        "",
        f"{total} kernels; {spilled} spill registers, {doubled} have float64 instructions. No device was used: these are the "
        "words of the compiler, "
        + ", ".join(f"{name} {number}" for name, number in found.items())
        + ". Written by `python -m fusedstep.tools.register_table`.",
        "",
        f"A block has {BLOCK} threads. Stored: how matrices (for updates: optimiser states) lie in memory; all is "
        "computed in float32. Widest: bytes of the widest single access to global memory.",
        "",
        "| kernel | stored | registers | spills | shared, bytes | PTX instructions | widest, bytes | float64 |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {e.kernel} | {e.stored} | {e.registers} | {e.spills} | {e.shared} | {e.instructions} | {e.widest} | "
        f"{'yes' if e.double else 'no'} |"
        for e in entries
    ]
    return "\n".join(lines) + "\n"


def read(folder: Path) -> tuple[dict[str, str], dict[tuple[str, str], Entry]]:
    """(versions of the compilers, entries by kernel and storage) of a table that was written."""
    saved: dict[str, Any] = json.loads((folder / f"{NAME}.json").read_text(encoding="utf-8"))
    entries = [Entry(**e) for e in saved["kernels"]]
    return saved["compilers"], {(e.kernel, e.stored): e for e in entries}


def results() -> Path:
    """The folder of the committed table."""
    return Path(__file__).parents[1] / "benchmarks" / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the table; what it holds already from the same compilers and the same source is not compiled again."""
    parser = argparse.ArgumentParser(prog="python -m fusedstep.tools.register_table", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=results(), help="folder to write to (default: %(default)s)")
    folder: Path = parser.parse_args(arguments).out
    ptxas = find_ptxas()
    if ptxas is None:
        print("expected ptxas; it is not installed; pip install nvidia-cuda-nvcc", file=sys.stderr)
        return 2
    found, entries = compilers(ptxas), []
    written, known = read(folder) if (folder / f"{NAME}.json").exists() else (found, {})
    if written != found:
        known = {}
    folder.mkdir(parents=True, exist_ok=True)
    for variant in variants():
        saved = known.pop((variant.kernel, variant.stored), None)
        generated = variant.source()
        if saved is not None and saved.source == digest(generated):
            entries.append(saved)
            continue
        text, older = ptx_for(generated, CAPABILITY, OLDER)
        require_single(variant, text)
        require_single(variant, older)
        entries.append(entry(variant, text, ptxas))
        if len(entries) % SAVED == 0:
            _write(folder, found, [*entries, *known.values()])  # so that a run that is stopped is not lost
    _write(folder, found, entries)
    print(f"{len(entries)} kernels, {sum(e.spills > 0 for e in entries)} with spills; see {folder / NAME}.md")
    return 0


def _write(folder: Path, found: dict[str, str], entries: Sequence[Entry]) -> None:
    lines = ",\n  ".join(json.dumps(asdict(e)) for e in entries)
    head = json.dumps({"capability": list(CAPABILITY), "compilers": found})[:-1]
    (folder / f"{NAME}.json").write_text(f'{head}, "kernels": [\n  {lines}\n]}}\n', encoding="utf-8")
    (folder / f"{NAME}.md").write_text(_markdown(found, entries), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
