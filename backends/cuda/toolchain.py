"""Checks whether Numba CUDA can compile and run kernels: each problem has a message and a fix.

Runs before a backend is created, and loads everything that the first kernel will load, so that problems are found early.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import threading

from ..contract import Unavailable
from ..cupy.availability import INSTALL, INSTALL_LINES, brief, release

Capability = tuple[int, int]

LEAST_CAPABILITY = (7, 0)
"""Oldest supported devices (Volta): the kernels need independent thread scheduling within a warp."""

_PROBE = """\
target triple = "nvptx64-nvidia-cuda"
target datalayout = "{layout}"
define void @probe() {{
  ret void
}}
!nvvm.annotations = !{{!0}}
!0 = !{{void ()* @probe, !"kernel", i32 1}}
!nvvmir.version = !{{!1}}
!1 = !{{i32 {0}, i32 {1}, i32 {2}, i32 {3}}}
"""
"""NVVM IR of a kernel that does nothing."""
_looking = threading.Lock()


def numba_cuda_problem() -> Unavailable | None:
    """Why Numba CUDA cannot be imported."""
    if importlib.util.find_spec("numba_cuda") is None:
        # A user who has neither Numba CUDA nor CuPy does not expect a GPU.
        return Unavailable("Numba CUDA is not installed", INSTALL, expected=importlib.util.find_spec("cupy") is not None)
    try:
        from numba import cuda  # noqa: F401
    except Exception as error:  # as above
        return Unavailable(
            f"Numba CUDA is installed, but importing it fails ({brief(error)})", f"reinstall it with {INSTALL}", error
        )
    return None


def current_capability() -> Capability:
    """The compute capability of the current device."""
    import cupy

    text = cupy.cuda.Device().compute_capability
    return int(text[:-1]), int(text[-1])


def compiler_problem(capability: Capability, driver: int = 0) -> Unavailable | None:
    """Why Numba CUDA cannot compile for a device, or None: loads its compilers, then compiles and links an empty kernel.

    Args: driver – newest CUDA version that the driver supports, such as 12040; 0 skips the comparison with it.
    """
    if capability < LEAST_CAPABILITY:
        return Unavailable(
            "the GPU has compute capability {}.{}, and the kernels need {}.{} or newer".format(*capability, *LEAST_CAPABILITY),
            "take the backend cupy or numba, or a newer GPU",
        )
    try:
        from ...kernels.targets.cuda.compatibility import load_array_functions

        load_array_functions()
    except Exception as error:  # importing its modules next to an unsupported NumPy can raise anything
        from importlib.metadata import version

        here = f"numba-cuda {version('numba-cuda')} and NumPy {version('numpy')}"
        return Unavailable(
            f"Numba CUDA cannot load its compiler ({brief(error)}) with {here}",
            "install versions that go together: pip install --upgrade numba numba-cuda numpy",
            error,
        )
    return _nvvm_problem() or _linking_problem(capability, driver)


def _nvvm_problem() -> Unavailable | None:
    """Loads NVVM and libdevice: from the wheels, CUDA_HOME, CUDA_PATH, or else the toolkit of `nvcc`."""
    from numba.cuda import cuda_paths

    named = next((name for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)), "")
    with _looking:
        try:
            found = cuda_paths.get_cuda_paths()
        except Exception as first:  # different finders of the library raise different errors
            home = "" if named else nvcc_home()
            if not home:
                where = f"; {named} is {os.environ[named]}" if named else ""
                return _without_nvvm(f"{brief(first)}{where}", first)
            os.environ["CUDA_HOME"] = home
            try:
                found = cuda_paths.get_cuda_paths()
            except Exception as error:
                return _without_nvvm(f"{brief(error)}; nvcc is in {home}", error)
            finally:
                del os.environ["CUDA_HOME"]
        if found["libdevice"].info is None:
            return _without_nvvm("libdevice.10.bc, its library of functions, is not beside it", None)
    return None


def _without_nvvm(why: str, error: BaseException | None) -> Unavailable:
    return Unavailable(
        f"Numba CUDA finds no NVVM, which compiles its kernels ({why})",
        'pip install "numba-cuda[cu13]" (CUDA 13) or "numba-cuda[cu12]" (CUDA 12), or set CUDA_HOME to the folder of a CUDA '
        "toolkit, the one that holds nvvm",
        error,
    )


def nvcc_home() -> str:
    """The folder of the toolkit of the `nvcc` on PATH, as `nvcc --dryrun` reports it; "" without one."""
    command = shutil.which("nvcc")
    if command is None:
        return ""
    try:
        dry = [command, "--dryrun", "-x", "cu", "-c", os.devnull, "-o", os.devnull]
        sent = subprocess.run(dry, capture_output=True, text=True, timeout=10, check=False).stderr
    except (OSError, subprocess.SubprocessError):
        return ""
    top = re.search(r"^#\$ TOP=(.+)$", sent, re.MULTILINE)
    return os.path.realpath(top[1].strip()) if top else ""


def _linking_problem(capability: Capability, driver: int) -> Unavailable | None:
    """Why the PTX of NVVM cannot be linked, or None: both must support the device, and the linker the PTX version."""
    arch = "{}{}".format(*capability)
    try:
        text = probe_ptx(arch)
    except Exception as error:
        return Unavailable(
            f"NVVM does not compile for compute capability {capability[0]}.{capability[1]} ({brief(error)})",
            f"install one that does: {INSTALL_LINES[12 if capability < (7, 5) else 13]}",
            error,
        )
    compiler = (re.findall(r"release (\d+\.\d+)", text) or ["of unknown release"])[0]
    if driver and compiler[0].isdigit() and int(compiler.partition(".")[0]) > driver // 1000:
        return Unavailable(
            f"the NVIDIA driver supports CUDA {release(driver)}, and NVVM is of CUDA {compiler}",
            f"update the driver, or pip uninstall nvidia-nvvm and {INSTALL_LINES.get(driver // 1000, INSTALL_LINES[12])}",
        )
    linker = linker_release()
    if linker is None:
        # Then the driver links, which reads PTX up to its own release.
        if driver and _numbers(compiler) > _numbers(release(driver)):
            return Unavailable(
                f"NVVM {compiler} writes PTX that the driver, of CUDA {release(driver)}, does not read, and nvJitLink is not "
                "installed",
                f'pip install "{_wheel(compiler)}=={compiler}.*"',
            )
        return None
    try:
        link(text, arch)
    except Exception as error:
        written = (re.findall(r"^\.version (\S+)", text, re.MULTILINE) or ["of unknown version"])[0]
        newest = re.search(r"Unsupported \.version .*current version is '([\d.]+)'", str(error))
        read = f"reads PTX up to {newest[1]}" if newest else f"does not link it ({brief(error)})"
        return Unavailable(
            f"NVVM {compiler} writes PTX {written}, and nvJitLink {linker} {read}",
            f'install both of one release: pip install "{_wheel(linker)}=={compiler}.*"',
            error,
        )
    return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def _wheel(of: str) -> str:
    """The package that contains nvJitLink of that release."""
    return "nvidia-nvjitlink-cu12" if _numbers(of)[:1] == (12,) else "nvidia-nvjitlink"


def probe_ptx(arch: str) -> str:
    """PTX of a kernel that does nothing, compiled by NVVM."""
    from numba.cuda.cudadrv import nvvm

    unit = nvvm.CompilationUnit({"arch": f"compute_{arch}"})
    unit.add_module(_PROBE.format(*nvvm.NVVM().get_ir_version(), layout=nvvm.NVVM().data_layout).encode())
    text: bytes = unit.compile()
    return text.decode()


def link(text: str, arch: str) -> None:
    """Links PTX by nvJitLink, as Numba CUDA does."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    linker = Linker(ObjectCode.from_ptx(text.encode()), options=LinkerOptions(arch=f"sm_{arch}"))
    try:
        linker.link("cubin")
    finally:
        linker.close()


def linker_release() -> str | None:
    """The release of nvJitLink, or None without one that Numba CUDA can use."""
    try:
        from cuda.bindings import nvjitlink

        major, minor = nvjitlink.version()
    except Exception:  # missing or too old; different finders of the library raise different errors
        return None
    return f"{major}.{minor}"
