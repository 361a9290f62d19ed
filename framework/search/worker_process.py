"""The program of one worker process of a search. processes.py starts it, and reads what it reports.

Each line on stdout is a report in JSON: a trial that has finished, a message, the error that ended the worker, or that the
search is done. What trials print themselves goes to stderr. The worker ends with its input, which comes from the process that
started it.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import signal
import sys
import threading
import time
import traceback
from base64 import b64encode
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ...errors import FusedstepError
from ..training.checkpoint_run import EXIT_STATUS
from .processes import ARGUMENTS
from .running import search

AGAIN = 5.0
"""Seconds after which the signal is repeated: one that comes while a search with checkpoints begins has no effect."""


def main(folder: str) -> None:
    """Runs the search whose arguments are in that folder, with the other workers."""
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    ending = _Ending()
    signal.signal(signal.SIGTERM, ending)
    threading.Thread(target=_end_with_input, args=(folder,), daemon=True).start()
    log = logging.getLogger("fusedstep")
    log.addHandler(_Forwarding(reports))
    log.setLevel(logging.INFO)
    status = 1
    try:
        arguments: dict[str, Any] = pickle.loads((Path(folder) / ARGUMENTS).read_bytes())
        arrays: dict[str, Any] = {path.stem: np.asarray(np.load(path, mmap_mode="r")) for path in Path(folder).glob("*.npy")}
        held_out: Any = tuple(arrays.pop(name) for name in sorted(arrays) if name.startswith("validation"))
        ending.waits = arguments["checkpoint"] is not None
        search(
            **arrays, validation=held_out, **arguments.pop("options"), **arguments,
            report=lambda number, _: _report(reports, finished=number),
        )  # fmt: skip
        _report(reports, done=True)
        status = 0
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code == EXIT_STATUS:
            status = EXIT_STATUS
        else:
            text = "" if isinstance(error, FusedstepError) else traceback.format_exc()
            _report(reports, error=_pickled(error), text=text)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # nothing needs what Python does at its end, which the other process would wait for


class _Ending:
    """The handler of SIGTERM: ends the process.

    Attributes: waits – that is left to a search with checkpoints, which notes the signal and saves the trial at hand.
    """

    def __init__(self) -> None:
        self.waits = False

    def __call__(self, *_: object) -> None:
        if not self.waits:
            raise SystemExit(EXIT_STATUS)


class _Forwarding(logging.Handler):
    """Reports messages, besides those that every worker has for itself."""

    def __init__(self, reports: TextIO) -> None:
        super().__init__(logging.INFO)
        self._reports = reports

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "of_each_worker", False):
            _report(self._reports, log=[record.name, record.levelno, record.getMessage()])


def _end_with_input(folder: str) -> None:
    """Ends this process when the one that started it has ended, or ended its input; then nobody needs the folder."""
    while os.read(0, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(AGAIN)


def _report(reports: TextIO, **report: Any) -> None:
    reports.write(json.dumps(report) + "\n")
    reports.flush()


def _pickled(error: BaseException) -> str:
    """For the other process; empty if the error cannot be read back."""
    try:
        found = pickle.dumps(error)
        pickle.loads(found)
    except Exception:  # pickle raises errors of every kind
        return ""
    return b64encode(found).decode("ascii")
