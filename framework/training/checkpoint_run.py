"""Checkpoints during one fit: when one is due, the thread that writes it, and the signals that ask for one.

What is saved is in checkpoint_state.py, how it is stored in checkpoint_files.py.
"""

from __future__ import annotations

import copy
import logging
import os
import signal
import sys
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from ...errors import CheckpointError, FusedstepError, HyperparameterError
from ..export.persistence import save
from ..metrics.direction import larger_is_better, score
from . import checkpoint_files as files
from .checkpoint import Checkpoint
from .checkpoint_state import require_same, restore, restore_callbacks, settings_of, state_of
from .history import require_column

Trainer = Any
"""A Trainer, which imports this module."""

EXIT_STATUS = 143
"""Of a process that a signal has ended, after it has written a checkpoint: 128 plus the number of SIGTERM."""

_logger = logging.getLogger("fusedstep.checkpoint")


class Position(NamedTuple):
    """Where a fit begins: epochs and steps of the trainer before the fit, the losses of the steps of the epoch that has begun,
    the seconds that these have taken, and why training had ended before, or "".
    """

    first: tuple[int, int]
    losses: list[float]
    seconds: float = 0.0
    stopped: str = ""


WRITER_NICENESS = 10
"""Of the thread that writes, unless that of the process is higher; 0 to 19, the last to run."""


class Writer:
    """Runs one job at a time in a thread, which begins with the first one; a job that fails is logged."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        return not self._idle.is_set()

    def start(self, job: Callable[[], object]) -> None:
        """Starts a job, after the one before has finished."""
        self.wait()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="fusedstep checkpoint")
            self._thread.start()
        self._idle.clear()
        self._jobs.put(job)

    def wait(self) -> None:
        """Waits until the job has finished."""
        self._idle.wait()

    def close(self) -> None:
        """Waits, and ends the thread."""
        self.wait()
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        _behind_training()
        while (job := self._jobs.get()) is not None:
            try:
                in_thread(job)
            finally:
                del job
                self._idle.set()


def _behind_training() -> None:
    """Leaves the processors to the threads of the training, where a thread has a priority of its own: on Linux."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # as in some containers
            os.setpriority(os.PRIO_PROCESS, thread, max(os.getpriority(os.PRIO_PROCESS, thread), WRITER_NICENESS))


def in_thread(job: Callable[[], object]) -> None:
    """Runs a job, and logs why it failed."""
    try:
        job()
    except Exception as error:  # whatever it is, training goes on
        _logger.warning("a checkpoint could not be written, training goes on: %s", error)


