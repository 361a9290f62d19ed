"""Kills one of several processes at a random moment, and goes on with another number of them.

`python -P tests/parallel/kills.py --kills 50` prints how long the others took to end, and whether the results are those of a
training that nobody killed: to the bit where it is deterministic, to the tolerances otherwise.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from launching import PROGRAMS, command, environment

from fusedstep.backends.conformance.tolerances import TOLERANCES

ORDERS = "fixed", "free"
COUNTS = 2, 3, 4
SECONDS = 10.0
"""In which all other processes have to end."""
LONGEST = 180.0


@dataclass
class Report:
    kills: int = 0
    trainings: int = 0
    longest: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self):
        return (
            f"{self.kills} kills in {self.trainings} trainings; the others had ended after {self.longest:.1f} s at most; "
            f"{len(self.wrong)} things wrong"
        )


def start(count, folder, order, result):
    """The launcher of a training, and the process numbers of its ranks."""
    process = subprocess.Popen(
        command(count, PROGRAMS / "killed.py", folder, order, result), env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, json.loads(line) if line else []


def alive(pids):
    found = []
    for pid in pids:
        with suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            found += [pid] * (state != "Z")
    return found


def until_ended(pids):
    """Seconds until none of the processes is alive."""
    started = time.monotonic()
    while alive(pids) and time.monotonic() - started < LONGEST:
        time.sleep(0.02)
    return time.monotonic() - started


def finish(process):
    out, error = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, out + error


def compared(order, expected, found):
    """Names of arrays that are not those of the training that nobody killed."""
    one, other = np.load(expected), np.load(found)
    if order == "fixed":
        return [name for name in one if one[name].tobytes() != other[name].tobytes()]
    kinds = {"parameters": "parameter", "losses": "loss", "val": "loss"}
    return [
        name for name in one
        if one[name].shape != other[name].shape or not TOLERANCES["float64", kinds[name]].allows(other[name], one[name]).all()
    ]


def crash(kills, seed, folder, orders=ORDERS):
    rng, report, whole = random.Random(seed), Report(), {}
    number = 0
    while report.kills < kills:
        order = orders[number % len(orders)]
        if order not in whole:
            whole[order] = folder / f"{order}.npz"
            process, _ = start(1, folder / f"whole-{order}", order, whole[order])
            finish(process)
        run, result = folder / f"run-{number}", folder / f"run-{number}.npz"
        for _ in range(min(rng.randint(1, 4), kills - report.kills)):
            process, pids = start(rng.choice(COUNTS), run, order, result)
            time.sleep(rng.uniform(0.0, 1.2))
            victim = rng.choice(pids)
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            seconds = until_ended(pids)
            process.communicate(timeout=LONGEST)
            if process.returncode == 0:
                break  # it had finished before
            report.kills += 1
            report.longest = max(report.longest, seconds)
            if seconds > SECONDS:
                rank = pids.index(victim)
                report.wrong.append(f"training {number}: processes were alive {seconds:.1f} s after rank {rank} died")
        process, _ = start(rng.choice(COUNTS), run, order, result)
        finish(process)
        report.trainings += 1
        report.wrong += [f"training {number} ({order}): other {name}" for name in compared(order, whole[order], result)]
        number += 1
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = crash(given.kills, given.seed, Path(folder))
    print(report)
    for line in report.wrong:
        print(f"  {line}")
    return min(len(report.wrong), 1)


if __name__ == "__main__":
    sys.exit(main())
