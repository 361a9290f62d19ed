"""`fusedstep bench --device cuda` without a device: its errors, and the dry run in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fusedstep.backends import selection
from fusedstep.backends.contract import Unavailable
from fusedstep.benchmarks.device.calls import MEASURE
from fusedstep.benchmarks.device.plan import SECONDS

NUMBA = "needs Numba CUDA: pip install -e '.[test-cuda]'"
needs_numba_cuda = pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason=NUMBA)

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
    config = pytest.importorskip("numba.core.config", reason=NUMBA)
    if config.ENABLE_CUDASIM:
        pytest.skip("Numba was started as the simulator")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    answer = call("bench", "--device", "cuda", "--dry-run", "--output", ".", "--parts", "copy")
    assert answer.code == 0
    assert "DRY RUN on a fake device: the numpy backend" in answer.flat
    assert "copy, numpy" in next(tmp_path.glob("*.md")).read_text()


def test_a_part_that_failed_is_exit_code_1(call, monkeypatch):
    pytest.importorskip("numba", reason=NUMBA)
    from fusedstep.benchmarks.device import kernels

    def fails(*_):
        raise RuntimeError("no copy")

    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setattr(kernels, "device_copy", fails)
    answer = call("bench", "--device", "cuda", "--dry-run", "--output", ".", "--parts", "copy,products")
    assert answer.code == 1
    assert "copy: failed: RuntimeError: no copy" in answer.flat
    assert "products: done" in answer.flat


def claims_no_figure(document, text):
    """Of a dry run."""
    assert document["settings"]["dry_run"] is True
    assert {part["seconds"] for part in document["parts"]} == {None}
    assert all(timing["seconds"] == [] for case in document["kernels"] for timing in case["timings"])
    assert document["kernels"][0]["timings"][0]["name"] == "cuda"
    assert {target["state"] for target in document["targets"]} == {"not measured"}
    assert {target["figure"] for target in document["targets"]} == {None}
    assert "DRY RUN: nothing was measured" in text
    measured = text.partition("## Parts")[2]
    assert not re.findall(r"^\|.*\|[^|a-zA-Z\n]*\d", measured, re.MULTILINE), "no number in any column but the first"


@needs_numba_cuda
@pytest.mark.exhaustive
def test_our_own_step_in_the_simulator_beside_the_processor(dry):
    _, document, _ = dry("--parts", "cpu")
    (case,) = document["cases"]
    assert {"numba", "cuda, float32"} <= {timing["name"] for timing in case["timings"]}
    ours = {t["name"]: t["losses"] for t in case["timings"]}
    # Steps in launches are compared for as long as it takes until one of several has come.
    both = min(map(len, ours.values()))
    assert both >= 3
    assert ours["numba"][:both] == pytest.approx(ours["cuda, float32"][:both], rel=1e-3)


@needs_numba_cuda
@pytest.mark.parametrize(("call", "limit"), [("check", 330), ("measure", 240)])
def test_a_dry_run_of_the_script_walks_through_a_call_prints_its_plan_and_claims_no_figure(call, limit, tmp_path, dry):
    """Every part of it, with all peers that are installed here; then it is taken up again."""
    environment = {**os.environ, "OUT": str(tmp_path), "KEPT": str(tmp_path / "kept"), "DRY_RUN": "1", "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", ROOT / "benchmarks" / "on_a_gpu.sh", call],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    plan = done.stdout.partition("\n\n")[0].splitlines()
    seconds = {name: int(number) for name, number in (re.fullmatch(r"  (\S+) +(\d+) s", line).groups() for line in plan[1:])}
    assert seconds.pop("sum") == sum(seconds.values()) == limit
    (tmp_path / "tests.txt").unlink(missing_ok=True)
    left = {path.name for path in tmp_path.iterdir()} - {"kept"}
    assert len(left) <= 4, left
    if call == "check":
        assert "preflight passed" in (tmp_path / "machine.log").read_text()
        assert re.search(r"\nsteps: \d+ not run\n", (tmp_path / "tests.log").read_text())
        return
    (path,) = tmp_path.glob("dry-run-*.json")
    document = json.loads(path.read_text())
    assert [(part["name"], part["state"]) for part in document["parts"]] == [(name, "done") for name in MEASURE], done.stdout
    absent = {left["name"] for left in document["left_out"]}
    for case in document["cases"]:
        names = {timing["name"] for timing in case["timings"]}
        assert {"torch", "jax", "torch-compile", "torch-max-autotune"} - absent <= names
        assert names & {"cuda", "cuda, float32"}
        assert all(timing["losses"] for timing in case["timings"] if timing["kind"] != "floor")
    log = (tmp_path / "bench.log").read_text()
    assert "DRY RUN on a fake device: the cuda backend in Numba's simulator" in log
    assert log.count(": done") == len(MEASURE)
    claims_no_figure(document, path.with_suffix(".md").read_text())

    out, document, text = dry("--parts", "adam,copy,softmax", "--resume")
    assert [line.split(":")[0] for line in out.splitlines() if ": done" in line] == ["softmax"]
    assert [part["name"] for part in document["parts"]] == [*MEASURE, "softmax"]
    claims_no_figure(document, text)


@pytest.mark.exhaustive
def test_a_dry_run_of_all_parts(dry):
    _, document, _ = dry()
    assert [(part["name"], part["state"]) for part in document["parts"]] == [(name, "done") for name in SECONDS]
    assert len(document["profiles"]) == 2


def test_a_run_that_lost_the_device_has_an_exit_code_of_its_own(call, monkeypatch):
    pytest.importorskip("numba", reason=NUMBA)
    from fusedstep.benchmarks.device.place import Place

    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setattr(Place, "lost", lambda self: "illegal address")
    answer = call("bench", "--device", "cuda", "--dry-run", "--output", ".", "--parts", "copy,products")
    assert answer.code == 3
    assert "products: failed: the device was lost: illegal address" in answer.flat
    assert "run it again with --resume, which starts with the other parts" in answer.flat
    assert "copy: " not in answer.flat


PLAN = "fusedstep.benchmarks.device.calls"


@pytest.fixture
def script(tmp_path):
    """Runs the script with an interpreter that writes down what it is asked for, and does as it is told."""
    told, codes = tmp_path / "told", tmp_path / "codes"
    python = tmp_path / "python"
    python.write_text(
        f"""#!/bin/sh
