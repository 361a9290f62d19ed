"""A guard against slow steps that needs no quiet machine: ratios inside one run, taken pair by pair.

The limits leave room for noise; what fails here is not a matter of a few per cent.
"""

from __future__ import annotations

import time

import pytest

from fusedstep.backends import backend
from fusedstep.benchmarks.cases import time_case
from fusedstep.benchmarks.contenders.ours import Ours
from fusedstep.benchmarks.evaluation import floor
from fusedstep.benchmarks.networks import parse
from fusedstep.benchmarks.problem import Problem
from fusedstep.benchmarks.statistics import pair_ratio
from fusedstep.benchmarks.timing import Sampling
from fusedstep.framework.engine.step import TrainStep

SAMPLING = Sampling(rounds=7, seconds=0.03, pause=0.02)


def timed(network, names=("numba", "numpy")):
    """On one thread: what else runs on the machine then delays both alike."""
    problem = Problem(parse(network)[0], threads=1)
    case = time_case(problem, [Ours(backend(name)) for name in names], SAMPLING, lambda what: None)
    return case, {timing.name: timing.seconds for timing in case.timings}


@pytest.mark.parametrize(
    "network", ["256-256-256-10@256", pytest.param("784-512-512-10@256", marks=pytest.mark.exhaustive)]
)
def test_compiled_steps_are_not_slower_than_plain_numpy(network):
    _, seconds = timed(network)
    assert pair_ratio(seconds["numba"], seconds["numpy"]) < 1.5


def test_steps_stay_near_the_matrix_products():
    case, seconds = timed("784-1024-512-10@256", ["numba"])
    assert pair_ratio(seconds["numba"], floor(case).seconds) < 2.0


def test_the_guard_can_fail(monkeypatch):
    """A step that idles away five times what it works is found."""
    real = TrainStep.__call__

    def slow(self, x, y):
        started = time.perf_counter()
        loss = real(self, x, y)
        time.sleep(5.0 * (time.perf_counter() - started))
        return loss

    monkeypatch.setattr(TrainStep, "__call__", slow)
    case, seconds = timed("256-512-512-10@128", ["numba"])
    assert pair_ratio(seconds["numba"], floor(case).seconds) > 2.0
