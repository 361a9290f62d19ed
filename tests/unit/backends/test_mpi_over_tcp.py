"""Processes that TCP connects: sums, and the message about one that was killed, before MPI or the launcher ends the others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

SUMS = """
import hashlib, os
import numpy as np
from fusedstep.backends.communicators import communicator

together = communicator("mpi")
for size in (1, 3, 1000, 100003):
    everywhere = [np.random.default_rng(rank).standard_normal(size) for rank in range(together.size)]
    own = everywhere[together.rank].copy()
    together.start_sum(own)()
    np.testing.assert_allclose(own, sum(everywhere), rtol=0.0, atol=1e-12)
    assert len(set(together.gather(hashlib.sha256(own.tobytes()).hexdigest()))) == 1
if together.first:
    print(together.size, os.environ["OMPI_MCA_coll_libnbc_iallreduce_algorithm"])
"""
KILLED = """
import os, signal, socket, time
import numpy as np
from fusedstep.backends.communicators import communicator

together = communicator("mpi")
if together.first:
    print("host", socket.gethostname(), flush=True)
for k in range(100000):
    if k == 50 and together.rank == VICTIM:
        os.kill(os.getpid(), signal.SIGKILL)
    together.sum(np.ones(100000))
"""


def over_tcp(processes: int, program: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("mpiexec", path=BIN) is None:
        pytest.skip("no mpiexec: the extra test installs Open MPI on Linux")
    script = tmp_path / "program.py"
    script.write_text(program)
    command = ["mpiexec", "--oversubscribe", "--bind-to", "none", "-n", str(processes), "--mca", "pml", "ob1"]
    return subprocess.run(
        [*command, "--mca", "btl", "tcp,self", sys.executable, "-P", str(script)], capture_output=True, text=True,
        cwd=tmp_path, env={**os.environ, **ROOT, "PATH": BIN, **environment}, timeout=60, check=False,
    )  # fmt: skip


def test_sums_have_the_same_bits_in_all_of_three_processes(tmp_path: Path) -> None:
    done = over_tcp(3, SUMS, tmp_path)
    assert (done.returncode, done.stdout) == (0, "3 3\n"), done.stderr


def test_the_algorithm_that_a_user_chose_stands(tmp_path: Path) -> None:
    done = over_tcp(2, SUMS, tmp_path, OMPI_MCA_coll_libnbc_iallreduce_algorithm="4")
    assert (done.returncode, done.stdout) == (0, "2 4\n"), done.stderr


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_is_named_before_mpi_ends_the_others(victim: int, tmp_path: Path) -> None:
    """MPI itself ends a process as soon as its connection to the killed one is closed."""
    done = over_tcp(2, KILLED.replace("VICTIM", str(victim)), tmp_path)
    host = next(line.split()[-1] for line in done.stdout.splitlines() if line.startswith("host"))
    assert done.returncode != 0
    assert done.stderr.count(f"error: rank {victim} on {host} has ended without a word") == 1, done.stderr
