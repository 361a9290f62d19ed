"""Checkpoints of the trials of a search: their folders, their removal once a trial has finished, and signals between trials.

A trial that is run again, because its worker ended, writes to a folder of its own and is resumed from the ones before: a worker
that only seemed to have ended may still write there. What a checkpoint contains is decided in framework/training.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, HyperparameterError
from ..export.output_paths import require_folder
from ..training.checkpoint import Checkpoint
from ..training.checkpoint_files import checkpoints
from ..training.checkpoint_run import Signals
from .result import SearchTrial

STORAGE = "search.journal"
"""Where trials are stored, in the folder, if no storage is given."""
_TRIAL = "trial-"


class TrialCheckpoints:
    """The checkpoints of one search. As a context, it notes SIGTERM and SIGUSR1 between two fits, which note their own.

    Args: settings – the Checkpoint of the search, whose folder has one for each unfinished trial; None: nothing is saved;
        resume – "auto" or None.
    Raises: HyperparameterError for other values.
    """

    def __init__(self, settings: Checkpoint | None, resume: str | None) -> None:
        if settings is not None and not isinstance(settings, Checkpoint):
            raise HyperparameterError(f"expected a Checkpoint; got {settings!r}; write checkpoint=fs.Checkpoint('runs/search')")
        if settings is not None and settings.best is not None:
            raise HyperparameterError(
                f"expected a Checkpoint without best for a search; got best={settings.best!r}; train the best candidate again"
            )
        if resume not in (None, "auto"):
            raise HyperparameterError(f'expected resume to be "auto" or None; got {resume!r}')
        if settings is None and resume is not None:
            raise HyperparameterError('expected a checkpoint with resume="auto"; got none; pass fs.Checkpoint(folder)')
        self._settings, self._resume = settings, resume
        self._signals: Signals | None = None

    def open(self, storage: str | Path | None) -> str | Path | None:
        """Creates the folder, and returns the storage: in the folder if none is given.

        Raises: CheckpointError if it holds a search that is not to be resumed; OutputPathError if it cannot be written to.
        """
        if self._settings is None:
            return storage
        folder = self._settings.folder
        require_folder(folder, "checkpoints")
        if self._resume is None and (self._folders() or (folder / STORAGE).exists()):
            raise CheckpointError(
                f"expected a folder without a search for a new one; {str(folder)!r} has one; pass "
                'resume="auto" (--resume) to continue that search, or choose another folder'
            )
        return folder / STORAGE if storage is None else storage

    def __enter__(self) -> None:
        if self._settings is not None:
            self._signals = Signals()

    def __exit__(self, *raised: object) -> None:
        if self._signals is not None:
            self._signals.close()

    def act(self) -> None:
        """Ends the process if a signal came before the handlers of a fit."""
        if self._signals is not None and self._signals.received:
            self._signals.act(self._signals.received)

    def between(self, finished: dict[int, SearchTrial]) -> dict[int, SearchTrial]:
        """Between two trials: removes the checkpoints of finished ones, and acts on a signal. Returns its argument."""
        for slot, folder in self._folders().items():
            if slot in finished:
                shutil.rmtree(folder, ignore_errors=True)
        self.act()
        return finished

    def of(self, slot: int, number: int) -> dict[str, Any]:
        """The arguments of fit that save a trial and resume it.

        Args: slot – of the trial, from 0; number – of this attempt, by which the storage counts the attempts at all trials.
        """
        settings = self._settings
        if settings is None:
            return {}
        folder = settings.folder / f"{_TRIAL}{slot + 1}"
        before = sorted((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), reverse=True)
        return {
            "checkpoint": Checkpoint(folder / str(number), settings.every_steps, settings.every_epochs, settings.keep),
            "resume": next((folder / str(k) for k in before if k != number and checkpoints(folder / str(k))), None),
        }

    def _folders(self) -> dict[int, Path]:
        """The folder of each trial that has one, by slot."""
        paths = [] if self._settings is None else self._settings.folder.glob(f"{_TRIAL}*")
        numbered = {path.name.removeprefix(_TRIAL): path for path in paths}
        return {int(number) - 1: path for number, path in numbered.items() if number.isdecimal()}
