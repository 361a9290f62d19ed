"""Memory that a report tells of: as the formula has it, and as it was taken."""

import pytest

from fusedstep.backends import backend
from fusedstep.benchmarks.contenders.handwritten import Handwritten
from fusedstep.benchmarks.contenders.ours import Ours
from fusedstep.benchmarks.memory import predicted, taken
from fusedstep.benchmarks.networks import parse
from fusedstep.benchmarks.problem import Problem

PROBLEM = Problem(parse("1000-200-200-10@1024")[0], threads=2)


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_a_step_takes_what_the_formula_says(name):
    contender = Ours(backend(name))
    prepared = contender.prepare(PROBLEM)
    with prepared.around():
        prepared.step()
    wanted, found = predicted(prepared, 1024), taken(PROBLEM, contender)
    # Beside it are tables of calls, and block buffers of the numpy target.
    assert 0.97 * wanted["total"] <= found <= 1.03 * wanted["total"] + 1.5e6


def test_the_formula_counts_the_threads_of_the_problem():
    contender = Ours(backend("numba"))
    totals = [predicted(contender.prepare(Problem(PROBLEM.network, threads=n)), 1024)["total"] for n in (1, 2)]
    assert totals[0] < totals[1]


def test_nothing_is_said_of_the_steps_of_others():
    contender = Handwritten()
    assert predicted(contender.prepare(PROBLEM), 1024) is None
    assert taken(PROBLEM, contender) is None