class Signals:
    """SIGTERM and SIGUSR1 while a fit, or a search, runs in the main thread: the first is noted, a second one acts as before.

    Attributes: received – number of the signal, 0 if none has come.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGTERM", "SIGUSR1"):
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) not in (None, signal.SIG_IGN):
                    self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, _: Any) -> None:
        self.received = number
        self.close()
        around = signal.getsignal(number)
        if isinstance(getattr(around, "__self__", None), Signals):  # a search, whose handlers would swallow the second signal
            around(number, None)  # type: ignore[operator, misc]

    def close(self) -> None:
        """Restores the handlers."""
        while self._before:
            signal.signal(*self._before.popitem())

    def act(self, number: int) -> None:
        """After the checkpoint: calls the handler that was there before for this signal, or ends the process."""
        self.close()
        handler = signal.getsignal(number)
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, None)
        raise SystemExit(EXIT_STATUS)


class CheckpointRun:
    """The checkpoints of one fit. As a context, it holds the folder and restores the handlers of signals.

    Args: trainer; settings – Checkpoint, None if nothing is written; resume – "auto", a folder, or None; batch_size; data –
        returns the fingerprint of the data.
    Raises: CheckpointError for a folder that has a run already, if it is not to be resumed, for a folder without checkpoints
        that is to be resumed, and for checkpoints of another training; StateError if another training writes to the folder.
    """

    def __init__(
        self, trainer: Trainer, settings: Checkpoint | None, resume: Any, batch_size: int, data: Callable[[], dict[str, Any]]
    ) -> None:
        if settings is not None and not isinstance(settings, Checkpoint):
            raise HyperparameterError(f"expected a Checkpoint; got {settings!r}; write checkpoint=fs.Checkpoint('runs/first')")
        self._source = _source(settings, resume)
        self._trainer = trainer
        self._checkpoint = settings
        self._resume = resume
        self._writer = Writer()
        self._lock: files.Lock | None = None
        self._signals: Signals | None = None
        self._logged = 0
        self._unwritten = array("d")
        self._late = self._ended = False
        self._stopped = ""
        self._buffers: dict[str, Any] = {}
        self._best = float("inf")
        self._best_model: Any = None
        self._contents: files.Contents | None = None
        self._together = trainer.step.communicator
        self._writes = settings is not None and (self._together is None or self._together.first)
        self._about: dict[str, Any] = {}
        if settings is not None or self._source is not None:
            self._about = {"settings": settings_of(trainer, batch_size), "data": data()}

    def __enter__(self) -> CheckpointRun:
        try:
            self._contents = self._opened()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._writer.close()
        if self._signals is not None:
            self._signals.close()
        if self._lock is not None:
            self._lock.close()

    def _opened(self) -> files.Contents | None:
        """What `_open` returns, or raises, in the process that calls it."""
        if self._together is None:
            return self._open()
        from ..engine.agreement import of_first

        return of_first(self._together, self._open)

    def _open(self) -> files.Contents | None:
        """Locks the folder, and finds the checkpoint to resume from; of processes that train together, rank 0 does it."""
        if self._checkpoint is not None:
            self._lock = files.Lock(self._checkpoint.folder)
        return self._found()

    def _found(self) -> files.Contents | None:
        """The checkpoint to resume from."""
        own = None if self._checkpoint is None else self._checkpoint.folder
        if own is not None and (self._source is None or own.resolve() != self._source.resolve()):
            existing = files.checkpoints(own)
            if existing:
                raise CheckpointError(
                    f"expected a folder without checkpoints for a new training; {str(own)!r} has {len(existing)}, the newest "
                    f'{existing[0].name}; pass resume="auto" (--resume) to continue that training, or choose another folder'
                )
        if self._source is None:
            return None
        found = files.newest(self._source)
        if found is None and self._resume != "auto":
            raise CheckpointError(
                f"expected a folder with checkpoints to resume from; {str(self._source)!r} has none; check the path, or pass "
                'resume="auto" to start a new training if there is none'
            )
        if found is not None:
            with _as_written(found.path):
                require_same(found, self._about["settings"], self._about["data"])
        return found

    def begin(self) -> Position:
        """Restores the trainer; to be called before the callbacks' on_fit_begin. Returns where the fit begins."""
        trainer, contents = self._trainer, self._contents
        position = Position((trainer.epochs_done, trainer.steps_done), [])
        losses = array("d")
        if contents is not None:
            state, losses = contents.state, contents.losses
            with _as_written(contents.path):
                begun = restore(trainer, state, losses)
                epochs, steps = (int(number) for number in state["first"])
                position = Position((epochs, steps), begun, float(state["epoch"]["seconds"]), str(state["stopped"]))
            _logger.info("resumed from %s, after %d steps", contents.path, trainer.steps_done)
        self._first = position.first
        self._saved = self._place() if contents is not None else (-1, -1)
        self._last_step = trainer.steps_done
        checkpoint = self._checkpoint
        if checkpoint is not None:
            if checkpoint.best is not None:
                require_column("best of Checkpoint", checkpoint.best, trainer.columns)
                larger_is_better(checkpoint.best, checkpoint.mode, trainer.directions)
                self._best = min(map(self._score, trainer.history.rows), default=self._best)
            if self._writes:
                self._log = files.Log(checkpoint.folder / files.LOG, losses)
            self._logged = len(losses)
            self._signals = Signals()
        return position

    def restore_callbacks(self) -> None:
        """Restores the callbacks; to be called after their on_fit_begin and after the schedules have begun."""
        if self._contents is not None:
            state, step = self._contents.state, self._trainer.step
            step.state.lr, step.state.momentum = state["step"]["lr"], state["step"]["momentum"]
            with _as_written(self._contents.path):
                restore_callbacks(self._trainer.callbacks, state["callbacks"])
            self._contents = None

    # During the fit

    def after_launch(self, losses: Callable[[int], list[float]], seconds: Callable[[], float]) -> None:
        """Between two launches of an epoch.

        Args: losses – returns those of the epoch from a position on; seconds – returns how long the epoch has taken.
        """
        checkpoint = self._checkpoint
        if checkpoint is None:
            return
        if self._asked() or (self._due() and not self._writer.busy):
            self._save(losses, seconds())
            self._act()

    def before_last_row(self, losses: Callable[[int], list[float]], seconds: float) -> None:
        """After the last step, if its epoch is incomplete: the checkpoint from which training can go on within the epoch."""
        if self._checkpoint is not None:
            self._save(losses, seconds)
            self._ended = True

    def after_epoch(self, row: Mapping[str, float], stopped: str) -> None:
        """After the callbacks' on_epoch_end; `stopped` – why training ends here for good, or ""."""
        checkpoint, trainer = self._checkpoint, self._trainer
        self._stopped = stopped
        if checkpoint is None:
            return
        if self._writes and checkpoint.best is not None and self._score(row) < self._best:
            self._best = self._score(row)
            self._best_model = copy.deepcopy(trainer.step.model).to("numpy"), dict(row)
        if self._ended:
            return
        every = checkpoint.every_epochs
        asked = self._asked()
        due = self._due() or (every is not None and len(trainer.history) % every == 0)
        if asked or (due and not self._writer.busy):
            self._save()
            self._act()
        elif due:
            self._late = True

    def end(self) -> None:
        """After the last epoch: the last checkpoint, if it is not there yet."""
        if self._checkpoint is not None:
            if not self._ended and self._saved != self._place():
                self._save()
            elif self._best_model is not None and self._writes:
                self._writer.start(self._write_best())
            self._wait_for_writer()
            self._act()

    def _due(self) -> bool:
        """Whether a number of steps, or an epoch during which the thread was busy, asks for a checkpoint."""
        every = None if self._checkpoint is None else self._checkpoint.every_steps
        return self._late or (every is not None and self._trainer.steps_done // every > self._last_step // every)

    def _score(self, row: Mapping[str, float]) -> float:
        """The figure that `best` of the Checkpoint names; smaller is better."""
        checkpoint = self._checkpoint
        assert checkpoint is not None
        return score(row, str(checkpoint.best), checkpoint.mode, self._trainer.directions)

    def _place(self) -> tuple[int, int]:
        return self._trainer.steps_done, len(self._trainer.history)

    def _save(self, losses: Callable[[int], list[float]] | None = None, seconds: float = 0.0) -> None:
        """Copies the state, and leaves it to the thread."""
        trainer, checkpoint = self._trainer, self._checkpoint
        assert checkpoint is not None
        if not self._writes:
            self._saved, self._late = self._place(), False
            self._last_step = trainer.steps_done
            return
        self._wait_for_writer()  # it may still read the buffers
        finished = trainer.history.step_losses
        begun = losses(max(0, self._logged - len(finished))) if losses is not None else []
        new = array("d", [*finished[self._logged :], *begun])
        epoch = {"steps": self._logged + len(new) - len(finished), "seconds": seconds}
        state = {**self._about, **state_of(trainer, self._first, epoch, self._stopped, self._buffers)}
        self._logged += len(new)
        self._last_step = trainer.steps_done
        self._saved, self._late = self._place(), False
        path = files.path_of(checkpoint.folder, trainer.steps_done)
        best = self._write_best() if self._best_model is not None else None

        def job() -> None:
            self._unwritten.extend(new)
            state["losses"] = self._log.append(self._unwritten)
            self._unwritten = array("d")
            files.write(path, state)
            files.sweep(checkpoint.folder, path, checkpoint.keep)
            if best is not None:
                best()

        self._writer.start(job)

    def _write_best(self) -> Callable[[], None]:
        """The job that writes the best model."""
        (model, row), self._best_model = self._best_model, None
        assert self._checkpoint is not None
        path = self._checkpoint.folder / files.BEST
        return lambda: save(model, path, notes={name: value for name, value in row.items() if value == value})

    def _wait_for_writer(self) -> None:
        """Waits until the thread has written; on a slow disk that is work, not hanging."""
        if self._together is not None:
            self._together.at_work = True
        try:
            self._writer.wait()
        finally:
            if self._together is not None:
                self._together.at_work = False

    def _asked(self) -> int:
        """The signal that asked to end, 0 for none; of processes that train together, one that any of them has received."""
        if self._signals is None:
            return 0
        if self._together is None:
            return self._signals.received
        self._together.own_wish = self._together.own_wish._replace(signal=self._signals.received)
        signal_of_any: int = self._together.wish.signal
        return signal_of_any

    def _act(self) -> None:
        """Ends the process after the checkpoint, if a signal asked for it."""
        asked = self._asked()
        if asked and self._signals is not None:
            self._wait_for_writer()
            if self._together is not None:
                self._together.barrier()  # so that none is gone before the checkpoint is there
            self._signals.act(asked)


@contextmanager
def _as_written(path: Path) -> Iterator[None]:
    """Around whatever makes sense of a state: a CheckpointError where a part is missing or wrong."""
    try:
        yield
    except files.WRONG as error:
        if isinstance(error, FusedstepError):
            raise
        raise CheckpointError(
            f"{path}: expected the state of a training as this version writes it; found a part missing or wrong "
            f"({type(error).__name__}: {error}); restore the folder from a copy, or start again in another folder"
        ) from error


def _source(settings: Checkpoint | None, resume: Any) -> Path | None:
    """The folder to resume from."""
    if resume is None:
        return None
    if isinstance(resume, str) and resume == "auto":
        if settings is None:
            raise HyperparameterError('expected a checkpoint with resume="auto"; got none; pass fs.Checkpoint(folder)')
        return settings.folder
    if not isinstance(resume, str | os.PathLike) or not os.fspath(resume):
        raise HyperparameterError(f'expected resume to be "auto", the path of a folder, or None; got {resume!r}')
    return Path(resume)
