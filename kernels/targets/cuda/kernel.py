"""CUDA kernels: the generated source, and the compiled kernel, which checks its array arguments.

Backends launch them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
from numba import cuda, types

from ....errors import DtypeError, OutOfDeviceMemory
from ..device_memory import is_exhausted
from ..source import build, module_text
from ..storage import Storage
from .compatibility import load_array_functions
from .compiling import compiled
from .geometry import SIMULATED, Geometry

BOUND = {"math": "quiet_math"} if SIMULATED else {"floor": "math.floor"}
"""Names that generated modules bind differently on CUDA: Numba CUDA has no `np.floor`, but its `math.floor` returns a real; in
the simulator, Python's `math` would raise an error where a device returns infinity or NaN."""
_QUIET_MATH = SimpleNamespace(
    exp=np.exp, expm1=np.expm1, log=np.log, log1p=np.log1p, sqrt=np.sqrt, tanh=np.tanh, sin=np.sin, cos=np.cos, erf=math.erf
)


def array_type(dtype: np.dtype[Any], dimensions: int) -> types.Array:
    """A C-contiguous array on the device."""
    return types.Array(numba.from_dtype(dtype), dimensions, "C")


@dataclass(frozen=True)
class Generated:
    """A kernel before compilation: its module's source and the types of its parameters.

    Attributes: name; text – the source; parameters – Numba types; stored – position of an array -> name of the type in
        which it is stored, which differs from `parameters` if the kernel accesses it as unsigned integers.
    """

    name: str
    text: str
    parameters: tuple[types.Type, ...]
    stored: Mapping[int, str]

    def function(self) -> Any:
        """The Python function, ready for `numba.cuda`."""
        load_array_functions()
        return build(self.name, self.text, {"cuda": cuda, "quiet_math": _QUIET_MATH})


def generate(
    name: str, parameters: Mapping[str, types.Type], lines: Sequence[str], constants: Mapping[str, str],
    stored: Mapping[str, Storage] | None = None,
) -> Generated:  # fmt: skip
    """A generated function with these body lines; `stored` – parameter -> how that array is stored in memory."""
    text = module_text(name, list(parameters), lines, {**BOUND, **constants})
    seen = {k: stored[p].name for k, p in enumerate(parameters) if stored and p in stored}
    return Generated(name, text, tuple(parameters.values()), seen)


class CudaKernel:
    """A compiled kernel that accepts only arrays of the types it was compiled for.

    Attributes: name; compiled – launched by `compiled[grid, block, stream](*arguments)`; arity – number of arguments; seen –
        position of an argument -> dtype as which the kernel accesses it, if that is not the type of the array.
    """

    def __init__(self, generated: Generated) -> None:
        self.name = generated.name
        function = generated.function()
        if SIMULATED:
            self.compiled = cuda.jit(function)
        else:
            signature = types.void(*generated.parameters)
            # Without link-time optimisation: the PTX that the tests inspect is the code that runs, and it is compiled only
            # once.
            try:
                self.compiled = compiled(function, lambda saved: cuda.jit(signature, cache=saved, lto=False)(function))
            except Exception as error:
                if not is_exhausted(error):
                    raise
                raise OutOfDeviceMemory(
                    f"expected room on the device for the code of kernel {self.name!r}; got {error}; end other processes that "
                    "use the device (nvidia-smi lists them), or free arrays and call backend.trim_memory()"
                ) from error
        self.arity = len(generated.parameters)
        self.seen: dict[int, np.dtype[Any]] = {}
        self._arrays: list[tuple[int, str, int]] = []
        self._numbers: list[tuple[int, Callable[[Any], Any]]] = []
        for position, kind in enumerate(generated.parameters):
            if isinstance(kind, types.Array):
                dtype = np.dtype(str(kind.dtype))
                stored = generated.stored.get(position, str(dtype))
                self._arrays.append((position, stored, kind.ndim))
                if stored != str(dtype):
                    self.seen[position] = dtype
            else:
                self._numbers.append((position, np.dtype(str(kind)).type))

    def check(self, arguments: Sequence[Any]) -> list[Any]:
        """The arguments, with numbers converted to the kernel's types; raises DtypeError for an array of another type."""
        given = list(arguments)
        for position, dtype, dimensions in self._arrays:
            array = given[position]
            if array.dtype.name != dtype or array.ndim != dimensions or not array.flags.c_contiguous:
                raise DtypeError(
                    f"expected row-major {dtype} in {dimensions} dimensions as argument {position} of kernel "
                    f"{self.name!r}; got {array.dtype} of shape {tuple(array.shape)}"
                    f"{'' if array.flags.c_contiguous else ', not contiguous'}; convert it with backend.asarray"
                )
        for position, convert in self._numbers:
            given[position] = convert(given[position])
        return given

    def shown(self, position: int, array: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """(shape, dtype) as which the kernel accesses an array argument: unsigned integers where `seen` says so."""
        seen = self.seen.get(position)
        if seen is None:
            return array.shape, array.dtype
        return (*array.shape[:-1], array.shape[-1] * array.dtype.itemsize // seen.itemsize), seen


@cache
def compiled_kernel(source: Callable[..., Generated], *arguments: Any) -> CudaKernel:
    """The kernel whose source is source(*arguments), compiled once per process."""
    return CudaKernel(source(*arguments))


Launch = Callable[[CudaKernel, Geometry, Sequence[Any]], None]
"""A backend's function that launches a kernel: it wraps the arrays and selects the stream."""
