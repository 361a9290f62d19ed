"""`Checkpoint`: when and where a Trainer saves its whole state during a fit.

What a state consists of is in checkpoint_state.py, the files are in checkpoint_files.py, saving during a fit in
checkpoint_run.py.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import HyperparameterError
from ..metrics.direction import require_mode
from ..settings import whole
from ..suggestions import suggests_arguments


@suggests_arguments
class Checkpoint:
    """Saves the whole state of a training at intervals, so that it can be resumed with the same bits after it was killed.

    Args: folder – created if it does not exist; one training per folder; every_steps – steps between two checkpoints; on
        backends that launch several steps at once, a checkpoint is written after the launch in which it is due; None (default):
        only between epochs; every_epochs – epochs between two checkpoints, default 1; None: only by steps; keep – number of
        checkpoints that remain in the folder, default 2, so that there is one if the newest is damaged; best – a column of the
        history, such as "val_loss": after each epoch that improves it, the model is written to `best.safetensors` in the
        folder, which `fs.load` reads; None (default): no such file; mode – "min" or "max" if the direction of that
        column is not known, as in EarlyStopping.

    A checkpoint contains parameters, optimiser state, masks, loss scale, step and position within the epoch, schedules, early
    stopping with its best parameters, other callbacks that have a state, the history, and which BLAS computes each product. A
    thread writes it; training waits only for the copy of the arrays. If the disk is slower than the interval, a checkpoint is
    written as soon as the one before is finished.

    SIGTERM and SIGUSR1 end a fit with a checkpoint, after the step (or launch) at hand, with exit status 143.

        trainer.fit(x, y, epochs=100, checkpoint=fs.Checkpoint("runs/first", every_steps=500), resume="auto")
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every_steps: int | None = None,
        every_epochs: int | None = 1,
        keep: int = 2,
        best: str | None = None,
        mode: str | None = None,
    ) -> None:
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise HyperparameterError(f"expected the path of a folder for checkpoints; got {folder!r}; pass 'runs/first'")
        self.folder = Path(folder)
        self.every_steps = None if every_steps is None else whole(every_steps, "every_steps")
        self.every_epochs = None if every_epochs is None else whole(every_epochs, "every_epochs")
        self.keep = whole(keep, "keep")
        if best is not None and not isinstance(best, str):
            raise HyperparameterError(f'expected best to be a column of the history such as "val_loss"; got {best!r}')
        self.best = best
        self.mode = require_mode(mode)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.folder)!r}, every_steps={self.every_steps}, every_epochs={self.every_epochs})"
