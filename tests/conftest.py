"""Options and markers of the whole test suite."""

from __future__ import annotations

import gc
import importlib.util
import os
from pathlib import Path

import hypothesis
import pytest

# What most users have, whatever else is installed here; tests/unit/executors/test_blas.py looks at the others.
os.environ.setdefault("FUSEDSTEP_BLAS", "numpy")
# A thread of OpenBLAS that waits for one without a processor takes a thousand times longer than its product; what tests threads
# of BLAS sets their number.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # most of JAX's time here is compilation

# Examples are not limited in time: how long they take says how busy the machine is.
hypothesis.settings.register_profile("fusedstep", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("fusedstep")


def pytest_xdist_auto_num_workers() -> int | None:
    """Of `-n auto`: one more than the processors that this process may use, for some tests wait for processes or deadlines."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # which leaves it to pytest-xdist
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return len(usable) + 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-gpu", action="store_true", help="fail, instead of skipping, where there is no CUDA device")
    parser.addoption("--exhaustive", action="store_true", help="run the tests marked exhaustive as well")


@pytest.hookimpl(trylast=True)  # after tests/cudasim/conftest.py, which may switch the simulator on
def pytest_configure() -> None:
    """In Numba's simulator "cuda" is its double."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" and importlib.util.find_spec("numba_cuda") is not None:
        from fusedstep.tests.fakes import simulate_cuda

        simulate_cuda()


GPU = Path(__file__).parent / "gpu"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests of a real device are collected with --require-gpu, or where their folder is asked for."""
    if collection_path != GPU or config.getoption("--require-gpu"):
        return None
    asked = [Path(config.invocation_params.dir, argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path == GPU or GPU in path.parents for path in asked) else True


def _why_no_gpu() -> str | None:
    """Why GPU tests cannot run here, or None where they can."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
        return "Numba's simulator is switched on, so this is not a real device"
    from fusedstep.backends.selection import why_not

    problem = why_not("cuda")
    return None if problem is None else f"{problem.reason} ({problem.remedy})"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--exhaustive"):
        left_out = [item for item in items if item.get_closest_marker("exhaustive")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu:
        if config.getoption("--require-gpu"):
            raise pytest.UsageError("--require-gpu: no test marked gpu was collected")
        return
    reason = _why_no_gpu()
    if reason is None:
        return
    if config.getoption("--require-gpu"):
        raise pytest.UsageError(f"--require-gpu: {reason}")
    for item in gpu:
        # In short, for the summary repeats it by file; --require-gpu has the rest.
        item.add_marker(pytest.mark.skip(reason=f"no CUDA device: {reason.partition(' (')[0]}"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """The tests themselves stay until the end: nothing is gained by searching thousands of them for garbage again and again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """What a file has imported and cached stays as well."""
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()
