"""The two calls of on_a_gpu.sh: their plans, the preflight, and which tests a second round runs."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fusedstep.backends import backend
from fusedstep.backends.numpy.backend import NumpyBackend
from fusedstep.benchmarks.device import preflight, tested
from fusedstep.benchmarks.device.calls import CHECK, LIMITS, MEASURE, TESTS, group, main, planned
from fusedstep.benchmarks.device.plan import SECONDS, STEPS
from fusedstep.errors import HyperparameterError

needs_numba_cuda = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="needs Numba CUDA: pip install -e '.[test-cuda]'"
)

GPU = Path(__file__).parents[2] / "gpu"


@pytest.mark.parametrize("call", LIMITS)
def test_the_printed_seconds_of_a_plan_add_up_to_its_limit(call, capsys):
    assert main([call]) == 0
    (heading, *lines) = capsys.readouterr().out.splitlines()
    assert heading == f"plan of {call}, at most {LIMITS[call]} s:"
    seconds = {name: int(number) for name, number in (re.fullmatch(r"  (\S+) +(\d+) s", line).groups() for line in lines)}
    assert seconds.pop("sum") == sum(seconds.values()) == LIMITS[call] <= {"check": 330, "measure": 240}[call]
    assert all(number > 0 for number in seconds.values())


def test_the_order_of_the_parts():
    assert list(planned("check")) == [*CHECK, *(f"tests/{name}" for name in TESTS), "ending"]
    assert list(TESTS)[:6] == ["steps", "products", "precision", "data", "threads", "kernels"]
    assert list(planned("measure")) == ["start", *MEASURE, "ending"]
    assert MEASURE[:3] == ("adam", "products", "copy")
    work = [STEPS[name].network.batch * STEPS[name].network.parameters for name in MEASURE[3:]]
    assert work == sorted(work), "the shortest steps first"
    assert planned("check")["preflight"] == 20


@pytest.mark.parametrize(("call", "limit"), [("check", 150), ("check", 331), ("measure", 100), ("measure", 77)])
def test_a_shorter_round_is_planned_for_its_own_limit(call, limit):
    assert sum(planned(call, limit).values()) == limit


def test_other_parts_by_name():
    assert list(planned("measure", 120, "rows,softmax")) == ["start", "softmax", "rows", "ending"]
    with pytest.raises(HyperparameterError, match="did you mean 'adam'"):
        planned("measure", None, "adem")


def test_a_limit_that_leaves_no_time_is_refused(capsys):
    assert main(["check", "--limit", "60"]) == 2
    assert capsys.readouterr().err == "expected at least 127 s for check; got 60; use 330\n"


def test_every_group_of_tests_has_a_file_but_the_last():
    files = {group(path.name) for path in GPU.glob("test_*.py")}
    assert files == set(TESTS)
    assert group("tests/gpu/test_device_steps.py::test_x[test_device_data.py]") == "steps"
    assert set(SECONDS) >= set(MEASURE)


# Results as they come


def test_the_last_result_of_a_test_counts(tmp_path):
    path = tmp_path / "tests.txt"
    assert tested.results(path) == {}
    a, b, c, d = (f"tests/gpu/test_device_steps.py::test_{name}[x y]" for name in "abcd")
    tested.append(path, [tested.line(tested.COLLECTED, 0.0, test) for test in (a, b, c, d)])
    tested.append(path, [tested.line("passed", 0.1, a), tested.line("failed", 0.2, b), tested.line("skipped", 0.0, c)])
    assert tested.finished(path) == {a, c}
    assert tested.summary(tested.results(path)) == ["steps: 1 passed, 1 failed, 1 skipped, 1 not run"]
    tested.append(path, [tested.line("failed", 0.1, a), "pass"])
    assert tested.finished(path) == {c}, "its teardown failed; and a line that was cut off is none"
    tested.append(path, [" \n", tested.line(tested.COLLECTED, 0.0, b), tested.line(tested.COLLECTED, 0.0, c)])
    assert tested.results(path) == {a: "failed", b: "collected", c: "skipped", d: "collected"}


@pytest.mark.parametrize(
    ("when", "outcome", "wanted"),
    [
        ("setup", "passed", None), ("call", "passed", "passed"), ("teardown", "passed", None), ("setup", "failed", "failed"),
        ("setup", "skipped", "skipped"), ("call", "skipped", "skipped"), ("teardown", "failed", "failed"),
        ("???", "failed", "failed"),
    ],
)  # fmt: skip
def test_what_a_stage_says_of_a_test(when, outcome, wanted):
    assert tested.outcome_of(when, outcome) == wanted


STEPS_TESTS = "def test_first():\n    pass\n"
DATA_TESTS = """
import os
import time

