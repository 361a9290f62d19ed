"""What the GPU backends say where they cannot run; without a driver CuPy is not even imported."""

import importlib.util
import logging
import os
import subprocess
import sys

import pytest

import fusedstep as fs
from fusedstep.backends import selection
from fusedstep.backends.cuda import toolchain
from fusedstep.backends.cuda.backend import CudaBackend
from fusedstep.backends.cupy import availability
from fusedstep.backends.cupy.backend import CupyBackend

cuda_backend = sys.modules[CudaBackend.__module__]
HOPPER = (9, 0)


@pytest.fixture
def hidden(monkeypatch):
    """A function that makes a package look as if it were not installed."""

    def hide(*names):
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda n, *rest: None if n in names else find(n, *rest))

    return hide


@pytest.fixture
def driver(monkeypatch):
    """The library of NVIDIA's driver can be loaded."""
    monkeypatch.setattr(availability, "load_driver", lambda: None)


@pytest.fixture
def runtime(driver, monkeypatch):
    """CuPy's runtime, which says that there is a device whose driver supports the newest CUDA."""
    cupy = pytest.importorskip("cupy", reason="needs CuPy, as the extras cuda12 and cuda13 install it")
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 1)
    monkeypatch.setattr(cupy.cuda.runtime, "driverGetVersion", lambda: 99_000)
    return cupy.cuda.runtime


@pytest.fixture
def compilers():
    """Numba CUDA with its compiler and its linker."""
    pytest.importorskip("numba_cuda", reason="needs Numba CUDA, as the extras cuda12 and cuda13 install it")
    pytest.importorskip("cuda.bindings.nvjitlink", reason="needs cuda-bindings")
    from numba.core import config

    if config.ENABLE_CUDASIM:
        pytest.skip("Numba's simulator is switched on, which compiles nothing")


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


def of_status(runtime, status):
    return failing(runtime.CUDARuntimeError(status))


# CuPy and the driver


def test_cupy_is_missing(hidden):
    hidden("cupy")
    problem = CupyBackend.unavailable()
    assert "not installed" in problem.reason
    assert "cupy-cuda13x" in problem.remedy
    assert problem.cause is None
    assert not problem.expected


