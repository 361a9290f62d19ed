"""The BLAS libraries on the CPU: NumPy's own, and Intel's oneMKL if the package `mkl` is installed (extra `mkl`).

FUSEDSTEP_BLAS is "numpy" or "mkl" for one of them. Unset or "auto", both are used: the default is MKL on Intel's processors and
NumPy's library on all others, and gemm_choices.py selects the faster one for each product of a captured plan.
"""

from __future__ import annotations

import ctypes
import os
import re
from functools import cache
from importlib import metadata
from typing import Any, NamedTuple

from threadpoolctl import ThreadpoolController

from ...errors import HyperparameterError, MissingDependency
from ...extras import install_line
from .processor import is_intel

VARIABLE = "FUSEDSTEP_BLAS"
_CHOICES = ("auto", "mkl", "numpy")
BLOCK_TIME = "KMP_BLOCKTIME", "2"
"""Milliseconds for which MKL's idle threads spin, where nobody says otherwise: 200 of them would take cores from whoever comes
next, and between two products of a step they hardly sleep with 2."""
_MKL_FILE = re.compile(r"libmkl_rt\.so(\.\d+)*|mkl_rt(\.\d+)*\.dll|libmkl_rt(\.\d+)*\.dylib")


class Blas(NamedTuple):
    """A library: what people call it, its version in words, and the addresses of its single and double precision GEMM."""

    name: str
    version: str
    sgemm: int
    dgemm: int


@cache
def libraries() -> dict[str, Blas]:
    """The libraries of this process by their names in FUSEDSTEP_BLAS, the default first; raises as `mkl` does."""
    theirs = _installed_mkl()
    if theirs is not None and wanted() == "mkl":
        return {"mkl": theirs}
    own = {"numpy": _numpys() or _scipys()}
    if theirs is None:
        return own
    return {"mkl": theirs, **own} if mkl() else {**own, "mkl": theirs}


def blas() -> Blas:
    """The default library; raises as `mkl` does."""
    return next(iter(libraries().values()))


@cache
def mkl() -> Blas | None:
    """oneMKL, where it is the default library.

    Raises: HyperparameterError where FUSEDSTEP_BLAS names no library; MissingDependency where it asks for an MKL that is not
        there.
    """
    found = _installed_mkl()  # loaded in any case, before the BLAS libraries of this process are listed
    return found if is_intel() or wanted() == "mkl" else None


def wanted() -> str:
    """What FUSEDSTEP_BLAS asks for: "auto", "mkl" or "numpy"; raises a HyperparameterError for anything else."""
    named = os.environ.get(VARIABLE, "").strip().lower() or "auto"
    if named not in _CHOICES:
        raise HyperparameterError(f"expected {VARIABLE} to be one of {', '.join(_CHOICES)}; got {named!r}")
    return named


@cache
def _installed_mkl() -> Blas | None:
    """MKL, unless FUSEDSTEP_BLAS selects NumPy's library."""
    found = _mkl() if wanted() != "numpy" else None
    if found is None and wanted() == "mkl":
        raise MissingDependency(
            f"expected the package mkl for {VARIABLE}=mkl; it is not installed; {install_line('mkl')}, or unset {VARIABLE}"
        )
    return found


def _mkl() -> Blas | None:
    """MKL as the package `mkl` brings it, with one GEMM for all processors, which finds out on which one it runs."""
    try:
        files = metadata.files("mkl") or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if _MKL_FILE.fullmatch(file.name):
            try:
                library = ctypes.CDLL(str(file.locate()))
            except OSError:
                continue
            found = [_first(library, (f"{letter}gemm_", f"{letter}gemm")) for letter in "sd"]
            if all(found):
                _start(library)
                return Blas("mkl", f"mkl {metadata.version('mkl')}", *found)
    return None


def _start(library: Any) -> None:
    """Lets MKL bring its threads up, which reads BLOCK_TIME; other libraries and child processes do not see that."""
    name, milliseconds = BLOCK_TIME
    if name in os.environ:
        library.MKL_Get_Max_Threads()
        return
    os.environ[name] = milliseconds
    try:
        library.MKL_Get_Max_Threads()
    finally:
        del os.environ[name]


def _numpys() -> Blas | None:
    """The library that NumPy brought.

    Libraries with 32-bit and with 64-bit numbers take the same words: little-endian words below 2^31 read alike.
    """
    import numpy  # noqa: F401 – which loads it

    for library in ThreadpoolController().select(user_api="blas").lib_controllers:
        if "numpy" in library.filepath:
            handle = ctypes.CDLL(library.filepath)
            found = [
                _first(handle, (f"scipy_{n}_64_", f"{n}_64_", f"{n}64_", f"scipy_{n}_", f"{n}_")) for n in ("sgemm", "dgemm")
            ]
            if all(found):
                words = library.internal_api, library.version, getattr(library, "architecture", "")
                return Blas(f"{library.internal_api} of NumPy", " ".join(map(str, words)), *found)
    return None


def _scipys() -> Blas:
    """The library that SciPy is linked to, which is often an older one than NumPy's."""
    from scipy.linalg import cython_blas

    title, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    title.restype, title.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsules = (cython_blas.__pyx_capi__[name] for name in ("sgemm", "dgemm"))
    found = [pointer(capsule, title(capsule)) for capsule in capsules]
    return Blas("BLAS of SciPy", f"SciPy {metadata.version('scipy')}", *found)


def _first(library: Any, names: tuple[str, ...]) -> int:
    """The address of the first of these functions that the library has, else 0."""
    for name in names:
        function = getattr(library, name, None)
        if function is not None:
            return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0