import pytest


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("backend", ["cupy", "cuda"])
def test_rows(backend, number):
    time.sleep(float(os.environ.get("SLEEP", "0")))
    assert "WRONG" not in os.environ or (backend, number) != ("cuda", 1)
"""


@pytest.fixture
def tests(tmp_path):
    """Runs some tests with what tests/gpu/conftest.py does; gives the output, and what ran in order."""
    (tmp_path / "conftest.py").write_text((GPU / "conftest.py").read_text())
    (tmp_path / "test_device_data.py").write_text(DATA_TESTS)
    (tmp_path / "test_device_steps.py").write_text(STEPS_TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    path = tmp_path / "tests.txt"

    def run(*options, **environment):
        before = path.read_text() if path.exists() else ""
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--results", path, *options],
            capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTEST_ADDOPTS": "", **environment},
        )  # fmt: skip
        ran = path.read_text()[len(before) :].splitlines()
        return done, [line.rpartition("::")[2] for line in ran if not line.startswith("collected")]

    return run


def test_the_most_valuable_tests_run_first_and_a_second_round_runs_those_that_did_not_pass(tests, tmp_path):
    done, ran = tests(WRONG="1")
    rows = [f"test_rows[{backend}-{number}]" for backend in ("cuda", "cupy") for number in range(2)]
    assert ran == ["test_first", *rows], done.stdout
    assert "steps: 1 passed\ndata: 3 passed, 1 failed" in done.stdout
    (tmp_path / "before.txt").write_text((tmp_path / "tests.txt").read_text())
    done, ran = tests("--unfinished", "before.txt")
    assert ran == ["test_rows[cuda-1]"]
    assert done.returncode == 0
    assert "data: 4 passed" in done.stdout


def test_no_test_begins_when_the_time_is_over_and_those_that_did_not_run_are_counted(tests):
    done, ran = tests("--until", str(time.time() - 1.0), SLEEP="0.1")
    assert ran == ["test_first"]
    assert "steps: 1 passed\ndata: 4 not run" in done.stdout
    assert "Interrupted: the time was over" in done.stdout


# Preflight


@needs_numba_cuda
def test_the_preflight_passes_in_the_simulator():
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fusedstep.benchmarks.device.preflight", "--dry-run"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("preflight passed\n")
    for words in (
        "\nnumpy ", "\nCUDA driver ", "\nnvJitLink ", "backend 'cuda' in Numba's simulator", "one kernel: as NumPy",
        "4 steps in float32: captured", "4 steps in bfloat16: captured",
    ):  # fmt: skip
        assert words in done.stdout


REFUSING = """
import os
os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
from fusedstep.tests.fakes.simulated_cuda import SimulatedCuda
from fusedstep.benchmarks.device.preflight import main

def capture(self, work):
    raise RuntimeError("operation not permitted")

