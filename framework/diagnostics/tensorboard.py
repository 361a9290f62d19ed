"""TensorBoard: writes training metrics to event files with the library tensorboardX."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import HyperparameterError, OutputPathError
from ..optional import require
from ..suggestions import suggests_arguments
from ..training.callbacks import Callback
from .layer_statistics import LayerStatistics
from .tracker import layer_figures, minibatch_losses

if TYPE_CHECKING:
    from ..training.trainer import Trainer

NAMES = {"lr": "training/learning_rate", "samples_per_second": "training/samples_per_second"}
for _figure in ("loss", "accuracy", "r2"):
    NAMES |= {_figure: f"{_figure}/training", f"val_{_figure}": f"{_figure}/validation"}
"""Column of the history -> tag; tags with the same text before the slash are shown together."""


@suggests_arguments
class TensorBoard(Callback):
    """Writes event files during training, which `tensorboard --logdir DIR` displays.

    The step of every value is the step number of the TrainStep, so a second fit continues where the first ended. Written after
    each epoch: the row of the history, and the loss of every minibatch ("loss/minibatch"). If a LayerStatistics is among the
    callbacks of the Trainer, its samples are written at the end, one chart per quantity.

    Args: folder – created if it does not exist; use a separate one for each training run; histograms – whether to write the
        values of each parameter after each epoch, which waits for the device; default False.
    Raises: MissingDependency without tensorboardX, OutputPathError for a folder that cannot be written to.

        fs.Trainer(step, callbacks=[fs.TensorBoard("runs/first")]).fit(x, y)
    """

    first_process_only = True

    def __init__(self, folder: str | os.PathLike[str], histograms: bool = False) -> None:
        if not isinstance(folder, str | os.PathLike) or not str(folder):
            raise HyperparameterError(
                f"expected the path of a folder for TensorBoard; got {folder!r}; give one such as 'runs/first'"
            )
        self.folder = Path(folder)
        self.histograms = bool(histograms)
        self._writer: Any = None
        self._library = require("tensorboardX", "tensorboard", "fs.TensorBoard")

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Opens a new event file in the folder."""
        # The library names files by the second; two fits in one second must not overwrite each other.
        suffix = f".{os.getpid()}.{trainer.step.steps}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer = self._library.SummaryWriter(str(self.folder), filename_suffix=suffix)
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise OutputPathError(
                f"expected a folder that can be written, for TensorBoard; {str(self.folder)!r} cannot ({reason}); "
                "choose another"
            ) from error

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """Writes the row of the epoch and the losses of its minibatches."""
        last = trainer.step.steps
        for step, loss in minibatch_losses(trainer):
            self._writer.add_scalar("loss/minibatch", loss, step)
        for column, value in row.items():
            if column in NAMES:
                self._writer.add_scalar(NAMES[column], value, last)
        if self.histograms:
            to_numpy = trainer.step.backend.to_numpy
            for name, values in trainer.step.model.parameters().items():
                self._writer.add_histogram(name, to_numpy(values), last)
        self._writer.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Writes the statistics of layers, and closes the file."""
        for callback in trainer.callbacks:
            if isinstance(callback, LayerStatistics):
                for step, name, value in layer_figures(callback):
                    self._writer.add_scalar(name, value, step)
        self._writer.close()
        self._writer = None
