"""`fusedstep bench --device cuda` without a device: its errors, and the dry run in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fusedstep.backends import selection
from fusedstep.backends.base import Unavailable
from fusedstep.benchmarks.device.plan import SECONDS, STEPS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dry(tmp_path):
    """Runs the command with --dry-run where Numba has not been imported yet, and gives its output and its file."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "fusedstep", "bench", "--device", "cuda", "--dry-run", "--output", ".", *arguments],
            capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "COLUMNS": "160"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (path,) = tmp_path.glob("dry-run-*.json")
        return done.stdout, json.loads(path.read_text()), path.with_suffix(".md").read_text()

    return run


def test_without_a_device_the_error_names_both_ways_out(refused, monkeypatch):
    real = selection.why_not
    problem = Unavailable("there is no CUDA device", "see nvidia-smi")
    monkeypatch.setattr(selection, "why_not", lambda name: problem if name == "cuda" else real(name))
    error = refused("bench", "--device", "cuda", "--output", ".")
    for words in ("expected a CUDA device", "there is no CUDA device; see nvidia-smi", "on_a_gpu.sh", "--dry-run"):
        assert words in error
    assert (ROOT / "benchmarks" / "on_a_gpu.sh").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--device", "tpu"), "expected --device cpu or cuda; got 'tpu'"),
        (("--dry-run",), "got --dry-run, which belongs to --device cuda"),
        (("--parts", "adam", "--resume"), "got --parts, --resume, which belong to --device cuda"),
        (("--device", "cuda", "--dry-run", "--peers", "torch"), "got --peers, which belongs to --device cpu"),
        (("--device", "cuda", "--dry-run", "--parts", "adem"), "did you mean 'adam'"),
        (("--device", "cuda", "--dry-run", "--output", "nowhere"), "expected a folder that exists; got 'nowhere'"),
    ],
)
def test_what_cannot_be_is_refused(refused, arguments, words):
    assert words in refused("bench", *arguments)


def test_where_numba_is_there_already_numpy_stands_in_for_the_simulator(call, monkeypatch, tmp_path):
    from numba.core import config

    if config.ENABLE_CUDASIM:
        pytest.skip("Numba was started as the simulator")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    answer = call("bench", "--device", "cuda", "--dry-run", "--output", ".", "--parts", "copy")
    assert answer.code == 0
    assert "DRY RUN on stand-ins for a device: the numpy backend" in answer.flat
    assert "copy, numpy" in next(tmp_path.glob("*.md")).read_text()


def test_a_part_that_failed_is_exit_code_1(call, monkeypatch):
    import numba  # noqa: F401

    from fusedstep.benchmarks.device import kernels

    def fails(*_):
        raise RuntimeError("no copy")

    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setattr(kernels, "device_copy", fails)
    answer = call("bench", "--device", "cuda", "--dry-run", "--output", ".", "--parts", "copy,products")
    assert answer.code == 1
    assert "copy: failed: RuntimeError: no copy" in answer.flat
    assert "products: done" in answer.flat


@pytest.mark.slow
def test_a_dry_run_claims_no_figure_and_is_taken_up_again(dry):
    out, document, text = dry("--parts", "adam,softmax")
    assert "DRY RUN on stand-ins for a device: the cuda backend in Numba's simulator" in out
    assert document["settings"]["dry_run"] is True
    assert [(part["name"], part["state"], part["seconds"]) for part in document["parts"]] == [
        ("adam", "done", None), ("softmax", "done", None),
    ]  # fmt: skip
    assert all(timing["seconds"] == [] for case in document["kernels"] for timing in case["timings"])
    assert document["kernels"][0]["timings"][0]["name"] == "cuda"
    assert {target["state"] for target in document["targets"]} == {"not measured"}
    assert {target["figure"] for target in document["targets"]} == {None}
    assert "DRY RUN: nothing was measured" in text
    measured = text.partition("## Parts")[2]
    assert not re.findall(r"^\|.*\|[^|a-zA-Z]*\d", measured, re.MULTILINE), "no number in any column but the first"

    out, document, _ = dry("--parts", "adam,copy,softmax", "--resume")
    assert [line.split(":")[0] for line in out.splitlines() if ": done" in line] == ["copy"]
    assert [part["name"] for part in document["parts"]] == ["adam", "softmax", "copy"]


@pytest.mark.slow
def test_our_own_step_in_the_simulator_beside_the_processor(dry):
    _, document, _ = dry("--parts", "cpu")
    (case,) = document["cases"]
    assert {"numba", "cuda, float32"} <= {timing["name"] for timing in case["timings"]}
    ours = {t["name"]: t["losses"] for t in case["timings"]}
    # Steps in launches are compared for as long as it takes until one of several has come.
    both = min(map(len, ours.values()))
    assert both >= 3
    assert ours["numba"][:both] == pytest.approx(ours["cuda, float32"][:both], rel=1e-3)


@pytest.mark.slow
def test_the_script_for_the_day_walks_through_everything(tmp_path):
    """Every part and every stage that measures, with all peers that are installed here."""
    environment = {**os.environ, "OUT": str(tmp_path), "DRY_RUN": "1", "PYTHON": sys.executable, "BENCH_S": "3000"}
    done = subprocess.run(
        ["bash", ROOT / "benchmarks" / "on_a_gpu.sh", "bench", "profile"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "== profile: exit code 0" in done.stdout
    (path,) = tmp_path.glob("dry-run-*.json")
    document = json.loads(path.read_text())
    assert [(part["name"], part["state"]) for part in document["parts"]] == [(name, "done") for name in SECONDS], done.stdout
    absent = {left["name"] for left in document["left_out"]}
    for case in document["cases"]:
        if case["part"] in STEPS:
            names = {timing["name"] for timing in case["timings"]}
            assert {"torch", "jax", "torch-compile", "torch-max-autotune"} - absent <= names
            assert names & {"cuda", "cuda, float32"}
            assert all(timing["losses"] for timing in case["timings"] if timing["kind"] != "floor")
    assert len(document["profiles"]) == 2
    assert (tmp_path / "bench.log").read_text().count(": done") == len(SECONDS)


def test_the_script_knows_its_stages(tmp_path):
    done = subprocess.run(
        ["bash", ROOT / "benchmarks" / "on_a_gpu.sh", "benhc"],
        capture_output=True, text=True, check=False, env={**os.environ, "OUT": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "expected stages out of machine, install, compile, tests, bench, again, profile; got benhc" in done.stderr
