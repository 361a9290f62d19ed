"""Reading of IDX files, the format of MNIST and similar data sets, plain or gzipped.

Nothing is downloaded; the images file and the labels file must exist.
"""

from __future__ import annotations

import zlib
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError
from ..sources.unpacked import allowed_bytes, opened, packing, require_allowed
from .columns import Column
from .table import Matrix

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 32
"""Of an array in NumPy 1."""
_PAIRS = (("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1"))


def read_idx(
    path: Path, labels: Path | None, with_labels: bool, max_unpacked: int | str | None = None
) -> tuple[Matrix, Column | None]:
    """Read images, and with them their labels.

    Args: path – of the images file; labels – of the labels file, by default derived from the name of the images file:
        `images-idx3` becomes `labels-idx1` (or, with dots, `images.idx3` becomes `labels.idx1`), gzipped or not; with_labels –
        whether to read labels; max_unpacked – see `allowed_bytes`.
    Returns: (features, labels or None): features [N, height·width], bytes scaled from 0…255 to [0, 1], other types as they are,
        columns called pixel0, pixel1, … row by row; labels [N] int64.
    Raises: DataFileError for a wrong magic number, a truncated or overlong file, missing labels, unequal counts; EmptyDataError
        for no images.
    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "File formats".
    """
    images = read_idx_array(path, max_unpacked)
    if images.ndim < 2:
        raise DataFileError(f"{path}: expected images of 2 axes or more, found {images.ndim}; give the images file")
    pixels = images.reshape(images.shape[0], -1)
    scaled = np.divide(pixels, 255.0, dtype=np.float64) if pixels.dtype == np.uint8 else pixels.astype(np.float64)
    features = Matrix(scaled, tuple(f"pixel{index}" for index in range(scaled.shape[1])), path.name)
    if not with_labels:
        return features, None
    labels_path = labels or _labels_beside(path)
    classes = read_idx_array(labels_path, max_unpacked)
    if classes.ndim != 1 or len(classes) != len(features):
        raise DataFileError(
            f"{labels_path}: expected {len(features)} labels, one per image of {path.name}, found shape "
            f"{list(classes.shape)}; give the labels file that belongs to the images"
        )
    return features, classes.astype(np.float64 if classes.dtype.kind == "f" else np.int64)


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


def _labels_beside(path: Path) -> Path:
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
