"""Callbacks: what happens between the epochs of a Trainer.

A callback sees the trainer and the rows of the history; it computes no steps.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..errors import HyperparameterError
from .history import larger_is_better
from .settings import real, whole

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """Override any of these; all do nothing."""

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first epoch."""

    def on_step_end(self, trainer: Trainer, done: int, total: int) -> None:
        """After each step; `done` of `total` minibatches of the epoch are done. Must not wait for the device."""

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """After each epoch, with its row of the history; call `trainer.stop(reason)` to end training."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch, also when training was interrupted."""


class EarlyStopping(Callback):
    """Stops when a figure has not improved for `patience` epochs, and restores the parameters of the best epoch.

    Args: patience – epochs without improvement, >= 1; monitor – a column of the history, default "val_loss";
        smallest_change – what counts as an improvement, default 0; restore_best – default True: with patience p and stop
        at epoch k the model of epoch k - p comes back, as in notes 002; also where training ends by itself.
    """

    def __init__(
        self, patience: int, monitor: str = "val_loss", smallest_change: float = 0.0, restore_best: bool = True
    ) -> None:
        self.patience = whole(patience, "patience")
        self.monitor = monitor
        self.smallest_change = real(smallest_change, "smallest_change", low=0.0)
        self.restore_best = restore_best
        self.best = math.inf
        self.best_epoch = 0
        self._kept: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Forgets earlier fits; refuses a figure that this fit will not have, before anything is trained."""
        if self.monitor not in trainer.columns:
            raise HyperparameterError(
                f"EarlyStopping: expected a column of the history ({', '.join(trainer.columns)}); got {self.monitor!r}; "
                "pass validation=(x, y) to fit for those that start with val_"
            )
        self.best, self.best_epoch, self._kept = math.inf, 0, None

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """Keeps the best parameters, on their device, and stops in time."""
        value = -row[self.monitor] if larger_is_better(self.monitor) else row[self.monitor]
        if math.isnan(value):
            value = math.inf
        arena = trainer.step.model.arena
        if value < self.best - self.smallest_change or not self.best_epoch:
            self.best, self.best_epoch = value, int(row["epoch"])
            if self.restore_best:
                if self._kept is None:
                    self._kept = arena.new()
                arena.backend.copy(arena.values, self._kept)
        elif row["epoch"] - self.best_epoch >= self.patience:
            trainer.stop(f"no better {self.monitor} for {self.patience} epochs; the best was epoch {self.best_epoch}")

    def on_fit_end(self, trainer: Trainer) -> None:
        """Puts the best parameters back."""
        if self._kept is not None:
            arena = trainer.step.model.arena
            arena.backend.copy(self._kept, arena.values)


class ProgressBar(Callback):
    """A bar with the epoch, its loss and the validation figures, on the terminal."""

    def __init__(self) -> None:
        self._progress: Any = None
        self._task: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Shows the bar."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn(),
            transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=trainer.epochs)
        self._progress.start()

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:  # noqa: ARG002
        """Moves the bar."""
        figures = [f"{k} {v:.4f}" for k, v in row.items() if k.endswith(("loss", "accuracy", "r2"))]
        self._progress.update(self._task, advance=1, description="  ".join(figures))

    def on_fit_end(self, trainer: Trainer) -> None:  # noqa: ARG002
        """Removes the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
