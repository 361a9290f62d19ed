"""How many bytes a compressed file may become, and reading of gzipped and zipped files up to there.

A few kilobytes can become any number of gigabytes; files that are not compressed are as large in memory as on the disk, or a
few times larger, and have no limit.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from ...errors import DataFileError, HyperparameterError
from .names import listed

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
def opened(path: Path, allowed: int) -> Iterator[IO[bytes]]:
    """A file as a stream of bytes. What is gzipped, or the only file in a zip archive, by its content and not by its name, is
    unpacked, up to as many bytes as are allowed.

    Raises: DataFileError where it becomes larger, and for archives of several files or none, or with a password.
    """
    with path.open("rb") as file:
        packed = packing(file)
        if packed is None:
            yield file
        elif packed == "gzip":
            with io.BufferedReader(_Unpacked(path, gzip.GzipFile(fileobj=file, mode="rb"), allowed)) as stream:
                yield stream
        else:
            with zipped(path, file) as member, io.BufferedReader(_Unpacked(path, member, allowed)) as stream:
                yield stream


def packing(file: IO[bytes]) -> Literal["gzip", "zip"] | None:
    """How a file is compressed, by its first bytes; it stands at its start afterwards."""
    start = file.read(4)
    file.seek(0)
    return "gzip" if start[:2] == b"\x1f\x8b" else "zip" if start == b"PK\x03\x04" else None


@contextmanager
def zipped(path: Path, file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The only file in a zip archive, apart from what macOS adds."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if not name.startswith("__MACOSX/") and not name.endswith("/")]
            if len(names) != 1:
                raise DataFileError(
                    f"{path}: expected one file in the zip archive, found {len(names)} ({listed(names)}); unpack it"
                    f"{' (it is a workbook: save it as CSV)' if '[Content_Types].xml' in names else ''}"
                )
            with archive.open(names[0]) as member:
                yield member
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:  # damaged, with a password, of unknown compression
        raise DataFileError(f"{path}: expected a readable zip archive, reading failed ({error}); unpack it") from error


def name_in_zip(path: Path) -> str:
    """The name of the only file in a zip archive."""
    with path.open("rb") as file, zipped(path, file) as member:
        return member.name


class _Unpacked(io.RawIOBase):
    """What a compressed stream becomes, up to a number of bytes."""

    def __init__(self, path: Path, stream: Any, allowed: int) -> None:
        self._path, self._stream, self._allowed, self._read = path, stream, allowed, 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, into: Any) -> int:
        """See io.RawIOBase."""
        count = int(self._stream.readinto(into))
        self._read += count
        require_allowed(self._path, self._read, self._allowed)
        return count
