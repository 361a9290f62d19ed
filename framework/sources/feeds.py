"""Feeds: where the minibatches of a loop come from, arrays on the backend or rows that are streamed to it.

What a minibatch contains is the same either way: the order is a function of seed and epoch (see data/order.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...backends import Random
from ...backends import backend as find_backend
from ...backends.bounded_cache import BoundedCache
from ...backends.communicators.division import ALL, Division
from ...backends.executors.passes import Minibatch
from ...backends.slots import Slot
from ...errors import EmptyDataError, HyperparameterError, LabelError, NonFiniteDataError, ShapeError
from ..codes import require_codes
from ..sample_weights import RowWeights, checked_weights
from ..settings import choice
from ..streams import SHUFFLE
from .loader import Loader, fast_finite
from .order import RowOrder
from .row_source import ArrayRows, RowSource, as_source

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = Any
Step = Any
"""A TrainStep, which imports this module."""

PLACEMENTS = ("auto", "device", "stream")
"""Where a loop may keep its data; see `feed_for`."""
FITTING_FRACTION = 0.5
"""Of the device's free memory, that a data set may take; the rest is for the step and its buffers."""
BUFFERS = 4
"""Buffers of gathered minibatches that are kept: inputs and targets of the whole ones and of the last one of an epoch."""


class Cuts(NamedTuple):
    """Minibatches of `batch` rows from place `start` to `end` of the order, in micro-batches of at most `size` rows, of which
    this process has its share.
    """

    start: int
    end: int
    batch: int
    size: int
    division: Division

    def of_minibatch(self, stop: int) -> Iterator[tuple[int, int]]:
        """The micro-batches of the first minibatch, which ends at `stop`."""
        return self.division.cuts(self.start, stop, self.size)

    def from_place(self, low: int) -> Iterator[tuple[int, int]]:
        """All micro-batches from place `low` on, which lies in the first minibatch."""
        for begin in range(self.start, self.end, self.batch):
            for first, stop in self.division.cuts(begin, min(begin + self.batch, self.end), self.size):
                if first >= low:
                    yield first, stop


