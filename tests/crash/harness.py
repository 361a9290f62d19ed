"""Kills a training with SIGKILL at random moments, resumes it, and compares its result with that of an uninterrupted one.

`python -P tests/crash/harness.py --kills 100` kills 100 times on each of numpy and numba, and prints what it found.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fusedstep.framework.training import checkpoint_files as files

TRAINING = Path(__file__).with_name("training.py")
KINDS = ("dropout", "augmented", "parquet", "wide")
WAITS = ("time", "part", "name")
"""When a process is killed: after a random time, when a checkpoint is being written, or when one has just been renamed."""
SECONDS = 120.0


@dataclass
class Report:
    """What was found: kills that hit a running training, those while a checkpoint was being written, and what went wrong."""

    kills: int = 0
    while_writing: int = 0
    before_first: int = 0
    trainings: int = 0
    unreadable: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills in {self.trainings} trainings ({self.while_writing} while a checkpoint was being written, "
            f"{self.before_first} before the first one): {len(self.unreadable)} unreadable checkpoints, "
            f"{len(self.wrong)} other results"
        )


def start(kind: str, backend: str, folder: Path | str, result: Path) -> subprocess.Popen[str]:
    """A training; returns when its data are ready."""
    command = [sys.executable, "-P", str(TRAINING), kind, backend, str(folder), str(result)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> None:
    """Waits for a training that is not killed."""
    with process:
        assert process.wait(SECONDS) == 0


def wait_for(process: subprocess.Popen[str], what: str, folder: Path, rng: random.Random, seconds: float) -> None:
    """Returns at the moment for a kill."""
    if what == "time":
        time.sleep(rng.uniform(0.0, seconds))
        return
    time.sleep(rng.uniform(0.0, 0.7 * seconds))
    known = {path.name for path in files.checkpoints(folder)}
    until = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < until:
        if what == "part" and any(folder.glob("*.part")):
            return
        if what == "name" and any(path.name not in known for path in files.checkpoints(folder)):
            return


def unreadable(folder: Path) -> list[str]:
    """The files with the name of a checkpoint that are not whole, or whose losses are not there."""
    found = []
    for path in files.checkpoints(folder):
        try:
            files.Log.read(folder / files.LOG, files.read(path)["losses"])
        except files.Damaged as error:
            found.append(f"{path.name}: {error}")
    return found


def crash(
    backend: str, kills: int, seed: int, folder: Path, most_per_training: int = 4, kinds: Sequence[str] = KINDS
) -> Report:
    """Kills trainings on a backend so many times, and lets each end after some kills."""
    rng, report, whole = random.Random(seed), Report(), {}
    number = 0
    while report.kills < kills:
        kind = kinds[number % len(kinds)]
        if kind not in whole:
            result = folder / f"{backend}-{kind}.json"
            process = start(kind, backend, "none", result)
            begun = time.monotonic()
            finish(process)
            whole[kind] = result.read_text(), time.monotonic() - begun
        expected, seconds = whole[kind]
        run, result = folder / f"{backend}-{number}", folder / f"{backend}-{number}.json"
        for _ in range(min(rng.randint(1, most_per_training), kills - report.kills)):
            process = start(kind, backend, run, result)
            wait_for(process, rng.choice(WAITS), run, rng, max(seconds, 0.1))
            alive = process.poll() is None
            process.kill()
            with process:
                process.wait()
            if not alive or process.returncode == 0:
                break
            report.kills += 1
            report.while_writing += any(run.glob("*.part"))
            report.before_first += not files.checkpoints(run)
            report.unreadable += unreadable(run)
        finish(start(kind, backend, run, result))
        report.trainings += 1
        if result.read_text() != expected:
            report.wrong.append(f"{kind} on {backend}, training {number} of seed {seed}: {run}")
        number += 1
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of each backend")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backends", default="numpy,numba")
    given = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for backend in given.backends.split(","):
            report = crash(backend, given.kills, given.seed, Path(folder))
            print(f"{backend}: {report}", flush=True)
            for line in (*report.unreadable, *report.wrong):
                print(f"  {line}", flush=True)
            failed += len(report.unreadable) + len(report.wrong)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
