"""The Trainer: epochs, minibatches, validation, callbacks. It holds no mathematics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..backends import Random
from ..errors import EmptyDataError, HyperparameterError, NonFiniteDataError
from .callbacks import Callback, ProgressBar
from .data import require_finite
from .history import History
from .step import TrainStep
from .streams import SHUFFLE

Array = Any

SHUFFLES = ("each_epoch", "once", "never")


class Trainer:
    """Runs a TrainStep over data.

    Args: step; callbacks; shuffle – "each_epoch" (default), "once" (batches made once and used again in every epoch, as
        notes 000 suggest), or "never"; progress – whether to show a bar on the terminal.

        trainer = fs.Trainer(step, callbacks=[fs.EarlyStopping(patience=5)])
        history = trainer.fit(x, y, validation=(xv, yv), epochs=20, batch_size=128)
    """

    def __init__(
        self,
        step: TrainStep,
        callbacks: Sequence[Callback] = (),
        shuffle: str = "each_epoch",
        progress: bool = False,
    ) -> None:
        if not isinstance(step, TrainStep):
            raise HyperparameterError(f"expected a TrainStep; got {step!r}")
        if shuffle not in SHUFFLES:
            raise HyperparameterError(f"expected shuffle to be one of {', '.join(SHUFFLES)}; got {shuffle!r}")
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise HyperparameterError(f"expected Callbacks; got {callback!r}; did you forget ()?")
        self.step = step
        self.callbacks = [*callbacks, *([ProgressBar()] if progress else [])]
        self.shuffle = shuffle
        self.epochs = 0
        self.epochs_done = 0
        self.history = History()
        self._stop = ""

    def stop(self, reason: str) -> None:
        """Ends training after this epoch; callbacks call it."""
        self._stop = reason

    def fit(
        self,
        x: Any,
        y: Any,
        validation: tuple[Any, Any] | None = None,
        epochs: int = 10,
        batch_size: int | None = 128,
    ) -> History:
        """Trains for a number of epochs; a second call goes on where the first ended.

        Args: x [N, d], y [N] or [N, e] – NumPy, CuPy, any DLPack array; validation – (x, y) that are evaluated after every
            epoch; epochs – >= 1; batch_size – rows of a minibatch, 1 for single samples, None for the whole batch; the
            last minibatch of an epoch may be smaller.
        Returns: the history of this call.
        Raises: what TrainStep raises, and NonFiniteDataError for NaN or infinity in x or y, before anything has changed.
            When the loss becomes NaN or infinite, NonFiniteLossError; the parameters of the last good step are kept.
        """
        epochs = _at_least_one(epochs, "epochs")
        step, backend = self.step, self.step.backend
        inputs, targets = self._prepare(x, y, "x")
        held_out = None if validation is None else self._prepare(*validation, "validation x")
        rows = int(inputs.shape[0])
        size = rows if batch_size is None else min(rows, _at_least_one(batch_size, "batch_size"))
        self.epochs = epochs
        self.history = history = History()
        self._stop = ""
        order = None
        for callback in self.callbacks:
            callback.on_fit_begin(self)
        try:
            for _ in range(epochs):
                if self.shuffle == "each_epoch" or (self.shuffle == "once" and order is None):
                    order = self._order(rows)
                started = time.perf_counter()
                loss = self._epoch(inputs, targets, order, size)
                backend.synchronize()
                seconds = time.perf_counter() - started
                self.epochs_done += 1
                row = {"epoch": float(len(history) + 1), "loss": loss}
                if held_out is not None:
                    figures = step.evaluate(*held_out)
                    row.update({f"val_{name}": value for name, value in figures.items() if name != "error"})
                row.update(lr=step.lr, seconds=seconds, samples_per_second=rows / max(seconds, 1e-9))
                history.rows.append(row)
                for callback in self.callbacks:
                    callback.on_epoch_end(self, row)
                if self._stop:
                    history.stopped_because = self._stop
                    break
        finally:
            for callback in self.callbacks:
                callback.on_fit_end(self)
        return history

    def _prepare(self, x: Any, y: Any, name: str) -> tuple[Array, Array]:
        """Checked data on the backend."""
        step, backend = self.step, self.step.backend
        inputs = step.model.convert_input(x)
        rows = int(inputs.shape[0])
        if rows == 0:
            raise EmptyDataError(f"expected at least one row of {name}; got none")
        targets = step.prepare_targets(y, rows)
        for array, what in ((inputs, name), (targets, name.replace("x", "y"))):
            if not backend.dtype_name(array).startswith("float"):
                continue
            squares = backend.item(backend.sum_of_squares(backend.xp.reshape(array, (-1,))))
            if not squares < float("inf"):
                require_finite(backend.to_numpy(array), what)
                raise NonFiniteDataError(f"expected moderate values in {what}; got some whose squares overflow; scale them")
        return inputs, targets

    def _order(self, rows: int) -> Array:
        """The order of the rows in this epoch: a function of the seed and the number of the epoch alone."""
        backend = self.step.backend
        return backend.permutation(rows, Random(backend.random_state(self.step.seed, self.epochs_done), SHUFFLE))

    def _epoch(self, inputs: Array, targets: Array, order: Array | None, size: int) -> float:
        """One pass over the data; the mean loss of its minibatches, weighted by their rows."""
        backend = self.step.backend
        rows = int(inputs.shape[0])
        total = -(-rows // size)
        losses = []
        for done, start in enumerate(range(0, rows, size), 1):
            stop = min(rows, start + size)
            if order is None:
                part, wanted = inputs[start:stop, ...], targets[start:stop, ...]
            else:
                chosen = order[start:stop]
                part, wanted = backend.take_rows(inputs, chosen), backend.take_rows(targets, chosen)
            losses.append((self.step.run(part, wanted), stop - start))
            for callback in self.callbacks:
                callback.on_step_end(self, done, total)
        mean = self.step.loss.reduction == "mean"
        return sum(float(loss) * (count / rows if mean else 1.0) for loss, count in losses)


def _at_least_one(value: Any, name: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise HyperparameterError(f"expected {name} to be a whole number >= 1; got {value!r}")
    return int(value)