class Feed:
    """Rows of x and y, and their weights if there are some, for one loop.

    Attributes: rows – how many there are; source – where x came from, None for arrays; weights – of all rows, on the host, or
        None.
    """

    rows: int
    source: RowSource | None = None
    weights: RowWeights | None = None
    _division: Division = ALL

    def shuffle(self, seed: int, epoch: int) -> None:
        """Draws the order of an epoch; before the first call the rows come as they are stored."""
        raise NotImplementedError

    def micro_batches(self, start: int, stop: int, size: int) -> Iterator[Minibatch]:
        """The minibatch from place start to stop of the order, in micro-batches of `size` rows (the last may be smaller).

        Where several processes train together, only the rows of this one. Its arrays may be read until the next one is asked
        for. Weights are scaled as TrainStep.prepare_weights does, over all rows of the minibatch.
        """
        return self._parts(Cuts(start, self.rows, stop - start, size, self._division), stop, self._weights_of_minibatches())

    def everything(self, batch: int, size: int) -> Iterator[Minibatch]:
        """All minibatches of `batch` rows, in micro-batches of `size` rows; their weights are scaled over all rows.

        Where several processes train together, each has a part of the rows; all have all of them in a deterministic step.
        """
        first, last = (0, self.rows) if self._division.fixed else self._division.own(self.rows)
        for start in range(first, last, batch):
            cuts = Cuts(start, last, batch, size, ALL)
            yield from self._parts(cuts, min(last, start + batch), self._weights_of_all())

    def _parts(self, cuts: Cuts, stop: int, weights: Any) -> Iterator[Minibatch]:
        """The micro-batches of the first minibatch of some cuts, which ends at `stop`.

        Args: weights – what one of the two methods below returned.
        """
        raise NotImplementedError

    def _weights_of_minibatches(self) -> Any:
        raise NotImplementedError

    def _weights_of_all(self) -> Any:
        raise NotImplementedError

    def counts(self, size: int, rows: int) -> list[float]:
        """What each minibatch of `size` rows counts in a mean over the first `rows` of the order: its rows or their weights."""
        cuts = [(start, min(start + size, rows)) for start in range(0, rows, size)]
        if self.weights is None:
            return [stop - start for start, stop in cuts]
        return [float(self.weights.raw[self._numbers(start, stop)].sum()) for start, stop in cuts]

    def _numbers(self, start: int, stop: int) -> Any:
        """The numbers of the rows from place start to stop of the order, on the host, or a slice."""
        raise NotImplementedError

    def target_blocks(self) -> Iterator[Minibatch]:
        """The targets, and the weights of all rows if there are some, in the order in which they are stored, in blocks."""
        raise NotImplementedError

    def counts_of_labels(self, classes: int, to_numpy: Callable[[Array], NDArray[Any]]) -> NDArray[np.float64]:
        """How often each label 0 to classes - 1 occurs among the targets, or the sum of the weights of its rows."""
        counts, start = np.zeros(classes), 0
        for targets, *_ in self.target_blocks():
            labels = to_numpy(targets)
            weights = None if self.weights is None else self.weights.raw[start : start + len(labels)]
            counts += np.bincount(labels, weights, classes)
            start += len(labels)
        return counts

    def sample(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Inputs and prepared targets of rows by their numbers in the source, on the host."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends what runs beside the loop."""


class ResidentFeed(Feed):
    """Arrays on the backend; minibatches are gathered there.

    Attributes: inputs, targets – all of them, as they are stored.

    Args: step; inputs, targets – as TrainStep.prepare gives them; source – where x came from, if its order goes by blocks;
        weights – of the rows; batch – rows of a minibatch, None for all, over which weights are scaled.
    """

    def __init__(
        self, step: Step, inputs: Array, targets: Array, source: RowSource | None = None, weights: RowWeights | None = None,
        batch: int | None = None,
    ) -> None:  # fmt: skip
        self.rows = int(inputs.shape[0])
        self._backend = step.backend
        self._division = step.division
        self.inputs, self.targets = inputs, targets
        self.source = source
        self.weights = weights
        self._batch = min(batch or self.rows, self.rows)
        self._dtype = step.model.dtype
        self._scaled: Array | None = None
        self._of_all: Array | None = None
        self._host_order: NDArray[np.int64] | None = None
        self._order: Array | None = None
        self._stored: Array | None = None
        self._buffers = BoundedCache(BUFFERS)
        self._size = 0

    def shuffle(self, seed: int, epoch: int) -> None:
        """See Feed.shuffle."""
        backend, source = self._backend, self.source
        if source is not None and source.edges is not None:
            order = RowOrder(self.rows, seed, epoch, source.edges, source.window)
            self._order = backend.asarray(order.numbers(0, self.rows))
        else:
            self._order = backend.permutation(self.rows, Random(backend.random_state(seed, epoch), SHUFFLE))
        if self.weights is not None:
            self._host_order = backend.to_numpy(self._order)
            self._scale()

    def _scale(self) -> None:
        """Scales the weights for the order of the epoch, in the same array, which launches read."""
        assert self.weights is not None
        scaled = self._backend.asarray(self.weights.of_epoch(self._host_order, self._batch), self._dtype)
        if self._scaled is None:
            self._scaled = scaled
        else:
            self._backend.copy(scaled, self._scaled)

    @property
    def on_host(self) -> bool:
        """Whether the arrays are those of a CPU."""
        return bool(self._backend.on_host)

    @property
    def data(self) -> Minibatch:
        """Inputs, targets and, if any, weights of all rows as they are stored, for launches of several steps."""
        weights = self._weights_of_minibatches()
        return (self.inputs, self.targets) if weights is None else (self.inputs, self.targets, weights)

    def _weights_of_minibatches(self) -> Array | None:
        if self.weights is not None and self._scaled is None:
            self._scale()
        return self._scaled

    def _weights_of_all(self) -> Array | None:
        if self.weights is not None and self._of_all is None:
            self._of_all = self._backend.asarray(self.weights.of_all, self._dtype)
        return self._of_all

    def _numbers(self, start: int, stop: int) -> Any:
        return slice(start, stop) if self._host_order is None else self._host_order[start:stop]

    def _parts(self, cuts: Cuts, stop: int, weights: Array | None) -> Iterator[Minibatch]:
        """See Feed."""
        if cuts.size < self._size:
            self._buffers.clear()  # micro-batches have become smaller because memory is short
        self._size = cuts.size
        for low, high in cuts.of_minibatch(stop):
            own = {"inputs": self.inputs, "targets": self.targets} | ({} if weights is None else {"weights": weights})
            if self._order is None:
                yield tuple(array[low:high, ...] for array in own.values())
            else:
                chosen = self._order[low:high, ...]
                yield tuple(self._gathered(name, array, chosen) for name, array in own.items())

    def indices(self, start: int, stop: int) -> Array:
        """The numbers of the rows from place start to stop of the order, on the backend."""
        order = self._order
        if order is None:
            if self._stored is None:
                self._stored = self._backend.asarray(np.arange(self.rows, dtype=np.int64))
            order = self._stored
        return order[start:stop]

    def _gathered(self, name: str, source: Array, chosen: Array) -> Array:
        """The chosen rows, in a buffer that is used again for the next micro-batch of that size."""
        key = (name, int(chosen.shape[0]))
        buffer = self._buffers.get(key)
        if buffer is not None:
            return self._backend.take_rows(source, chosen, buffer)
        taken = self._buffers[key] = self._backend.take_rows(source, chosen)
        return taken

    def target_blocks(self) -> Iterator[Minibatch]:
        """See Feed.target_blocks."""
        weights = self._weights_of_all()
        yield (self.targets,) if weights is None else (self.targets, weights)

    def sample(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """See Feed.sample."""
        backend = self._backend
        chosen = backend.asarray(rows)
        inputs, targets = (backend.to_numpy(backend.take_rows(a, chosen)) for a in (self.inputs, self.targets))
        return inputs, targets


class StreamedFeed(Feed):
    """Rows of sources; a thread reads, checks and sends the next micro-batch while the step works on the one before.

    Memory: two micro-batches on the host and two on the device, for any number of rows (and 8 bytes a row for the order, unless
    the source goes by blocks).

    Args: step; x, y – sources; batch – rows of a minibatch, so that the loader knows what comes next; name – of x, in messages;
        weights – of the rows, which are in memory.
    """

    def __init__(
        self, step: Step, x: RowSource, y: RowSource, batch: int, name: str = "x", weights: RowWeights | None = None
    ) -> None:
        self.rows = len(x)
        self.weights = weights
        self.batch = batch
        self._step = step
        self._division = step.division
        self._x, self._y = x, y
        self.source = x
        self._name = name
        self._host = find_backend("numpy")
        self._order: RowOrder | None = None
        self._order_of_weights: RowOrder | None = None
        self._loader: Loader | None = None
        self._slots: list[Slot] = []
        self._coming: Iterator[tuple[int, int]] = iter(())
        self._expected: tuple[int, int] | None = None
        # One row tells the shape and type of prepared targets, and refuses what does not fit before anything is trained.
        width = step.model.check_input_shape(x.shape)
        self._outputs = step.model.outputs or step.model.output_width(width)
        targets = self._prepared(slice(0, 1), np.empty((1, *y.row_shape), y.dtype))
        self._kinds = ((width,), step.model.dtype), (tuple(targets.shape[1:]), str(targets.dtype))

    def shuffle(self, seed: int, epoch: int) -> None:
        """See Feed.shuffle."""
        self.close()
        blocks = self._x if self._x.edges is not None else self._y
        self._order = self._order_of_weights = RowOrder(self.rows, seed, epoch, blocks.edges, blocks.window)
        if self.weights is not None and blocks.edges is not None:
            # One for each thread, as it keeps the windows at hand.
            self._order_of_weights = RowOrder(self.rows, seed, epoch, blocks.edges, blocks.window)

    def _parts(self, cuts: Cuts, stop: int, weights: Any) -> Iterator[Minibatch]:
        """See Feed."""
        start = cuts.start
        of_rows = None if weights is None else weights(self._numbers(start, stop))
        for low, high in cuts.of_minibatch(stop):
            part = self._micro_batch(low, high, cuts)
            yield part if of_rows is None else (*part, self._on_device(of_rows[low - start : high - start]))

    def _on_device(self, weights: NDArray[np.float64]) -> Array:
        return self._step.backend.asarray(weights, self._step.model.dtype)

    def _weights_of_minibatches(self) -> Any:
        return None if self.weights is None else self.weights.of_minibatch

    def _weights_of_all(self) -> Any:
        return None if self.weights is None else self.weights.of_all.__getitem__

    def _numbers(self, start: int, stop: int) -> Any:
        order = self._order_of_weights
        return slice(start, stop) if order is None else order.numbers(start, stop)

    def _micro_batch(self, low: int, high: int, cuts: Cuts) -> tuple[Array, Array]:
        """What the loader has read, if this micro-batch is what it was to read next; else it begins anew here."""
        if self._loader is None or self._expected != (low, high):
            self.close()
            # The minibatch at hand may be the last and smaller one of an epoch, or of a fit.
            cuts = cuts._replace(batch=max(cuts.batch, self.batch))
            self._coming = cuts.from_place(low)
            self._expected = next(self._coming)
            self._loader = Loader(self._fill, self._slots_for(min(cuts.size, self.batch)), cuts.from_place(low))
        inputs, targets = self._loader.next()
        self._expected = next(self._coming, None)
        return self._step.stored(inputs), targets

    def _slots_for(self, rows: int) -> list[Slot]:
        """Two slots with room for so many rows, kept from epoch to epoch."""
        if not self._slots or len(self._slots[0].host[0]) != rows:
            self._slots = []
            kinds = [((rows, *shape), dtype) for shape, dtype in self._kinds]
            self._slots = [self._step.backend.slot(kinds) for _ in range(2)]
        return self._slots

    def _fill(self, host: tuple[NDArray[Any], ...], start: int, stop: int) -> None:
        """Reads and checks rows; runs in the loader's thread."""
        chosen = slice(start, stop) if self._order is None else self._order.numbers(start, stop)
        inputs = host[0][: stop - start]
        self._x.read(chosen, inputs)
        self._require_finite(inputs, chosen, self._x, self._name)
        require_codes(self._step.model.coded_columns, inputs, self._host, self._name, _numbers(chosen))
        targets = self._prepared(chosen, np.empty((stop - start, *self._y.row_shape), self._y.dtype))
        self._require_finite(targets, chosen, self._y, self._name.replace("x", "y"))
        host[1][: stop - start] = targets

    def _prepared(self, chosen: Any, block: NDArray[Any]) -> NDArray[Any]:
        """Targets as the loss takes them."""
        step = self._step
        self._y.read(chosen, block)
        try:
            prepared: NDArray[Any] = step.loss.prepare(block, self._outputs, self._host, step.model.dtype)
        except LabelError as error:
            numbers = _numbers(chosen)
            raise LabelError(
                f"{error}; counted among what was read, from rows {numbers.min() + 1} to {numbers.max() + 1} of "
                f"{self._y.name or 'y'}"
            ) from error
        return prepared

    def _require_finite(self, block: NDArray[Any], chosen: Any, source: RowSource, name: str) -> None:
        """Raises NonFiniteDataError with the row's number in the source."""
        if fast_finite(block):
            return
        first = int(np.argmin(np.isfinite(block.reshape(len(block), -1)).all(axis=1)))
        raise NonFiniteDataError(
            f"{name}{f' ({source.name})' if source.name else ''}: expected finite numbers that {block.dtype} can hold; got "
            f"NaN, infinity or a larger number in row {int(_numbers(chosen)[first]) + 1}; the parameters of the step before "
            "are kept; fill in, scale or drop such rows"
        )

    def target_blocks(self) -> Iterator[Minibatch]:
        """See Feed.target_blocks."""
        backend = self._step.backend
        for start in range(0, self.rows, self.batch):
            stop = min(self.rows, start + self.batch)
            block = self._prepared(slice(start, stop), np.empty((stop - start, *self._y.row_shape), self._y.dtype))
            weights = () if self.weights is None else (self._on_device(self.weights.of_all[start:stop]),)
            yield backend.asarray(block), *weights

    def sample(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """See Feed.sample."""
        backend = self._step.backend
        inputs = np.empty((len(rows), *self._kinds[0][0]), self._step.model.dtype)
        self._x.read(rows, inputs)
        targets = self._prepared(rows, np.empty((len(rows), *self._y.row_shape), self._y.dtype))
        return backend.to_numpy(self._step.stored(backend.asarray(inputs))), targets

    def close(self) -> None:
        """See Feed.close."""
        loader, self._loader, self._expected = self._loader, None, None
        if loader is not None:
            loader.close()


def _numbers(chosen: Any) -> NDArray[np.int64]:
    return np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen


def feed_for(
    step: Step, x: Any, y: Any, batch: int | None, place: str = "auto", name: str = "x", sample_weight: Any = None
) -> Feed:
    """The feed for x and y, with minibatches of `batch` rows, None for all rows.

    place "device": everything is brought to the backend once and gathered there. "stream": rows are read as they are needed.
    "auto": on a CPU, arrays are used where they are and sources (see RowSource) and memory-mapped arrays are streamed; on a
    device, what takes at most FITTING_SHARE of its free memory is brought there and the rest is streamed.

    Raises: what TrainStep.prepare raises, HyperparameterError for another place, MixedBackends and the like.
    """
    choice(place, "data", PLACEMENTS)
    x = step.model.in_order(x)
    rows_x, rows_y = as_source(x), as_source(y)
    given = rows_x is not None or rows_y is not None

    def weights(rows: int) -> RowWeights | None:
        if sample_weight is None:
            return None
        return RowWeights(checked_weights(sample_weight, rows, step.backend), step.loss.reduction == "mean")
    free = step.backend.free_memory()
    if not given and (place == "device" or (place == "auto" and (free is None or step.backend.is_array(x)))):
        inputs, targets = step.prepare(x, y, name)
        return ResidentFeed(step, inputs, targets, None, weights(int(inputs.shape[0])), batch)
    if place == "stream" and step.backend.is_array(x) and not step.backend.on_host:
        raise HyperparameterError('expected x on the host for data="stream"; got an array on the device; leave data="auto"')
    rows_x = rows_x or ArrayRows(_on_host(step, x, name), name)
    rows_y = rows_y or ArrayRows(_on_host(step, y, name.replace("x", "y")), name.replace("x", "y"))
    if len(rows_x) != len(rows_y):
        raise ShapeError(f"expected one target for each of the {len(rows_x)} rows of {name}; got {len(rows_y)}")
    size = np.dtype(step.model.dtype).itemsize
    bytes_needed = size * (int(np.prod(rows_x.shape)) + int(np.prod(rows_y.shape)))
    if place == "device" or (place == "auto" and free is not None and bytes_needed <= FITTING_FRACTION * free):
        step.model.check_input_shape(rows_x.shape)
        inputs, targets = step.prepare(_brought(step, rows_x), rows_y.whole(), name)
        return ResidentFeed(step, inputs, targets, rows_x, weights(len(rows_x)), batch)
    return StreamedFeed(step, rows_x, rows_y, min(batch or len(rows_x), len(rows_x)), name, weights(len(rows_x)))


def _on_host(step: Step, values: Any, name: str) -> NDArray[Any]:
    """An array of the host, for ArrayRows."""
    array = step.backend.with_rows(values, name)
    host = array if isinstance(array, np.ndarray) else step.backend.to_numpy(array)
    if host.ndim == 0 or host.shape[0] == 0:
        raise EmptyDataError(f"expected at least one row of {name}; got none")
    return host


def _brought(step: Step, source: RowSource) -> Array:
    """All rows of a source on the backend, in the model's dtype."""
    backend, dtype = step.backend, step.model.dtype
    out = backend.empty(source.shape, dtype)
    for rows, block in source.blocks(dtype):
        backend.copy(block, out[rows, ...])
    return out
