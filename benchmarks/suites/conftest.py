"""What the suites share: each benchmark on every backend that works here."""

from __future__ import annotations

import pytest

from fusedstep.backends import backend as find
from fusedstep.backends import backends
from fusedstep.backends.threads import num_threads

WORKING = [name for name, problem in backends().items() if problem is None]


@pytest.fixture(params=WORKING)
def backend(request):
    """A backend that works here."""
    return find(request.param)


@pytest.fixture
def threads():
    """As many as steps use."""
    return num_threads()


@pytest.fixture
def measure(benchmark):
    """Measures something that is prepared: it starts from its beginning, and its work is waited for."""

    def run(prepared, **notes):
        benchmark.extra_info.update(notes)
        with prepared.around():
            prepared.reset()
            prepared.finish(prepared.step())
            benchmark(lambda: prepared.finish(prepared.step()))

    return run
