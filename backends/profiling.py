"""Profiling of a pass: a backend that times every operation it forwards, and the resulting entries."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from .arrays import Array
from .defaults import dense


@dataclass(frozen=True)
class Part:
    """The time of one operation of a step.

    Attributes: place – the layer, such as "0 Linear + ReLU"; stage – "forward", "loss", "backward", "sum" or "update";
        operation – the kernel, or "matmul"; seconds – elapsed time, so work on several cores in parallel counts once; flop –
        floating-point operations of products, 0 for other operations; bytes – lower bound of the bytes read and written.
    """

    place: str
    stage: str
    operation: str
    seconds: float
    flop: int
    bytes: int


class Label(NamedTuple):
    """A Part without its time: kernel, layer and stage of a call, its floating-point operations and bytes."""

    operation: str
    place: str
    stage: str
    flop: int
    bytes: int

    def part(self, seconds: float) -> Part:
        """The Part with this time."""
        return Part(self.place, self.stage, self.operation, seconds, self.flop, self.bytes)


OPERATIONS = ("map", "matmul", "fill", "rows", "total", "sum_of_squares")
DENSE: dict[str, Callable[..., Any]] = {
    "dense_forward": dense.forward,
    "dense_input_gradient": dense.input_gradient,
    "dense_weight_gradient": dense.weight_gradient,
}
"""Operations that are timed as a whole if the backend fuses them, otherwise by their parts."""


class TimedBackend:
    """Forwards all calls to a backend; waits for each operation on arrays and times it.

    Attributes: parts – one per call, in order; tape – its `place` and `stage` are stored in each part.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.parts: list[Part] = []
        self.tape: Any = None
        for name in OPERATIONS:
            setattr(self, name, self._timed(name, getattr(backend, name)))
        for name, parts in DENSE.items():
            setattr(self, name, self._timed(name, getattr(backend, name)) if backend.fuses else partial(parts, self))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def _timed(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = operation(*arguments, **options)
            self._backend.synchronize()
            seconds = time.perf_counter() - start
            shown = arguments[0].name if name == "map" else arguments[0] if name == "rows" else name
            arrays = [a for given in arguments for a in (given if isinstance(given, tuple) else (given,))]
            arrays = [a for a in arrays if self._backend.is_array(a)]
            self.parts.append(
                Part(
                    self.tape.place, self.tape.stage, shown, seconds, _flop(name, *arguments[:3], **options),
                    sum(int(a.nbytes) for a in arrays),
                )
            )  # fmt: skip
            return result

        return run


def _flop(name: str, *arrays: Array, transpose_a: bool = False, **_: Any) -> int:
    """2 m n k for an operation that computes a product [m, k] [k, n], otherwise 0."""
    if name in ("dense_forward", "dense_input_gradient"):
        return int(2 * arrays[0].shape[0] * arrays[1].size)
    if name not in ("matmul", "dense_weight_gradient"):
        return 0
    a, _b, out = arrays
    return int(2 * out.size * a.shape[0 if transpose_a or name != "matmul" else 1])


def median_of(runs: Sequence[Sequence[Part]]) -> list[Part]:
    """Several runs of the same operations as one run with the median time of each operation."""
    from statistics import median

    return [replace(same[0], seconds=median(part.seconds for part in same)) for same in zip(*runs, strict=True)]


def merged(parts: Sequence[Part]) -> list[Part]:
    """The parts, added up for each (place, stage, operation), in the order of their first occurrence."""
    sums: dict[tuple[str, str, str], Part] = {}
    for p in parts:
        key = (p.place, p.stage, p.operation)
        q = sums.get(key, Part(*key, 0.0, 0, 0))
        sums[key] = Part(*key, p.seconds + q.seconds, p.flop + q.flop, p.bytes + q.bytes)
    return list(sums.values())