def test_cupy_is_broken(driver, monkeypatch, tmp_path):
    (tmp_path / "cupy").mkdir()
    (tmp_path / "cupy/__init__.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    problem = CupyBackend.unavailable()
    assert "CuPy is installed, but importing it fails (ImportError: libcudart.so.13" in problem.reason
    assert isinstance(problem.cause, ImportError)
    assert problem.expected


def test_there_is_no_device(runtime, monkeypatch):
    monkeypatch.setattr(runtime, "getDeviceCount", lambda: 0)
    assert "no CUDA device" in CupyBackend.unavailable().reason
    monkeypatch.setattr(runtime, "getDeviceCount", of_status(runtime, 100))
    problem = CupyBackend.unavailable()
    assert "no CUDA device" in problem.reason
    assert "CUDA_VISIBLE_DEVICES" in problem.remedy


def test_cupy_is_not_imported_without_the_library_of_the_driver(monkeypatch):
    pytest.importorskip("cupy", reason="needs CuPy, as the extras cuda12 and cuda13 install it")
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.setattr(availability, "load_driver", failing(OSError("libcuda.so.1: cannot open shared object file")))
    for kind in (CupyBackend, CudaBackend):
        problem = kind.unavailable()
        assert problem.reason == "there is no NVIDIA driver"
        assert "update the NVIDIA driver (580" in problem.remedy
        assert isinstance(problem.cause, OSError)
    assert "cupy" not in sys.modules


def test_there_is_no_driver(runtime, monkeypatch):
    monkeypatch.setattr(runtime, "getDeviceCount", of_status(runtime, 35))
    monkeypatch.setattr(runtime, "driverGetVersion", lambda: 0)
    problem = CupyBackend.unavailable()
    assert "no NVIDIA driver" in problem.reason
    assert "update the NVIDIA driver (580" in problem.remedy
    assert isinstance(problem.cause, runtime.CUDARuntimeError)


def test_the_driver_is_too_old(runtime, monkeypatch):
    monkeypatch.setattr(runtime, "getDeviceCount", of_status(runtime, 35))
    monkeypatch.setattr(runtime, "driverGetVersion", lambda: 12_040)
    monkeypatch.setattr(runtime, "runtimeGetVersion", lambda: 13_020)
    problem = CupyBackend.unavailable()
    assert "the NVIDIA driver is too old: it supports CUDA 12.4, and CuPy is built for CUDA 13.2" in problem.reason
    assert "update the NVIDIA driver (580" in problem.remedy
    assert "cupy-cuda12x" in problem.remedy


def test_the_driver_fails_otherwise(runtime, monkeypatch):
    monkeypatch.setattr(runtime, "getDeviceCount", of_status(runtime, 46))
    problem = CupyBackend.unavailable()
    assert "cudaErrorDevicesUnavailable" in problem.reason
    assert "driver" in problem.remedy


@pytest.mark.parametrize(("built", "wheel"), [(12_090, "nvidia-cuda-nvrtc-cu12"), (13_020, "nvidia-cuda-nvrtc==13.*")])
def test_cupy_is_built_for_another_cuda_than_is_installed(runtime, monkeypatch, built, wheel):
    import cupy

    monkeypatch.setattr(runtime, "runtimeGetVersion", lambda: built)
    monkeypatch.setattr(cupy.cuda.nvrtc, "getVersion", failing(RuntimeError("libnvrtc.so not found")))
    for kind in (CupyBackend, CudaBackend):
        problem = kind.unavailable()
        assert f"CuPy is built for CUDA {built // 1000} and finds no NVRTC of that version" in problem.reason
        assert "libnvrtc.so not found" in problem.reason
        assert wheel in problem.remedy


# Numba CUDA


def test_numba_cuda_is_missing(hidden, runtime):
    hidden("numba_cuda")
    problem = CudaBackend.unavailable()
    assert "Numba CUDA is not installed" in problem.reason
    assert "numba-cuda[cu13]" in problem.remedy
    assert problem.expected
    hidden("numba_cuda", "cupy")
    assert not CudaBackend.unavailable().expected


def test_numba_cuda_is_broken(runtime, monkeypatch):
    pytest.importorskip("numba_cuda", reason="needs Numba CUDA, as the extras cuda12 and cuda13 install it")
    monkeypatch.setitem(sys.modules, "numba.cuda", None)
    monkeypatch.delattr("numba.cuda", raising=False)
    problem = CudaBackend.unavailable()
    assert "Numba CUDA is installed, but importing it fails" in problem.reason
    assert "reinstall" in problem.remedy


def test_all_is_there(compilers, runtime, monkeypatch):
    monkeypatch.setattr(cuda_backend, "current_capability", lambda: HOPPER)
    assert CudaBackend.unavailable() is None


def test_the_device_is_too_old(compilers, runtime, monkeypatch):
    monkeypatch.setattr(cuda_backend, "current_capability", lambda: (6, 1))
    problem = CudaBackend.unavailable()
    assert "compute capability 6.1, and the kernels need 7.0" in problem.reason
    assert "cupy or numba" in problem.remedy
    selection.why_not.cache_clear()
    with pytest.raises(fs.BackendUnavailable, match=r"expected backend 'cuda' to work on this machine; .*capability 6\.1"):
        fs.backend("cuda")
    selection.why_not.cache_clear()


def test_the_compiler_does_not_know_the_device(compilers):
    problem = toolchain.compiler_problem((99, 9))
    assert "does not compile for compute capability 99.9" in problem.reason
    assert "pip install" in problem.remedy
    assert problem.cause is not None


def test_numba_cuda_does_not_know_this_numpy(compilers, monkeypatch):
    from fusedstep.kernels.targets.cuda import compatibility

    error = AttributeError("module 'numpy' has no attribute 'in1d'")
    monkeypatch.setattr(compatibility, "load_array_functions", failing(error))
    problem = toolchain.compiler_problem(HOPPER)
    assert "no attribute 'in1d'" in problem.reason
    assert "numba-cuda" in problem.reason
    assert "--upgrade numba numba-cuda numpy" in problem.remedy
    assert problem.cause is error


@pytest.fixture
def no_nvvm(compilers, monkeypatch):
    """Numba CUDA finds its libraries below one folder alone, where CUDA_HOME names that."""
    from numba.cuda import cuda_paths

    real = cuda_paths.get_cuda_paths()

    def look():
        if os.environ.get("CUDA_HOME") != "/toolkit":
            raise RuntimeError("Failure finding libnvvm.so\nin any of these places")
        return real

    monkeypatch.setattr(cuda_paths, "get_cuda_paths", look)
    monkeypatch.setattr(toolchain, "nvcc_home", lambda: "")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)


def test_nvvm_is_missing(no_nvvm):
    problem = toolchain.compiler_problem(HOPPER)
    assert "Numba CUDA finds no NVVM" in problem.reason
    assert problem.reason.endswith("(RuntimeError: Failure finding libnvvm.so)")
    assert 'pip install "numba-cuda[cu13]"' in problem.remedy
    assert "CUDA_HOME" in problem.remedy


@pytest.mark.parametrize("name", ["CUDA_HOME", "CUDA_PATH"])
def test_nvvm_is_not_where_the_environment_says(no_nvvm, monkeypatch, name):
    monkeypatch.setenv(name, "/elsewhere")
    monkeypatch.setattr(toolchain, "nvcc_home", lambda: "/toolkit")
    assert f"{name} is /elsewhere" in toolchain.compiler_problem(HOPPER).reason


