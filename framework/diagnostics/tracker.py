"""Base class of callbacks that write the figures of a training to an experiment tracker; mlflow.py and wandb.py derive from it.

tensorboard.py writes event files, which have no runs.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import HyperparameterError
from ..optional import require
from ..training.callbacks import Callback
from .layer_statistics import QUANTITIES, LayerStatistics

if TYPE_CHECKING:
    from ..engine.step import TrainStep
    from ..training.trainer import Trainer

Points = Mapping[int, Mapping[str, float]]
"""Step of the TrainStep -> name -> value, in the order of the steps."""


class Tracker(Callback):
    """One run of an experiment tracker: opened at the first epoch, continued by further fits and after a resume.

    A subclass defines `_extra`, the name of the module and of its extra, `_open`, which sets `run_id` and
    `_connection`, `_write` and `_close`.
    """

    first_process_only = True

    _extra: ClassVar[str]

    def __init__(self, what: str, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise HyperparameterError(
                f"expected the name of the {what} for {type(self).__name__}; got {name!r}; give one such as 'first'"
            )
        self.run_id: str | None = None
        self._library = self._imported()
        self._connection: Any = None
        self._is_open = False
        self._written = 0
        self._before: BaseException | None = None

    def _imported(self) -> Any:
        return require(self._extra, self._extra, f"fs.{type(self).__name__}")

    def __getstate__(self) -> dict[str, Any]:
        """Without library and connection."""
        return {**self.__dict__, "_library": None, "_connection": None, "_is_open": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _library=self._imported())

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Remembers after which step this fit begins."""
        self._written, self._before = trainer.step.steps, sys.exception()

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:  # noqa: ARG002
        """Opens the run, if it is not open yet."""
        if not self._is_open:
            self._open(trainer)
            self._is_open = True

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """Writes the row of the epoch, the losses of its minibatches, and the statistics of layers of these steps."""
        self.on_epoch_begin(trainer, int(row["epoch"]))
        points: dict[int, dict[str, float]] = defaultdict(dict)
        for number, loss in minibatch_losses(trainer):
            points[number]["minibatch_loss"] = loss
        for statistics in trainer.callbacks:
            if isinstance(statistics, LayerStatistics):
                for number, name, value in layer_figures(statistics, self._written):
                    points[number][name] = value
        points[trainer.step.steps].update(row)
        self._written = trainer.step.steps
        self._write(dict(sorted(points.items())))

    def on_fit_end(self, trainer: Trainer) -> None:  # noqa: ARG002
        """Ends the run, as failed if an error ends the fit."""
        if self._is_open:
            self._is_open = False
            self._close(failed=sys.exception() is not self._before)
            self._connection = None
        self._before = None

    def state(self) -> str | None:
        """The identity of the run."""
        return self.run_id

    def restore(self, state: str | None) -> None:
        """Goes on with that run."""
        self.run_id = state

    def _open(self, trainer: Trainer) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define _open")

    def _write(self, points: Points) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define _write")

    def _close(self, failed: bool) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define _close")


def settings_of(step: TrainStep) -> dict[str, Any]:
    """What a tracker stores of a step beside its figures."""
    return {
        "model": ", ".join(map(repr, step.model.layers)),
        "parameters": sum(parameter.size for _, parameter in step.model.declared()),
        "loss": repr(step.loss),
        "optimizer": repr(step.optimizer),
        "lr": step.lr,
        "seed": step.seed,
        "backend": step.backend.name,
        "precision": step.precision.name,
    }


def minibatch_losses(trainer: Trainer) -> Iterator[tuple[int, float]]:
    """(step, loss) of each minibatch of the last epoch."""
    last, history = trainer.step.steps, trainer.history
    losses = history.step_losses[(len(history) - 1) * history.steps_per_epoch :]
    yield from enumerate(losses, last - len(losses) + 1)


def layer_figures(statistics: LayerStatistics, after: int = -1) -> Iterator[tuple[int, str, float]]:
    """(step, "quantity/layer", value) of the samples after a step, without quantities that a layer does not have."""
    for quantity in QUANTITIES:
        for step, values in zip(statistics.steps, statistics[quantity], strict=True):
            for layer, value in zip(statistics.layers, values, strict=True):
                if step > after and value == value:  # NaN: the layer does not have this quantity
                    yield step, f"{quantity}/{layer}", float(value)
