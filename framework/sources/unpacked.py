"""How many bytes a compressed file may become, and reading of gzipped files up to there.

A few kilobytes can become any number of gigabytes; files that are not compressed are as large in memory as on the disk, or a
few times larger, and have no limit.
"""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ...errors import DataFileError, HyperparameterError

SMALL = 128 * 2**20
"""Bytes that every file may become."""
TIMES = 50
"""How many times its own size a larger file may become."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_BYTES = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]i?)?b?", re.IGNORECASE)


def allowed_bytes(path: Path, max_unpacked: int | str | None) -> int:
    """Bytes that a file may become: `max_unpacked`, such as 8_000_000_000 or "8GB"; None: 128 MiB, or 50 times its size.

    Raises: HyperparameterError for another value.
    """
    if max_unpacked is None:
        return max(SMALL, TIMES * path.stat().st_size)
    found = None if isinstance(max_unpacked, bool) else _BYTES.fullmatch(str(max_unpacked).strip())
    if found is None:
        raise HyperparameterError(
            f"expected max_unpacked to be a number of bytes such as 8_000_000_000 or '8GB'; got {max_unpacked!r}; write such a "
            "number"
        )
    return int(float(found[1]) * _UNITS[(found[2] or "").lower()])


def require_allowed(path: Path, size: int, allowed: int) -> None:
    """Raises DataFileError if the contents of a file take more bytes in memory than it may become."""
    if size > allowed:
        own = path.stat().st_size
        raise DataFileError(
            f"{path}: expected contents of at most {shown(allowed)} in memory, since it may be made to exhaust it; found "
            f"{shown(size)} or more in a file of {shown(own)}; if you trust it, allow that with --max-unpacked "
            f"{-(-size // 10**9)}GB (in Python max_unpacked=)"
        )


def shown(size: int) -> str:
    """A number of bytes for people, such as 4.3 GB."""
    unit = next((unit for unit in ("T", "G", "M", "k") if size >= _UNITS[unit.lower()]), "")
    return f"{size / _UNITS[unit.lower()]:.3g} {unit}B" if size < 10**15 else f"{size:.1e} B"


@contextmanager
def opened(path: Path, allowed: int, gzipped: bool) -> Iterator[IO[bytes]]:
    """A file as a stream of bytes; one that is gzipped raises DataFileError where it becomes larger than allowed."""
    with path.open("rb") as file:
        if not gzipped:
            yield file
            return
        with io.BufferedReader(_Gunzipped(path, file, allowed)) as stream:
            yield stream


class _Gunzipped(io.RawIOBase):
    """What a gzipped file holds, up to a number of bytes."""

    def __init__(self, path: Path, file: IO[bytes], allowed: int) -> None:
        self._path, self._allowed, self._read = path, allowed, 0
        self._file = gzip.GzipFile(fileobj=file, mode="rb")

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, into: Any) -> int:
        """See io.RawIOBase."""
        count = self._file.readinto(into)
        self._read += count
        require_allowed(self._path, self._read, self._allowed)
        return count
