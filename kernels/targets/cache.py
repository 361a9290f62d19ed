"""The cache of generated kernels, so that they are not compiled again in later runs.

FUSEDSTEP_CACHE_DIR is the folder; an empty value disables the cache; if unset, it is in the user's cache folder. Without a
writable folder, kernels are compiled in every process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from functools import lru_cache
from pathlib import Path


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
    """The cache folder, made on first use; None where it is switched off or cannot be written."""
    named = os.environ.get("FUSEDSTEP_CACHE_DIR")
    if named == "":
        return None
    path = Path(os.path.expanduser(named)).absolute() if named else _users_folder()
    if path is None:
        return None
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError:
        return None


def remove_entries(source: Path) -> None:
    """Removes what Numba kept of a generated module."""
    for entry in source.parent.glob(f"__pycache__/{source.stem}.*"):
        with contextlib.suppress(OSError):
            entry.unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file atomically; raises OSError if that fails."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def store(name: str, text: str) -> str | None:
    """The path of a file with exactly this text, written if it was not there; None without a cache."""
    home = folder()
    if home is None:
        return None
    path = home / f"{name[:80]}_{digest(text)}.py"
    try:
        if not path.exists():
            write_whole(path, text.encode())
    except OSError:
        return None
    return str(path)


def read(name: str) -> bytes | None:
    """The content of a file of the cache; None if there is none."""
    home = folder()
    try:
        return None if home is None else (home / name).read_bytes()
    except OSError:
        return None


def write(name: str, content: bytes) -> None:
    """Writes a file of the cache, where that is possible."""
    home = folder()
    if home is not None:
        with contextlib.suppress(OSError):
            write_whole(home / name, content)
