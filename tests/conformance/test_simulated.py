"""The conformance suite on `cuda` in Numba's simulator, as far as it takes seconds; tests/cudasim has all of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "cudasim"
SOME = "float32 and not formulas"
"""Formulas are traced, so those of `numba` and the committed table of CUDA code say the same."""


@pytest.mark.row("F1")
def test_kernels_of_cuda_conform_in_the_simulator():
    pytest.importorskip("numba_cuda", reason="needs numba-cuda: pip install -e '.[test-cuda]'")
    given = ["-q", "-x", "-p", "no:cacheprovider", str(FOLDER / "test_simulated_conformance.py"), "-k", SOME]
    # In a process of its own, because Numba is asked for its simulator before it is imported.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", *given], env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        cwd=FOLDER.parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 150
