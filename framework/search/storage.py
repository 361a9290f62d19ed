"""The storage of a search: an SQLite file, a journal file or a database server, opened through Optuna.

Whatever Optuna raises about a storage leaves as an error of this package. How workers share trials is in workers.py.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import FusedstepError, HyperparameterError, MissingDependency, OutputPathError
from ..optional import require

JOURNALS = (".journal", ".log", ".jsonl")
"""Extensions of new files that become journals; others become SQLite files. Existing files are told apart by their content."""
BUSY = 60.0
"""Seconds for which a connection waits while another process writes to an SQLite file."""
ATTEMPTS = 6
"""Workers that start at the same time may create the same tables, and one of them fails; it then finds the tables."""


def shown(storage: str | Path | None) -> str:
    """The storage as messages show it: a URL without its password."""
    text = str(storage)
    if "://" not in text:
        return text
    scheme, _, rest = text.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}{':***' if ':' in user else ''}{at}{host}"


@contextmanager
def storage_errors(storage: str | Path | None) -> Iterator[None]:
    """Turns every error about a storage into one of this package.

    Raises: OutputPathError; MissingDependency if the driver of a database is missing.
    """
    with undisturbed():
        try:
            yield
        except FusedstepError:
            raise
        except ImportError as error:
            missing = getattr(error.__cause__, "name", None) or getattr(error, "name", None) or "its driver"
            raise MissingDependency(
                f"the storage {shown(storage)} needs {missing}, which cannot be imported;  pip install {missing}"
            ) from error
        except Exception as error:  # Optuna and its drivers raise errors of every kind for damaged content.
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            reason = f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}".replace(str(storage), shown(storage))
            raise OutputPathError(
                "expected the storage of a search, which can be read and written: an SQLite file or a journal, in a folder "
                f"that exists, or the URL of a database; {shown(storage)!r} cannot be used ({reason:.300}); restore it if it "
                "is damaged, or give another one, such as search.db"
            ) from error


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delays Ctrl-C and handlers of SIGTERM to the end of what is done with a storage; a second Ctrl-C acts at once.

    An exception in the middle of a transaction would leave it open, so that the next one of this process waits for it.
    """
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        if number == signal.SIGINT and number in came:
            before[number](number, frame)
        came.append(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        before = {number: handler for number, handler in before.items() if callable(handler)}
    try:
        for number in before:
            signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(came):
            before[number](number, None)


def require_shareable(storage: str | Path | None, workers: int) -> None:
    """Raises HyperparameterError for a storage in the memory of one process, which others cannot share."""
    text = str(storage)
    in_memory = text.startswith("sqlite") and (text.endswith("://") or ":memory:" in text or "mode=memory" in text)
    if storage is None or in_memory:
        raise HyperparameterError(
            f"expected a storage that {workers} workers can share; got {storage!r}, which is in the memory of one process; "
            'pass storage="search.db" (--storage), or a checkpoint'
        )


def open_storage(optuna: Any, storage: str | Path | None) -> Any:
    """The storage object of Optuna; a file that does not exist is created. Call it within storage_errors."""
    if storage is None:
        return optuna.storages.InMemoryStorage()
    if "://" in str(storage):
        return _database(optuna, str(storage), {"pool_pre_ping": True})
    path = Path(storage).resolve()
    if path.is_dir() or not path.parent.is_dir():
        raise OSError("it is a folder" if path.is_dir() else "its folder does not exist")
    if _is_journal(path):
        journal = optuna.storages.journal
        lock = _RepairingLock(journal.JournalFileOpenLock(str(path)), path)
        return optuna.storages.JournalStorage(journal.JournalFileBackend(str(path), lock_obj=lock))
    if "?" in str(path):
        raise ValueError("paths of SQLite files must not contain '?'")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=BUSY, check_same_thread=False)

    # Not as a part of the URL, in which Optuna and SQLAlchemy replace braces and per cent signs.
    return _database(optuna, "sqlite:///search.db", {"creator": connect})


def _database(optuna: Any, url: str, options: dict[str, Any]) -> Any:
    errors = require("sqlalchemy.exc", "search", "a search")
    transient = (
        errors.OperationalError,
        errors.IntegrityError,
        errors.ProgrammingError,
        optuna.exceptions.StorageInternalError,
    )
    for attempt in range(ATTEMPTS):
        try:
            return optuna.storages.get_storage(optuna.storages.RDBStorage(url, engine_kwargs=options))
        except transient:
            if attempt + 1 == ATTEMPTS:
                raise
            time.sleep(0.05 + 0.2 * random.random())
    raise AssertionError


def _is_journal(path: Path) -> bool:
    """Whether a file is a journal, or becomes one; an SQLite file is not."""
    start = _first_line(path) if path.exists() else b""
    if not start:
        return path.suffix.lower() in JOURNALS
    if start.startswith(b"SQLite format 3\x00"):
        return False
    try:
        entry = json.loads(start)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or "op_code" not in entry:
        raise ValueError("it is neither an SQLite file nor a journal of Optuna")
    return True


def _first_line(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.readline(1 << 16)


class _RepairingLock:
    """A lock of a journal. Whoever gets it removes a last line that was cut off, so that nothing is appended to that line."""

    def __init__(self, lock: Any, path: Path) -> None:
        self._lock, self._path = lock, path

    def acquire(self) -> bool:
        """Waits for the lock."""
        taken = bool(self._lock.acquire())
        try:
            _drop_partial_line(self._path)
        except BaseException:
            self._lock.release()
            raise
        return taken

    def release(self) -> None:
        """Releases the lock."""
        self._lock.release()


def _drop_partial_line(path: Path) -> None:
    with path.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        position = size
        while position:
            start = max(0, position - 4096)
            stream.seek(start)
            found = stream.read(position - start).rfind(b"\n")
            if found >= 0:
                position = start + found + 1
                break
            position = start
        if position < size:
            stream.truncate(position)
