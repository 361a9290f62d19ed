"""A kernel: its generated source and its compiled form, which checks its array arguments.

The backend launches it.
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
"""What generated modules bind differently: Numba CUDA has no `np.floor`, but its `math.floor` gives a real; and in the
simulator Python's `math` would raise an error where a device gives infinity or NaN."""
_QUIET_MATH = SimpleNamespace(
    exp=np.exp, expm1=np.expm1, log=np.log, log1p=np.log1p, sqrt=np.sqrt, tanh=np.tanh, sin=np.sin, cos=np.cos, erf=math.erf
)


def array_type(dtype: np.dtype[Any], dimensions: int) -> types.Array:
    """A C-contiguous array on the device."""
    return types.Array(numba.from_dtype(dtype), dimensions, "C")


@dataclass(frozen=True)
class Generated:
    """A kernel before compilation: its module's source and the types of its parameters.

    Attributes: stored – by position, the type of arrays that the kernel sees as another one of bits.
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
    """A generated function of these lines; `stored` says how arrays lie in memory."""
    text = module_text(name, list(parameters), lines, {**BOUND, **constants})
    seen = {k: stored[p].name for k, p in enumerate(parameters) if stored and p in stored}
    return Generated(name, text, tuple(parameters.values()), seen)


class CudaKernel:
    """A compiled kernel that refuses arrays of any other type than its own.

    Attributes: compiled – what `compiled[grid, block, stream](*arguments)` launches; arity – how many arguments it takes;
        seen – by position, the type that an array has to be shown as.
    """

    def __init__(self, generated: Generated) -> None:
        self.name = generated.name
        function = generated.function()
        if SIMULATED:
            self.compiled = cuda.jit(function)
        else:
            signature = types.void(*generated.parameters)
            # Not once more at link time: what runs is then the PTX that was looked at, and it is made only once.
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
        """The arguments with numbers in the kernel's own types; raises DtypeError for an array of another type."""
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
        """(shape, type) as which the kernel sees an argument: words of bits where that differs from what it is."""
        seen = self.seen.get(position)
        if seen is None:
            return array.shape, array.dtype
        return (*array.shape[:-1], array.shape[-1] * array.dtype.itemsize // seen.itemsize), seen


@cache
def compiled_kernel(source: Callable[..., Generated], *arguments: Any) -> CudaKernel:
    """The kernel of a source for these arguments, compiled once."""
    return CudaKernel(source(*arguments))


Launch = Callable[[CudaKernel, Geometry, Sequence[Any]], None]
"""What the backend does with a kernel: wraps the arrays, picks the stream, launches."""
