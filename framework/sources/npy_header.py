"""Arrays in the format of np.save: the header is checked against the bytes that are there before memory is allocated.

Which arrays a file must hold is decided by the readers that call this.
"""

from __future__ import annotations

import os
import struct
import tokenize
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError

_UNREADABLE = (
    ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError, SyntaxError, RecursionError, MemoryError,
    tokenize.TokenError, struct.error,
)  # fmt: skip
"""What NumPy raises for damaged headers, which are Python expressions; MemoryError is that of Python's parser."""


class ArrayHeader(NamedTuple):
    """What a header says; the values begin where the stream then stands."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Of all values."""
        return prod(self.shape) * self.dtype.itemsize


def read_header(path: Path, stream: IO[bytes], available: int, name: str = "array") -> ArrayHeader:
    """The header that begins where a stream stands.

    Args: path – for messages; available – bytes from there on, header and values; name – of the array, for messages.
    Raises: DataFileError for a damaged header, pickled objects, and values that take more or fewer bytes than there are.
    """
    start = stream.tell()
    try:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise DataFileError(f"{path}: expected NPY format 1.0 or 2.0; got {version}; write plain numbers with np.save")
        header = ArrayHeader(*readers[version](stream))
        if header.dtype.hasobject:
            raise DataFileError(
                f"{path}: expected numbers or text without pickled objects, which are never read; {name} holds objects, as "
                f"pandas makes of text and of missing values; save {name}.astype(str), or {name}.astype(float) for numbers"
            )
        if header.dtype.subdtype is not None or header.dtype.itemsize == 0 or min(header.shape, default=0) < 0:
            raise ValueError(f"shape {header.shape}, {header.dtype}")
    except _UNREADABLE as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(
            f"{path}: expected an array as np.save writes it, without pickled objects; reading failed ({error}); write it again"
        ) from error
    found = available - (stream.tell() - start)
    if header.nbytes != found:
        state = "truncated" if header.nbytes > found else "overlong"
        raise DataFileError(
            f"{path}: expected {header.nbytes} bytes after the header for {header.dtype} of shape {list(header.shape)}; found "
            f"{found}: {state}; write it again with np.save"
        )
    return header


def read_array(path: Path, stream: IO[bytes], available: int, name: str = "array") -> NDArray[Any]:
    """The array that begins where a stream stands, in memory; raises as `read_header`."""
    header = read_header(path, stream, available, name)
    raw = np.empty(header.nbytes, np.uint8)
    rest = raw.data
    while len(rest):
        count = stream.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise DataFileError(f"{path}: expected {header.nbytes} bytes of values; the file ended before; write it again")
        rest = rest[count:]
    if header.dtype.kind == "U":
        _require_characters(path, raw.view(np.dtype(np.uint32).newbyteorder(header.dtype.byteorder)))
    if 0 in header.shape:
        return np.empty(header.shape, header.dtype)
    return raw.view(header.dtype).reshape(header.shape, order="F" if header.fortran else "C")


def file_size(stream: IO[bytes]) -> int:
    """Of an open file, in bytes."""
    return os.fstat(stream.fileno()).st_size


def _require_characters(path: Path, codes: NDArray[Any]) -> None:
    """Raises DataFileError for text with numbers that are no characters of Unicode."""
    if bool(((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any()):
        raise DataFileError(f"{path}: expected text; found numbers that are no characters: damaged; write it again")
