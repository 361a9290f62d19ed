"""What the run on a GPU stands on: events that agree with the host, the reference in CuPy, and parts at small sizes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import pytest

from fusedstep.backends import backend
from fusedstep.benchmarks.agreement import TOLERANCES, agree, losses, reference
from fusedstep.benchmarks.clocks import cupy_events
from fusedstep.benchmarks.contenders import Where, make_device_peer
from fusedstep.benchmarks.contenders.ours import Ours
from fusedstep.benchmarks.device.place import find_place
from fusedstep.benchmarks.device.plan import SECONDS, STEPS, Plan
from fusedstep.benchmarks.device.session import Session
from fusedstep.benchmarks.networks import Network
from fusedstep.benchmarks.problem import Problem
from fusedstep.benchmarks.results import load
from fusedstep.benchmarks.timing import Pace, Prepared, burst

pytestmark = pytest.mark.gpu


@dataclass(frozen=True)
class Small(Plan):
    """Sizes that are over at once, by the real clocks."""

    @property
    def sizes(self):
        return Plan(dry=True).sizes

    @property
    def pace(self):
        return Pace(2, 1e-3, 0.0, least_calls=2)

    processor_pace = pace

    def network(self, network):
        return Network(tuple(min(width, 64) for width in network.widths), min(network.batch, 64))


def test_events_agree_with_the_host():
    where = backend("cuda")
    a = where.asarray(where.xp.random.standard_normal((2048, 2048), dtype="float32"))
    out = where.empty(a.shape)
    prepared = Prepared(lambda: where.matmul(a, a, out), lambda _: where.synchronize(), clock=cupy_events())
    burst(prepared, 20)
    started = time.perf_counter()
    by_events = burst(prepared, 200)
    by_host = (time.perf_counter() - started) / 201
    assert 0.5 * by_host < by_events < 1.05 * by_host


def test_the_reference_is_the_same_in_cupy():
    problem = Problem(Network((20, 33, 17, 5), 40))
    assert agree(reference(problem, backend("cuda").xp), reference(problem), 1e-9)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_what_is_timed_are_launches_of_several_steps(precision):
    problem = Problem(Network((64, 64, 10), 64), precision=precision, launch=16)
    together, alone = (Ours(backend("cuda")).prepare(replace(problem, launch=launch)) for launch in (16, 1))
    assert (together.covers, together.notes["refusal"], alone.covers) == (16, "", 1)
    found = losses(together)
    assert agree(losses(alone, 16), found, 1e-3)
    assert agree(found[:3], reference(problem), TOLERANCES[precision])
    burst(together, 3)


@pytest.mark.parametrize("name", ["torch-graph", "jax-scan"])
def test_others_that_take_several_steps_in_a_launch_follow_the_reference(name):
    peer = make_device_peer(name, Where("cuda"))
    if peer.missing():
        pytest.skip(str(peer.missing()))
    problem = Problem(Network((64, 64, 10), 64), precision="tf32", launch=4)
    prepared = peer.prepare(problem)
    for _ in range(2):
        assert agree(losses(prepared)[:3], reference(problem), TOLERANCES["tf32"])


def test_parts_of_each_kind_at_small_sizes(tmp_path):
    parts = [name for name in SECONDS if name not in STEPS or name == "784-tf32"]  # each compiles for half a minute
    session = Session(Small(",".join(parts)), find_place(False), tmp_path, False, lambda what: None, lambda part: None)
    session.run()
    report = load(session.path)
    assert {part.name: part.reason for part in report.parts if part.state == "failed"} == {}
    assert [part.name for part in report.parts] == parts
    assert all(t.seconds and min(t.seconds) > 0.0 for case in [*report.cases, *report.kernels] for t in case.timings)
    other_work = [left for case in report.cases for left in case.left_out if "other work" in left.reason]
    assert other_work == []
