"""A test in which the device is lost costs no other test: what tests/gpu/conftest.py does, with a stand-in for CuPy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GPU = Path(__file__).parents[2] / "gpu"

TESTS = """
import sys
from types import SimpleNamespace

import pytest

lost = []


class Device:
    def synchronize(self):
        if lost:
            raise RuntimeError("cudaErrorIllegalAddress")


sys.modules["cupy"] = SimpleNamespace(cuda=SimpleNamespace(Device=Device))


@pytest.mark.parametrize("number", range(8))
def test_kernel(number):
    if number == 2:
        lost.append(number)
    assert not lost, "the device was lost"
    assert number != 5, "only wrong"
"""


def run(folder, *options):
    (folder / "conftest.py").write_text((GPU / "conftest.py").read_text())
    (folder / "test_device.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", *options, str(folder)],
        capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "PYTEST_ADDOPTS": ""},
    )  # fmt: skip


def test_another_process_takes_the_tests_that_are_left(tmp_path):
    pytest.importorskip("xdist")
    done = run(tmp_path, "-n", "1", "--dist", "worksteal")
    outcomes = {
        number: {word for word in ("PASSED", "FAILED") for line in done.stdout.splitlines()
                 if f"{word} " in line and f"test_kernel[{number}]" in line}
        for number in range(8)
    }  # fmt: skip
    wrong = {number for number, words in outcomes.items() if words == {"FAILED"}}
    assert wrong == {2, 5}, done.stdout
    assert all(words == {"PASSED"} for number, words in outcomes.items() if number not in wrong)
    assert "the device was lost" in done.stdout, "the test's own words are kept"


def test_without_other_processes_the_run_is_over_and_says_why(tmp_path):
    done = run(tmp_path, "-p", "no:xdist")
    assert done.returncode == 3
    assert "the device was lost in test_device.py::test_kernel[2]: RuntimeError: cudaErrorIllegalAddress" in done.stdout
    assert "test_kernel[3]" not in done.stdout
