"""A process that gives one reader many changed files, within limits of time and memory.

    python tests/fuzz/worker.py READER FIRST COUNT [FOLDER]

Prints a JSON object: how many files were read, refused by a typed error, or led to anything else, the CPU seconds of the
slowest case, and the memory. Files of failures are saved in FOLDER. Case k is the same in every process.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

SECONDS, MEMORY = 5.0, 2**30
"""For one file, of CPU time, for others may keep the machine busy; memory beyond that of reading valid files."""
MOST_FAILURES = 8


class Hang(BaseException):
    """A file took too long."""


def expired(*_: object) -> None:
    raise Hang(f"more than {SECONDS} s of CPU time")


def main(name: str, first: int, count: int, kept: Path | None) -> dict[str, object]:
    """The cases from `first` on."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        os.environ["FUSEDSTEP_CACHE_DIR"] = made
        from readers import readers

        import fusedstep as fs

        reader = readers(folder)[name]()
        files = sorted(reader.files.items())
        report = {"reader": name, "cases": 0, "read": 0, "refused": 0, "failures": [], "slowest": 0.0}

        def case(content: bytes, original: bytes) -> str:
            path = folder / "changed"
            path.write_bytes(content)
            signal.setitimer(signal.ITIMER_PROF, SECONDS if report["cases"] else 0.0)
            start = time.process_time()
            try:
                reader.read(path, original)
                return "read"
            except fs.FusedstepError:
                return "refused"
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0.0)
                report["slowest"] = max(report["slowest"], time.process_time() - start)

        for seed, original in files:  # valid ones, for which libraries are imported; from then on, memory is counted
            if case(original, original) != "read":
                raise AssertionError(f"{name}: the valid file {seed!r} was refused")
        report["slowest"] = 0.0
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if sys.platform.startswith("linux"):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            space = pages * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (space + 4 * MEMORY, space + 4 * MEMORY))
        for k in range(first, first + count):
            rng = random.Random(f"{name} {k}")
            seed, original = rng.choice(files)
            content = reader.change(rng, original, rng.choice(files)[1])
            if kept is not None:
                (kept / f"{name}.last").write_bytes(content)  # for those that end the process
            report["cases"] += 1
            try:
                report[case(content, original)] += 1
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                lines = traceback.format_exc().splitlines()
                message = f"{type(error).__name__}: {error}"[:300]
                report["failures"].append({"case": k, "of": seed, "error": message, "at": lines[-12:]})
                if kept is not None:
                    (kept / f"{name}.{k}").write_bytes(content)
                if len(report["failures"]) >= MOST_FAILURES:
                    break
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)
            if sys.platform.startswith("linux") and grown > MEMORY:
                report["failures"].append({"case": k, "of": seed, "error": f"{grown / 1e9:.1f} GB of memory"})
                break
        report["megabytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1000
        return report


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # those of readers for strange files are for people
    signal.signal(signal.SIGPROF, expired)
    kept = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), kept)))
