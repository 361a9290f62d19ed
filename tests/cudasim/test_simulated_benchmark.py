"""The run on a GPU in the simulator: its steps are launches of captured graphs, as the Trainer takes them."""

from dataclasses import replace

import pytest

numba_config = pytest.importorskip("numba.core.config")
if not numba_config.ENABLE_CUDASIM:
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported: run this folder alone", allow_module_level=True)

from fusedstep.backends import backend  # noqa: E402
from fusedstep.backends.cuda.several import SeveralSteps  # noqa: E402
from fusedstep.benchmarks.agreement import agree, losses, reference  # noqa: E402
from fusedstep.benchmarks.clocks import StandIn  # noqa: E402
from fusedstep.benchmarks.contenders import Where  # noqa: E402
from fusedstep.benchmarks.contenders.ours import Ours  # noqa: E402
from fusedstep.benchmarks.networks import Network  # noqa: E402
from fusedstep.benchmarks.problem import Problem  # noqa: E402
from fusedstep.benchmarks.timing import burst  # noqa: E402

PROBLEM = Problem(Network((5, 4, 3), 4), precision="bfloat16", launch=3)


def launches(prepared):
    """(launches of several steps, of single ones) so far."""
    several = prepared.step.launches._several
    plans = prepared.notes["step"].executor._plans.values()
    together = 0 if several is None or several._graph is None else several._graph.launches
    return together, sum(plan.graph.launches for plan in plans if plan.graph is not None)


def test_f4_a_burst_is_launches_of_several_steps_and_no_others():
    prepared = Ours(backend("cuda"), Where("cuda", StandIn())).prepare(PROBLEM)
    assert isinstance(prepared.step.launches._several, SeveralSteps)
    assert prepared.covers == 3
    found = losses(prepared)
    assert agree(found, reference(PROBLEM), 3e-2)
    before, single = launches(prepared)
    assert burst(prepared, 2) == pytest.approx(1.0 / 6)
    assert launches(prepared) == (before + 3, single) == (before + 3, 0)

    alone = Ours(backend("cuda"), Where("cuda", StandIn())).prepare(replace(PROBLEM, launch=1))
    assert losses(alone) == found, "to the bit"
    assert launches(alone) == (0, 1), "two steps warm up"


@pytest.mark.filterwarnings("ignore:backend 'cuda' takes these steps one by one")
@pytest.mark.usefixtures("no_room_for_several")
def test_f4_launches_that_cannot_be_captured_are_said_with_their_reason():
    prepared = Ours(backend("cuda")).prepare(PROBLEM)
    assert (prepared.covers, prepared.notes["refusal"]) == (1, "RuntimeError: no room for so many nodes")
    assert agree(losses(prepared), reference(PROBLEM), 3e-2)
