"""One process on each of two hosts, which are network namespaces of this one; see benchmarks/two_hosts.sh."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from launching import PROGRAMS, environment, mpiexec

import fusedstep

SCRIPT = Path(fusedstep.__file__).parent / "benchmarks" / "two_hosts.sh"


def why_not():
    """Why this machine cannot be two hosts, or None."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs Linux, and root"
    missing = [name for name in ("ip", "tc", "unshare", "taskset") if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    tried = subprocess.run(["ip", "netns", "exec", "none-of-that-name", "true"], capture_output=True, text=True, check=False)
    made = subprocess.run(["unshare", "--net", "--uts", "true"], capture_output=True, check=False)
    return None if made.returncode == 0 and "No such file" in tried.stderr else "needs network namespaces"


pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def on_two_hosts(program, *arguments, delay):
    """Runs a program of this folder, and sees to it that nothing of the two hosts is left."""
    given = ["bash", str(SCRIPT), "--delay", str(delay), sys.executable, "-P", str(PROGRAMS / program), *map(str, arguments)]
    variables = environment(
        MPIEXEC=mpiexec(), PYTHON=sys.executable, TWO_HOSTS=f"test-{os.getpid()}", FUSEDSTEP_PARALLEL_TIMEOUT="6"
    )
    done = subprocess.run(given, env=variables, capture_output=True, text=True, timeout=180, check=False)
    assert f"test-{os.getpid()}" not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    return done


@pytest.mark.parametrize("delay", [0, 1])
def test_sums_have_the_same_bits_on_both(delay):
    done = on_two_hosts("sums.py", delay=delay)
    assert (done.returncode, done.stdout) == (0, "2 3\n"), done.stderr


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("fault", "cause"),
    [("dies", "has ended without a word"), pytest.param("freezes", "has given no sign of life", marks=pytest.mark.exhaustive)],
)
def test_a_process_that_fails_ends_both_and_is_named_with_its_host(fault, cause, rank):
    done = on_two_hosts("faults.py", fault, rank, delay=1)
    assert done.returncode != 0
    assert f"error: rank {rank} on host-{'ab'[rank]} {cause}" in done.stderr
