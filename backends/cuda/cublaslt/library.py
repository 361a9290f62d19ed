"""libcublasLt through ctypes: finds the library, and wraps the functions that plans call.

The fake in tests/fakes/cublaslt.py has the same methods.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....errors import BackendUnavailable, DeviceError, OutOfDeviceMemory
from .codes import (
    ALGORITHM_BYTES,
    ALIGNMENTS,
    ORDERED_REDUCTIONS,
    Compute,
    DataType,
    DescriptorAttribute,
    Epilogue,
    LayoutAttribute,
    PreferenceAttribute,
    Status,
)

MAJORS = (13, 12)
"""Major versions of the library that this interface was written for."""
INSTALL = "pip install nvidia-cublas (CUDA 13) or nvidia-cublas-cu12 (CUDA 12), to suit the driver"


@dataclass(frozen=True)
class ProductAlgorithm:
    """An algorithm that the library offers for a product, and the workspace that it needs, in bytes."""

    algorithm: bytes
    workspace: int


Layouts = tuple[int, int, int]
"""Handles of the layouts of A, B and D; C has the layout of D."""


def require(status: int, call: str) -> None:
    """Raises the error for a status other than success.

    Raises: BackendUnavailable for a library that cannot start; OutOfDeviceMemory; DeviceError for everything else.
    """
    if status == Status.SUCCESS:
        return
    name = Status(status).name if status in set(Status) else "unknown"
    came = f"expected {call} to succeed; got status {status} ({name})"
    if status == Status.NOT_INITIALIZED:
        raise BackendUnavailable(
            f"{came}: cuBLASLt found no usable CUDA driver or device, or was not started; look at nvidia-smi and at "
            "`fusedstep backends`"
        )
    if status == Status.ALLOC_FAILED:
        raise OutOfDeviceMemory(f"{came}: no memory left; free arrays, or use a smaller batch_size")
    hints = {
        Status.NOT_SUPPORTED: "this library has no such product for these types and shapes on this device; update it",
        Status.ARCH_MISMATCH: "this library has no code for this device; install the nvidia-cublas that suits it",
        Status.EXECUTION_FAILED: "an earlier kernel may have failed; run with CUDA_LAUNCH_BLOCKING=1 to see which",
    }
    hint = hints.get(Status(status), "") if status in set(Status) else ""
    raise DeviceError(f"{came}: {hint or 'the arguments do not fit together; please report this with shapes and dtypes'}")


class _Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", ctypes.c_uint64 * (ALGORITHM_BYTES // 8)),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


_ADDRESS, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cublasLtCreate": (_ADDRESS,),
    "cublasLtDestroy": (_ADDRESS,),
    "cublasLtMatrixLayoutCreate": (_ADDRESS, _INT, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64),
    "cublasLtMatrixLayoutSetAttribute": (_ADDRESS, _INT, _ADDRESS, _SIZE),
    "cublasLtMatrixLayoutDestroy": (_ADDRESS,),
    "cublasLtMatmulDescCreate": (_ADDRESS, _INT, _INT),
    "cublasLtMatmulDescSetAttribute": (_ADDRESS, _INT, _ADDRESS, _SIZE),
    "cublasLtMatmulDescDestroy": (_ADDRESS,),
    "cublasLtMatmulPreferenceCreate": (_ADDRESS,),
    "cublasLtMatmulPreferenceSetAttribute": (_ADDRESS, _INT, _ADDRESS, _SIZE),
    "cublasLtMatmulPreferenceDestroy": (_ADDRESS,),
    "cublasLtMatmulAlgoGetHeuristic": (*(_ADDRESS,) * 7, _INT, _ADDRESS, _ADDRESS),
    "cublasLtMatmulAlgoCheck": (_ADDRESS,) * 8,
    "cublasLtMatmul": (*(_ADDRESS,) * 14, _SIZE, _ADDRESS),
}


class CublasLt:
    """The library, with a handle for the device that is current when the object is created.

    Handles of layouts and descriptors are integers. Every method except `matmul` may raise the errors of `require`.

    Args: path – of libcublasLt; by default it is searched in NVIDIA's wheels and in the system.
    Attributes: version – such as 131000.
    Raises: BackendUnavailable if it is missing, cannot be loaded, or finds no device.
    """

    def __init__(self, path: str | None = None) -> None:
        self._library = load(path)
        self.version = int(self._library.cublasLtGetVersion())
        handle = ctypes.c_void_p()
        self._call("Create", ctypes.byref(handle))
        self._handle = int(handle.value or 0)
        self._matmul = self._library.cublasLtMatmul

    def _call(self, name: str, *arguments: Any) -> None:
        require(getattr(self._library, f"cublasLt{name}")(*arguments), f"cublasLt{name}")

    def _made(self, name: str, *arguments: Any) -> int:
        handle = ctypes.c_void_p()
        self._call(name, ctypes.byref(handle), *arguments)
        return int(handle.value or 0)

    def layout(self, dtype: DataType, rows: int, columns: int, leading: int, count: int = 1, offset: int = 0) -> int:
        """A column-major matrix layout; count, offset – of matrices in a stack, with so many elements from one to the next."""
        handle = self._made("MatrixLayoutCreate", dtype, rows, columns, leading)
        if count > 1:
            of = LayoutAttribute
            values: dict[int, Any] = {of.BATCH_COUNT: ctypes.c_int32(count), of.STRIDED_BATCH_OFFSET: ctypes.c_int64(offset)}
            self._set("MatrixLayoutSetAttribute", handle, values)
        return handle

    def descriptor(
        self, compute: Compute, transpose_a: bool, transpose_b: bool, epilogue: Epilogue, vector: int, vector_type: DataType,
        aux: int, aux_leading: int,
    ) -> int:  # fmt: skip
        """A product descriptor; vector – address of the bias or its gradient; aux – address of the mask or the saved input."""
        scale = DataType.float64 if compute is Compute.float64 else DataType.float32
        handle = self._made("MatmulDescCreate", compute, scale)
        of = DescriptorAttribute
        values: dict[int, Any] = {of.TRANSA: ctypes.c_int32(transpose_a), of.TRANSB: ctypes.c_int32(transpose_b)}
        values[of.EPILOGUE] = ctypes.c_uint32(epilogue)
        if epilogue.takes_vector:
            values |= {of.BIAS_POINTER: ctypes.c_void_p(vector), of.BIAS_DATA_TYPE: ctypes.c_int32(vector_type)}
        if epilogue.takes_mask or epilogue.takes_input:
            values |= {of.EPILOGUE_AUX_POINTER: ctypes.c_void_p(aux), of.EPILOGUE_AUX_LD: ctypes.c_int64(aux_leading)}
        self._set("MatmulDescSetAttribute", handle, values)
        return handle

    def _set(self, call: str, handle: int, values: Mapping[int, Any]) -> None:
        """Sets attributes of a descriptor, a layout or a preference, given as ctypes values."""
        for which, value in values.items():
            self._call(call, handle, which, ctypes.byref(value), ctypes.sizeof(value))

    def candidates(
        self, descriptor: int, layouts: Layouts, workspace: int, alignment: int, count: int, in_place: bool = True
    ) -> list[ProductAlgorithm]:
        """Up to `count` algorithms, the one expected to be fastest first; none if the product is not supported.

        Args: in_place – whether to include algorithms that split sums and add the parts to the result in arbitrary order.
        """
        preference = self._made("MatmulPreferenceCreate")
        try:
            self._wish(preference, workspace, alignment, in_place)
            results = (_Heuristic * count)()
            found = ctypes.c_int()
            a, b, d = layouts
            status = self._library.cublasLtMatmulAlgoGetHeuristic(
                self._handle, descriptor, a, b, d, d, preference, count, results, ctypes.byref(found)
            )
        finally:
            self._library.cublasLtMatmulPreferenceDestroy(preference)
        if status == Status.NOT_SUPPORTED:
            return []
        require(status, "cublasLtMatmulAlgoGetHeuristic")
        return [ProductAlgorithm(bytes(r.algorithm), r.workspace) for r in results[: found.value] if r.state == Status.SUCCESS]

    def _wish(self, preference: int, workspace: int, alignment: int, in_place: bool) -> None:
        """Sets the attributes of a preference."""
        values: dict[int, Any] = {PreferenceAttribute.MAX_WORKSPACE_BYTES: ctypes.c_uint64(workspace)}
        if not in_place:
            values[PreferenceAttribute.REDUCTION_SCHEME_MASK] = ctypes.c_uint32(ORDERED_REDUCTIONS)
        values |= {which: ctypes.c_uint32(alignment) for which in ALIGNMENTS}
        self._set("MatmulPreferenceSetAttribute", preference, values)

    def accepts(self, descriptor: int, layouts: Layouts, algorithm: bytes, workspace: int) -> bool:
        """Whether an algorithm from an earlier run can compute this with a workspace of that size."""
        result = _Heuristic()
        a, b, d = layouts
        saved = ctypes.create_string_buffer(algorithm, ALGORITHM_BYTES)
        status = self._library.cublasLtMatmulAlgoCheck(
            self._handle, descriptor, a, b, d, d, ctypes.byref(saved), ctypes.byref(result)
        )
        return bool(status == Status.SUCCESS and result.workspace <= workspace)

    def matmul(
        self, descriptor: int, alpha: int, a: int, a_layout: int, b: int, b_layout: int, beta: int, c: int, c_layout: int,
        d: int, d_layout: int, algorithm: int, workspace: int, workspace_bytes: int, stream: int,
    ) -> int:  # fmt: skip
        """Submits D = alpha op(A) op(B) + beta C to the stream; returns the status. Arguments are addresses and handles."""
        return int(self._matmul(
            self._handle, descriptor, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algorithm, workspace,
            workspace_bytes, stream,
        ))  # fmt: skip

    def destroy(self, layouts: Iterable[int], descriptors: Iterable[int]) -> None:
        """Frees handles."""
        for handle in descriptors:
            self._library.cublasLtMatmulDescDestroy(handle)
        for handle in layouts:
            self._library.cublasLtMatrixLayoutDestroy(handle)


def load(path: str | None = None) -> ctypes.CDLL:
    """The shared library, with the argument types of its functions set.

    Raises: BackendUnavailable, with the paths that were tried.
    """
    tried = []
    for name in [path] if path else library_paths():
        try:
            found = ctypes.CDLL(name)
        except OSError as error:
            tried.append(f"{name} ({error})")
            continue
        for function, types in _SIGNATURES.items():
            getattr(found, function).argtypes = types
        found.cublasLtGetVersion.restype = ctypes.c_size_t
        return found
    raise BackendUnavailable(f"expected the library libcublasLt; found none that loads: {'; '.join(tried)}; {INSTALL}")


def library_paths() -> Iterator[str]:
    """Candidates for libcublasLt: in NVIDIA's wheels, then in the system; in both, the major version of CuPy first."""
    majors = sorted(MAJORS, key=lambda major: major != _major_of_cupy())
    pattern = "bin/**/cublasLt64_{}.dll" if sys.platform == "win32" else "lib/libcublasLt.so.{}"
    for major in majors:
        for folder in _wheels():
            yield from map(str, sorted(folder.glob(pattern.format(major))))
    for major in majors:
        yield f"cublasLt64_{major}.dll" if sys.platform == "win32" else f"libcublasLt.so.{major}"


def _wheels() -> list[Path]:
    """Folders of NVIDIA's wheels that may contain cuBLAS: nvidia/cu13, nvidia/cu12 and nvidia/cublas."""
    spec = importlib.util.find_spec("nvidia")
    roots = [] if spec is None else list(spec.submodule_search_locations or [])
    return [Path(root) / name for root in roots for name in (*(f"cu{m}" for m in MAJORS), "cublas")]


def _major_of_cupy() -> int:
    """The major version of CUDA that CuPy uses; 0 if CuPy is not imported."""
    cupy = sys.modules.get("cupy")
    return 0 if cupy is None else int(cupy.cuda.runtime.runtimeGetVersion()) // 1000
