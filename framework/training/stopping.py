"""Stopping rules: early stopping, a loss that no longer changes, a target that is reached, an interrupt from the keyboard.

A number of epochs or of steps is an argument of Trainer.fit.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import HyperparameterError
from ..engine.snapshot import Snapshot
from ..metrics.direction import NOTHING_KNOWN, Directions, larger_is_better, require_mode, score
from ..settings import finite, not_negative, real, whole
from ..suggestions import suggests_arguments
from .callbacks import Callback
from .history import require_column

if TYPE_CHECKING:
    from ..engine.step import TrainStep
    from .trainer import Trainer


class StoppingRule(Callback):
    """A callback that monitors one column of the history.

    Args: monitor – the column; "val_loss", "val_accuracy" and "val_r2" exist only with validation data.
    """

    mode: str | None = None
    directions: Directions = NOTHING_KNOWN
    """Both of the class, for pickles of older versions, which have none."""

    def __init__(self, monitor: str, mode: str | None = None) -> None:
        self.monitor, self.mode = monitor, require_mode(mode)

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Raises HyperparameterError before training if this fit will not have the column."""
        require_column(type(self).__name__, self.monitor, trainer.columns)
        self.directions = trainer.directions


@suggests_arguments
class EarlyStopping(StoppingRule):
    """Stops when a metric has not improved for `patience` epochs, and restores the parameters of the best epoch.

    "If you are at step k and there was no improvement in validation error in the previous p steps then stop training and return
    the model stored at step k - p": the parameters are restored bit for bit, also if training ends for another reason.

    Args: patience – p, epochs without improvement, >= 1; monitor – a column of the history, default "val_loss" (accuracy, R²
        and scorers improve when they increase); smallest_change – an improvement must be larger than this, default 0;
        restore_best – default True; restore_optimizer – whether to restore optimiser states, step count, learning rate and
        momentum with the parameters, default False: needed only to continue training from there; it doubles their memory; mode
        – "min" or "max" for a metric whose direction is not known, such as one that a callback adds (see Callback.columns).
    Attributes: best_epoch – of this fit, counted from 1; best – its metric (with opposite sign where larger is better).
    Source: notes 002, "Early stopping"; 000, section 19.123.3.
    """

    def __init__(
        self, patience: int, monitor: str = "val_loss", smallest_change: float = 0.0, restore_best: bool = True,
        restore_optimizer: bool = False, mode: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode)
        self.patience = whole(patience, "patience")
        self.smallest_change = real(smallest_change, "smallest_change", low=0.0)
        if restore_optimizer and not restore_best:
            raise HyperparameterError(
                "expected restore_best=True with restore_optimizer=True; got restore_best=False; leave it out"
            )
        self.restore_best = restore_best
        self.restore_optimizer = restore_optimizer
        self.best = math.inf
        self.best_epoch = 0
        self._snapshot: Snapshot | None = None
        self._step: TrainStep | None = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Resets the rule; raises HyperparameterError before training for an unknown column or direction."""
        super().on_fit_begin(trainer)
        larger_is_better(self.monitor, self.mode, self.directions)
        self.best, self.best_epoch, self._snapshot = math.inf, 0, None
        self._step = trainer.step

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """Keeps the best parameters, on their device, and stops when patience is exhausted."""
        value = score(row, self.monitor, self.mode, self.directions)
        if value < self.best - self.smallest_change or not self.best_epoch:
            self.best, self.best_epoch = value, int(row["epoch"])
            if self._snapshot is not None:
                self._snapshot.take()
            elif self.restore_best:
                self._snapshot = Snapshot(trainer.step, self.restore_optimizer)
        elif row["epoch"] - self.best_epoch >= self.patience:
            trainer.stop(f"no better {self.monitor} for {self.patience} epochs; the best was epoch {self.best_epoch}")

    def on_fit_end(self, trainer: Trainer) -> None:  # noqa: ARG002
        """Restores the best parameters."""
        if self._snapshot is not None:
            self._snapshot.put_back()
        self._snapshot = self._step = None

    def state(self) -> dict[str, Any]:
        """The best epoch, its metric and its parameters."""
        best = None if self._snapshot is None else self._snapshot.state()
        return {"best": self.best, "best_epoch": self.best_epoch, "snapshot": best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See Callback."""
        self.best, self.best_epoch = float(state["best"]), int(state["best_epoch"])
        if state["snapshot"] is not None and self.restore_best:
            self._snapshot = Snapshot(self._step, self.restore_optimizer)
            self._snapshot.restore(state["snapshot"])


