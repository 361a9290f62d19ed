"""`fusedstep bench` and `fusedstep profile` from end to end, on a tiny network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusedstep.benchmarks.networks import GRIDS
from fusedstep.benchmarks.reports.markdown import markdown
from fusedstep.benchmarks.result_files import load as load_results
from fusedstep.framework.cli.later import LATER, load

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("--rounds", 2, "--seconds", 0.002, "--pause", 0)
TINY = ("--networks", "6-8-3@16", *SHORT)


def test_a_picture_of_no_network_is_refused_before_anything_is_measured(call, tmp_path):
    answer = call("bench", "--grid", "none", "--kernels", "--png", "r.png")
    assert answer.code == 2
    assert "expected a network for --png" in answer.err
    assert not (tmp_path / "r.png").exists()


@pytest.mark.row("F4")
def test_a_whole_measurement(call, tmp_path):
    pytest.importorskip("matplotlib")
    answer = call("bench", *TINY, "--backends", "numba,numpy", "--peers", "handwritten", "--out", "r.json", "--html", "r.html",
                  "--markdown", "r.md", "--png", "r.png")  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    for words in ("6-8-3@16, plain, float32", "numba", "numpy", "handwritten", "GEMMs (BLAS)", "of floor", "Written: r.json",
                  "of the speed of the matrix products alone"):  # fmt: skip
        assert words in answer.flat
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["settings"]["networks"] == "6-8-3@16"
    assert "<svg" in (tmp_path / "r.html").read_text()
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    assert "| numpy" in (tmp_path / "r.md").read_text() or "| **numpy**" in (tmp_path / "r.md").read_text()

    again = call("bench", *TINY, "--backends", "numpy", "--compare", "r.json")
    assert again.code == 0
    assert "Compared with the earlier run" in again.flat
    document["cases"][0]["timings"][1]["seconds"] = [1e-9, 1e-9]
    (tmp_path / "fast.json").write_text(json.dumps(document))
    slower = call("bench", *TINY, "--backends", "numpy", "--compare", "fast.json", "--fail-slower", 1.5)
    assert slower.code == 1
    assert "slower by more than 1.5: 6-8-3@16" in slower.flat


@pytest.mark.row("F4")
def test_whole_trainings_and_predictions(call, tmp_path, monkeypatch):
    """Each workload beside a peer, and the files hold the same numbers."""
    monkeypatch.setenv("COLUMNS", "160")
    pytest.importorskip("sklearn")
    answer = call("bench", "--fit", "--predict", *SHORT, "--networks", "6-8-3@16/64", "--backends", "numba,numpy",
                  "--peers", "sklearn", "--out", "r.json", "--markdown", "r.md")  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    for words in ("epoch of 6-8-3@16/64, plain", "prediction of 6-8-3@16, plain", "ms/epoch", "GEMMs (1 thread)",
                  "An epoch of fusedstep on numpy takes", "A prediction of fusedstep on numba takes",
                  "the matrix products alone take less than 70 %"):  # fmt: skip
        assert words in answer.flat
    report = load_results(tmp_path / "r.json")
    assert report.settings["workloads"] == ["fit", "predict"]
    assert [(case.workload, case.rows) for case in report.cases] == [("fit", 64), ("predict", 16)]
    for case in report.cases:
        assert [t.name for t in case.timings] == [
            "numba", "numpy", "sklearn", "GEMMs (BLAS)", "GEMMs (rows)", "GEMMs (1 thread)"
        ]  # fmt: skip
        assert all(len(t.seconds) == 2 and min(t.seconds) > 0.0 for t in case.timings)
    assert (tmp_path / "r.md").read_text() == markdown(report)
    again = call("bench", "--fit", *SHORT, "--networks", "6-8-3@16/64", "--backends", "numpy", "--compare", "r.json")
    assert "epoch of 6-8-3@16/64" in again.flat
    assert "prediction" not in again.flat


def test_the_command_that_makes_all_reports(tmp_path):
    """Its calls of `bench`, which an `echo` prints here, have options and grids that there are."""
    script = ROOT / "benchmarks" / "on_a_cpu.sh"

    def run(*arguments):
        environment = {**os.environ, "PYTHON": "echo", "OUT": str(tmp_path)}
        return subprocess.run(["bash", script, *arguments], env=environment, capture_output=True, text=True, check=False)

    calls = [line.split() for line in run("mine").stdout.splitlines()]
    assert [line[:4] for line in calls] == [["-P", "-m", "fusedstep", "bench"]] * 5
    for words in calls:
        given = load("bench").make_context("bench", words[4:]).params
        for workload in [name for name in ("fit", "predict", "start") if given[name]] or ["step"]:
            assert given["grid"] in GRIDS[workload]
    written = [words[words.index("--out") + 1] for words in calls]
    assert written == [f"{tmp_path}/mine-{part}.json" for part in ("standard", "varied", "starts", "steps", "ranks")]
    assert (run().returncode, run("mine", "fits").returncode) == (2, 2)


@pytest.mark.row("F4")
def test_starts(call, tmp_path):
    """Real processes; the peer is not looked for, because its import takes seconds."""
    pytest.importorskip("sklearn")
    answer = call("bench", "--start", "--rounds", 1, "--pause", 0, "--backends", "numpy", "--networks", "4-5-3@8",
                  "--out", "r.json")  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    (case,) = load_results(tmp_path / "r.json").cases
    assert [t.name for t in case.timings] == [
        "numpy, empty cache", "numpy, full cache", "numpy, train iris", "numpy, predict iris"
    ]  # fmt: skip
    assert all(t.seconds[0] > 0.01 for t in case.timings)
    assert "start of 4-5-3@8, plain" in answer.flat
    assert "GFLOP/s" not in answer.flat


@pytest.mark.row("F4")
def test_by_ranks(call, tmp_path, monkeypatch):
    """Processes that mpiexec starts beside a single one; PyTorch is left out, with its reason."""
    pytest.importorskip("mpi4py")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setitem(sys.modules, "torch", None)
    answer = call("bench", "--ranks", "1,2", *SHORT, "--backends", "numba", "--networks", "6-8-3@16/64", "--out", "r.json",
                  "--markdown", "r.md", "--html", "r.html")  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    for words in ("6-8-3@16, plain", "epoch of 6-8-3@16/64, plain", "numba, 2 ranks", "/ one process", "bound",
                  "A step of fusedstep (numba, 2 ranks, 6-8-3@16) takes",
                  "left out: torch: torch cannot be imported"):  # fmt: skip
        assert words in answer.flat
    report = load_results(tmp_path / "r.json")
    assert (report.settings["workloads"], report.settings["ranks"]) == (["ranks", "ranks-fit"], [1, 2])
    assert [[t.name for t in case.timings] for case in report.cases] == [
        ["numba", "numba, 2 ranks", "sum, 2 ranks"], ["numba", "numba, 2 ranks"]
    ]  # fmt: skip
    assert {"mpi4py", "numpy"} <= set(report.machine["libraries"])
    assert (tmp_path / "r.md").read_text() == markdown(report)
    assert "By ranks: processes on this machine" in (tmp_path / "r.html").read_text()


def test_what_was_measured_before_an_interrupt_is_in_the_file(monkeypatch, tmp_path):
    from fusedstep.benchmarks import cases
    from fusedstep.benchmarks.commands import bench_command
    from fusedstep.benchmarks.commands.bench_options import BenchOptions
    real, out = cases.time_case, tmp_path / "bench.json"

    def interrupted(problem, *given):
        if str(problem.network) == "9-4@16":
            raise KeyboardInterrupt
        return real(problem, *given)

    monkeypatch.setattr(cases, "time_case", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench_command.bench(BenchOptions(networks="9-4@16", backends="numpy", rounds=2, seconds=0.01, pause=0.0, out=out))
    assert not out.exists()
    with pytest.raises(KeyboardInterrupt, match=r"finished networks are in .*bench\.json"):
        bench_command.bench(
            BenchOptions(networks="5-6-3@8,9-4@16", backends="numpy", rounds=2, seconds=0.01, pause=0.0, out=out)
        )
    assert [case.network for case in load_results(out).cases] == ["5-6-3@8"]


def test_backends_that_do_not_work_are_told(call):
    from fusedstep.backends import backends

    answer = call("bench", *TINY)
    for name, problem in backends().items():
        if problem is not None:
            assert f"left out: {name}: " in answer.flat


def test_the_full_variant_in_double_precision(call):
    answer = call("bench", *TINY, "--backends", "numpy", "--variant", "full", "--precision", "float64")
    assert answer.code == 0
    assert "6-8-3@16, full, float64" in answer.flat


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--networks", "6-8-3"), "write it as"),
        (("--networks", "6-8-3@0"), "batch >= 1"),
        (("--peers", "keras"), "expected peers out of torch"),
        (("--grid", "standart"), "did you mean 'standard'"),
        (("--fit", "--grid", "scaling"), "quick, standard, varied with --fit; got 'scaling'"),
        (("--fit", "--networks", "6-8-3@16/40"), "expected rows in whole minibatches"),
        (("--predict", "--peers", "jax"), "expected peers out of torch, sklearn, onnxruntime, all"),
        (("--rounds", 0), "at least one round"),
        (("--compare", "nothing.json"), "expected results of an earlier run; got 'nothing.json'"),
        (("--fail-slower", 1.1), "without --compare"),
        (("--out", "nowhere/r.json"), "in a folder that exists"),
        (("--variant", "bare"), "expected a variant out of plain, full"),
        (("--backends", "abacus"), "numpy, numba"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_measured(refused, arguments, words):
    assert words in refused("bench", *arguments)


def test_results_of_another_version(refused, tmp_path):
    (tmp_path / "old.json").write_text('{"format": "fusedstep-bench", "version": 0}')
    assert "of version 1; got version 0" in refused("bench", *TINY, "--compare", "old.json")


@pytest.mark.parametrize("variant", ["plain", "full"])
def test_profile(call, monkeypatch, variant):
    monkeypatch.setenv("COLUMNS", "160")
    answer = call("profile", "6-8-3@16", "--backend", "numpy", "--repeats", 3, "--variant", variant)
    assert answer.code == 0
    for words in ("6-8-3@16 on numpy", "matmul", "forward", "backward", "update", "100 %", "GFLOP/s"):
        assert words in answer.flat


@pytest.mark.parametrize(
    ("arguments", "words"), [(("6-8-3",), "write it as"), (("6-8-3@4", "--repeats", 0), "expected --repeats >= 1")]
)
def test_profile_refuses(refused, arguments, words):
    assert words in refused("profile", *arguments)


@pytest.mark.parametrize("name", LATER)
def test_the_list_of_commands_says_what_the_command_says(call, name):
    assert load(name).help.splitlines()[0] == LATER[name][1]
    answer = call(name, "--help")
    assert answer.code == 0
    assert "Usage" in answer.out
    assert "--debug" in answer.out


def test_commands_are_loaded_when_they_are_used():
    code = (
        "import sys\nfrom fusedstep.framework.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in sys.modules if m.startswith('fusedstep.benchmarks')])"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    assert "bench" in done.stdout


def test_their_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom fusedstep.framework.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('numpy', 'numba', 'torch', 'jax', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    for name in LATER:
        done = subprocess.run([sys.executable, "-c", code, name, "--help"], capture_output=True, text=True, check=True)
        assert done.stdout.rstrip().endswith("[]"), name
