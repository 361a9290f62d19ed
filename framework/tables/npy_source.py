"""Reading of single NumPy arrays (.npy): features in one file, and labels in another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError
from ..sources.npy_header import file_size, read_array
from .layouts import labels_beside
from .npz_source import one_per_row


def read_npy(path: Path) -> NDArray[Any]:
    """An array from a file that np.save wrote; raises DataFileError for damaged files and pickled objects."""
    try:
        with path.open("rb") as stream:
            array = read_array(path, stream, file_size(stream))
    except (OSError, ValueError) as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(f"{path}: expected an .npy file without pickled objects, reading failed ({error})") from error
    if array.ndim == 0:
        raise DataFileError(f"{path}: expected one array of rows in an .npy file; got something else; write it with np.save")
    if array.size == 0:
        raise EmptyDataError(f"{path}: expected data rows; found shape {list(array.shape)}; check how the file was made")
    return array


def read_labels(features: Path, path: Path | None, rows: int) -> NDArray[Any]:
    """The labels of an .npy source, one for each of so many rows; path – None: found by the name of the features."""
    path = path or labels_beside(features)
    if path is None:
        raise DataFileError(
            f"{features}: expected labels beside the features, such as y.npy beside x.npy; give --labels (in Python labels=) "
            "an .npy file"
        )
    return one_per_row(read_npy(path), rows, f"{path}: expected labels")
