"""The interface of processes that train together, on one page: sums, broadcasts, gathering, and a barrier.

Every process calls the same methods in the same order. Results have the same bits in all of them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

Array = Any

OVERLAP = "FUSEDSTEP_PARALLEL_OVERLAP"
"""Environment variable: 1 sums gradients during the backward pass also on one host, where adding them in memory that processes
share is faster; 0 never."""


class Wish(NamedTuple):
    """What a process asks of all: signal – to end, with the number of the signal that it got, 0 for none; stop – to end the
    training after this step.
    """

    signal: int = 0
    stop: bool = False

    @property
    def numbers(self) -> tuple[float, float, float]:
        """As numbers, whose sums over all processes `Wish.of_all` reads."""
        return float(self.signal > 0), float(self.signal), float(self.stop)

    @classmethod
    def of_all(cls, signals: float, signal: float, stop: float) -> Wish:
        """What any process wishes, from the sums of their `numbers`."""
        return cls(round(signal / signals) if signals else 0, stop > 0.0)


NOTHING = Wish()


class Communicator:
    """Processes with numbers (ranks) from 0 to size - 1, each of which has a copy of the model.

    A class for another kind of communication defines `start_sum`, `sum_numbers`, `gather` and `gather_arrays`, and passes the
    suite in backends/conformance/communicators.py.

    Attributes: name – such as "mpi"; rank – of this process; size – number of processes; hosts – the host name of each;
        own_wish – what this process wishes for all; wish – what any process wished in the last step; at_work – whether it does
        something for all of them that may look like doing nothing, such as waiting for a disk; meeting – [2], where compiled
        code says since when it has been waiting for the other processes, in nanoseconds of the monotonic clock, or 0, and how
        often it has met them.
    """

    name: ClassVar[str] = ""
    on_stream: ClassVar[bool] = False
    """Whether `sum` of an array of a device is work on its stream, which may be captured in a graph."""
    rank: int = 0
    size: int = 1
    hosts: Sequence[str] = ("",)
    _find: ClassVar[Callable[[str], Any]]
    """Finds a communicator by name when a pickle is read; set by selection.py."""

    def __init__(self) -> None:
        self.own_wish = self.wish = NOTHING
        self.at_work = False
        self.meeting = np.zeros(2, np.int64)
        self._waits_for: tuple[float, str] | None = None
        self._exchanges = 0

    def __reduce__(self) -> Any:
        """In another process, the communicator of that process."""
        return Communicator._find, (self.name,)

    def __deepcopy__(self, _: Any) -> Communicator:
        return self

    @property
    def overlaps(self) -> bool:
        """Whether sums take long enough that parts of them should begin while there is other work: between hosts."""
        chosen = os.environ.get(OVERLAP, "")
        return chosen == "1" or (chosen != "0" and len(set(self.hosts)) > 1)

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes files."""
        return self.rank == 0

    def place(self, rank: int) -> str:
        """A process in words."""
        return f"rank {rank} on {self.hosts[rank]}"

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Context of everything that waits for other processes; see supervisor.py."""
        self._exchanges += 1
        self._waits_for = time.monotonic(), f"{what} {self._exchanges}"
        try:
            yield
        finally:
            self._waits_for = None

    @property
    def waits_for(self) -> tuple[float, str] | None:
        """When this process began to wait for the others, and for which exchange; None while it does not."""
        since, number = self.meeting.tolist()
        return (since * 1e-9, f"meeting {number}") if since else self._waits_for

    def shared_memory(self, size: int) -> Array | None:
        """That many bytes, all 0, which all processes read and write; None where they have no memory in common."""

    def sum(self, array: Array) -> None:
        """Replaces a contiguous array of floats, of one shape in all processes, by its sum over them."""
        self.start_sum(array)()

    def sum_numbers(self, numbers: Sequence[float]) -> list[float]:
        """The sums of a few numbers of the host, in float64."""
        raise NotImplementedError(f"{type(self).__name__} must define sum_numbers")

    def start_sum(self, array: Array) -> Any:
        """Begins `sum`; the array may not be touched until the function that is returned has been called."""
        raise NotImplementedError(f"{type(self).__name__} must define start_sum")

    def sum_losses(self, total: Any, backend: Any) -> Any:
        """The sum of a loss over all processes, which also learn what any of them wishes.

        Args: total – a number, or a scalar of the backend, for which a host waits.
        """
        return self.tell_wishes(float(backend.item(total)))[0]

    def tell_wishes(self, *numbers: float) -> list[float]:
        """Tells all processes what this one wishes, and learns what they do; returns the sums of the numbers of each."""
        *sums, signals, signal, stop = self.sum_numbers([*numbers, *self.own_wish.numbers])
        self.wish = Wish.of_all(signals, signal, stop)
        return sums

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank; any value that can be pickled."""
        raise NotImplementedError(f"{type(self).__name__} must define gather")

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0."""
        return self.gather(value)[0]

    def gather_arrays(self, own: Array, counts: Sequence[int]) -> Array:
        """The rows of all processes, by rank, in one array.

        Args: own [counts[rank], n]; counts – rows of each process.
        """
        raise NotImplementedError(f"{type(self).__name__} must define gather_arrays")

    def barrier(self) -> None:
        """Waits until all processes are here."""
        self.gather(None)

    def fail(self, text: str, status: int = 1) -> None:
        """Ends all processes, because this one cannot go on; returns where nothing watches over them.

        Args: text – why, in one line; status – exit status of the processes.
        """
