"""Checks whether CuPy can run: a working package, a suitable driver, a device, a compiler; each problem with its fix.

The additional requirements of Numba CUDA are in backends/cuda/toolchain.py.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from typing import Any

from ...extras import install_line
from ..contract import Unavailable

INSTALL_LINES = {13: install_line("cuda13"), 12: install_line("cuda12")}
"""Major version of CUDA -> the command that installs what the backends need."""
INSTALL = f"{INSTALL_LINES[13]}, or for a driver older than 580: {INSTALL_LINES[12]}"
UPDATE = "install or update the NVIDIA driver (580 or newer for CUDA 13, 525 for CUDA 12), and look at nvidia-smi"
NO_DRIVER, NO_DEVICE = 35, 100
"""cudaErrorInsufficientDriver, which is also returned if there is no driver at all, and cudaErrorNoDevice."""


def release(version: int) -> str:
    """A version number of CUDA, such as 12040, as text: "12.4"."""
    return f"{version // 1000}.{version % 1000 // 10}"


def brief(error: BaseException) -> str:
    """The type of an error and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def cupy_problem() -> Unavailable | None:
    """Why CuPy cannot run here: not installed, no driver or one too old, broken, no device, or no compiler."""
    if importlib.util.find_spec("cupy") is None:
        return Unavailable("CuPy is not installed", INSTALL, expected=False)
    try:
        load_driver()
    except OSError as error:
        return Unavailable("there is no NVIDIA driver", UPDATE, error)
    try:
        import cupy
    except Exception as error:  # a broken installation fails in many ways, and `unavailable` must not raise
        return Unavailable(
            f"CuPy is installed, but importing it fails ({brief(error)})",
            f"remove all packages named cupy*, then {INSTALL}",
            error,
        )
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        return _driver_problem(runtime, error)
    if count == 0:
        return Unavailable("there is no CUDA device", "check CUDA_VISIBLE_DEVICES and nvidia-smi")
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # different finders of the library raise different errors
        major = int(runtime.runtimeGetVersion()) // 1000
        wheel = "nvidia-cuda-nvrtc-cu12" if major == 12 else f"nvidia-cuda-nvrtc=={major}.*"
        return Unavailable(
            f"CuPy is built for CUDA {major} and finds no NVRTC of that version, which compiles its kernels ({brief(error)})",
            f'pip install "{wheel}", or take the CuPy of the CUDA that is installed: {INSTALL}',
            error,
        )
    return None


def load_driver() -> None:
    """Loads the library of NVIDIA's driver; raises OSError without one, much sooner than CuPy, which takes long to import."""
    ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def _driver_problem(runtime: Any, error: Any) -> Unavailable:
    """The reason why the number of devices cannot be read, from the error that this raised."""
    status = getattr(error, "status", None)
    if status == NO_DEVICE:
        return Unavailable("there is no CUDA device", "check CUDA_VISIBLE_DEVICES and nvidia-smi", error)
    driver, built = int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())
    if status == NO_DRIVER and driver == 0:
        return Unavailable("there is no NVIDIA driver", UPDATE, error)
    if status == NO_DRIVER:
        older = f", or pip uninstall cupy-cuda13x and {INSTALL_LINES[12]}" if driver // 1000 == 12 else ""
        return Unavailable(
            f"the NVIDIA driver is too old: it supports CUDA {release(driver)}, and CuPy is built for CUDA {release(built)}",
            UPDATE + older,
            error,
        )
    return Unavailable(f"no CUDA driver or device answers ({error})", UPDATE, error)
