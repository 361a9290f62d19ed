"""Whole trainings, predictions and starts: contenders compute the same, those that do not are left out, and the products."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pairs import pairs_of

from fusedstep.backends import backend
from fusedstep.benchmarks import floor
from fusedstep.benchmarks.agreement import losses, reference
from fusedstep.benchmarks.cases import time_case
from fusedstep.benchmarks.contenders import PEERS, make_ours, make_peer
from fusedstep.benchmarks.contenders.starts import FIRST_LOSS, Process
from fusedstep.benchmarks.gemms import BLOCK, blocks, forward, products
from fusedstep.benchmarks.networks import parse
from fusedstep.benchmarks.timing import burst
from fusedstep.benchmarks.workloads import WORKLOADS, Fit
from fusedstep.benchmarks.workloads import problem as problem_of

NETWORK = parse("12-16-9-4@32/256")[0]


def nothing(what):
    """Told what happens, and does not care."""


def contender(name, workload):
    """The one of that name, or a skip with the reason why it cannot run."""
    if name not in PEERS[workload]:
        return make_ours(backend(name), workload)[0]
    peer = make_peer(name, workload)
    for module, _ in peer.needs:
        pytest.importorskip(module)
    return peer


def small(workload, variant="plain", precision="float32", network=NETWORK):
    return problem_of(workload, network, variant, precision, 2)


NAMES = [(workload, name) for workload in ("fit", "predict") for name in ("numba", "numpy", *PEERS[workload])]


@pytest.mark.row("F4")
@pytest.mark.parametrize(("contestant", "precision", "variant"), pairs_of(NAMES, ["float32", "float64"], ["plain", "full"]))
@pytest.mark.filterwarnings("ignore")
def test_losses_agree(contestant, precision, variant):
    workload, name = contestant
    problem = small(workload, variant, precision).without_dropout()
    chosen = contender(name, workload)
    if chosen.refuses(problem):
        pytest.skip(str(chosen.refuses(problem)))
    prepared = chosen.prepare(problem)
    wanted = reference(problem)
    count = min(len(wanted), chosen.compared)
    found = losses(prepared, len(wanted))
    tolerance = {"float32": 1e-4, "float64": 1e-6}[precision]
    np.testing.assert_allclose(found[:count], wanted[:count], rtol=tolerance)
    assert losses(prepared, len(wanted)) == pytest.approx(found, rel=1e-6), "reset goes back to the start"
    if workload == "fit":
        assert (prepared.covers, len(found)) == (10, 20)
        assert found[-2] < found[0], "it learns"


@pytest.mark.parametrize("workload", ["fit", "predict"])
@pytest.mark.parametrize("wrong", ["halved", "shuffled", "broken"])
def test_who_computes_something_else_is_not_timed(workload, wrong, quick):
    """A peer whose weights are halved, whose labels or columns have moved, or that fails."""
    kind = type(make_ours(backend("numpy"), workload)[0])

    class Wrong(kind):
        kind = "peer"

        def prepare(self, problem):
            if wrong == "broken":
                raise RuntimeError("no compiler")
            other = problem.but()
            if wrong == "halved":
                other.__dict__["start"] = [(0.5 * w, b) for w, b in problem.start]
            elif workload == "fit":
                other.__dict__["data"] = problem.data[0], np.roll(problem.data[1], 1)
            else:
                other.__dict__["minibatches"] = [(np.roll(x, 1, axis=1), y) for x, y in problem.minibatches]
            return super().prepare(other)

    peer = Wrong(backend("numpy"))
    peer.name = "wrong"
    case = time_case(small(workload), [*make_ours(backend("numpy"), workload), peer], quick, nothing)
    assert [t.name for t in case.timings] == ["numpy", "GEMMs (BLAS)", "GEMMs (rows)", "GEMMs (1 thread)"]
    (left,) = case.left_out
    assert left.name == "wrong"
    assert left.reason.startswith("failed with" if wrong == "broken" else "computes something else: its losses are")


def test_a_training_is_the_same_for_all():
    problem = small("fit")
    assert (problem.rows, problem.steps, problem.held_out_rows, problem.epochs) == (256, 8, 64, 10)
    assert (problem.data[0].shape, problem.held_out[0].shape) == ((256, 12), (64, 12))
    assert problem.data[0].dtype == np.float32
    assert not np.array_equal(problem.data[0][:64], problem.held_out[0])
    assert all(np.array_equal(np.sort(order), np.arange(256)) for order in problem.orders)
    assert not np.array_equal(problem.orders[0], problem.orders[1])
    assert problem.but(launch=8).data is problem.data
    assert small("fit", network=parse("5-4-3@32")[0]).rows == 64 * 32
    large = Fit(parse("784-2048-2048-10@4096/40960")[0])
    assert large.epochs == 1
    assert floor.small(problem)
    assert not floor.small(large)


def test_products_of_the_workloads():
    training = small("fit")
    assert training.products == [(8, products(NETWORK)), (1, forward(NETWORK, 64))]
    assert small("predict").products == [(1, forward(NETWORK, 32))]
    assert small("step").products == [(1, products(NETWORK))]
    assert small("start").products == []
    assert [p.rows for p in forward(NETWORK, 64)] == [64, 64, 64]
    assert list(WORKLOADS) == list(PEERS)
    assert blocks(NETWORK, 2 * BLOCK) == [(2, forward(NETWORK, BLOCK))]
    assert blocks(NETWORK, 2 * BLOCK + 1) == [(2, forward(NETWORK, BLOCK)), (1, forward(NETWORK, 1))]


@pytest.mark.parametrize("make", [floor.blas_floor, floor.rows_floor, floor.one_floor])
@pytest.mark.parametrize(
    ("workload", "network"), [("fit", "12-16-9-4@32/256"), ("predict", "12-4@1"), ("predict", "12-4@1601")]
)
def test_floors_do_every_product(make, workload, network, monkeypatch):
    """Counted by their operations: the parts of all threads together are the whole."""
    done = []

    def counted(call, a, b, out):
        return lambda: (call(), done.append(2 * a.shape[0] * a.shape[1] * b.shape[1]))

    whole, compiled = floor._whole, floor._as_compiled
    monkeypatch.setattr(floor, "_whole", lambda given: [counted(c, *g) for c, g in zip(whole(given), given, strict=True)])
    monkeypatch.setattr(floor, "_as_compiled", lambda *given: counted(compiled(*given), *given))
    problem = small(workload, network=parse(network)[0])
    burst(make(problem), 1)
    assert sum(done) == 2 * problem.flop


def test_processes(tmp_path):
    """The first line ends the time of one, the end of the process that of the other; a failure is told."""
    said = "import os, sys, time; print('first', flush=True); time.sleep(1.0); open(os.environ['FUSEDSTEP_CACHE_DIR'], 'a')"
    first, whole = Process(("-c", said), False).prepared(), Process(("-c", said), True).prepared()
    assert burst(first, 1) + 0.5 < burst(whole, 1)
    with pytest.raises(RuntimeError, match="a process failed: ValueError: no"):
        burst(Process(("-c", "raise ValueError('no')"), True).prepared(), 1)
    with pytest.raises(RuntimeError, match="a process failed: ValueError: no"):
        burst(Process(("-c", "print(1, flush=True); raise ValueError('no')"), False).prepared(), 1)


@pytest.mark.parametrize("cold", [False, True])
def test_only_a_cold_start_finds_an_empty_cache(cold):
    """The process counts its calls in the folder of the cache; one that runs once comes before them."""
    grow = (
        "import os; f = os.environ['FUSEDSTEP_CACHE_DIR']; os.makedirs(f, exist_ok=True); "
        "open(f'{f}/{len(os.listdir(f))}', 'x')"
    )
    process = Process(("-c", grow), True, cold, first=("-c", "open('model', 'x')"))
    for _ in range(3):
        process.before()
        process()
    assert len(list(process._kernels.iterdir())) == (1 if cold else 3)
    assert (process._kernels.parent / "model").exists()


@pytest.mark.parametrize("variant", ["plain", "full"])
def test_the_first_loss_of_a_process(variant):
    """The program of a start prints a loss near that of a network that knows nothing."""
    from fusedstep.benchmarks.contenders.starts import WarmStart

    prepared = WarmStart(backend("numpy")).prepare(small("start", variant))
    program = prepared.step._words[1]
    assert "[12, 16, 9, 4]" in program
    assert FIRST_LOSS.splitlines()[1] in program
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0.5 < float(done.stdout) < 5.0
