"""Reading of single NumPy arrays (.npy): features in one file, and labels in another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError
from .columns import Column
from .npz_source import one_per_row


def read_npy(path: Path) -> NDArray[Any]:
    """An array from a file that np.save wrote; raises DataFileError for damaged files and pickled objects."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataFileError(f"{path}: expected an .npy file without pickled objects, reading failed ({error})") from error
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        raise DataFileError(f"{path}: expected one array of rows in an .npy file; got something else; write it with np.save")
    return array


def read_labels(path: Path | None, rows: int, features: Path) -> Column:
    """The labels of an .npy source, one for each of so many rows."""
    if path is None:
        raise DataFileError(f"{features}: expected labels beside the features; give --labels (in Python labels=) an .npy file")
    return one_per_row(read_npy(path), rows, f"{path}: expected labels")
