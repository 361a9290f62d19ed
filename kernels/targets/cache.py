"""The cache of generated kernels, so that they are not compiled again in later runs.

FUSEDSTEP_CACHE_DIR is the folder; an empty value disables the cache; if unset, it is in the user's cache folder. Its entries
are code, so a folder that other users could write to is replaced by a private one; see ownership.py. Without a writable folder,
kernels are compiled in every process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
import warnings
from functools import lru_cache
from pathlib import Path

from .ownership import read_private, why_not_private

LARGEST = 2**28
"""Bytes; a larger entry counts as damaged."""
ABANDONED = 3600.0
"""Seconds after which an unfinished file belongs to a process that was killed; writing one takes less than a second."""
_UNFINISHED = "tmp"


def digest(text: str) -> str:
    """A short name for a source text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _users_folder() -> Path | None:
    """A folder inside the user's cache folder; None if that is unknown: never in the working folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "fusedstep" / "kernels" if os.path.isabs(base) else None


@lru_cache(maxsize=1)
def folder() -> Path | None:
    """The cache folder, made on first use; None where it is switched off or cannot be written.

    Warns once where others could write to it; a folder in the system's temporary folder is used instead.
    """
    named = os.environ.get("FUSEDSTEP_CACHE_DIR")
    if named == "":
        return None
    path = Path(os.path.expanduser(named)).absolute() if named else _users_folder()
    found = None if path is None else _made(path)
    problem = "" if found is None else why_not_private(found)
    if not problem:
        return found
    found = _private_folder()
    instead = "they are compiled in every process" if found is None else f"they are kept in {str(found)!r}"
    warnings.warn(
        f"expected a folder for compiled kernels that no other user can write to; {problem}; {instead}; change its owner or "
        "permissions (chmod go-w), or set FUSEDSTEP_CACHE_DIR to another folder (empty: no cache)",
        RuntimeWarning, stacklevel=2,
    )  # fmt: skip
    return found


def _made(path: Path) -> Path | None:
    """The folder, created if necessary; None if it cannot be written."""
    try:
        for place in (*reversed(path.parents), path):
            if not place.exists():
                place.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError:
        return None


def _private_folder() -> Path | None:
    """A folder of this user inside the system's temporary folder; None if somebody else has taken its name."""
    found = _made(Path(tempfile.gettempdir()).absolute() / f"fusedstep-{os.geteuid()}")
    return None if found is None or why_not_private(found) else found


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file atomically, and removes unfinished ones of killed processes; raises OSError if writing fails."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_UNFINISHED, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _remove_abandoned(path.parent)


def _remove_abandoned(folder: Path) -> None:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not (entry.name.startswith(_UNFINISHED) and entry.name.endswith(".tmp")):
                continue
            with contextlib.suppress(OSError):  # another process may be faster
                if time.time() - entry.stat().st_mtime > ABANDONED:
                    os.unlink(entry)


def store(name: str, text: str) -> str | None:
    """The path of a file with exactly this text, written if there was none; None without a cache."""
    home = folder()
    if home is None:
        return None
    path = home / f"{name[:80]}_{digest(text)}.py"
    try:
        if read(path.name) != text.encode():
            write_whole(path, text.encode())
    except OSError:
        return None
    return str(path)


def read(name: str) -> bytes | None:
    """The content of a file of the cache; None if there is none, or if another user could have written it."""
    home = folder()
    try:
        return None if home is None else read_private(home / name, LARGEST)
    except OSError:
        return None


def write(name: str, content: bytes) -> None:
    """Writes a file of the cache, where that is possible."""
    home = folder()
    if home is not None:
        with contextlib.suppress(OSError):
            write_whole(home / name, content)
