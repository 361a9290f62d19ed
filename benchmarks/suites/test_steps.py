"""Whole training steps of the quick grid, in both variants; `fusedstep bench` compares them with their limit and others."""

from __future__ import annotations

import pytest

from fusedstep.benchmarks.contenders.ours import Ours
from fusedstep.benchmarks.gemms import flop
from fusedstep.benchmarks.networks import GRIDS, parse
from fusedstep.benchmarks.problem import VARIANTS, Problem


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("network", parse(GRIDS["step"]["quick"]), ids=str)
def test_step(measure, backend, threads, network, variant):
    measure(Ours(backend).prepare(Problem(network, variant, threads=threads)), flop=flop(network), batch=network.batch)
