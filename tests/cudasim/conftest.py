"""Numba's CUDA simulator: switched on before Numba is imported, where this folder is all that pytest was asked for.

In a session that also runs other folders the simulator would change theirs, so there the modules skip themselves,
unless NUMBA_ENABLE_CUDASIM=1 came with the environment.
"""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
GIVE_WAY = 1e-4
"""Seconds after which a thread of the interpreter gives way: the one that runs the simulator asks those of a block again and
again whether they are done, and they get no further while it does."""

sys.path.append(str(HERE.parent))


def pytest_configure(config):
    paths = [Path(a.split("::")[0]).resolve() for a in config.args]
    alone = bool(paths) and all(p == HERE or HERE in p.parents for p in paths)
    if alone and "numba" not in sys.modules:
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"


def pytest_collection_modifyitems(items):
    if importlib.util.find_spec("numba_cuda") is None:
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs Numba CUDA: pip install -e '.[test-cuda]'"))


@pytest.fixture(scope="session", autouse=True)
def _threads_give_way():
    before = sys.getswitchinterval()
    sys.setswitchinterval(GIVE_WAY)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="session")
def cuda():
    from fusedstep.backends import backend

    return backend("cuda")


@pytest.fixture
def no_room_for_several(cuda, monkeypatch):
    """Single steps are captured, several in one graph are not."""
    kind = type(cuda)
    capture = kind.capture

    def short_of_memory(self, work):
        if getattr(work, "__self__", None) is not None:
            raise RuntimeError("no room for so many nodes")
        return capture(self, work)

    monkeypatch.setattr(kind, "capture", short_of_memory)
    monkeypatch.setattr(kind, "capture_errors", (RuntimeError,))
