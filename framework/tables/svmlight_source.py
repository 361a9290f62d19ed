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
from .columns import Column, narrowed
from .table import Matrix


def read_svmlight(path: Path, width: int | None = None) -> tuple[Matrix, Column]:
    """Read a file of lines `label index:value index:value …`.

    Indices count from 1 unless a 0 occurs. The columns are called x0, x1, … from the lowest possible index.

    Args: path – of the file, plain or .gz; width – number of columns of the corresponding training data: a file whose last
        columns are all zero has fewer and is padded with zeros.
    Returns: (features [N, d], labels [N], int64 where all are whole numbers and float64 otherwise).
    Raises: DataFileError for lines of another form; EmptyDataError for no rows; MissingDependency without scikit-learn.
    """
    svmlight = require("sklearn.datasets", "sklearn", "reading svmlight files")
    try:
        sparse, labels = svmlight.load_svmlight_file(str(path))
    except (ValueError, OSError, EOFError, zlib.error, OverflowError) as error:
        raise DataFileError(
            f"{path}: expected lines 'label index:value …', reading failed ({error}); fix the file"
        ) from error
    if sparse.shape[0] == 0:
        raise EmptyDataError(f"{path}: expected data rows, found none; check how the file was made")
    try:
        dense: NDArray[np.float64] = sparse.toarray()
    except MemoryError as error:
        raise DataFileError(
            f"{path}: expected data that fits in memory when dense, found shape {sparse.shape}; use fewer columns"
        ) from error
    if width is not None and width > dense.shape[1]:
        dense = np.pad(dense, ((0, 0), (0, width - dense.shape[1])))
    return Matrix(dense, (), path.name), narrowed(np.asarray(labels, dtype=np.float64))
