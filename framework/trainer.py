"""The Trainer: epochs, minibatches, validation, callbacks. It holds no mathematics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from ..errors import HyperparameterError, NonFiniteLossError
from .callbacks import Callback, ProgressBar
from .feeds import Feed, feed_for
from .history import History
from .metrics import evaluate
from .settings import whole
from .step import StepLoss, TrainStep

Array = Any

EVALUATION_ROWS = 4096
"""Rows per pass of the validation."""
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
        data: str = "auto",
    ) -> History:
        """Trains for a number of epochs; a second call goes on where the first ended.

        Args: x [N, d], y [N] or [N, e] – NumPy, CuPy, any DLPack array, or a RowSource such as fs.memory_map gives, of
            which only some rows are in memory at a time; validation – (x, y) that are evaluated after every epoch, given
            likewise; epochs – >= 1; batch_size – rows of a minibatch, 1 for single samples, None for the whole batch; the
            last minibatch of an epoch may be smaller; data – "device": all of it is brought to the backend once; "stream":
            the next minibatch is read, checked and sent by a thread while a step works; "auto" (default): on a CPU, arrays
            are used where they are and sources are streamed; on a device, what takes at most half of its free memory is
            brought there, and the rest is streamed. The minibatches are the same in each case.
        Returns: the history of this call.
        Raises: what TrainStep raises, and NonFiniteDataError for NaN or infinity in x or y, before anything has changed;
            where rows are streamed, before the step that would use such a row. DataFileError where reading failed.
            When the loss becomes NaN or infinite, NonFiniteLossError; the parameters of the last good step are kept.
        """
        epochs = whole(epochs, "epochs")
        step = self.step
        if validation is not None and not (isinstance(validation, tuple | list) and len(validation) == 2):
            raise HyperparameterError(f"expected validation=(x, y); got {validation!r}")
        size = None if batch_size is None else whole(batch_size, "batch_size")
        with ExitStack() as feeds:
            feed = feed_for(step, x, y, size, data)
            feeds.callback(feed.close)
            held_out = None
            if validation is not None:
                held_out = feed_for(step, *validation, EVALUATION_ROWS, data, "validation x")
                feeds.callback(held_out.close)
            return self._fit(feed, held_out, epochs, feed.rows if size is None else min(feed.rows, size))

    def _fit(self, feed: Feed, held_out: Feed | None, epochs: int, size: int) -> History:
        """The epochs."""
        step, rows = self.step, feed.rows
        self.epochs = epochs
        self.columns = self._columns(held_out is not None)
        self.history = history = History()
        self._stop = ""
        shuffled = False
        with ExitStack() as ending:
            for callback in self.callbacks:
                callback.on_fit_begin(self)
                ending.callback(callback.on_fit_end, self)
            for _ in range(epochs):
                if self.shuffle == "each_epoch" or (self.shuffle == "once" and not shuffled):
                    feed.shuffle(step.seed, self.epochs_done)
                    shuffled = True
                started = time.perf_counter()
                loss = self._epoch(feed, size)
                step.backend.synchronize()
                seconds = time.perf_counter() - started
                self.epochs_done += 1
                row = {"epoch": float(len(history) + 1), "loss": loss}
                if held_out is not None:
                    figures = step.micro.attempt(EVALUATION_ROWS, partial(evaluate, step, held_out, EVALUATION_ROWS))
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

    def _epoch(self, feed: Feed, size: int) -> float:
        """One pass over the data; the mean loss of its minibatches, weighted by their rows."""
        rows = feed.rows
        total = -(-rows // size)
        losses = []
        for done, start in enumerate(range(0, rows, size), 1):
            losses.append((self._step(feed, start, min(rows, start + size)), start))
            for callback in self.callbacks:
                callback.on_step_end(self, done, total)
        mean = 0.0
        for loss, start in losses:
            stop = min(rows, start + size)
            try:
                mean += float(loss) * ((stop - start) / rows if self.step.loss.reduction == "mean" else 1.0)
            except NonFiniteLossError as error:
                # On a device this comes after the epoch; the minibatch is gathered again to name the place.
                pieces = feed.pieces(start, stop, self.step.micro.rows(stop - start))
                raise self.step.failure(pieces, stop - start, error.step, "NaN or infinity in loss or gradient") from error
        return mean

    def _step(self, feed: Feed, start: int, stop: int) -> StepLoss:
        """A step on the minibatch from place start to stop of the epoch's order."""
        rows, step = stop - start, self.step
        if step.micro.setting is None:
            return step.run(*next(feed.pieces(start, stop, rows)))
        return step.take(rows, partial(feed.pieces, start, stop))
