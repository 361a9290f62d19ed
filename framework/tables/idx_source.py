"""Reading of IDX files, the format of MNIST and similar data sets, plain or gzipped.

Nothing is downloaded; the images file and the labels file must exist.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError
from ..sources.unpacked import allowed_bytes, opened, packing, require_allowed
from .own_parts import joined_arrays
from .table import Matrix

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 32
"""Of an array in NumPy 1."""
_PAIRS = (("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1"))


def read_idx(paths: Sequence[Path], max_unpacked: int | str | None = None) -> tuple[Matrix, list[int]]:
    """Read images of one or several files, one after the other.

    Args: paths – of the images files; max_unpacked – see `allowed_bytes`.
    Returns: (features, rows of each file): features [N, height·width], bytes scaled from 0…255 to [0, 1], other types as they
        are, columns called pixel0, pixel1, … row by row.
    Raises: DataFileError for a wrong magic number, a truncated or overlong file, images of different sizes; EmptyDataError for
        no images.
    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "File formats".
    """
    read = [_images(path, max_unpacked) for path in paths]
    pixels = joined_arrays(read, [path.name for path in paths], str(paths[0].parent))
    scaled = np.divide(pixels, 255.0, dtype=np.float64) if pixels.dtype == np.uint8 else pixels.astype(np.float64)
    return Matrix(scaled, tuple(f"pixel{index}" for index in range(scaled.shape[1])), paths[0].name), [*map(len, read)]


def read_idx_labels(images: Path, labels: Path | None, rows: int, max_unpacked: int | str | None = None) -> NDArray[Any]:
    """The labels [N] of an images file.

    Args: labels – path of the file, by default derived from the name of the images file: `images-idx3` becomes `labels-idx1`
        (or, with dots, `images.idx3` becomes `labels.idx1`), gzipped or not; rows – number of images.
    Raises: DataFileError for missing labels and unequal counts, and as `read_idx`.
    """
    labels = labels or labels_beside(images)
    classes = read_idx_array(labels, max_unpacked)
    if classes.ndim != 1 or len(classes) != rows:
        raise DataFileError(
            f"{labels}: expected {rows} labels, one per image of {images.name}, found shape "
            f"{list(classes.shape)}; give the labels file that belongs to the images"
        )
    return classes.astype(np.float64 if classes.dtype.kind == "f" else np.int64)


def _images(path: Path, max_unpacked: int | str | None) -> NDArray[Any]:
    images = read_idx_array(path, max_unpacked)
    if images.ndim < 2:
        raise DataFileError(f"{path}: expected images of 2 axes or more, found {images.ndim}; give the images file")
    return images.reshape(images.shape[0], -1)


def read_idx_array(path: Path, max_unpacked: int | str | None = None) -> NDArray[Any]:
    """Read one IDX file: two zero bytes, a type, the number of axes, their lengths (big-endian), the entries."""
    try:
        with path.open("rb") as file:
            plain = packing(file) is None
        with opened(path, allowed_bytes(path, max_unpacked)) as stream:
            return _array(path, stream, path.stat().st_size if plain else None, allowed_bytes(path, max_unpacked))
    except (OSError, EOFError, zlib.error) as error:
        raise DataFileError(
            f"{path}: expected a readable IDX file, plain or gzipped, reading failed ({error}): truncated or damaged; "
            f"get the file again"
        ) from error


def _array(path: Path, stream: IO[bytes], size: int | None, allowed: int) -> NDArray[Any]:
    """The array in a stream of `size` bytes, or of an unknown number if it is compressed."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[0] != 0 or magic[1] != 0 or magic[2] not in _TYPES or not 0 < magic[3] <= _MOST_AXES:
        raise DataFileError(
            f"{path}: expected an IDX file (magic number 00 00 type axes), found {magic.hex(' ') or 'no bytes'}; "
            f"check that the download is complete and of this format"
        )
    dtype = np.dtype(_TYPES[magic[2]])
    lengths = stream.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        header, found = 4 + 4 * magic[3], 4 + len(lengths)
        raise DataFileError(f"{path}: expected a header of {header} bytes, found {found}: truncated; get it again")
    shape = tuple(int(length) for length in np.frombuffer(lengths, ">u4"))
    expected = prod(shape) * dtype.itemsize
    if size is None:
        require_allowed(path, 8 * prod(shape), allowed)  # what float64 takes
    raw = stream.read(expected + 1) if size is None or size >= expected else b""
    found = len(raw) if size is None else size - 4 - len(lengths)
    if found != expected:
        state = "truncated" if found < expected else "overlong"
        raise DataFileError(
            f"{path}: expected {expected} bytes after the header for shape {list(shape)}, found {found}"
            f"{' or more' if size is None and found > expected else ''}: {state}; get the file again"
        )
    if expected == 0:
        raise EmptyDataError(f"{path}: expected entries, found shape {list(shape)}; check how the file was made")
    return np.frombuffer(raw, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def labels_beside(path: Path) -> Path:
    """The labels file that belongs to an images file by its name; raises DataFileError if there is none."""
    tried = []
    for images, labels in _PAIRS:
        if images in path.name:
            name = path.name.replace(images, labels)
            other = name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
            for candidate in (path.with_name(name), path.with_name(other)):
                if candidate.is_file():
                    return candidate
                tried.append(candidate.name)
    looked = f"looked for {', '.join(tried)}" if tried else "its name holds neither images-idx3 nor images.idx3"
    raise DataFileError(f"{path}: expected a labels file beside the images, {looked}; give it with labels=PATH")


def has_labels(path: Path) -> bool:
    """Whether the labels of an images file lie beside it."""
    try:
        return labels_beside(path).is_file()
    except DataFileError:
        return False
