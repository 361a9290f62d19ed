"""Reading of NumPy archives (.npz) with features `x`, targets `y` and optional column `names`.

Writing archives is not done here; single .npy files are in npy_source.py.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError
from ..sources.memory_map import memory_map
from ..sources.names import unknown_column
from ..sources.row_source import ArrayRows
from .columns import Column
from .table import Matrix

_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, KeyError, SyntaxError)
"""What zipfile and np.load raise on damaged bytes; RuntimeError includes encryption and unknown compression."""


def read_npz(path: Path, target: str | None) -> tuple[Matrix, Column | None]:
    """Read an archive made with `np.savez(path, x=features, y=target)` or `np.savez_compressed`.

    Args: path – of the archive. It holds x – [N, d] numbers, or [N, …] whose later axes are flattened; the target array – [N]
        or [N, 1]; and optionally names – [d] text, otherwise the columns are called x0, x1, …; target – name of the target
        array, by convention "y"; None reads no target.
    Returns: (features, target or None).
    Raises: DataFileError for a truncated archive, pickled objects or shapes that do not fit; UnknownColumn for an array that
        does not exist; EmptyDataError for no rows.
    """
    wanted = ["x", "names"] if target is None else ["x", "names", target]
    arrays = _required(path, wanted)
    x = arrays["x"]
    if x.ndim < 2 or x.dtype.kind not in "biuf":
        raise DataFileError(
            f"{path}: expected numbers of shape [rows, columns] in x, found {x.dtype} of shape {x.shape}; reshape it"
        )
    if x.shape[0] == 0:
        raise EmptyDataError(f"{path}: expected data rows in x, found none; check how the archive was made")
    x = x.reshape(x.shape[0], -1)
    features = Matrix(x, _names(path, arrays.get("names"), x.shape[1]), path.name)
    if target is None:
        return features, None
    return features, one_per_row(arrays[target], len(x), f"{path}: expected {target}")


def open_npz(path: Path, target: str | None) -> tuple[ArrayRows, Column | None]:
    """As `read_npz`, with x left in the file; the archive must hold x uncompressed (np.savez).

    Returns: (rows of x, target or None), the target in memory.
    """
    mapped = memory_map(path, "x")
    arrays = _required(path, ["names"] if target is None else ["names", target])
    features = ArrayRows(mapped.array, path.name, _names(path, arrays.get("names"), mapped.shape[1]))
    return features, None if target is None else one_per_row(arrays[target], len(features), f"{path}: expected {target}")


def one_per_row(y: NDArray[Any], rows: int, expected: str) -> Column:
    """A target as a vector; `expected` – how the message begins where it does not fit."""
    if y.shape not in ((rows,), (rows, 1)):
        raise DataFileError(
            f"{expected} of shape [{rows}], one entry per row of x, found {list(y.shape)}; "
            f"store class labels or numbers, not one-hot rows"
        )
    return y.reshape(-1)


def _required(path: Path, wanted: list[str]) -> dict[str, NDArray[Any]]:
    arrays, stored = _arrays(path, wanted)
    for name in wanted:
        if name not in arrays and name != "names":
            raise unknown_column([name], stored, path.name, "array")
    return arrays


def _arrays(path: Path, wanted: list[str]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataFileError(
                    f"{path}: expected an .npz archive, found a single array; write it with np.savez(path, x=…, y=…)"
                )
            with archive:
                stored = list(archive.files)
                return {name: archive[name] for name in wanted if name in stored}, stored
    except _UNREADABLE as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(
            f"{path}: expected a NumPy archive without pickled objects, reading failed ({error}); write it again"
        ) from error


def _names(path: Path, stored: NDArray[Any] | None, width: int) -> tuple[str, ...]:
    if stored is None:
        return ()
    names = tuple(str(name) for name in stored.reshape(-1))
    if len(names) != width or len(set(names)) != width:
        raise DataFileError(
            f"{path}: expected {width} different entries in names, one per column of x, found {len(names)} "
            f"({len(set(names))} different); fix names"
        )
    return names
