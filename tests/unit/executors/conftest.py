"""Makes the networks importable; every test ends with the number of threads that it began with."""

import sys
from pathlib import Path

import pytest

import fusedstep as fs
from fusedstep.backends import threads

sys.path.append(str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = threads._chosen
    yield
    fs.set_num_threads(before)


@pytest.fixture(params=("float32", "float64"))
def dtype(request):
    return request.param


@pytest.fixture
def made_plans(monkeypatch):
    """A list that grows by one name for each plan that is made."""
    from fusedstep.backends.numba import plan, rows

    made = []

    def counting(cls):
        original = cls.__init__

        def init(self, *args, **kwargs):
            made.append(cls.__name__)
            original(self, *args, **kwargs)

        monkeypatch.setattr(cls, "__init__", init)

    counting(plan.RowsPlan)
    counting(rows.InterpretedPlan)
    return made
