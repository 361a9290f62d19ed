"""What Numba keeps of a generated module: pickles, in the folder __pycache__ beside the source, which run as code when read.

They are used only if nobody but the user could have written them. Each module has a seal, a digest of its entries, so that
damaged ones are removed before they are unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from .. import cache
from ..ownership import POSIX, read_private

_ELSEWHERE = ("NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES")
"""Variables with which Numba keeps entries in another place, which is not checked."""


def require_private(source: Path) -> None:
    """Makes the folder of the entries private and removes entries that are damaged or that others could have written.

    Raises: OSError for a folder that cannot be used.
    """
    elsewhere = next(filter(os.environ.get, _ELSEWHERE), None)
    if elsewhere:
        raise PermissionError(f"{elsewhere} is set")
    folder = source.parent / "__pycache__"
    folder.mkdir(mode=0o700, exist_ok=True)
    if POSIX:
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid != os.geteuid():
            raise PermissionError(f"{folder} is not a folder of this user")
        if status.st_mode & 0o077:
            folder.chmod(0o700)
    if _digest(source) != _sealed(source):
        remove(source)
        if any(_entries(source)):
            raise PermissionError(f"damaged entries in {folder} cannot be removed")


def seal(source: Path) -> None:
    """Notes the digest of what Numba has written, if it has written anything."""
    with contextlib.suppress(OSError):
        for entry in _entries(source):
            entry.chmod(0o600)  # whatever the umask of this process
        digest = _digest(source)
        if digest is not None and digest != _sealed(source):
            cache.write_whole(_seal_of(source), digest)


def remove(source: Path) -> None:
    """Removes the entries and their seal."""
    for entry in source.parent.glob(f"__pycache__/{source.stem}.*"):
        with contextlib.suppress(OSError):
            entry.unlink()


def _entries(source: Path) -> Iterator[Path]:
    """Index and data files of Numba; unfinished ones have other names."""
    for kind in ("nbi", "nbc"):
        yield from sorted(source.parent.glob(f"__pycache__/{source.stem}.*.{kind}"))


def _seal_of(source: Path) -> Path:
    return source.parent / "__pycache__" / f"{source.stem}.seal"


def _sealed(source: Path) -> bytes | None:
    try:
        return read_private(_seal_of(source), cache.LARGEST)
    except OSError:
        return None


def _digest(source: Path) -> bytes | None:
    """Of all entries; None if there are none; empty if one of them is not a private file."""
    made = hashlib.sha256()
    entries = list(_entries(source))
    for entry in entries:
        try:
            content = read_private(entry, cache.LARGEST)
        except OSError:
            content = None
        if content is None:
            return b""
        for part in (entry.name.encode(), content):
            made.update(len(part).to_bytes(8, "little") + part)
    return made.digest() if entries else None
