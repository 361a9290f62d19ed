"""Runs a pass in evaluation mode over any number of rows: the default, which runs the layers' own code on parts of the rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

Array = Any

Total = Callable[[Array], None]
"""Takes the array whose elements are to be added up, before its buffer may be used again."""


class EvaluationWork(Protocol):
    """A pass in evaluation mode as an evaluator sees it: each row of the result depends only on that row of the inputs.

    Attributes: rows – largest number of rows of one pass of the layers' own code, None for all that are given; recordable –
        whether the pass does nothing but call its tape and its backend; deterministic – whether nothing may be selected by
        timing.
    """

    rows: int | None
    recordable: bool
    deterministic: bool

    def new_tape(self, backend: Any = None) -> Any:
        """A tape for this pass, on another backend if given."""

    def forward(self, tape: Any, inputs: tuple[Array, ...], total: Total) -> Array:
        """The result for these rows; `total` is called once, with a flat array."""

    def remember(self) -> None:
        """Called when a pass was captured."""

    def changed(self) -> bool:
        """Whether a setting of the layers was changed since, so that the pass must be captured again."""


class Evaluator:
    """Runs a pass on the layers' own code, on at most `work.rows` rows at a time.

    Each thread has separate tapes, for its two most recent numbers of rows.
    """

    def __init__(self, backend: Any, work: EvaluationWork) -> None:
        self.backend = backend
        self.work = work
        self._local = threading.local()

    def run(self, inputs: tuple[Array, ...], out: Array | None = None) -> tuple[Array, Any]:
        """The results for all rows, and the sum that the pass asked for.

        Args: inputs – arrays of the backend with the same number of rows, at least one; out – where the results go, None for a
            new array.
        Returns: the results; the sum, a scalar of the backend.
        """
        backend, rows = self.backend, int(inputs[0].shape[0])
        size = rows if self.work.rows is None else self.work.rows
        sums: list[Any] = []
        for start in range(0, rows, size):
            stop = min(rows, start + size)
            part = inputs if size >= rows else tuple(a[start:stop, ...] for a in inputs)
            with backend.quiet():
                result = self.work.forward(self._tape(stop - start), part, lambda array: sums.append(backend.total(array)))
            if out is None:
                out = backend.empty((rows, *result.shape[1:]), backend.dtype_name(result))
            backend.copy(result, out[start:stop, ...])
        return out, sum(sums[1:], start=sums[0])

    def _tape(self, rows: int) -> Any:
        """A tape that has begun a pass over that many rows."""
        tapes: dict[int, Any] = self._local.__dict__.setdefault("tapes", {})
        tape = tapes.get(rows)
        if tape is None:
            if len(tapes) >= 2:
                tapes.clear()
            tape = tapes[rows] = self.work.new_tape()
        tape.begin(rows)
        return tape
