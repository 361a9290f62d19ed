"""Reading of svmlight / libsvm files, through scikit-learn, into a dense matrix.

Sparse training is not supported: entries that are not in the file are stored as zeros.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError
from ..optional import require
from ..sources.unpacked import allowed_bytes, opened, require_allowed
from .columns import Column, narrowed
from .table import Matrix


def read_svmlight(
    path: Path, width: int | None = None, max_unpacked: int | str | None = None
) -> tuple[Matrix, Column]:
    """Read a file of lines `label index:value index:value …`.

    Indices count from 1 unless a 0 occurs. The columns are called x0, x1, … from the lowest possible index.

    Args: path – of the file, plain or .gz; width – number of columns of the corresponding training data: a file whose last
        columns are all zero has fewer and is padded with zeros; max_unpacked – see `allowed_bytes`; it also limits the dense
        matrix of a plain file, whose zeros are not stored.
    Returns: (features [N, d], labels [N], int64 where all are whole numbers and float64 otherwise).
    Raises: DataFileError for lines of another form, and for a matrix that takes more than the file may become; EmptyDataError
        for no rows; MissingDependency without scikit-learn.
    """
    allowed = allowed_bytes(path, max_unpacked)
    svmlight = require("sklearn.datasets", "sklearn", "reading svmlight files")
    try:
        with opened(path, allowed) as stream:
            sparse, labels = svmlight.load_svmlight_file(stream)
    except (ValueError, LookupError, OSError, EOFError, zlib.error, ArithmeticError, MemoryError) as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(
            f"{path}: expected lines 'label index:value …', reading failed ({error}); fix the file"
        ) from error
    if sparse.shape[0] == 0:
        raise EmptyDataError(f"{path}: expected data rows, found none; check how the file was made")
    require_allowed(path, 8 * sparse.shape[0] * max(sparse.shape[1], width or 0), allowed)
    dense: NDArray[np.float64] = sparse.toarray()
    if width is not None and width > dense.shape[1]:
        dense = np.pad(dense, ((0, 0), (0, width - dense.shape[1])))
    return Matrix(dense, (), path.name), narrowed(np.asarray(labels, dtype=np.float64))