SimulatedCuda.capture, SimulatedCuda.capture_errors = capture, (RuntimeError,)
raise SystemExit(main(["--dry-run"]))
"""


@needs_numba_cuda
def test_where_a_graph_cannot_be_captured_the_preflight_ends_with_the_reason():
    done = subprocess.run([sys.executable, "-c", REFUSING], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    reason = "steps in float32 are correct but cannot be captured: RuntimeError: operation not permitted"
    assert done.stdout.endswith(f"preflight failed: {reason}\n"), done.stdout + done.stderr


def test_a_dry_run_of_an_installed_package_says_that_it_needs_a_checkout(monkeypatch):
    monkeypatch.setitem(sys.modules, "fusedstep.tests.fakes", None)
    with pytest.raises(preflight.Broken, match=r"expected a checkout of the repository, whose tests/fakes .* clone the repo"):
        preflight.find_backend(dry=True)


def test_without_a_device_the_preflight_ends_with_the_reason(monkeypatch, capsys):
    from fusedstep.backends import selection
    from fusedstep.backends.contract import Unavailable

    monkeypatch.setattr(preflight, "versions", lambda: ["Python 3"])
    monkeypatch.setattr(preflight, "prepare_process", lambda dry: None)
    monkeypatch.setattr(selection, "why_not", lambda name: Unavailable("there is no CUDA device", "see nvidia-smi"))
    assert preflight.main([]) == 1
    *_, last = capsys.readouterr().out.splitlines()
    assert last == "preflight failed: backend 'cuda' cannot run here: there is no CUDA device (see nvidia-smi)"
    monkeypatch.setattr(preflight, "check", lambda *_: (_ for _ in ()).throw(MemoryError("none\nleft")))
    assert preflight.main([]) == 1
    assert capsys.readouterr().out.endswith("preflight failed: MemoryError: none left\n")
    assert preflight.main(["--dryrun"]) == 2


class Executor:
    """One that captured."""

    refusal = ""
    _plans = type("Plans", (), {"values": lambda self: [type("Plan", (), {"graph": object()})]})()


@pytest.fixture
def captured(monkeypatch):
    """Steps of numpy that say that they were captured; gives the executor."""
    real, executor = preflight._steps, Executor()

    def steps(run, precision):
        losses, _ = real("numpy", precision)
        return losses, type("Step", (), {"executor": executor})()

    monkeypatch.setattr(preflight, "_steps", steps)
    return executor


@pytest.mark.parametrize("precision", preflight.PRECISIONS)
def test_steps_that_were_captured_pass(captured, precision):
    assert len(preflight.check_steps("cuda", precision)) == preflight.STEPS


def test_a_step_that_cannot_be_captured_is_a_reason(captured):
    captured.refusal = "RuntimeError: operation not permitted when stream is capturing"
    with pytest.raises(preflight.Broken, match="float32 are correct but cannot be captured: RuntimeError: operation not"):
        preflight.check_steps("cuda", "float32")
    captured.refusal, captured._plans = "", {}
    with pytest.raises(preflight.Broken, match="were not captured, without a stated reason"):
        preflight.check_steps("cuda", "float32")


def test_wrong_losses_are_a_reason(captured, monkeypatch):
    real = preflight._steps
    monkeypatch.setattr(
        preflight, "_steps", lambda run, p: (real(run, p)[0] if run == "numpy" else [1.0] * 4, real(run, p)[1])
    )
    with pytest.raises(preflight.Broken, match=r"steps in float32 have the losses \[1.0, "):
        preflight.check_steps("cuda", "float32")


def test_a_kernel_with_wrong_results_is_a_reason():
    class Wrong(NumpyBackend):
        def map(self, formula, out, *arguments, **options):
            out[...] = 7.0

    preflight.check_kernel(backend("numpy"))
    with pytest.raises(preflight.Broken, match="its results are wrong"):
        preflight.check_kernel(Wrong())


def test_what_cannot_be_asked_for_its_version_says_why(monkeypatch):
    monkeypatch.setattr(preflight, "QUESTIONS", {"NVVM": lambda: (_ for _ in ()).throw(OSError("not\nfound"))})
    assert [*preflight.versions()][-1] == "NVVM unknown (OSError: not found)"
    assert np.__version__ in "".join(preflight.versions())
