"""What is timed on a device are launches of several steps over data that lie there, and everybody takes the same rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusedstep.backends import backend
from fusedstep.backends.cuda.several import STEPS as LAUNCH
from fusedstep.backends.cuda.several import Results
from fusedstep.backends.executors.plain import PlainExecutor
from fusedstep.backends.numpy.backend import NumpyBackend
from fusedstep.benchmarks.agreement import losses, reference
from fusedstep.benchmarks.clocks import HOST, StandIn
from fusedstep.benchmarks.contenders import DEVICE_PEERS, Where, make_device_peer
from fusedstep.benchmarks.contenders.ours import Ours
from fusedstep.benchmarks.device.allowance import Allowance
from fusedstep.benchmarks.device.place import Place
from fusedstep.benchmarks.device.plan import CPU, STEPS, DevicePlan
from fusedstep.benchmarks.device.steps import steps_beside_peers
from fusedstep.benchmarks.networks import Network
from fusedstep.benchmarks.problem import Problem
from fusedstep.benchmarks.timing import Sampling, burst

SMALL = Network((6, 5, 4), 8)
THREE = Problem(SMALL, threads=2, launch=3)


class Together:
    """Several steps one after the other in the place of a graph, each on its own rows."""

    refusal = ""

    def __init__(self, executor, data, rows, count):
        self.executor, self.sources = executor, data
        self.rows, self.count = rows, count

    def next(self, left):
        return self.count if left >= self.count else 0

    def ready(self):
        return len(self.executor.log) >= 2

    def run(self, indices, number, scalars):
        assert len(indices) == self.count * self.rows
        found = np.empty((self.count, 2))
        state = self.executor.work.state
        for k in range(self.count):
            chosen = indices[k * self.rows : (k + 1) * self.rows]
            state.begin()
            found[k] = PlainExecutor.run(self.executor, tuple(source[chosen] for source in self.sources), number + k)
        self.executor.log.append(self.count)
        self.minibatch = self.sources
        return Results(self.executor.backend, found)


class Logging(PlainExecutor):
    """Writes down how many steps each call was."""

    refusal = ""

    def __init__(self, backend, work):
        super().__init__(backend, work)
        self.log = []

    def run(self, minibatch, number):
        self.log.append(1)
        return super().run(minibatch, number)

    def several(self, data, rows, minibatches, most):
        return Together(self, data, rows, min(minibatches, most))


class Launching(NumpyBackend):
    """NumPy that is taken for a device on which several steps are one launch."""

    name = "paper"
    device = "cuda"
    precisions = ("float32", "float64")

    def executor(self, work):
        return Logging(self, work)


class Refusing(Launching):
    """Another one, on which they cannot be captured together."""

    def executor(self, work):
        made = Logging(self, work)
        made.refusal = "RuntimeError: no room for so many nodes"
        made.several = lambda *_: None
        return made


def placed(backend):
    return Place(backend, False, Where("cuda", HOST), [], [], {"name": "Paper"})


class Quick(DevicePlan):
    """Small networks with the launches of the real ones."""

    @property
    def sampling(self):
        return Sampling(2, 1e-4, 0.0, least_calls=5)

    def network(self, network):
        return Network(tuple(min(width, 6) for width in network.widths), min(network.batch, 8))


def test_every_row_of_a_minibatch_is_found_in_the_data_under_its_number():
    problem = replace(THREE, network=Network((6, 5, 4), 9))
    x, y = problem.data
    assert len(x) == len(y) == 8 * 9
    for (rows, labels), chosen in zip(problem.minibatches, problem.indices, strict=True):
        order = np.lexsort(rows.T), np.lexsort(x[chosen].T)
        assert rows[order[0]].tobytes() == x[chosen][order[1]].tobytes()
        assert labels[order[0]].tolist() == y[chosen][order[1]].tolist()
    assert np.any(np.diff(problem.indices[0]) != 1), "in random order"


def test_what_is_timed_are_launches_and_no_single_steps():
    prepared = Ours(Launching(), Where("cuda", StandIn())).prepare(THREE)
    log = prepared.notes["step"].executor.log
    assert prepared.covers == 3
    assert log == [1, 1, 3], "two steps warm up"
    assert burst(prepared, 4) == pytest.approx(1.0 / 12), "seconds of one step"
    assert log[3:] == [3] * 5, "one launch before, and the four that are timed"


def test_losses_of_launches_are_those_of_single_steps_and_of_the_reference():
    together, alone = (Ours(Launching()).prepare(problem) for problem in (THREE, replace(THREE, launch=1)))
    assert losses(together, 9) == losses(alone, 9)
    assert losses(together) == pytest.approx(reference(THREE), rel=1e-5)
    assert losses(together) == losses(together), "reset goes back to the first minibatch"
    assert (alone.covers, alone.notes["refusal"]) == (1, "")


@pytest.mark.parametrize(("name", "covers"), [("numba", 3), ("numpy", 1)])
def test_a_processor_launches_several_steps_where_it_captures_them(name, covers):
    prepared = Ours(backend(name)).prepare(THREE)
    assert (prepared.covers, "captures no steps" in prepared.notes["refusal"]) == (covers, covers == 1)
    assert losses(prepared) == pytest.approx(reference(THREE), rel=1e-5)


def test_a_short_step_is_timed_in_launches_and_by_itself():
    case = steps_beside_peers(STEPS["784-tf32"], placed(Launching()), Quick(), lambda what: None, Allowance(60.0))
    found = {t.name: t for t in case.timings}
    assert {name: t.steps for name, t in found.items()} == {"paper, float32": LAUNCH, "paper, float32, single steps": 1}
    assert len(found["paper, float32"].losses) == LAUNCH
    assert found["paper, float32"].losses[:3] == found["paper, float32, single steps"].losses[:3]
    assert all(t.calls * t.steps >= 5 and len(t.seconds) == 2 for t in found.values())
    assert found["paper, float32"].memory["total"] > 0


def test_a_long_step_is_timed_in_launches_that_fill_a_burst():
    plan = Quick()
    assert plan.launch(STEPS["8192x4-bfloat16"].network) == plan.sampling.least_calls
    assert plan.launch(STEPS["784-tf32"].network) == plan.launch(CPU) == LAUNCH
    assert [part for part, steps in STEPS.items() if plan.short(steps.network)] == ["1024x3-tf32", "784-tf32", "256x4-tf32"]
    assert DevicePlan(dry=True).launch(CPU) > 1


def test_launches_that_are_refused_are_in_the_report_with_the_reason_and_single_steps_are_timed_once():
    case = steps_beside_peers(STEPS["784-tf32"], placed(Refusing()), Quick(), lambda what: None, Allowance(60.0))
    assert [(t.name, t.steps) for t in case.timings] == [("paper, float32", 1)]
    reasons = {left.name: left.reason for left in case.left_out}
    assert reasons["paper, float32, 16 steps a launch"].startswith("not taken: backend 'paper' captures no steps")
    assert "paper, float32, single steps" not in reasons


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_compiled_any_more_once_torch_compile_is_ready():
    peer = make_device_peer("torch-compile", Where("cpu", StandIn()))
    if peer.missing():
        pytest.skip(str(peer.missing()))
    from torch._dynamo.utils import counters

    counters.clear()
    prepared = peer.prepare(THREE)
    compiled = {name: dict(counters[name]) for name in ("stats", "aot_autograd")}
    assert (compiled["stats"]["unique_graphs"], compiled["aot_autograd"]["ok"]) == (1, 1)
    losses(prepared, 3)
    assert {name: dict(counters[name]) for name in compiled} == compiled


@pytest.mark.parametrize("name", DEVICE_PEERS)
@pytest.mark.filterwarnings("ignore")
def test_others_take_the_same_minibatches_out_of_the_same_data(name):
    peer = make_device_peer(name, Where("cpu", StandIn()))
    if peer.missing():
        pytest.skip(str(peer.missing()))
    prepared = peer.prepare(THREE)
    assert prepared.covers == (3 if peer.several else 1)
    found = losses(prepared, 9)
    assert len(found) == 9
    assert found == pytest.approx(losses(Ours(Launching()).prepare(THREE), 9), rel=1e-4)
    assert losses(prepared) == pytest.approx(found[: len(losses(prepared))], rel=1e-6)
    if peer.several:
        assert "resident data only" in str(peer.refuses(replace(THREE, launch=0)))
