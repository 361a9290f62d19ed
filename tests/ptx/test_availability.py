"""What the GPU backends say where they cannot run; importing CuPy works without a driver, running on it does not."""

import importlib.util
import sys

import pytest

import fusedstep as fs
from fusedstep.backends.cuda_backend import CudaBackend
from fusedstep.backends.cupy_backend import CupyBackend


@pytest.fixture
def hidden(monkeypatch):
    """A function that makes a package look as if it were not installed."""

    def hide(name):
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda n, *rest: None if n == name else find(n, *rest))

    return hide


def test_cupy_is_missing(hidden):
    hidden("cupy")
    problem = CupyBackend.unavailable()
    assert "not installed" in problem.reason
    assert "fusedstep[cuda13]" in problem.remedy
    assert problem.cause is None


def test_cupy_is_broken(monkeypatch, tmp_path):
    (tmp_path / "cupy").mkdir()
    (tmp_path / "cupy/__init__.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    problem = CupyBackend.unavailable()
    assert "CuPy is installed, but importing it fails (ImportError: libcudart.so.13" in problem.reason
    assert isinstance(problem.cause, ImportError)


def test_there_is_no_device(monkeypatch):
    cupy = pytest.importorskip("cupy", reason="needs CuPy: pip install 'fusedstep[cuda13]'")
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 0)
    assert "no CUDA device" in CupyBackend.unavailable().reason

    def failing():
        raise cupy.cuda.runtime.CUDARuntimeError(35)

    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", failing)
    problem = CupyBackend.unavailable()
    assert "driver" in problem.reason
    assert "update the NVIDIA driver (580" in problem.remedy
    assert isinstance(problem.cause, cupy.cuda.runtime.CUDARuntimeError)


def test_numba_cuda_is_missing(hidden):
    hidden("numba_cuda")
    problem = CudaBackend.unavailable()
    assert "Numba CUDA is not installed" in problem.reason
    assert "fusedstep[cuda13]" in problem.remedy


def test_cupy_finds_no_compiler(monkeypatch):
    cupy = pytest.importorskip("cupy", reason="needs CuPy: pip install 'fusedstep[cuda13]'")
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 1)
    assert CupyBackend.unavailable() is None

    def failing():
        raise RuntimeError("libnvrtc.so.13 not found")

    monkeypatch.setattr(cupy.cuda.nvrtc, "getVersion", failing)
    for kind in (CupyBackend, CudaBackend):
        problem = kind.unavailable()
        assert "finds no NVRTC" in problem.reason
        assert "libnvrtc.so.13" in problem.reason
        assert "nvidia-cuda-nvrtc" in problem.remedy


class Answer:
    """Numbers on a device that answers with an error; its codes are those of cudaError_t."""

    def __init__(self, code):
        self.code = code

    def get(self):
        import cupy

        raise cupy.cuda.runtime.CUDARuntimeError(self.code)

    __float__ = get


@pytest.mark.parametrize("code", [700, 719, 46], ids=["illegal address", "launch failure", "device unavailable"])
@pytest.mark.parametrize("ask", ["to_numpy", "item"])
def test_a_lost_device_is_an_error_of_its_own(code, ask):
    cupy = pytest.importorskip("cupy", reason="needs CuPy: pip install 'fusedstep[cuda13]'")
    backend = object.__new__(CupyBackend)
    backend.xp = cupy
    with pytest.raises(fs.DeviceError, match=r"finish its work; got cudaError\w+: .*checkpoint") as caught:
        getattr(backend, ask)(Answer(code))
    assert isinstance(caught.value.__cause__, cupy.cuda.runtime.CUDARuntimeError)


def test_a_lack_of_memory_stays_one():
    cupy = pytest.importorskip("cupy", reason="needs CuPy: pip install 'fusedstep[cuda13]'")
    backend = object.__new__(CupyBackend)
    backend.xp = cupy
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="out of memory") as caught:
        backend.to_numpy(Answer(2))
    assert backend.out_of_memory(caught.value)