def test_nvvm_is_where_nvcc_is(no_nvvm, monkeypatch):
    monkeypatch.setattr(toolchain, "nvcc_home", lambda: "/toolkit")
    assert toolchain.compiler_problem(HOPPER) is None
    assert "CUDA_HOME" not in os.environ
    monkeypatch.setattr(toolchain, "nvcc_home", lambda: "/other")
    assert "nvcc is in /other" in toolchain.compiler_problem(HOPPER).reason
    assert "CUDA_HOME" not in os.environ


@pytest.mark.skipif(os.name != "posix", reason="runs a shell script")
@pytest.mark.parametrize(("script", "found"), [('echo "#\\$ TOP={0}/bin/.." >&2', True), ("exit 1", False)])
def test_nvcc_says_where_its_toolkit_is(monkeypatch, tmp_path, script, found):
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/nvcc"
    command.write_text(f"#!/bin/sh\n{script.format(tmp_path)}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert toolchain.nvcc_home() == (str(tmp_path.resolve()) if found else "")
    monkeypatch.setenv("PATH", "")
    assert toolchain.nvcc_home() == ""


def test_the_library_of_functions_is_missing(compilers, monkeypatch):
    from numba.cuda import cuda_paths

    without = {**cuda_paths.get_cuda_paths(), "libdevice": type("Missing", (), {"info": None})}
    monkeypatch.setattr(cuda_paths, "get_cuda_paths", lambda: without)
    assert "libdevice.10.bc" in toolchain.compiler_problem(HOPPER).reason


REFUSED = """ERROR_PTX_COMPILE (4)
ptxas application ptx input, line 9; fatal   : Unsupported .version 9.5; current version is '9.0'
"""


def test_nvvm_is_newer_than_the_linker(compilers, monkeypatch):
    """By what nvJitLink 13.0 says to the PTX of NVVM 13.5."""
    text = "// Cuda compilation tools, release 13.5, V13.5.37\n.version 9.5\n.target sm_90\n"
    monkeypatch.setattr(toolchain, "probe_ptx", lambda arch: text)
    monkeypatch.setattr(toolchain, "linker_release", lambda: "13.0")
    monkeypatch.setattr(toolchain, "link", failing(RuntimeError(REFUSED)))
    problem = toolchain.compiler_problem(HOPPER, 13_000)
    assert problem.reason == "NVVM 13.5 writes PTX 9.5, and nvJitLink 13.0 reads PTX up to 9.0"
    assert 'pip install "nvidia-nvjitlink==13.5.*"' in problem.remedy
    monkeypatch.setattr(toolchain, "link", failing(RuntimeError("ERROR_INTERNAL")))
    assert "nvJitLink 13.0 does not link it (RuntimeError: ERROR_INTERNAL)" in toolchain.compiler_problem(HOPPER).reason
    # Without nvJitLink the driver links, which reads what its own release reads.
    monkeypatch.setattr(toolchain, "linker_release", lambda: None)
    assert toolchain.compiler_problem(HOPPER, 13_050) is None
    problem = toolchain.compiler_problem(HOPPER, 13_000)
    assert "the driver, of CUDA 13.0, does not read" in problem.reason
    assert "nvidia-nvjitlink==13.5.*" in problem.remedy


def test_a_linker_refuses_what_it_does_not_know(compilers):
    """The real one: its words are those that are looked for."""
    text = toolchain.probe_ptx("90")
    toolchain.link(text, "90")
    version = next(line for line in text.splitlines() if line.startswith(".version"))
    with pytest.raises(Exception, match=r"Unsupported \.version 99\.9"):
        toolchain.link(text.replace(version, ".version 99.9"), "90")


def test_the_compiler_is_of_a_newer_cuda_than_the_driver(compilers):
    problem = toolchain.compiler_problem(HOPPER, 12_040)
    if "release 12." in toolchain.probe_ptx("90"):
        assert problem is None
    else:
        assert "the NVIDIA driver supports CUDA 12.4, and NVVM is of CUDA 1" in problem.reason
        assert "numba-cuda[cu12]" in problem.remedy


# Numba's simulator

SIMULATED = """
import pickle, sys
import fusedstep as fs
from fusedstep.backends import selection

print(selection.why_not("cuda"))
if sys.argv[1:]:
    print(pickle.loads(bytes.fromhex(sys.argv[1])))
else:
    from fusedstep.tests.fakes import simulate_cuda
    print(pickle.dumps(simulate_cuda()).hex())
print(type(fs.backend("cuda")).__name__)
"""


def simulated(*arguments):
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-c", SIMULATED, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_in_the_simulator_cuda_needs_its_double_which_a_pickle_of_it_brings_along():
    pytest.importorskip("numba_cuda", reason="needs Numba CUDA, as the extras cuda12 and cuda13 install it")
    said, pickled, kind = simulated()
    assert "Numba's simulator is switched on (NUMBA_ENABLE_CUDASIM=1), and nothing stands in for the device" in said
    assert "unset NUMBA_ENABLE_CUDASIM; or, in a checkout, call fusedstep.tests.fakes.simulate_cuda() first" in said
    assert kind == "SimulatedCuda"
    assert simulated(pickled)[1:] == ["<fusedstep backend cuda>", kind]


def test_without_the_simulator_its_double_cannot_run(compilers):
    from fusedstep.tests.fakes.simulated_cuda import SimulatedCuda

    assert SimulatedCuda.unavailable().remedy == "set NUMBA_ENABLE_CUDASIM=1 before Python starts"


# What `auto` says


def said_by_auto(program=""):
    program = f"{program}\nimport fusedstep as fs\nfor _ in range(3): print(fs.backend().name)"
    environment = {k: v for k, v in os.environ.items() if k not in (selection.VARIABLE, "NUMBA_ENABLE_CUDASIM")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split(), done.stderr.splitlines()


HIDE = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {} else find(name, *rest)
"""


def test_auto_says_nothing_where_no_cuda_extra_is_installed():
    """On standard error, as a user sees it."""
    chosen, said = said_by_auto(HIDE.format(("cupy", "numba_cuda")))
    assert chosen == ["numba"] * 3
    assert said == []


@pytest.mark.skipif(selection.why_not("cuda") is None, reason="there is a CUDA device")
def test_auto_says_once_why_an_extra_that_is_installed_does_not_work(compilers):
    chosen, said = said_by_auto()
    assert chosen == ["numba"] * 3
    assert len(said) == 1
    assert said[0].startswith("backend auto takes numba, not cuda or cupy: there is no NVIDIA driver; to fix it: install")


def test_auto_says_once_that_numba_cuda_cannot_compile(runtime, monkeypatch, caplog, compilers):
    """A device for CuPy is there, so that is what it takes."""
    monkeypatch.setattr(cuda_backend, "current_capability", lambda: (6, 1))
    for known in (selection.why_not, selection._automatic):
        known.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger="fusedstep"):
            assert [selection._automatic() for _ in range(2)] == ["cupy"] * 2
    finally:
        for known in (selection.why_not, selection._automatic):
            known.cache_clear()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("backend auto takes cupy, not cuda: the GPU has compute capability 6.1")


# A device that fails


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
    cupy = pytest.importorskip("cupy", reason="needs CuPy, as the extras cuda12 and cuda13 install it")
    backend = object.__new__(CupyBackend)
    backend.xp = cupy
    with pytest.raises(fs.DeviceError, match=r"finish its work; got cudaError\w+: .*checkpoint") as caught:
        getattr(backend, ask)(Answer(code))
    assert isinstance(caught.value.__cause__, cupy.cuda.runtime.CUDARuntimeError)


def test_a_lack_of_memory_stays_one():
    cupy = pytest.importorskip("cupy", reason="needs CuPy, as the extras cuda12 and cuda13 install it")
    backend = object.__new__(CupyBackend)
    backend.xp = cupy
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="out of memory") as caught:
        backend.to_numpy(Answer(2))
    assert backend.out_of_memory(caught.value)


@pytest.mark.parametrize("says", ["[2] Call to cuModuleLoadDataEx results in CUDA_ERROR_OUT_OF_MEMORY", "other"])
def test_a_device_without_room_for_a_kernel(compilers, monkeypatch, tmp_path, says):
    """What is in the kernel cache stays there, for there is nothing wrong with it."""
    from numba import cuda

    from fusedstep.kernels.targets import cache
    from fusedstep.kernels.targets.cuda import entries
    from fusedstep.kernels.targets.cuda.bits import bits_source
    from fusedstep.kernels.targets.cuda.kernel import CudaKernel

    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    tried, removed = [], []

    def jit(*_, cache, **__):
        tried.append(cache)
        return failing(RuntimeError(says))

    monkeypatch.setattr(cuda, "jit", jit)
    monkeypatch.setattr(entries, "remove", removed.append)
    if says == "other":
        with pytest.raises(RuntimeError, match="other"):
            CudaKernel(bits_source())
        assert (len(tried), len(removed)) == (3, 1)
        return
    with pytest.raises(fs.OutOfDeviceMemory, match="room on the device for the code of kernel 'random_bits'; got") as caught:
        CudaKernel(bits_source())
    assert CupyBackend.out_of_memory(object.__new__(CupyBackend), caught.value)
    assert (tried, removed) == ([True], [])
