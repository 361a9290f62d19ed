"""Callbacks: functions that a Trainer calls between epochs and steps.

A callback receives the trainer and the rows of the history; it computes no steps. Stopping rules are in stopping.py.
"""

from __future__ import annotations

import time
from typing import Any

from ..suggestions import suggests_arguments
from .progress import Bar, new_bar

REFRESH = 0.1
"""Seconds between two moves of a progress bar within an epoch."""


class Callback:
    """Base class of callbacks: override any of these methods; by default they do nothing.

    A callback that remembers something from epoch to epoch also overrides `state` and `restore`, so that a training that is
    resumed from a Checkpoint goes on as if it had not been interrupted.

    Class attribute columns: names of the metrics that its on_epoch_end adds to the row of the history, for callbacks after it
    in the list that monitor them, such as EarlyStopping(5, "val_auc"); first_process_only – of processes that train together,
    whether only rank 0 has it, because it prints or writes files. Any other callback runs in all of them; what one of them asks
    with `trainer.stop` holds for all.
    """

    columns: tuple[str, ...] = ()
    first_process_only: bool = False

    def on_fit_begin(self, trainer: Any) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        """Before each epoch of the fit, numbered from 1."""

    def on_step_end(self, trainer: Any, done: int, total: int) -> None:
        """After each step; `done` of `total` minibatches of the epoch are finished. Must not wait for the device.

        For a callback with this method, the Trainer launches single steps; see `on_launch_end`.
        """

    def on_launch_end(self, trainer: Any, done: int, total: int) -> None:
        """As on_step_end, but after each launch of one or more steps; it does not make the Trainer launch single steps."""

    def on_epoch_end(self, trainer: Any, row: dict[str, float]) -> None:
        """After each epoch, with its row of the history; call `trainer.stop(reason)` to end training."""

    def on_fit_end(self, trainer: Any) -> None:
        """After the last epoch, also when training was interrupted."""

    def state(self) -> Any:
        """What it remembers: numbers, text, lists, dicts with text as keys, and NumPy arrays; None (default) for nothing."""
        return None

    def restore(self, state: Any) -> None:
        """Goes on from a `state`; called after on_fit_begin. On resume within an epoch, its on_epoch_begin is not repeated."""


@suggests_arguments
class ProgressBar(Callback):
    """A progress bar with epoch, loss and validation metrics, on the terminal or in a notebook; it moves within epochs, too."""

    first_process_only = True

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._text = ""
        self._finished = 0
        self._moved = 0.0

    def on_fit_begin(self, trainer: Any) -> None:
        """Shows the bar."""
        self._finished, self._text = trainer.history.epochs, ""
        self._bar = new_bar(trainer.epochs)
        self._bar.show(self._finished, self._text)

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:  # noqa: ARG002
        """Notes which epoch begins."""
        self._finished = epoch - 1

    def on_launch_end(self, trainer: Any, done: int, total: int) -> None:  # noqa: ARG002
        """Moves the bar, some times a second."""
        now = time.monotonic()
        if now > self._moved + REFRESH:
            self._moved = now
            self._show(self._finished + done / total)

    def on_epoch_end(self, trainer: Any, row: dict[str, float]) -> None:
        """Moves the bar to the end of the epoch."""
        names = {*trainer.metrics, *(f"val_{name}" for name in trainer.metrics)}
        figures = [f"{k} {v:.4f}" for k, v in row.items() if k.endswith(("loss", "accuracy", "r2")) or k in names]
        self._text = "  ".join(figures)
        self._show(self._finished + 1)

    def _show(self, completed: float) -> None:
        if self._bar is not None:
            self._bar.show(completed, self._text)

    def on_fit_end(self, trainer: Any) -> None:  # noqa: ARG002
        """Removes the bar."""
        if self._bar is not None:
            self._bar.remove()
            self._bar = None
