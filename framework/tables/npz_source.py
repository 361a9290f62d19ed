"""Reading of NumPy archives (.npz) with features `x`, targets `y` and optional column `names`.

Writing archives is not done here; single .npy files are in npy_source.py.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError, FusedstepError
from ..sources.memory_map import memory_map
from ..sources.names import unknown_column
from ..sources.npy_header import read_array, read_header
from ..sources.row_source import ArrayRows
from ..sources.unpacked import allowed_bytes, require_allowed
from .columns import Column
from .table import Matrix

_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, RuntimeError, LookupError,
    OverflowError,
)  # fmt: skip
"""What zipfile raises on damaged bytes; RuntimeError includes encryption and unknown compression."""


def read_npz(path: Path, target: str | None, max_unpacked: int | str | None = None) -> tuple[Matrix, Column | None]:
    """Read an archive made with `np.savez(path, x=features, y=target)` or `np.savez_compressed`.

    Args: path – of the archive. It holds x – [N, d] numbers, or [N, …] whose later axes are flattened; the target array – [N]
        or [N, 1]; and optionally names – [d] text, otherwise the columns are called x0, x1, …; target – name of the target
        array, by convention "y"; None reads no target; max_unpacked – see `allowed_bytes`.
    Returns: (features, target or None).
    Raises: DataFileError for a truncated archive, pickled objects, shapes that do not fit, and more than it may become;
        UnknownColumn for an array that does not exist; EmptyDataError for no rows.
    """
    wanted = ["x", "names"] if target is None else ["x", "names", target]
    arrays = _required(path, wanted, max_unpacked)
    x = arrays["x"]
    if x.ndim < 2 or x.dtype.kind not in "biuf":
        raise DataFileError(
            f"{path}: expected numbers of shape [rows, columns] in x, found {x.dtype} of shape {x.shape}; reshape it"
        )
    if x.size == 0:
        raise EmptyDataError(f"{path}: expected data rows in x, found none; check how the archive was made")
    x = x.reshape(x.shape[0], -1)
    features = Matrix(x, _names(path, arrays.get("names"), x.shape[1]), path.name)
    if target is None:
        return features, None
    return features, one_per_row(arrays[target], len(x), f"{path}: expected {target}")


def open_npz(path: Path, target: str | None, max_unpacked: int | str | None = None) -> tuple[ArrayRows, Column | None]:
    """As `read_npz`, with x left in the file; the archive must hold x uncompressed (np.savez).

    Returns: (rows of x, target or None), the target in memory.
    """
    mapped = memory_map(path, "x")
    arrays = _required(path, ["names"] if target is None else ["names", target], max_unpacked)
    features = ArrayRows(mapped.array, path.name, _names(path, arrays.get("names"), mapped.shape[1]))
    return features, None if target is None else one_per_row(arrays[target], len(features), f"{path}: expected {target}")


def read_npz_column(path: Path, name: str, rows: int, max_unpacked: int | str | None = None) -> Column:
    """One array of an archive, with an entry for each row of x; errors as of `read_npz`."""
    return one_per_row(_required(path, [name], max_unpacked)[name], rows, f"{path}: expected {name}")


def one_per_row(y: NDArray[Any], rows: int, expected: str) -> Column:
    """A target as a vector; `expected` – how the message begins where it does not fit."""
    if y.shape not in ((rows,), (rows, 1)):
        raise DataFileError(
            f"{expected} of shape [{rows}], one entry per row of x, found {list(y.shape)}; "
            f"store class labels or numbers, not one-hot rows"
        )
    return y.reshape(-1)


def _required(path: Path, wanted: list[str], max_unpacked: int | str | None) -> dict[str, NDArray[Any]]:
    arrays, stored = _arrays(path, wanted, allowed_bytes(path, max_unpacked))
    for name in wanted:
        if name not in arrays and name != "names":
            raise unknown_column([name], stored, path.name, "array")
    return arrays


def _arrays(path: Path, wanted: list[str], allowed: int) -> tuple[dict[str, NDArray[Any]], list[str]]:
    try:
        with path.open("rb") as stream:
            if stream.read(6) == b"\x93NUMPY":
                raise DataFileError(
                    f"{path}: expected an .npz archive, found a single array; write it with np.savez(path, x=…, y=…)"
                )
            archive = zipfile.ZipFile(stream)
            members = {one.filename[:-4]: one for one in archive.infolist() if one.filename.endswith(".npy")}
            return {name: _array(path, archive, members[name], allowed) for name in wanted if name in members}, list(members)
    except _UNREADABLE as error:
        if isinstance(error, FusedstepError):
            raise
        raise DataFileError(
            f"{path}: expected a NumPy archive without pickled objects, reading failed ({error}); write it again"
        ) from error


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, allowed: int) -> NDArray[Any]:
    """One array of an archive."""
    with archive.open(member) as stream:
        if member.compress_type == zipfile.ZIP_STORED:
            return read_array(path, stream, min(member.file_size, member.compress_size, path.stat().st_size))
        header = read_header(path, stream, member.file_size)
        require_allowed(path, max(header.nbytes, 8 * prod(header.shape)), allowed)  # numbers become float64
        stream.seek(0)
        return read_array(path, stream, member.file_size)


def _names(path: Path, stored: NDArray[Any] | None, width: int) -> tuple[str, ...]:
    if stored is None:
        return ()
    names = tuple(str(name) for name in stored.reshape(-1)) if stored.size == width else ()
    if len(names) != width or len(set(names)) != width:
        raise DataFileError(
            f"{path}: expected {width} different entries in names, one per column of x, found {stored.size} "
            f"({len(set(names))} different); fix names"
        )
    return names
