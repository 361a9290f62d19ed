"""Callbacks: functions that a Trainer calls between epochs and steps.

A callback receives the trainer and the rows of the history; it computes no steps. Stopping rules are in stopping.py.
"""

from __future__ import annotations

import time
from typing import Any

REFRESH = 0.1
"""Seconds between two moves of a progress bar within an epoch."""


class Callback:
    """Base class of callbacks: override any of these methods; by default they do nothing.

    A callback that remembers something from epoch to epoch also overrides `state` and `restore`, so that a training that is
    resumed from a Checkpoint goes on as if it had not been interrupted.

    Class attribute columns: names of the metrics that its on_epoch_end adds to the row of the history, for callbacks after it
    in the list that monitor them, such as EarlyStopping(5, "val_auc").
    """

    columns: tuple[str, ...] = ()

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


class ProgressBar(Callback):
    """A progress bar on the terminal with epoch, loss and validation metrics; it also moves within an epoch."""

    def __init__(self) -> None:
        self._progress: Any = None
        self._task: Any = None
        self._finished = 0
        self._moved = 0.0

    def on_fit_begin(self, trainer: Any) -> None:
        """Shows the bar."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn(),
            transient=True,
        )  # fmt: skip
        self._finished = trainer.history.epochs
        self._task = self._progress.add_task("", total=trainer.epochs, completed=self._finished)
        self._progress.start()

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:  # noqa: ARG002
        """Notes which epoch begins."""
        self._finished = epoch - 1

    def on_launch_end(self, trainer: Any, done: int, total: int) -> None:  # noqa: ARG002
        """Moves the bar, some times a second."""
        now = time.monotonic()
        if now > self._moved + REFRESH:
            self._moved = now
            self._progress.update(self._task, completed=self._finished + done / total)

    def on_epoch_end(self, trainer: Any, row: dict[str, float]) -> None:
        """Moves the bar to the end of the epoch."""
        names = {*trainer.metrics, *(f"val_{name}" for name in trainer.metrics)}
        figures = [f"{k} {v:.4f}" for k, v in row.items() if k.endswith(("loss", "accuracy", "r2")) or k in names]
        self._progress.update(self._task, completed=self._finished + 1, description="  ".join(figures))

    def on_fit_end(self, trainer: Any) -> None:  # noqa: ARG002
        """Removes the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
