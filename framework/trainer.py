"""The Trainer: epochs, minibatches, validation, callbacks. It holds no mathematics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from ..backends import Random
from ..errors import HyperparameterError, NonFiniteLossError
from .callbacks import Callback, ProgressBar
from .history import History
from .metrics import evaluate
from .settings import whole
from .step import TrainStep
from .streams import SHUFFLE

Array = Any

EVALUATION_ROWS = 4096
"""Rows per pass of the validation."""
BUFFERS = 4
"""Buffers of gathered minibatches that are kept: inputs and targets of the whole ones and of the last one of an epoch."""
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
        if isinstance(callbacks, Callback):
            raise HyperparameterError(f"expected a list of callbacks; got {callbacks!r}; write callbacks=[...]")
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise HyperparameterError(f"expected Callbacks; got {callback!r}; did you forget ()?")
        self.step = step
        self.callbacks = [*callbacks, *([ProgressBar()] if progress else [])]
        self.shuffle = shuffle
        self.epochs = 0
        self.epochs_done = 0
        self.columns: tuple[str, ...] = ()
        self.history = History()
        self._stop = ""
        self._buffers: dict[tuple[str, int], Array] = {}

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
        epochs = whole(epochs, "epochs")
        step, backend = self.step, self.step.backend
        if validation is not None and not (isinstance(validation, tuple | list) and len(validation) == 2):
            raise HyperparameterError(f"expected validation=(x, y); got {validation!r}")
        inputs, targets = step.prepare(x, y)
        held_out = None if validation is None else step.prepare(*validation, "validation x")
        rows = int(inputs.shape[0])
        size = rows if batch_size is None else min(rows, whole(batch_size, "batch_size"))
        self.epochs = epochs
        self.columns = self._columns(held_out is not None)
        self.history = history = History()
        self._stop = ""
        order = None
        with ExitStack() as ending:
            for callback in self.callbacks:
                callback.on_fit_begin(self)
                ending.callback(callback.on_fit_end, self)
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
                    figures = evaluate(step, *held_out, EVALUATION_ROWS)
                    row.update({f"val_{name}": value for name, value in figures.items() if name != "error"})
                row.update(lr=step.lr, seconds=seconds, samples_per_second=rows / max(seconds, 1e-9))
                history.rows.append(row)
                for callback in self.callbacks:
                    callback.on_epoch_end(self, row)
                if self._stop:
                    history.stopped_because = self._stop
                    break
        return history

    def _columns(self, validated: bool) -> tuple[str, ...]:
        """The columns that the history will have."""
        metric = "r2" if self.step.loss.head == "values" else "accuracy"
        held_out = ("val_loss", f"val_{metric}") if validated else ()
        return ("epoch", "loss", *held_out, "lr", "seconds", "samples_per_second")

    def _order(self, rows: int) -> Array:
        """The order of the rows in this epoch: a function of the seed and the number of the epoch alone."""
        backend = self.step.backend
        return backend.permutation(rows, Random(backend.random_state(self.step.seed, self.epochs_done), SHUFFLE))

    def _epoch(self, inputs: Array, targets: Array, order: Array | None, size: int) -> float:
        """One pass over the data; the mean loss of its minibatches, weighted by their rows."""
        rows = int(inputs.shape[0])
        total = -(-rows // size)
        losses = []
        for done, start in enumerate(range(0, rows, size), 1):
            part, wanted = self._minibatch(inputs, targets, order, start, min(rows, start + size))
            losses.append((self.step.run(part, wanted), start))
            for callback in self.callbacks:
                callback.on_step_end(self, done, total)
        mean = 0.0
        for loss, start in losses:
            stop = min(rows, start + size)
            try:
                mean += float(loss) * ((stop - start) / rows if self.step.loss.reduction == "mean" else 1.0)
            except NonFiniteLossError as error:
                # On a device this comes after the epoch; the minibatch is gathered again to name the place.
                part, wanted = self._minibatch(inputs, targets, order, start, stop)
                raise self.step.failure(part, wanted, error.step, "NaN or infinity in loss or gradient") from error
        return mean

    def _minibatch(self, inputs: Array, targets: Array, order: Array | None, start: int, stop: int) -> tuple[Array, Array]:
        """Rows start to stop of the epoch's order."""
        if order is None:
            return inputs[start:stop, ...], targets[start:stop, ...]
        chosen = order[start:stop, ...]
        return self._gathered("inputs", inputs, chosen), self._gathered("targets", targets, chosen)

    def _gathered(self, name: str, source: Array, chosen: Array) -> Array:
        """The chosen rows, in a buffer that is used again for the next minibatch of that size."""
        key = (name, int(chosen.shape[0]))
        buffer = self._buffers.get(key)
        if buffer is not None and (buffer.shape[1:], buffer.dtype) == (source.shape[1:], source.dtype):
            return self.step.backend.take_rows(source, chosen, buffer)
        while len(self._buffers) >= BUFFERS:
            self._buffers.pop(next(iter(self._buffers)))
        taken = self._buffers[key] = self.step.backend.take_rows(source, chosen)
        return taken
