"""Reading of svmlight / libsvm files, through scikit-learn, into a dense matrix.

Sparse training is not supported: entries that are not in the file are stored as zeros.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError
from ..optional import require
from ..sources.unpacked import allowed_bytes, opened, require_allowed
from .columns import Column, narrowed
from .table import Matrix


class SvmlightData(NamedTuple):
    """What one or several files hold.

    Args: features – [N, d]; target – [N], int64 where all are whole numbers and float64 otherwise; rows – of each file;
        first_index – the index of the first column, 0 or 1.
    """

    features: Matrix
    target: Column
    rows: list[int]
    first_index: int


def read_svmlight(
    paths: Sequence[Path],
    width: int | None = None,
    max_unpacked: int | str | None = None,
    first_index: int | None = None,
) -> SvmlightData:
    """Read files of lines `label index:value index:value …`, one after the other.

    The columns are called x0, x1, … from the first index on. Unless it is given, indices count from 1 if no 0 occurs. All files
    have as many columns as the one with the largest index.

    Args: paths – of the files, plain or .gz; width – number of columns of the corresponding training data: a file whose last
        columns are all zero has fewer and is padded with zeros; max_unpacked – see `allowed_bytes`; it also limits the dense
        matrix of a plain file, whose zeros are not stored; first_index – that of the training data: smaller indices, and with
        `width` larger ones than those of the training data, are refused.
    Raises: DataFileError for lines of another form, indices that the training data cannot have, and for a matrix that takes
        more than the file may become; EmptyDataError for no rows; MissingDependency without scikit-learn.
    """
    read = [_sparse(path, max_unpacked) for path in paths]
    if first_index is None:
        first_index = int(all(not sparse.nnz or int(sparse.indices.min()) > 0 for sparse, _ in read))
    elif width is not None:
        for path, (sparse, _) in zip(paths, read, strict=True):
            _require_indices(path, sparse, first_index, first_index + width - 1)
    columns = max(*(sparse.shape[1] - first_index for sparse, _ in read), width or 0)
    for path, (sparse, _) in zip(paths, read, strict=True):
        require_allowed(path, 8 * sparse.shape[0] * columns, allowed_bytes(path, max_unpacked))
        sparse.resize((sparse.shape[0], first_index + columns))
    dense = np.zeros((sum(sparse.shape[0] for sparse, _ in read), columns))
    start = 0
    for sparse, _ in read:
        sparse[:, first_index:].toarray(out=dense[start : start + sparse.shape[0]])
        start += sparse.shape[0]
    target = narrowed(np.concatenate([labels for _, labels in read]).astype(np.float64))
    return SvmlightData(Matrix(dense, (), paths[0].name), target, [sparse.shape[0] for sparse, _ in read], first_index)


def _sparse(path: Path, max_unpacked: int | str | None) -> tuple[Any, NDArray[Any]]:
    """The rows of one file, from index 0 on, and its labels."""
    allowed = allowed_bytes(path, max_unpacked)
    svmlight = require("sklearn.datasets", "sklearn", "reading svmlight files")
    try:
        with opened(path, allowed) as stream:
            sparse, labels = svmlight.load_svmlight_file(stream, zero_based=True)
    except (ValueError, LookupError, OSError, EOFError, zlib.error, ArithmeticError, MemoryError) as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(
            f"{path}: expected lines 'label index:value …', reading failed ({error}); fix the file"
        ) from error
    if sparse.shape[0] == 0:
        raise EmptyDataError(f"{path}: expected data rows, found none; check how the file was made")
    return sparse, np.asarray(labels)


def _require_indices(path: Path, sparse: Any, first: int, last: int) -> None:
    """Raises DataFileError for an index that the training data did not have."""
    wrong = np.flatnonzero((sparse.indices < first) | (sparse.indices > last))
    if wrong.size:
        row = int(np.searchsorted(sparse.indptr, wrong[0], side="right"))
        raise DataFileError(
            f"{path}: expected indices {first} to {last}, as in the data of the training, found {sparse.indices[wrong[0]]} in "
            f"row {row}; {'count them from 1' if sparse.indices[wrong[0]] < first else 'leave out the columns that are new'}, "
            "or train with data of that kind"
        )
