"""Processes with a GPU each, whose gradients NCCL sums; everything else, small and on the host, goes through MPI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...errors import BackendUnavailable
from .communicator import Array
from .mpi import MpiCommunicator

INSTALL = 'pip install "cupy-cuda13x>=14" "nvidia-nccl-cu13>=2.27" (or cuda12x and cu12)'
REMEDY = 'use parallel="mpi", which needs no GPU'


class NcclCommunicator(MpiCommunicator):
    """Sums on the stream that computes, without waiting for the device: later work on that stream finds the sum.

    Each process takes the GPU of its number on the host.

    Raises: BackendUnavailable without a GPU for each process of the host, and without NCCL.
    """

    name = "nccl"
    on_stream = True

    def __init__(self) -> None:
        cupy, nccl = _libraries()
        super().__init__()
        devices = _devices(cupy)
        lacking = [rank for rank, count in enumerate(self.gather((devices, self.ranks_on_host))) if count[0] < count[1]]
        if lacking:
            raise BackendUnavailable(
                f'expected a GPU for each process of a host with parallel="nccl"; {self.place(lacking[0])} has fewer; start '
                'fewer processes there, or use parallel="mpi"'
            )
        cupy.cuda.Device(self.rank_on_host).use()
        self._cupy, self._nccl = cupy, nccl
        identity = self.broadcast(nccl.get_unique_id() if self.first else None)
        self._group = nccl.NcclCommunicator(self.size, identity, self.rank)
        self._types = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}

    def start_sum(self, array: Array) -> Callable[[], None]:
        """See Communicator.start_sum."""
        self.sum(array)
        return _nothing

    def sum(self, array: Array) -> None:
        """See Communicator.sum; an array of the host goes through MPI."""
        if not isinstance(array, self._cupy.ndarray):
            super().sum(array)
            return
        stream, place = self._cupy.cuda.get_current_stream().ptr, array.data.ptr
        self._group.allReduce(place, place, array.size, self._types[str(array.dtype)], self._nccl.NCCL_SUM, stream)

    def sum_losses(self, total: Any, backend: Any) -> Any:
        """See Communicator.sum_losses; the sum of the losses stays on the device."""
        del backend
        self.tell_wishes()
        loss = self._cupy.reshape(self._cupy.asarray(total), (1,)).copy()
        self.sum(loss)
        return loss[0]

    def gather_arrays(self, own: Array, counts: Sequence[int]) -> Array:
        """See Communicator.gather_arrays."""
        if not isinstance(own, self._cupy.ndarray):
            return super().gather_arrays(own, counts)
        cupy, width = self._cupy, int(own.shape[1])
        found = cupy.empty((sum(counts), width), own.dtype)
        stream, kind = cupy.cuda.get_current_stream().ptr, self._types[str(own.dtype)]
        first = 0
        for rank, count in enumerate(counts):
            part = found[first : first + count]
            if rank == self.rank:
                part[...] = own
            if count:
                self._group.broadcast(part.data.ptr, part.data.ptr, count * width, kind, rank, stream)
            first += count
        return found


def _nothing() -> None:
    """What is left to do after work that was submitted to a stream."""


def _libraries() -> tuple[Any, Any]:
    """The modules cupy and cupy.cuda.nccl."""
    try:
        import cupy
        from cupy.cuda import nccl
    except ImportError as error:
        raise BackendUnavailable(
            f'parallel="nccl" needs CuPy ({error}); {INSTALL}, or {REMEDY}'
        ) from error
    if not getattr(nccl, "available", False):
        raise BackendUnavailable(f'parallel="nccl" needs NCCL, which CuPy cannot load; {INSTALL}, or {REMEDY}')
    if not _devices(cupy):
        raise BackendUnavailable(f'parallel="nccl" needs a GPU for each process; this host has none; {REMEDY}')
    return cupy, nccl


def _devices(cupy: Any) -> int:
    """Number of GPUs, 0 without a driver."""
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return 0
