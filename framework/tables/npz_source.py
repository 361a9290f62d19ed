"""Reading of NumPy archives (.npz) with features, targets and optional column `names`, of one part or several.

Writing archives is not done here; single .npy files are in npy_source.py.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError, FusedstepError
from ..sources.memory_map import memory_map
from ..sources.names import unknown_column
from ..sources.npy_header import read_array, read_header
from ..sources.row_source import ArrayRows, RowSource, joined_rows
from ..sources.unpacked import allowed_bytes, require_allowed
from .layouts import PARTS, PartFile, chosen_part, find_arrays, named_arrays
from .own_parts import FileRows, OwnPart, joined_arrays, own_parts
from .table import Matrix
from .targets import Target

Result = TypeVar("Result")

_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, RuntimeError, LookupError,
    OverflowError,
)  # fmt: skip
"""What zipfile raises on damaged bytes; RuntimeError includes encryption and unknown compression."""


class PartArrays(NamedTuple):
    """The arrays of one part, and the archive that holds them."""

    path: Path
    part: str
    features: str
    target: str | None

    @property
    def origin(self) -> str:
        """For messages."""
        return f"{self.features} of {self.path.name}"


class ArchiveData(NamedTuple):
    """What an archive holds.

    Args: features – of all parts, one after the other; target; name – of the target array; arrays, rows – of each part.
    """

    features: Matrix | RowSource
    target: NDArray[Any]
    name: str
    arrays: list[PartArrays]
    rows: list[int]

    @property
    def file_rows(self) -> list[FileRows]:
        """How many rows are of which part."""
        return [FileRows(one.part, count, one.origin) for one, count in zip(self.arrays, self.rows, strict=True)]

    @property
    def own(self) -> dict[str, OwnPart]:
        """The own validation and test part."""
        return own_parts(self.file_rows)

    def column(self, name: str, max_unpacked: int | str | None = None) -> NDArray[Any]:
        """A further array, of all parts, with one entry for each row; raises as `read_npz`."""
        columns = []
        for one, count in zip(self.arrays, self.rows, strict=True):
            stored = _stored(one.path)
            named = named_arrays(stored, name)
            array = named.get(one.part) or named.get("")
            if array is None:
                raise unknown_column([name], stored, one.path.name, "array")
            values = _arrays(one.path, [array], allowed_bytes(one.path, max_unpacked))[array]
            columns.append(one_per_row(values, count, f"{one.path}: expected {array}"))
        return joined_arrays(columns, [f"{name} of {one.path.name}" for one in self.arrays], self.arrays[0].path.name)


def read_npz(part_files: Sequence[PartFile], target: str | None = None, max_unpacked: int | str | None = None) -> ArchiveData:
    """Read archives made with `np.savez(path, x=features, y=target)` or `np.savez_compressed`, also of several parts each.

    Args: part_files – the first archive, all parts of which are read, and those of further parts. For the names of arrays see
        `find_arrays`. Features are [N, d] numbers, or [N, …] whose later axes are flattened; targets [N] or [N, 1]; and
        optionally names – [d] text, otherwise the columns are called x0, x1, …; target – name of the target array; None: by
        convention; max_unpacked – see `allowed_bytes`.
    Raises: DataFileError for a truncated archive, pickled objects, shapes that do not fit, and more than it may become;
        UnknownColumn for an array that does not exist; EmptyDataError for no rows.
    """
    found = _found(part_files, target)
    arrays = _arrays_of(found, (0, 1), max_unpacked)
    x = [_features(one, arrays[one.path]) for one in found]
    joined = joined_arrays(x, [one.origin for one in found], found[0].path.name)
    names = _columns(found[0].path, arrays[found[0].path].get("names"), joined.shape[1])
    return _with_targets(Matrix(joined, names, found[0].path.name), found, arrays, [*map(len, x)])


def open_npz(part_files: Sequence[PartFile], target: str | None = None, max_unpacked: int | str | None = None) -> ArchiveData:
    """As `read_npz`, with features left in the files; they must hold them uncompressed (np.savez); targets in memory."""
    found = _found(part_files, target)
    arrays = _arrays_of(found, (1,), max_unpacked)
    rows = [_rows(one.path, one.features, arrays[one.path]) for one in found]
    return _with_targets(joined_rows(rows), found, arrays, [*map(len, rows)])


def read_npz_features(path: Path, max_unpacked: int | str | None = None, part: str | None = None) -> Matrix:
    """The features of an archive; part – which one, if it has several."""
    chosen = chosen_part(find_arrays(_stored(path), None, path.name, False), part, path.name)
    arrays = _arrays(path, [chosen.features, "names"], allowed_bytes(path, max_unpacked))
    x = _features(PartArrays(path, "", *chosen), arrays)
    return Matrix(x, _columns(path, arrays.get("names"), x.shape[1]), path.name)


def open_npz_features(path: Path, max_unpacked: int | str | None = None, part: str | None = None) -> RowSource:
    """As `read_npz_features`, with features left in the file."""
    chosen = chosen_part(find_arrays(_stored(path), None, path.name, False), part, path.name)
    return _rows(path, chosen.features, _arrays(path, ["names"], allowed_bytes(path, max_unpacked)))


def _found(part_files: Sequence[PartFile], target: str | None) -> list[PartArrays]:
    """The arrays of all parts, in the order of parts; an archive that is given for a part takes the place of its own part."""
    first, *others = part_files
    own = find_arrays(_stored(first.path), target, first.path.name)
    found = [PartArrays(first.path, part, *own[part]) for part in own if part not in [one.part for one in others]]
    for part, path in others:
        parts = find_arrays(_stored(path), target, path.name)
        found.append(PartArrays(path, part, *(parts[part] if part in parts else chosen_part(parts, None, path.name))))
    return sorted(found, key=lambda one: PARTS.index(one.part))


def _arrays_of(
    found: Sequence[PartArrays], fields: Sequence[int], max_unpacked: int | str | None
) -> dict[Path, dict[str, NDArray[Any]]]:
    """The features (0) and targets (1) of each archive, and its names of columns."""
    read = {}
    for path in {one.path: None for one in found}:
        wanted = [name for one in found if one.path == path for name in [(one.features, one.target)[k] for k in fields] if name]
        read[path] = _arrays(path, [*wanted, "names"], allowed_bytes(path, max_unpacked))
    return read


def _features(one: PartArrays, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
    x = arrays[one.features]
    if x.ndim < 2 or x.dtype.kind not in "biuf":
        raise DataFileError(
            f"{one.path}: expected numbers of shape [rows, columns] in {one.features}, found {x.dtype} of shape {x.shape}; "
            "reshape it"
        )
    if x.size == 0:
        raise EmptyDataError(f"{one.path}: expected data rows in {one.features}, found none; check how the archive was made")
    return x.reshape(x.shape[0], -1)


def _with_targets(
    features: Matrix | RowSource, found: Sequence[PartArrays], arrays: dict[Path, dict[str, NDArray[Any]]], rows: Sequence[int]
) -> ArchiveData:
    columns = [
        one_per_row(arrays[one.path][str(one.target)], count, f"{one.path}: expected {one.target}")
        for one, count in zip(found, rows, strict=True)
    ]
    target = joined_arrays(columns, [f"{one.target} of {one.path.name}" for one in found], found[0].path.name)
    return ArchiveData(features, target, str(found[0].target), list(found), list(rows))


def _rows(path: Path, name: str, arrays: dict[str, NDArray[Any]]) -> ArrayRows:
    mapped = memory_map(path, name)
    return ArrayRows(mapped.array, path.name, _columns(path, arrays.get("names"), mapped.shape[1]))


def one_per_row(y: NDArray[Any], rows: int, expected: str) -> NDArray[Any]:
    """A target as a vector; `expected` – how the message begins where it does not fit."""
    if y.shape not in ((rows,), (rows, 1)):
        raise DataFileError(
            f"{expected} of shape [{rows}], one entry per row of x, found {list(y.shape)}; "
            f"store class labels or numbers, not one-hot rows"
        )
    return y.reshape(-1)


def _stored(path: Path) -> list[str]:
    """The names of the arrays of an archive."""
    return list(_opened(path, lambda archive, members: members))  # noqa: ARG005


def _arrays(path: Path, wanted: list[str], allowed: int) -> dict[str, NDArray[Any]]:
    """Those of the wanted arrays that are there."""

    def read(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> dict[str, NDArray[Any]]:
        there = [name for name in wanted if name in members]
        sizes = [_unpacked_bytes(path, archive, members[name], name) for name in there]
        require_allowed(path, sum(sizes), allowed)
        return {name: _array(path, archive, members[name], name) for name in there}

    return _opened(path, read)


def _opened(path: Path, read: Callable[[zipfile.ZipFile, dict[str, zipfile.ZipInfo]], Result]) -> Result:
    """What a function reads from the open archive and its members by the names of arrays."""
    try:
        with path.open("rb") as stream:
            if stream.read(6) == b"\x93NUMPY":
                raise DataFileError(
                    f"{path}: expected an .npz archive, found a single array; write it with np.savez(path, x=…, y=…)"
                )
            archive = zipfile.ZipFile(stream)
            return read(archive, {one.filename[:-4]: one for one in archive.infolist() if one.filename.endswith(".npy")})
    except _UNREADABLE as error:
        if isinstance(error, FusedstepError):
            raise
        raise DataFileError(
            f"{path}: expected a NumPy archive without pickled objects, reading failed ({error}); write it again"
        ) from error


def _unpacked_bytes(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> int:
    """Bytes that a compressed array becomes in memory, by its header; 0 for one that is stored as it is."""
    if member.compress_type == zipfile.ZIP_STORED:
        return 0
    with archive.open(member) as stream:
        header = read_header(path, stream, member.file_size, name)
        return max(header.nbytes, 8 * prod(header.shape))  # numbers become float64


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    """One array of an archive."""
    available = member.file_size
    if member.compress_type == zipfile.ZIP_STORED:
        available = min(available, member.compress_size, path.stat().st_size)
    with archive.open(member) as stream:
        return read_array(path, stream, available, name)


def _columns(path: Path, stored: NDArray[Any] | None, width: int) -> tuple[str, ...]:
    if stored is None:
        return ()
    names = tuple(str(name) for name in stored.reshape(-1)) if stored.size == width else ()
    if len(names) != width or len(set(names)) != width:
        raise DataFileError(
            f"{path}: expected {width} different entries in names, one per column of x, found {stored.size} "
            f"({len(set(names))} different); fix names"
        )
    return names


def targets_of(read: ArchiveData, targets: Sequence[str], max_unpacked: int | str | None) -> Target:
    """The target of an archive, or several by name."""
    if len(targets) < 2:
        return read.target
    return {targets[0]: read.target, **{one: read.column(one, max_unpacked) for one in targets[1:]}}