case " $* " in
    *" {PLAN} "*) exec {sys.executable} "$@" ;;
    *"import xdist"* | *"import pytest_timeout"*) exit 1 ;;
    *" -c "*) exit 0 ;;
esac
echo "$*" >>{told}
code=0
case " $* " in
    *" bench "*)
        for next; do [ "$last" = --output ] && folder=$next; last=$next; done
        ls "$folder"/*.json 2>/dev/null | xargs -r -n 1 basename | sed "s/^/found /" >>{told}
        touch "$folder/nvidia-h200-$(date -u +%F).json" "$folder/cpu-$(date -u +%F).json" ;;
    *" pytest "*)
        for next; do
            [ "$last" = --results ] && results=$next; [ "$last" = --unfinished ] && before=$next; last=$next
        done
        echo "before: $(cat "$before")" >>{told}
        echo "passed 0.1 tests/gpu/test_device_steps.py::test_a" >>"$results" ;;
    *.preflight*) echo "preflight failed: $REASON"; [ -z "$REASON" ] || code=1 ;;
esac
if [ -s {codes} ]; then code=$(head -1 {codes}); sed -i 1d {codes}; fi
exit "$code"
"""
    )
    python.chmod(0o755)

    def run(*arguments, given=(), **environment):
        codes.write_text("".join(f"{code}\n" for code in given))
        told.write_text("")
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        paths = {"OUT": str(out), "KEPT": str(tmp_path / "kept"), "PYTHON": str(python), "REASON": ""}
        done = subprocess.run(
            ["bash", ROOT / "benchmarks" / "on_a_gpu.sh", *arguments],
            capture_output=True, text=True, check=False, env={**os.environ, **paths, **environment},
        )  # fmt: skip
        asked = [re.sub(r"--budget \d+", "--budget N", line.rpartition(f"--output {out}")[2].strip()) for line in lines(told)]
        return done, asked

    return run


def lines(path):
    return path.read_text().splitlines()


ALL = f"--parts {','.join(MEASURE)} --budget N"
TODAY = f"found nvidia-h200-{datetime.now(UTC):%Y-%m-%d}.json"
OTHER = TODAY.replace("nvidia-h200", "cpu")


def test_the_script_goes_on_in_a_new_process_where_one_ended_in_the_middle(script):
    done, asked = script("measure", given=[3, 139])
    assert asked == [ALL, f"{ALL} --resume", OTHER, TODAY, f"{ALL} --resume", OTHER, TODAY]
    assert done.returncode == 1
    assert "failed: bench bench" in done.stdout
    assert script("measure", given=[1])[1] == [ALL], "a part that failed is no reason for another process"
    assert script("measure", given=[3] * 9)[1].count(f"{ALL} --resume") == 3, "not for ever"
    assert script("measure", given=[3] * 9, MEASURE_S="29")[1] == [ALL], "not where no time is left"


def test_the_script_takes_up_what_an_earlier_call_found_that_its_folder_has_no_more(script):
    assert script("measure")[1] == [ALL]
    done, asked = script("measure", "--resume", "--parts", "rows,adam")
    assert asked == ["--parts adam,rows --budget N --resume", TODAY], "that of the device, and of nothing else"
    assert "taken up: " in done.stdout
    assert script("measure")[1] == [ALL], "a run that is to begin anew takes up nothing"
    assert script("measure", RESUME="1")[1] == [f"{ALL} --resume", TODAY]


def test_a_second_round_of_tests_knows_what_passed(script):
    done, asked = script("check")
    assert done.returncode == 0, done.stdout + done.stderr
    (preflight, warm, tests, before) = asked
    assert preflight == "-P -m fusedstep.benchmarks.device.preflight"
    assert warm == "-P -m fusedstep.tools.warm_cache"
    assert "-m pytest" in tests
    assert before == "before:"
    assert script("check")[1][3] == "before:", "without --resume all begin anew"
    assert script("check", "--resume")[1][3] == "before: passed 0.1 tests/gpu/test_device_steps.py::test_a"
    done, _ = script("check", "--resume", given=[0, 0, 5])
    assert done.returncode == 0
    assert "all of them have passed before" in done.stdout


def test_a_preflight_that_fails_ends_everything_with_its_reason(script):
    done, asked = script(REASON="there is no CUDA device")
    assert len(asked) == 1
    assert done.returncode == 1
    assert "nothing else is run: preflight failed: there is no CUDA device" in done.stdout
    assert "failed: preflight" in done.stdout


def test_without_a_call_both_come_one_after_the_other(script):
    done, asked = script(given=[0, 1, 1])
    assert [asked[0], asked[-1]] == ["-P -m fusedstep.benchmarks.device.preflight", ALL]
    assert done.stdout.index("plan of check") < done.stdout.index("check took") < done.stdout.index("plan of measure")
    assert "failed: compile tests" in done.stdout, "which ends nothing"
    assert done.returncode == 1


def test_without_pytest_the_script_says_so_and_goes_on(script, tmp_path):
    python = tmp_path / "python"
    python.write_text(python.read_text().replace('*"import xdist"*', '*"import pytest"* | *"import xdist"*'))
    done, asked = script()
    assert "tests: left out, " in done.stdout
    assert "python has no pytest" in done.stdout
    assert asked[-1] == ALL


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("benhc",), "expected check, measure, --resume or --parts LIST; got benhc"),
        (("measure", "--parts", "adem"), "no plan of measure: expected parts out of adam, "),
    ],
)
def test_the_script_knows_its_arguments(arguments, words, tmp_path):
    done = subprocess.run(
        ["bash", ROOT / "benchmarks" / "on_a_gpu.sh", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "OUT": str(tmp_path), "PYTHON": sys.executable},
    )  # fmt: skip
    assert done.returncode == 2
    assert words in done.stderr
