"""The two backends that run on a real device; without one tests/conftest.py skips what is marked `gpu`.

The most valuable tests come first, and with `--results FILE` each result is written as it comes: minutes on a device may end
before all tests have run, and `--unfinished FILE` goes on from there.
"""

import math
import os
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))

FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser):
    parser.addoption("--results", type=Path, metavar="FILE", help="add the result of each test to this file as it comes")
    parser.addoption("--unfinished", type=Path, metavar="FILE", help="leave out what passed or was skipped by this file")
    parser.addoption("--until", type=float, metavar="TIME", help="begin no test after this time, in seconds since 1970")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """After pytest has put tests of the same backend side by side."""
    from fusedstep.benchmarks.device.tested import COLLECTED, append, finished, line, rank

    done = finished(config.getoption("unfinished", None) or Path())
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
    items[:] = sorted((item for item in items if item.nodeid not in done), key=lambda item: rank(item.nodeid))
    path = config.getoption("results", None)
    if path and getattr(config, "workerinput", {"workerid": "gw0"})["workerid"] == "gw0":
        append(path, (line(COLLECTED, 0.0, item.nodeid) for item in items))


class Results:
    """Writes what is reported.

    Args: path.
    """

    def __init__(self, path):
        self.path = path

    def pytest_runtest_logreport(self, report):
        from fusedstep.benchmarks.device.tested import append, line, outcome_of

        outcome = outcome_of(report.when, report.outcome)
        if outcome is not None:
            append(self.path, [line(outcome, report.duration, report.nodeid)])

    def pytest_terminal_summary(self, terminalreporter):
        from fusedstep.benchmarks.device.tested import results, summary

        terminalreporter.section("by group, the most valuable first")
        terminalreporter.line("\n".join(summary(results(self.path))))


def pytest_configure(config):
    path = config.getoption("results", None)
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(path))


@pytest.fixture(autouse=True, scope="session")
def memory_for_everybody():
    """JAX would take three quarters of it at its first array, and keep them from all tests that follow."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def why_lost():
    """What the device says where it does nothing more for this process, "" where it does."""
    cupy = sys.modules.get("cupy")
    try:
        if cupy is not None:
            cupy.cuda.Device().synchronize()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Notes a test that failed: whether the device is still there is asked when all is said about it."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Ends a run whose time is over, and a process whose device was lost, where all tests that follow would fail for that.

    pytest-xdist takes another process for them; it says of this test twice that it failed. Without it the run is over.
    """
    done = yield
    if time.time() > (item.config.getoption("until", None) or math.inf):
        item.session.shouldstop = "the time was over"
    lost = why_lost() if item.stash.get(FAILED, False) else ""
    if lost and hasattr(item.config, "workerinput"):
        os._exit(3)
    if lost:
        pytest.exit(f"the device was lost in {item.nodeid}: {lost}", returncode=3)
    return done


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
