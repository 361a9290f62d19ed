"""A cuBLASLt that computes with NumPy on host memory, and looks at everything that the real one would trust.

It refuses with the same statuses what the real one refuses, and raises `Fault` where the real one would read or write
memory that is not there, or where a call is made that a captured graph forbids.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ...backends.cuda.cublaslt.codes import (
    ALGORITHM_BYTES,
    AUX_COLUMNS,
    ITEM_BYTES,
    MASK_COLUMNS,
    Compute,
    DataType,
    Epilogue,
    Status,
)
from ...backends.cuda.cublaslt.device import CupyDevice
from ...backends.cuda.cublaslt.library import CublasLt, Layouts, ProductAlgorithm, require
from ...backends.cuda.cublaslt.problem import INPUTS
from ...kernels.formulas.activations import ACTIVATIONS
from .streams import SimulatedStreams

Array = Any
_MAGIC = b"fakealgo"
ALGORITHMS = ((0, 1), (0, 16), (4 << 20, 16), (48 << 20, 16))
"""(workspace in bytes, alignment of the addresses in bytes) that each algorithm asks for."""
IN_PLACE = ((0, 1), (4 << 20, 16))
"""Those that add up parts of a sum in the result."""
_MANY = 256
"""Arrays after which those that are gone are forgotten."""


class Fault(AssertionError):
    """A call that would break a real device, or a captured graph."""


class HostDevice(CupyDevice):
    """Host memory in place of a device's; knows which arrays are alive.

    Args: clock – gives the seconds of a measurement, in place of running a stopwatch; None for a device that does not measure;
        streams – those of the device; its own unless given; lock – see CupyDevice.
    """

    identity = "host memory"

    def __init__(
        self, clock: Callable[[Callable[[], object]], float] | None = None, streams: SimulatedStreams | None = None,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:  # fmt: skip
        self.measures = clock is not None
        self.streams = SimulatedStreams({}) if streams is None else streams
        self.lock = lock or threading.RLock()
        self._clock = clock
        self._blocks: dict[int, tuple[int, weakref.ref[Any]]] = {}

    def capture(self, graph: list[Callable[[], object]] | None = None) -> AbstractContextManager[None]:
        """Within it a graph is being captured: products are written down in `graph`, or done at once without one."""
        return self.streams.capture(graph)

    def allow(self, what: str) -> None:
        """Raises Fault while capturing, when nothing but products may be handed out."""
        if self.streams.capturing:
            raise Fault(f"expected nothing but products while a graph is captured; got {what}")

    def address(self, array: Array) -> int:
        """See CupyDevice; from now on the array's memory counts as the device's, as long as the array lives."""
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        start = int(owner.ctypes.data)
        known = self._blocks.get(start)
        if known is None or known[1]() is not owner:
            if len(self._blocks) >= _MANY:
                self._blocks = {k: block for k, block in list(self._blocks.items()) if block[1]() is not None}
            self._blocks[start] = int(owner.nbytes), weakref.ref(owner)
        return int(array.ctypes.data)

    def require_alive(self, what: str, start: int, size: int) -> None:
        """Raises Fault unless these bytes lie inside one living array that was given to the device."""
        for first, (held, owner) in list(self._blocks.items()):
            if first <= start and start + size <= first + held and owner() is not None:
                return
        raise Fault(f"expected {what} inside a living array; got {size} bytes at {start:#x}, which belong to none")

    def stream(self) -> int:
        """See CupyDevice."""
        return self.streams.current

    def recording(self) -> bool:
        """See CupyDevice."""
        return self.streams.capturing

    def bytes(self, size: int) -> Array:
        """See CupyDevice."""
        self.allow("an allocation")
        buffer = np.empty(size + 256, np.uint8)
        return buffer[-int(buffer.ctypes.data) % 256 :][:size]

    def copy(self, array: Array) -> Array:
        """See CupyDevice."""
        self.allow("an allocation")
        return array.copy()

    def seconds(self, run: Callable[[], object]) -> float:
        """See CupyDevice."""
        self.allow("a measurement")
        assert self._clock is not None
        return self._clock(run)


@dataclass(frozen=True)
class _Layout:
    dtype: DataType
    rows: int
    columns: int
    leading: int
    count: int = 1
    offset: int = 0

    @property
    def bytes(self) -> int:
        """From the first element to the last of one matrix."""
        return ((self.columns - 1) * self.leading + self.rows) * ITEM_BYTES[self.dtype] if self.rows and self.columns else 0


@dataclass(frozen=True)
class _Descriptor:
    compute: Compute
    transpose_a: bool
    transpose_b: bool
    epilogue: Epilogue
    vector: int
    vector_type: DataType
    aux: int
    aux_leading: int


Thing = TypeVar("Thing", _Layout, _Descriptor)


class FakeCublasLt(CublasLt):
    """See the module, and CublasLt for the methods.

    Args: device – whose memory it works on; unsupported – epilogues that it has no algorithm for; failing – status that
        every product gives, in place of success; zero_passes – whether its ReLU mask lets the gradient pass at exactly 0;
        drops_nan – whether its ReLU makes 0 of NaN; gelu – name of the activation that its GELU is.
    Attributes: products – how many were computed; live – handles that were made and not destroyed.
    """

    def __init__(
        self, device: HostDevice, version: int = 131000, unsupported: Sequence[Epilogue] = (),
        failing: Status = Status.SUCCESS, zero_passes: bool = False, drops_nan: bool = False,
        gelu: str = "gelu_tanh",
    ) -> None:  # fmt: skip
        self.version = version
        self.device = device
        self.products = 0
        self.live: dict[int, _Layout | _Descriptor] = {}
        self._unsupported = tuple(unsupported)
        self._failing = failing
        self._zero_passes = zero_passes
        self._drops_nan = drops_nan
        self._gelu = ACTIVATIONS[gelu]
        self._next = 1

    def _new_handle(self, thing: _Layout | _Descriptor, call: str) -> int:
        self.device.allow(call)
        handle = self._next
        self._next += 1
        self.live[handle] = thing
        return handle

    def layout(self, dtype: DataType, rows: int, columns: int, leading: int, count: int = 1, offset: int = 0) -> int:
        """See CublasLt."""
        return self._new_handle(_Layout(DataType(dtype), rows, columns, leading, count, offset), "a new layout")

    def descriptor(
        self, compute: Compute, transpose_a: bool, transpose_b: bool, epilogue: Epilogue, vector: int, vector_type: DataType,
        aux: int, aux_leading: int,
    ) -> int:  # fmt: skip
        """See CublasLt."""
        made = _Descriptor(compute, transpose_a, transpose_b, epilogue, vector, vector_type, aux, aux_leading)
        return self._new_handle(made, "a new descriptor")

    def destroy(self, layouts: Iterable[int], descriptors: Iterable[int]) -> None:
        """See CublasLt; destroying twice is a fault."""
        for handle in (*layouts, *descriptors):
            if self.live.pop(handle, None) is None:
                raise Fault(f"expected a handle to be destroyed once; got {handle} again")

    def _of(self, kind: type[Thing], handle: int) -> Thing:
        found = self.live.get(handle)
        if not isinstance(found, kind):
            raise Fault(f"expected a {kind.__name__[1:].lower()} that exists; got handle {handle}")
        return found

    # Algorithms

    def _status(self, descriptor: int, layouts: Sequence[int]) -> Status:
        """Whether the real library would take these."""
        d = self._of(_Descriptor, descriptor)
        a, b, out = (self._of(_Layout, handle) for handle in layouts)
        if any(x.leading < x.rows or x.rows < 1 or x.columns < 1 for x in (a, b, out)) or not a.count == b.count == out.count:
            return Status.INVALID_VALUE
        if out.count > 1 and (out.offset * ITEM_BYTES[out.dtype] < out.bytes or d.epilogue is not Epilogue.NONE):
            return Status.INVALID_VALUE
        m, k = (a.columns, a.rows) if d.transpose_a else (a.rows, a.columns)
        inner, n = (b.columns, b.rows) if d.transpose_b else (b.rows, b.columns)
        if inner != k or (out.rows, out.columns) != (m, n):
            return Status.INVALID_VALUE
        double = a.dtype is DataType.float64
        wanted = {Compute.float64} if double else {Compute.float32}
        if a.dtype is DataType.float32:
            wanted.add(Compute.tf32)
        if a.dtype is not b.dtype or (a.dtype, out.dtype) not in INPUTS or d.compute not in wanted:
            return Status.NOT_SUPPORTED
        epilogue = d.epilogue
        if epilogue not in Epilogue.__members__.values():
            return Status.INVALID_VALUE
        if epilogue in self._unsupported or (double and epilogue is not Epilogue.NONE):
            return Status.NOT_SUPPORTED
        if epilogue.takes_vector and (not d.vector or d.vector_type is not out.dtype):
            return Status.INVALID_VALUE if not d.vector else Status.NOT_SUPPORTED
        unit = MASK_COLUMNS if epilogue.takes_mask else AUX_COLUMNS if epilogue.takes_input else 0
        if unit and (not d.aux or d.aux_leading % unit or d.aux_leading < m):
            return Status.INVALID_VALUE
        return Status.SUCCESS

    def _digest(self, descriptor: int, layouts: Sequence[int]) -> bytes:
        """What an algorithm is good for: everything but addresses."""
        d = self._of(_Descriptor, descriptor)
        same = (d.compute, d.transpose_a, d.transpose_b, d.epilogue, d.aux_leading)
        text = repr((same, [self._of(_Layout, handle) for handle in layouts]))
        return hashlib.sha256(text.encode()).digest()

    def candidates(
        self, descriptor: int, layouts: Layouts, workspace: int, alignment: int, count: int, in_place: bool = True
    ) -> list[ProductAlgorithm]:
        """See CublasLt."""
        self.device.allow("a heuristic")
        status = self._status(descriptor, layouts)
        if status == Status.NOT_SUPPORTED:
            return []
        require(status, "cublasLtMatmulAlgoGetHeuristic")
        digest = self._digest(descriptor, layouts)
        return [
            ProductAlgorithm(struct.pack("<8sQQ32s8x", _MAGIC, needed, aligned, digest), needed)
            for needed, aligned in ALGORITHMS
            if needed <= workspace and aligned <= alignment and (in_place or (needed, aligned) not in IN_PLACE)
        ][:count]

    def accepts(self, descriptor: int, layouts: Layouts, algorithm: bytes, workspace: int) -> bool:
        """See CublasLt."""
        self.device.allow("a check of an algorithm")
        magic, needed, _, digest = struct.unpack("<8sQQ32s8x", algorithm)
        return bool(magic == _MAGIC and needed <= workspace and digest == self._digest(descriptor, layouts))

    # Computing

    def matmul(
        self, descriptor: int, alpha: int, a: int, a_layout: int, b: int, b_layout: int, beta: int, c: int, c_layout: int,
        d: int, d_layout: int, algorithm: int, workspace: int, workspace_bytes: int, stream: int,
    ) -> int:  # fmt: skip
        """See CublasLt."""
        del stream
        if self._failing:
            return self._failing
        how, layouts = self._of(_Descriptor, descriptor), (a_layout, b_layout, d_layout)
        if c_layout != d_layout or c != d:
            raise Fault("expected the result to be added to where it goes; got another C")
        status = self._status(descriptor, layouts)
        if status:
            return status
        magic, needed, aligned, digest = struct.unpack("<8sQQ32s8x", ctypes.string_at(algorithm, ALGORITHM_BYTES))
        if magic != _MAGIC or digest != self._digest(descriptor, layouts) or workspace_bytes < needed:
            return Status.INVALID_VALUE
        if workspace % 256 or any(address % aligned for address in (a, b, d)):
            return Status.INVALID_VALUE
        if workspace_bytes:
            self.device.require_alive("the workspace", workspace, workspace_bytes)
        word: Any = ctypes.c_double if how.compute is Compute.float64 else ctypes.c_float
        scale, keep = (word.from_address(address).value for address in (alpha, beta))
        self.products += 1
        graph = self.device.streams.graph
        places = (("A", a, a_layout), ("B", b, b_layout), ("D", d, d_layout))
        given = [(what, address, self._of(_Layout, handle)) for what, address, handle in places]
        for k in range(given[0][2].count):
            first, second, out = (self._matrix(what, at + k * x.offset * ITEM_BYTES[x.dtype], x) for what, at, x in given)
            if np.shares_memory(out, first) or np.shares_memory(out, second):
                raise Fault("expected a result apart from the operands; got one that overlaps them")
            if graph is None:
                self._compute(how, first, second, out, scale, keep)
            else:
                # What the descriptor points at is read now, the matrices when the graph is launched.
                graph.append(partial(self._compute, copy(how), first, second, out, scale, keep))
        return Status.SUCCESS

    def _matrix(self, what: str, address: int, layout: _Layout) -> Array:
        """The matrix at an address, as an array [rows, columns] that shares its memory."""
        item = ITEM_BYTES[layout.dtype]
        if address % item:
            raise Fault(f"expected {what} at a multiple of {item} bytes; got {address:#x}")
        self.device.require_alive(what, address, layout.bytes)
        flat = _view(address, layout.bytes, layout.dtype)
        return np.lib.stride_tricks.as_strided(flat, (layout.rows, layout.columns), (item, layout.leading * item))

    def _vector(self, how: _Descriptor, size: int) -> Array:
        if how.vector % 16:
            raise Fault(f"expected a bias at a multiple of 16 bytes; got {how.vector:#x}")
        length = size * ITEM_BYTES[how.vector_type]
        self.device.require_alive("the bias", how.vector, length)
        return _view(how.vector, length, how.vector_type)

    def _mask(self, how: _Descriptor, columns: int) -> Array:
        """The bit mask as bytes [columns of D, aux_leading / 8]."""
        if how.aux % 16:
            raise Fault(f"expected a mask at a multiple of 16 bytes; got {how.aux:#x}")
        row = how.aux_leading // 8
        self.device.require_alive("the mask", how.aux, columns * row)
        return _bytes(how.aux, columns * row).reshape(columns, row)

    def _saved(self, how: _Descriptor, out: Array, dtype: DataType) -> Array:
        return self._matrix("the saved input", how.aux, _Layout(dtype, out.shape[0], out.shape[1], how.aux_leading))

    def _compute(self, how: _Descriptor, a: Array, b: Array, out: Array, scale: float, keep: float) -> None:
        wide = np.float64 if how.compute is Compute.float64 else np.float32
        dtype = DataType[out.dtype.name]
        first, second = (x.astype(wide) for x in (a.T if how.transpose_a else a, b.T if how.transpose_b else b))
        if how.compute is Compute.tf32:
            first, second = _tf32(first), _tf32(second)
        epilogue = how.epilogue
        with np.errstate(all="ignore"):  # arithmetic on a device overflows in silence
            # Computed row by row of our own arrays, which lets NumPy take the same path as for its own products.
            z = np.matmul(np.ascontiguousarray(second.T), np.ascontiguousarray(first.T)).T
            z = z if scale == 1.0 else z * wide(scale)
            if keep:
                z = z + wide(keep) * out.astype(wide)
            if epilogue & 4:
                z = z + self._vector(how, out.shape[0]).astype(wide)[:, None]
            if epilogue & 2:
                z = self._relu(how, z)
            elif epilogue & 32:
                if epilogue.takes_input:
                    self._saved(how, out, dtype)[...] = z.astype(out.dtype)
                z = self._gelu.value(z).astype(wide, copy=False)
            elif epilogue & 8:
                bits = np.unpackbits(self._mask(how, z.shape[1]), axis=1, bitorder="little")[:, : z.shape[0]].T
                z = np.where(bits, z, wide(0.0))
            elif epilogue & 64:
                z = z * self._gelu.derivative(self._saved(how, out, dtype).astype(wide)).astype(wide, copy=False)
            out[...] = z.astype(out.dtype)
            if epilogue & 16:
                self._vector(how, out.shape[0])[...] = out.astype(wide).sum(axis=1).astype(out.dtype)
            if epilogue & 256:
                self._vector(how, out.shape[0])[...] = first.sum(axis=1).astype(out.dtype)
            if epilogue & 512:
                self._vector(how, out.shape[1])[...] = second.sum(axis=0).astype(out.dtype)

    def _relu(self, how: _Descriptor, z: Array) -> Array:
        if how.epilogue.takes_mask:
            passes = z >= 0.0 if self._zero_passes else z > 0.0
            mask = self._mask(how, z.shape[1])
            bits = np.zeros((z.shape[1], how.aux_leading), np.uint8)
            bits[:, : z.shape[0]] = passes.T
            mask[...] = np.packbits(bits, axis=1, bitorder="little")
        return np.fmax(z, z.dtype.type(0.0)) if self._drops_nan else np.maximum(z, z.dtype.type(0.0))


def _bytes(address: int, size: int) -> Array:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def _view(address: int, size: int, dtype: DataType) -> Array:
    if dtype is DataType.bfloat16:
        import ml_dtypes

        return _bytes(address, size).view(ml_dtypes.bfloat16)
    return _bytes(address, size).view(dtype.name)


def _tf32(x: Array) -> Array:
    """float32 rounded to the 10 bits of mantissa that tensor cores read, ties away from zero."""
    finite = np.isfinite(x)
    rounded = ((x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(finite, rounded, x)
