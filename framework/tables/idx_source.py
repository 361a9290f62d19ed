"""Reading of IDX files, the format of MNIST and similar data sets, plain or gzipped.

Nothing is downloaded; the images file and the labels file must exist.
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError
from .columns import Column
from .table import Matrix

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PAIRS = (("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1"))


def read_idx(path: Path, labels: Path | None, with_labels: bool) -> tuple[Matrix, Column | None]:
    """Read images, and with them their labels.

    Args: path – of the images file; labels – of the labels file, by default derived from the name of the images file:
        `images-idx3` becomes `labels-idx1` (or, with dots, `images.idx3` becomes `labels.idx1`), gzipped or not; with_labels –
        whether to read labels.
    Returns: (features, labels or None): features [N, height·width], bytes scaled from 0…255 to [0, 1], other types as they are,
        columns called pixel0, pixel1, … row by row; labels [N] int64.
    Raises: DataFileError for a wrong magic number, a truncated or overlong file, missing labels, unequal counts; EmptyDataError
        for no images.
    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "File formats".
    """
    images = read_idx_array(path)
    if images.ndim < 2:
        raise DataFileError(f"{path}: expected images of 2 axes or more, found {images.ndim}; give the images file")
    if images.shape[0] == 0 or images.size == 0:
        raise EmptyDataError(f"{path}: expected images, found shape {list(images.shape)}; check how the file was made")
    pixels = images.reshape(images.shape[0], -1)
    scaled = np.divide(pixels, 255.0, dtype=np.float64) if pixels.dtype == np.uint8 else pixels.astype(np.float64)
    features = Matrix(scaled, tuple(f"pixel{index}" for index in range(scaled.shape[1])), path.name)
    if not with_labels:
        return features, None
    labels_path = labels or _labels_beside(path)
    classes = read_idx_array(labels_path)
    if classes.ndim != 1 or len(classes) != len(features):
        raise DataFileError(
            f"{labels_path}: expected {len(features)} labels, one per image of {path.name}, found shape "
            f"{list(classes.shape)}; give the labels file that belongs to the images"
        )
    return features, classes.astype(np.float64 if classes.dtype.kind == "f" else np.int64)


def read_idx_array(path: Path) -> NDArray[Any]:
    """Read one IDX file: two zero bytes, a type, the number of axes, their lengths (big-endian), the entries."""
    raw = _bytes(path)
    if len(raw) < 4 or raw[0] != 0 or raw[1] != 0 or raw[2] not in _TYPES or raw[3] == 0:
        raise DataFileError(
            f"{path}: expected an IDX file (magic number 00 00 type axes), found {raw[:4].hex(' ') or 'no bytes'}; "
            f"check that the download is complete and of this format"
        )
    dtype = np.dtype(_TYPES[raw[2]])
    header = 4 + 4 * raw[3]
    if len(raw) < header:
        raise DataFileError(f"{path}: expected a header of {header} bytes, found {len(raw)}: truncated; get it again")
    shape = tuple(int(length) for length in np.frombuffer(raw, ">u4", raw[3], 4))
    expected = prod(shape) * dtype.itemsize
    if len(raw) - header != expected:
        state = "truncated" if len(raw) - header < expected else "overlong"
        raise DataFileError(
            f"{path}: expected {expected} bytes after the header for shape {list(shape)}, found {len(raw) - header}: "
            f"{state}; get the file again"
        )
    entries = np.frombuffer(raw, dtype, offset=header).reshape(shape)
    return entries.astype(dtype.newbyteorder("="), copy=False)


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataFileError(
            f"{path}: expected a readable IDX file, plain or gzipped, reading failed ({error}): truncated or damaged; "
            f"get the file again"
        ) from error


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
