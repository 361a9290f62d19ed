"""The two backends that run on a real device; without one tests/conftest.py skips what is marked `gpu`."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))


@pytest.fixture(params=("cupy", "cuda"), scope="session")
def gpu_backend(request):
    from fusedstep.backends import backend

    return backend(request.param)


@pytest.fixture
def allocations():
    """A context manager that counts what CuPy's memory pool hands out inside it."""
    from contextlib import contextmanager

    from cupy.cuda.memory_hook import MemoryHook

    class Counter(MemoryHook):
        name = "allocations"

        def __init__(self):
            self.count = 0

        def malloc_postprocess(self, **_):
            self.count += 1

    @contextmanager
    def counted():
        counter = Counter()
        with counter:
            yield counter

    return counted
