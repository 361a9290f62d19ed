"""Results over their own input: no thread reads what another one writes, so the order of threads of a warp does not matter.

Only kernels are looked at whose threads exchange values by shuffles, which order no access to memory.
"""

import os
import threading

import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported: run this folder alone", allow_module_level=True)

pytest.importorskip("numba.core.config", reason="needs Numba CUDA: pip install -e '.[test-cuda]'")
import numba.core.config

if not numba.core.config.ENABLE_CUDASIM:
    pytest.skip("Numba was imported before NUMBA_ENABLE_CUDASIM=1: run this folder alone", allow_module_level=True)

import numpy as np

from fusedstep.kernels.rows.cuda import launches, normalization
from fusedstep.tests.fakes import simulated_cuda

ROWS, WIDTH = 5, 9


class Watched(np.ndarray):
    """Tells which thread reads and writes each of its elements."""

    read, written = {}, {}

    def _note(self, by, key):
        if isinstance(key, tuple) and len(key) == 2:
            thread = threading.current_thread()
            place = self.__array_interface__["data"][0], tuple(map(int, key))
            by.setdefault(place, set()).add((tuple(thread.blockIdx), tuple(thread.threadIdx)))

    def __getitem__(self, key):
        self._note(Watched.read, key)
        return super().__getitem__(key)

    def __setitem__(self, key, value):
        self._note(Watched.written, key)
        super().__setitem__(key, value)


@pytest.fixture
def watched(monkeypatch):
    plain = simulated_cuda._plain
    monkeypatch.setattr(
        simulated_cuda, "_plain", lambda value: plain(value).view(Watched) if isinstance(value, np.ndarray) else plain(value)
    )
    Watched.read.clear()
    Watched.written.clear()


def draw(cuda, *shape):
    return cuda.asarray(np.random.default_rng(7).normal(0.0, 1.5, shape).astype("f"))


def softmax(cuda, x):
    cuda.rows("softmax", x, x)


def labelled(cuda, x):
    labels = cuda.asarray(np.arange(1, ROWS + 1, dtype=np.int32))
    cuda.rows("softmax_cross_entropy", x, labels, None, 0.9, 0.01, 1.0, draw(cuda, ROWS), x)


def soft(cuda, x):
    targets = cuda.asarray(np.full((ROWS, WIDTH), 1.0 / WIDTH, "f"))
    cuda.rows("softmax_cross_entropy_soft", x, targets, 1.0, draw(cuda, ROWS), x)


def layer_norm(cuda, x):
    cuda.rows("layer_norm", x, draw(cuda, WIDTH), draw(cuda, WIDTH), 1e-3, x, draw(cuda, ROWS), draw(cuda, ROWS))


def layer_norm_input(cuda, x, over_inputs=False):
    other, moments = draw(cuda, ROWS, WIDTH), (draw(cuda, WIDTH), draw(cuda, ROWS), draw(cuda, ROWS))
    given = (other, x) if over_inputs else (x, other)
    launches.run(normalization.layer_norm_input, *x.shape, (*given, *moments, x), cuda.launch)


def layer_norm_input_over_inputs(cuda, x):
    layer_norm_input(cuda, x, over_inputs=True)


@pytest.mark.parametrize("call", [softmax, labelled, soft, layer_norm, layer_norm_input, layer_norm_input_over_inputs])
def test_no_thread_reads_what_another_one_writes(cuda, watched, call):
    x = draw(cuda, ROWS, WIDTH)
    call(cuda, x)
    matrix = x.__array_interface__["data"][0]
    indices = [place for place in Watched.written if place[0] == matrix]
    assert len(indices) == ROWS * WIDTH
    assert len({thread for place in indices for thread in Watched.written[place]}) > ROWS, "a row has several threads"
    for place in indices:
        assert len(Watched.written[place]) == 1
        assert Watched.read[place] == Watched.written[place], f"element {place[1]}"
