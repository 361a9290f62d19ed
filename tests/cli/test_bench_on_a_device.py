"""`fusedstep bench --device cuda` without a device: its errors, and the dry run in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
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


def test_a_run_that_lost_the_device_has_an_exit_code_of_its_own(call, monkeypatch):
    import numba  # noqa: F401

    from fusedstep.benchmarks.device.place import Place

    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setattr(Place, "lost", lambda self: "illegal address")
    answer = call("bench", "--device", "cuda", "--dry-run", "--output", ".", "--parts", "copy,products")
    assert answer.code == 3
    assert "copy: failed: the device was lost: illegal address" in answer.flat
    assert "run it again with --resume, which begins with the other parts" in answer.flat
    assert "products" not in answer.flat


@pytest.fixture
def script(tmp_path):
    """Runs the script for the day with an interpreter that writes down what it is asked for, and does as it is told."""
    told = tmp_path / "told"
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\ncase " $* " in *" bench "*) ;; *) exit 0 ;; esac\n'
        f'echo "$*" >>{told}\n'
        'for next; do [ "$last" = --output ] && folder=$next; last=$next; done\n'
        'ls "$folder"/*.json 2>/dev/null | xargs -r -n 1 basename | sed "s/^/found /" >>' + f"{told}\n"
        'touch "$folder/nvidia-h200-$(date -u +%F).json" "$folder/cpu-$(date -u +%F).json"\n'
        f'if [ -s {tmp_path}/codes ]; then code=$(head -1 {tmp_path}/codes); sed -i 1d {tmp_path}/codes; exit "$code"; fi\n'
    )
    python.chmod(0o755)

    def run(*stages, codes=(), **environment):
        (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
        told.write_text("")
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        paths = {"OUT": str(out), "KEPT": str(tmp_path / "kept"), "PYTHON": str(python)}
        done = subprocess.run(
            ["bash", ROOT / "benchmarks" / "on_a_gpu.sh", *stages],
            capture_output=True, text=True, check=False, env={**os.environ, **paths, **environment},
        )  # fmt: skip
        asked = [line.rpartition(f"--output {out}")[2].strip() for line in told.read_text().splitlines()]
        return done, asked

    return run


def test_the_script_goes_on_in_a_new_process_where_one_ended_in_the_middle(script):
    done, asked = script("bench", codes=[3, 139])
    today = f"found nvidia-h200-{datetime.now(UTC):%Y-%m-%d}.json"
    other = today.replace("nvidia-h200", "cpu")
    assert asked == ["", "--resume", other, today, "--resume", other, today]
    assert done.returncode == 1
    assert "failed: bench bench" in done.stdout
    assert script("bench", codes=[1])[1] == [""], "a part that failed is no reason for another process"
    assert script("bench", codes=[3] * 9)[1].count("--resume") == 3, "not for ever"
    assert script("bench", codes=[3] * 9, BENCH_S="30")[1] == [""], "not where no time is left"


def test_the_script_takes_up_the_report_of_an_earlier_call_that_its_folder_has_no_more(script):
    today = f"found nvidia-h200-{datetime.now(UTC):%Y-%m-%d}.json"
    assert script("again")[1] == ["--resume --budget 900"]
    done, asked = script("again", "profile")
    assert asked[:2] == ["--resume --budget 900", today], "that of the device, and of nothing else"
    assert "taken up: " in done.stdout
    assert asked[-2:] != [], "and the stage after it has what this one left"
    assert asked.count("--resume --parts profile --budget 100") == 1
    assert script("bench")[1] == [""], "a run that is to begin anew takes up nothing"
    assert script("bench", RESUME="1")[1] == ["--resume", today]


def test_the_script_ends_with_the_call(script):
    done, asked = script("bench", "again", LIMIT_S="0")
    assert asked == []
    assert done.stdout.count("no time is left for it") == 2
    assert done.returncode == 1


def test_the_script_knows_its_stages(tmp_path):
    done = subprocess.run(
        ["bash", ROOT / "benchmarks" / "on_a_gpu.sh", "benhc"],
        capture_output=True, text=True, check=False, env={**os.environ, "OUT": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "expected stages out of machine, install, compile, tests, bench, again, profile; got benhc" in done.stderr
