"""Whole runs of tiny networks: who takes part, who is left out and why, and what is known of the machine."""

from __future__ import annotations

import json

import pytest

from fusedstep import blas_choices
from fusedstep.backends import backend, selection
from fusedstep.backends.contract import Unavailable
from fusedstep.benchmarks import gemms, machine
from fusedstep.benchmarks.contenders import base
from fusedstep.benchmarks.kernels import kernel_cases
from fusedstep.benchmarks.profiles import profiles
from fusedstep.benchmarks.result_files import to_json
from fusedstep.benchmarks.session import BenchPlan, run
from fusedstep.errors import BackendUnavailable, DtypeError, HyperparameterError, UnknownBackend


def nothing(*what):
    """Told what happens, and does not care."""


def test_without_any_peer_installed(quick, monkeypatch):
    def fail(module):
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr(base, "import_module", fail)
    plan = BenchPlan("5-6-3@8", peers="all", backends="numpy", sampling=quick)
    report = run(plan, nothing, nothing)
    left = {absent.name: absent for absent in report.left_out}
    assert set(left) == {"torch", "torch-compile", "jax", "sklearn", "handwritten"}
    assert "No module named 'torch'" in left["torch"].reason
    assert left["sklearn"].remedy == "pip install scikit-learn"
    assert [t.kind for t in report.cases[0].timings] == ["ours", "floor", "floor"]


def test_backends_that_do_not_work_here_are_left_out(monkeypatch, quick):
    problem = Unavailable("no device", "buy one")
    real = selection.why_not
    monkeypatch.setattr(selection, "why_not", lambda name: problem if name in ("cuda", "cupy", "numba") else real(name))
    plan = BenchPlan("5-6-3@8", sampling=quick)
    assert [b.name for b in plan.usable] == ["numpy"]
    assert {(left.name, left.reason, left.remedy) for left in plan.left_out} == {
        (name, "no device", "buy one") for name in ("numba", "cupy", "cuda")
    }
    with pytest.raises(BackendUnavailable, match="no device"):
        BenchPlan("5-6-3@8", backends="numba")


def test_a_run(quick):
    seen = []
    plan = BenchPlan(
        "5-6-3@8,9-4@16", backends="numba,numpy", peers="handwritten", precisions="float32,float64", sampling=quick
    )  # fmt: skip
    report = run(plan, nothing, lambda case, so_far: seen.append(so_far.cases[-1] is case and case))
    assert [(case.network, case.precision) for case in report.cases] == [
        ("5-6-3@8", "float32"), ("9-4@16", "float32"), ("5-6-3@8", "float64"), ("9-4@16", "float64"),
    ]  # fmt: skip
    assert seen == report.cases
    for case in report.cases:
        assert [t.name for t in case.timings] == ["numba", "numpy", "handwritten", "GEMMs (BLAS)", "GEMMs (rows)"]
        assert case.left_out == []
        assert all(len(t.seconds) == 2 and min(t.seconds) > 0.0 for t in case.timings)
        assert all(len(t.losses) == 3 for t in case.timings[:3])
    document = json.loads(to_json(report))
    assert document["settings"]["rounds"] == 2
    assert document["machine"]["libraries"]["numpy"]
    assert any("openblas" in str(b.get("internal_api")) or b.get("user_api") == "blas" for b in document["machine"]["blas"])
    assert blas_choices().items() >= document["machine"]["blas_choices"].items() > {}.items()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"grid": "quik"}, HyperparameterError, "did you mean 'quick'"),
        ({"variant": "ful"}, HyperparameterError, "did you mean 'full'"),
        ({"precisions": "float16"}, DtypeError, "expected precisions out of float32, float64; got 'float16'"),
        ({"precisions": ""}, DtypeError, "expected precisions"),
        ({"peers": "tensorflow"}, HyperparameterError, "expected peers out of"),
        ({"backends": "nump"}, UnknownBackend, "did you mean 'numpy'"),
        ({"networks": "5@8"}, HyperparameterError, "expected a network"),
    ],
)
def test_settings_are_checked_before_anything_is_run(arguments, error, words):
    with pytest.raises(error, match=words):
        BenchPlan(**arguments)


def test_the_scaling_grid(monkeypatch):
    monkeypatch.setattr("fusedstep.benchmarks.session.num_threads", lambda: 2)
    plan = BenchPlan(grid="scaling", backends="numpy")
    assert [sweep for sweep, _ in plan.problems] == ["batch"] * 5 + ["width"] * 5 + ["depth"] * 5 + ["threads"] * 2


def test_kernels(quick):
    pytest.importorskip("torch")
    found = kernel_cases([backend("numba"), backend("numpy")], quick, 2, True, nothing, (10_000,), 5_000)
    assert [case.kernel for case in found] == ["Adam update", "softmax-cross-entropy", "bias and ReLU", "LayerNorm forward"]
    assert [t.name for t in found[0].timings] == ["numba", "numpy", "torch", "copy, 1 thread", "copy, 2 threads"]
    assert found[0].moved == 28 * 10_000
    assert found[1].left_out[0].name == "torch"


@pytest.mark.parametrize("name", ["numba", "numpy"])
def test_profiles(name):
    plan = BenchPlan("5-6-3@8", backends=name)
    (found,) = profiles(plan.problems, plan.usable, nothing)
    assert (found.network, found.backend) == ("5-6-3@8", name)
    stages = {row["stage"] for row in found.rows}
    assert {"forward", "loss", "backward", "update"} <= stages
    products = [row for row in found.rows if row["operation"] == "matmul"]
    assert sum(row["flop"] for row in products) == gemms.flop(plan.problems[0][1].network)
    assert all(row["seconds"] >= 0.0 and row["bytes"] >= 0 for row in found.rows)
    assert json.dumps(found.rows)


def test_sweeps_are_not_profiled():
    plan = BenchPlan(grid="scaling", backends="numpy")
    assert profiles(plan.problems, plan.usable, nothing) == []


def test_the_machine(monkeypatch, tmp_path):
    known = machine.describe()
    assert json.dumps(known)
    assert known["usable_processors"] >= 1
    assert known["cpu"]
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.delenv("FUSEDSTEP_COMMIT", raising=False)
    assert machine.commit() == {"commit": None, "changed": None}
    monkeypatch.setenv("FUSEDSTEP_COMMIT", "abc123")
    assert machine.commit()["commit"] == "abc123", "told where there is no checkout"
    monkeypatch.setattr(machine, "_lines", lambda path: [])
    assert machine.processor()
    assert machine.clock() == {"now": None, "highest": None}
