"""`memory_map`: the rows of an NPY file, or of an array inside an uncompressed NPZ archive, left in their file.

Archives that are read into memory are in npz_source.py.
"""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError
from ..suggestions import suggests_arguments
from .names import unknown_column
from .npy_header import file_size, read_header
from .row_source import ArrayRows

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Of a zip member: signature, then the lengths of its name and of its extra field; the data follow those."""


@suggests_arguments
def memory_map(
    path: str | os.PathLike[str], array: str = "x", block_rows: int | None = None, window: int = 8
) -> ArrayRows:
    """The rows of an array in a file, read on demand by memory mapping.

    Args: path – of an .npy file, or of an .npz archive made with np.savez (np.savez_compressed cannot be mapped); array – name
        of the array in the archive, ignored for .npy; block_rows, window – see ArrayRows.
    Returns: a source for Trainer.fit, TrainStep.evaluate and models; no rows are read yet.
    Raises: DataFileError for a file that is missing, damaged, compressed, pickled or in Fortran order; UnknownColumn for an
        array that is not in the archive.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            start = stream.read(4)
            stream.seek(0)
            available = _seek_member(file, stream, array) if start[:2] == b"PK" else file_size(stream)
            mapped = _map(file, stream, available)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, struct.error, NotImplementedError, OverflowError) as error:
        if isinstance(error, DataFileError):
            raise
        if isinstance(error, FileNotFoundError):
            raise DataFileError(f"expected an .npy or .npz file; {str(file)!r} does not exist; give its path") from error
        raise DataFileError(f"{file}: expected an .npy or .npz file; it cannot be mapped ({error}); write it again") from error
    return ArrayRows(mapped, f"{file.name}" + (f", {array}" if start[:2] == b"PK" else ""), (), block_rows, window)


def _seek_member(path: Path, stream: IO[bytes], name: str) -> int:
    """Moves to where the bytes of an array begin, inside the archive; returns their number."""
    with zipfile.ZipFile(stream) as archive:
        names = archive.namelist()
        if f"{name}.npy" not in names:
            raise unknown_column([name], [n.removesuffix(".npy") for n in names], path.name, "array")
        member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise DataFileError(
            f"{path}: expected {name} as it is, so that single rows can be read; it is compressed or encrypted; write the "
            "archive with np.savez instead of np.savez_compressed, or leave out --stream (in Python: np.load) to read all of it"
        )
    stream.seek(member.header_offset)
    signature, name_length, extra_length = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise DataFileError(f"{path}: expected a zip archive; the entry of {name} is damaged; write it again")
    start = stream.seek(name_length + extra_length, os.SEEK_CUR)
    return min(member.file_size, file_size(stream) - start)


def _map(path: Path, stream: IO[bytes], available: int) -> NDArray[Any]:
    """The array whose NPY header begins here."""
    shape, fortran, dtype = read_header(path, stream, available)
    if not shape:
        raise DataFileError(f"{path}: expected rows; got a single number; save an array [rows, columns]")
    if fortran and len(shape) > 1 and shape[0] > 1:
        raise DataFileError(
            f"{path}: expected rows one after the other; got columns one after the other (Fortran order), of which a row "
            "cannot be read alone; write it again with np.save(path, np.ascontiguousarray(x))"
        )
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", stream.tell(), shape)
