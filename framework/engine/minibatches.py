"""Prepares minibatches for a step: inputs and targets as checked arrays of its backend, whole or in parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from ...backends import Array
from ...backends.arrays import on_host
from ...backends.communicators.division import Division
from ...backends.entries import refusal
from ...backends.executors.passes import Minibatch
from ...errors import DtypeError, EmptyDataError, LabelError, NonFiniteDataError, ShapeError
from ..codes import require_codes

Step = Any
"""A TrainStep, which imports this module."""
MicroBatchSource = Callable[[int], Iterator[Minibatch]]
"""Number of rows -> iterator over the parts of a minibatch, with at most that many rows each."""


def prepared(step: Step, x: Any, y: Any, name: str) -> tuple[Array, Array]:
    """See TrainStep.prepare."""
    inputs = step.stored(step.model.convert_input(x))
    rows = int(inputs.shape[0])
    if rows == 0:
        raise EmptyDataError(f"expected at least one row of {name}; got none")
    targets = step.prepare_targets(y, rows)
    require_finite(step, inputs, x, name)
    require_codes(step.model.coded_columns, inputs, step.backend, name)
    if step.backend.dtype_name(targets).startswith("float"):
        require_finite(step, targets, y, name.replace("x", "y"))
    return inputs, targets


def require_finite(step: Step, array: Array, given: Any, name: str) -> None:
    """Raises NonFiniteDataError if an array contains NaN or infinity, or if its sum of squares overflows.

    Args: given – the original values, to find the position; name – its name in the message.
    """
    backend = step.backend
    with backend.quiet():
        squares = backend.item(backend.sum_of_squares(backend.xp.reshape(array, (-1,))))
    if math.isfinite(squares):
        return
    from ..tables.validation import require_finite as require_finite_host

    require_finite_host(backend.to_numpy(given) if backend.is_array(given) else on_host(given), name)
    raise NonFiniteDataError(
        f"expected values in {name} that {step.precision.name} can {'hold' if step.precision.scaled else 'square'}; got "
        "larger ones; scale them, or use a precision with a larger range"
    )


def require_targets(y: Any, rows: int) -> None:
    """Raises ShapeError unless there is one target for each row, and DtypeError for iterators."""
    count = y.shape[0] if getattr(y, "shape", None) else len(y) if hasattr(y, "__len__") else None
    if count is None and hasattr(y, "__next__"):
        raise DtypeError(f"y: {refusal(y)}")
    if count != rows:
        raise ShapeError(f"expected one target for each of the {rows} rows of x; got {count}")


def given_micro_batches(step: Step, x: Any, y: Any, rows: int, weights: tuple[Array, ...] = ()) -> MicroBatchSource:
    """The micro-batches of a minibatch; each is converted and checked when it is requested.

    Args: x, y – arrays of the backend or of the host, see Backend.with_rows; weights – of the rows, prepared, or nothing.
    """

    def part(start: int, stop: int) -> Minibatch:
        inputs = step.stored(step.model.convert_input(x[start:stop, ...]))
        try:
            return inputs, step.prepare_targets(y[start:stop, ...], stop - start), *(w[start:stop] for w in weights)
        except LabelError as error:
            if not start:
                raise
            raise LabelError(f"{error}; counted from row {start + 1} of the minibatch on") from error

    return _split(rows, part, step.division)


def ready_micro_batches(minibatch: Minibatch, rows: int, division: Division) -> MicroBatchSource:
    """The micro-batches of a minibatch that was prepared before."""
    return _split(rows, lambda start, stop: tuple(array[start:stop, ...] for array in minibatch), division)


def _split(rows: int, part: Callable[[int, int], Minibatch], division: Division) -> MicroBatchSource:
    """Micro-batches of consecutive rows, those of this process; part – (start, stop) -> arrays of these rows."""
    return lambda size: (part(start, stop) for start, stop in division.cuts(0, rows, size))


def no_micro_batches(size: int) -> Iterator[Minibatch]:  # noqa: ARG001
    """No micro-batches: for a minibatch that is passed as a whole."""
    return iter(())
