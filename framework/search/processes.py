"""The worker processes of a search that are started here: their data, what they report, and others in place of those that end.

What runs in one of them is in worker_process.py, how they share the trials in workers.py.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ...backends.arrays import on_host
from ...backends.threads import OPENMP, VARIABLE, num_threads
from ...errors import HyperparameterError, OutputPathError, StateError
from ..training.checkpoint_run import EXIT_STATUS

ARGUMENTS = "arguments.pickle"
"""The file of all arguments that are no arrays; each array has a file of its own."""
POLL = 0.5
"""Seconds between two looks at the storage while no worker reports anything."""
GRACE = 30.0
"""Seconds that a worker has to give its trial back, or to save it, when the search is stopped."""
TRIES = 3
"""Workers may end so many times in each place of one without having begun a trial."""

_logger = logging.getLogger("fusedstep.search")


class WorkerProcesses:
    """Processes that run one search, and share its trials through the storage. As a context, it ends them.

    Args: count – of the processes; arguments – those of `search` for each of them, besides arrays; arrays – by name, None for
        those that are not given. All can read the same copy of the arrays, in files that are mapped into memory.
    Raises: HyperparameterError for arguments that cannot be sent to another process; OutputPathError if there is no place for
        the files.
    """

    def __init__(self, count: int, arguments: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        self._sent = _pickled(arguments)
        self._count, self._arrays = count, arrays
        self._threads = max(1, num_threads() // count)
        self._reports: queue.Queue[tuple[subprocess.Popen[str], dict[str, Any] | None]] = queue.Queue()
        self._running: dict[subprocess.Popen[str], threading.Thread] = {}
        self._logged: set[tuple[str, ...]] = set()
        self._done: set[subprocess.Popen[str]] = set()
        self._attempts = self._in_vain = 0

    def __enter__(self) -> WorkerProcesses:
        with ExitStack() as undone:
            undone.enter_context(_sigterm_as_exit())
            try:
                temporary = tempfile.TemporaryDirectory(prefix="fusedstep-search-", ignore_cleanup_errors=True)
                self._folder = Path(undone.enter_context(temporary))
                (self._folder / ARGUMENTS).write_bytes(self._sent)
                for name, values in self._arrays.items():
                    if values is not None:
                        np.save(self._folder / f"{name}.npy", on_host(values), allow_pickle=False)
            except OSError as error:
                raise OutputPathError(
                    f"expected room for a copy of the data in {tempfile.gettempdir()!r}, which all workers read; it cannot be "
                    f"written ({error.strerror or error}); set TMPDIR to another folder"
                ) from error
            undone.callback(self._end)
            for _ in range(self._count):
                self._start()
            self._undo = undone.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._undo.close()

    def finished(self, attempts: Callable[[], int], seconds: float = POLL) -> list[int]:
        """The numbers of trials that workers have finished since, from 1; waits for a report, but not longer than that.

        Args: attempts – tells how many trials the storage has, also of workers that ended.
        Raises: the error that ended a worker; StateError if workers end again and again before they have begun a trial.
        """
        numbers: list[int] = []
        with suppress(queue.Empty):
            process, report = self._reports.get(timeout=seconds)
            while True:
                if report is None:
                    self._replace(process, attempts)
                elif "finished" in report:
                    numbers.append(report["finished"])
                elif "done" in report:
                    self._done.add(process)
                elif "log" in report:
                    self._log(*report["log"])
                else:
                    raise _raised(**report)
                process, report = self._reports.get_nowait()
        return numbers

    @property
    def running(self) -> bool:
        """Whether a worker runs, or has something to report."""
        return bool(self._running)

    def _start(self) -> None:
        start = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "  # Ctrl-C comes to all; this process ends them
            f"sys.path[:] = {sys.path!r}; from {__package__}.worker_process import main; main({str(self._folder)!r})"
        )
        limits = dict.fromkeys((VARIABLE, OPENMP, "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(self._threads))
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", start], env={**os.environ, **limits}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, encoding="utf-8",
        )  # fmt: skip
        reader = threading.Thread(target=self._read, args=(process,), name="fusedstep search worker", daemon=True)
        self._running[process] = reader
        reader.start()

    def _end(self) -> None:
        """Ends the workers that still run: they give their trials back, or save them where there are checkpoints."""
        try:
            for process in self._running:
                _close(process)
            deadline = time.monotonic() + GRACE
            for process in self._running:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.1, deadline - time.monotonic()))
        finally:
            for process, reader in self._running.items():
                process.kill()
                process.wait()
                reader.join(1.0)
            self._running.clear()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                with suppress(ValueError):  # a line that was cut off, because the worker was killed
                    self._reports.put((process, json.loads(line)))
        self._reports.put((process, None))

    def _replace(self, process: subprocess.Popen[str], attempts: Callable[[], int]) -> None:
        """Starts another worker in place of one that ended before the search did."""
        status = process.wait()
        self._running.pop(process).join()
        _close(process)
        if process in self._done:
            return
        begun = attempts()
        self._in_vain = 0 if begun > self._attempts else self._in_vain + 1
        self._attempts = begun
        if self._in_vain >= TRIES * self._count:
            raise StateError(
                f"expected workers that run trials; {self._in_vain} ended before they had begun one, the last with exit status "
                f"{status}; see what they wrote to stderr, and search with workers=1"
            )
        _logger.info("A worker ended with exit status %d; another one takes its place.", status)
        self._start()

    def _log(self, name: str, level: int, text: str) -> None:
        """Passes on what a worker logs, once for all workers."""
        if (name, text) not in self._logged:
            self._logged.add((name, text))
            logging.getLogger(name).log(level, "%s", text)


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """SIGTERM raises SystemExit, where it would end this process at once and leave the files; checkpoints have own handlers."""

    def leave(*_: object) -> None:
        raise SystemExit(EXIT_STATUS)

    main = threading.current_thread() is threading.main_thread()
    ends_at_once = main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ends_at_once:
        signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        if ends_at_once:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _close(process: subprocess.Popen[str]) -> None:
    """Ends the input of a worker, by which it knows that it has to end."""
    assert process.stdin is not None
    process.stdin.close()


def _pickled(arguments: Mapping[str, Any]) -> bytes:
    """The arguments for a process that does not run the program of this one."""
    for name, value in arguments.items():
        try:
            elsewhere = b"__main__" not in pickle.dumps(value)
        except Exception as error:  # pickle raises errors of every kind
            raise HyperparameterError(
                f"expected {name} to be one that another process can be given, for workers > 1; got {value!r:.100} "
                f"({type(error).__name__}: {error}); define its functions and classes in a module, at its outermost level"
            ) from error
        if not elsewhere:
            raise HyperparameterError(
                f"expected {name} to be one that another process can import, for workers > 1; got {value!r:.100}, which is "
                "defined in the program itself, in __main__; move its definition into a module"
            )
    return pickle.dumps(dict(arguments))


def _raised(error: str, text: str) -> BaseException:
    """The error that ended a worker.

    Args: error – its pickle, empty if there is none; text – its traceback.
    """
    found: BaseException = pickle.loads(b64decode(error)) if error else StateError(f"a worker of the search failed\n{text}")
    if error and text:
        found.add_note(f"in a worker of the search:\n{text}")
    return found