@suggests_arguments
class StopOnStall(StoppingRule):
    """Stops when the loss no longer changes significantly.

    The condition after epoch k, for the values f of the epochs k - p, …, k: max f - min f <= tolerance max |f|.

    Args: tolerance – relative, >= 0, default 1e-3; patience – p >= 1, default 5; monitor – default "loss", which needs no
        validation data.
    Source: notes 000, section 19.123.3, "no significant change in the loss"; 001, "until a stopping criterion is met".
    """

    def __init__(self, tolerance: float = 1e-3, patience: int = 5, monitor: str = "loss") -> None:
        super().__init__(monitor)
        self.tolerance = not_negative(tolerance, "tolerance")
        self.patience = whole(patience, "patience")
        self._last: list[float] = []

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Resets the rule."""
        super().on_fit_begin(trainer)
        self._last = []

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """Checks the last p + 1 epochs."""
        self._last = [*self._last, row[self.monitor]][-self.patience - 1 :]
        low, high = min(self._last), max(self._last)
        if len(self._last) > self.patience and high - low <= self.tolerance * max(abs(low), abs(high)):
            trainer.stop(f"{self.monitor} changed by no more than {self.tolerance:g} of itself in {self.patience} epochs")

    def state(self) -> list[float]:
        """The values of the last epochs."""
        return self._last

    def restore(self, state: list[float]) -> None:
        """See Callback."""
        self._last = [float(value) for value in state]


@suggests_arguments
class StopOnTarget(StoppingRule):
    """Stops when a metric reaches a target: f <= target, or f >= target for metrics of which larger values are better.

    Args: target; monitor – default "val_loss"; mode – as in EarlyStopping.
    """

    def __init__(self, target: float, monitor: str = "val_loss", mode: str | None = None) -> None:
        super().__init__(monitor, mode)
        self.target = finite(target, "target")

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Raises HyperparameterError before training for an unknown column or direction."""
        super().on_fit_begin(trainer)
        larger_is_better(self.monitor, self.mode, self.directions)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """Compares the metric with the target."""
        value = row[self.monitor]
        if value >= self.target if larger_is_better(self.monitor, self.mode, self.directions) else value <= self.target:
            trainer.stop(f"{self.monitor} reached {self.target:g}")


@suggests_arguments
class StopOnInterrupt(Callback):
    """Stops after the current step on SIGINT (Ctrl-C, or the stop button of a notebook), so that the trained parameters are
    kept.

    `fit` evaluates and returns as usual, and callbacks such as EarlyStopping run their `on_fit_end`. A second SIGINT raises
    KeyboardInterrupt as it would without this callback. If fit does not run in the main thread, or if SIGINT is ignored (as for
    background jobs of a shell), the callback has no effect.

    Attributes: interrupted – whether the last fit was interrupted.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._before: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Installs the signal handler."""
        self.interrupted = False
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
            return

        def stop(*_: Any) -> None:
            self.interrupted = True
            self._give_back()
            trainer.stop("stopped from the keyboard", at_once=True)

        self._before = before
        signal.signal(signal.SIGINT, stop)

    def on_fit_end(self, trainer: Trainer) -> None:  # noqa: ARG002
        """Restores the previous signal handler."""
        self._give_back()

    def _give_back(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
