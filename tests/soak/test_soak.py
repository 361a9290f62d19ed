"""A process that trains for long holds no more than one that trains briefly: `python -P tests/soak/soak.py` takes minutes."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soak

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="reads /proc")


@pytest.mark.parametrize(
    ("steps", "fits"), [(4_000, 80), pytest.param(200_000, 1_000, marks=pytest.mark.exhaustive)], ids=["short", "long"]
)
def test_many_steps_and_fits_leave_memory_files_and_threads_constant(steps, fits):
    """In a process of its own, for what other tests have started would count."""
    command = [sys.executable, "-P", str(Path(soak.__file__)), f"--steps={steps}", f"--fits={fits}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["nothing grew"]), done.stdout + done.stderr


# The measurement itself

def grown(leak):
    """What it finds to have grown where each part leaves something behind."""
    kept = []

    def measured():
        for _ in range(soak.PARTS):
            leak(kept)
            yield soak.Held.now()

    found = soak.soak("parts", measured(), say=lambda _: None)
    return kept, [line.split()[-1] for line in found]


def test_what_leaks_is_found(tmp_path):
    import threading

    assert grown(lambda kept: kept.append([[k] for k in range(1000)]))[1] == ["blocks"]
    kept, found = grown(lambda kept: kept.append(mmap.mmap(-1, 2 << 20)) or kept[-1].write(b"x" * (2 << 20)))
    assert found == ["resident"]
    for memory in kept:
        memory.close()
    kept, found = grown(lambda kept: kept.append(open(tmp_path / "file", "w")))  # noqa: SIM115
    assert found == ["files"]
    for file in kept:
        file.close()
    stop = threading.Event()

    def start(kept):
        kept.append(threading.Thread(target=stop.wait))
        kept[-1].start()

    kept, found = grown(start)
    stop.set()
    for thread in kept:
        thread.join()
    assert found == ["threads"]


def test_nothing_is_found_where_nothing_leaks():
    assert grown(lambda _: None)[1] == []
