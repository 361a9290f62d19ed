"""WandB: writes training metrics to a run of Weights & Biases, with its own client."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import OutputPathError
from ..settings import choice
from ..suggestions import suggests_arguments
from .tracker import Points, Tracker, settings_of

if TYPE_CHECKING:
    from ..training.trainer import Trainer

MODES = ("online", "offline", "disabled")


@suggests_arguments
class WandB(Tracker):
    """Writes a run of Weights & Biases during training.

    The run has the settings of the step as its config. After each epoch it gets the row of the history, under the names of the
    history, the loss of every minibatch ("minibatch_loss"), and the samples of a LayerStatistics among the callbacks
    ("activation_std/0.Linear"); the step of each value is the step number of the TrainStep. Further fits of the Trainer, and
    fits that resume a checkpoint, go on with the run. If an error ends the fit, the run ends as failed. Runs that are active in
    the process are left alone.

    Args: project – its name; run – name of the run, default one that is made up; mode – "online", "offline", which writes files
        for `wandb sync`, or "disabled"; None (default): as WANDB_MODE says, else online; folder – for the folder `wandb` with
        these files, created if it does not exist; None (default): the working directory.
    Attributes: run_id – of the run, None before the first epoch.
    Raises: MissingDependency without wandb; OutputPathError, before the first epoch, for a folder that cannot be written to and
        for a server that cannot be used; HyperparameterError.

        fs.Trainer(step, callbacks=[fs.WandB("digits", mode="offline")]).fit(x, y)
    """

    _extra = "wandb"

    def __init__(
        self, project: str, run: str | None = None, mode: str | None = None, folder: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__("project", project)
        self.project, self.run = project, run
        self.mode = None if mode is None else choice(mode, "mode", MODES)
        self.folder = None if folder is None else Path(folder)

    def _open(self, trainer: Trainer) -> None:
        try:
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
            self._connection = self._library.init(
                project=self.project, name=self.run, mode=self.mode, dir=None if self.folder is None else str(self.folder),
                config=settings_of(trainer.step), id=self.run_id, resume=None if self.run_id is None else "allow",
                reinit="create_new",
            )  # fmt: skip
        except (OSError, ValueError, self._library.errors.Error) as error:
            raise OutputPathError(
                f"expected a folder and a server of Weights & Biases that can be used; got {type(error).__name__} ({error}); "
                "choose another folder, or mode='offline'"
            ) from error
        self.run_id = self._connection.id

    def _write(self, points: Points) -> None:
        for step, row in points.items():
            self._connection.log(dict(row), step=step)

    def _close(self, failed: bool) -> None:
        self._connection.finish(exit_code=int(failed))
