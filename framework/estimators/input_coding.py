"""The features of an estimator as the matrix of its network: plain numbers standardised, tables by `TableEncoder`.

Rows are checked as scikit-learn does in mlp_estimator.py; the encodings of a table are in tables/encoder.py, their export is in
export/onnx/columns.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ExportError, HyperparameterError
from ..export.coded_network import ColumnInputs, MatrixInput
from ..sources.blocks import row_blocks
from ..tables.column_codings import NumberCoding
from ..tables.column_statistics import Scaling
from ..tables.columns import is_text
from ..tables.encoder import TableEncoder
from ..tables.frames import is_frame, named_columns
from ..tables.moments import weighted_moments

NUMBERS = "biuf"
"""Kinds of NumPy's types of numbers."""
FEW = 1 << 14
"""Entries of an array that are checked faster here than by scikit-learn."""
AUTO = "auto"
"""The setting `encoder` that selects by the data."""


class Standardizer:
    """(x − mean) / standard deviation of each column, with the sample weights of the rows; a missing number counts as the mean.

    Args: dtype – of the result, "float32" or "float64".
    Attributes, once fitted: mean_, scale_ – [d], float64.
    """

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype = dtype

    def fit(self, values: NDArray[Any], weights: NDArray[np.float64] | None = None) -> Standardizer:
        """Args: values – [N, d], finite; weights – [N], > 0, or None."""
        self.mean_, self.scale_ = weighted_moments(values, weights)
        return self

    def transform(self, values: NDArray[Any]) -> NDArray[Any]:
        """[N, d] of the dtype, C-contiguous."""
        out = np.empty(values.shape, self.dtype)
        with np.errstate(over="ignore"):  # infinity is refused by the network, with its row
            for rows in row_blocks(*values.shape):
                out[rows] = (values[rows] - self.mean_) / self.scale_
        out[np.isnan(out)] = 0.0
        return out

    def __repr__(self) -> str:
        return f"Standardizer(dtype={self.dtype!r})"


def is_transformer(encoder: Any) -> bool:
    """Whether a setting is a transformer of scikit-learn's interface, and not its class."""
    return hasattr(encoder, "fit") and hasattr(encoder, "transform") and not isinstance(encoder, type)


def numbers_of(data: Any) -> Any:
    """A table of nothing but numbers and booleans as an array, with NaN where entries are masked; None for text or dates.

    What is not two-dimensional, complex, sparse or no table at all is returned for scikit-learn to refuse.
    """
    if is_frame(data):
        return _numbers_of_frame(data)
    if hasattr(data, "tocsr"):
        return data
    if isinstance(data, np.ma.MaskedArray) and data.dtype.kind in NUMBERS:
        return np.where(np.ma.getmaskarray(data), np.nan, data.data)
    array = np.asarray(data)
    if array.ndim == 2 and array.dtype.kind in "USTM":
        return None
    if array.ndim == 2 and array.dtype.kind == "O" and any(isinstance(entry, str) for entry in array.flat):
        return None
    return array


def _numbers_of_frame(frame: Any) -> NDArray[Any] | None:
    dtypes = list(getattr(frame, "dtypes", ()))
    if dtypes and all(isinstance(dtype, np.dtype) for dtype in dtypes):  # pandas, for which nothing more is needed
        if not all(dtype.kind in NUMBERS for dtype in dtypes):
            return None
        numbers: NDArray[Any] = frame.to_numpy(dtype=np.result_type(*dtypes))
        return numbers
    table, columns = named_columns(frame), []
    for number in range(len(table.names)):
        column = table.column(number)
        if is_text(column) or column.dtype.kind not in NUMBERS:
            return None
        columns.append(column)
    return np.column_stack(columns) if columns else np.zeros((len(table), 0))


def has_columns(data: Any, width: int, names: NDArray[Any] | None) -> bool:
    """Whether a frame has exactly these columns, or an array that many where there are no names.

    Where this is false, scikit-learn decides, and says what is wrong.
    """
    if is_frame(data):
        found = data.column_names if hasattr(type(data), "column_names") else data.columns
        return names is not None and isinstance(found, Iterable) and list(found) == names.tolist()
    return names is None and type(data) is np.ndarray and data.ndim == 2 and data.shape[1] == width


def are_few_and_finite(numbers: Any) -> bool:
    """Whether scikit-learn's check of an array would find nothing; for few rows it takes longer than the network."""
    if type(numbers) is not np.ndarray or numbers.ndim != 2 or not 0 < numbers.size <= FEW:
        return False
    return numbers.dtype.kind in NUMBERS and bool(np.isfinite(numbers).all())


def as_objects(data: Any) -> NDArray[Any]:
    """A table that is not all numbers as an array that keeps the types of its entries."""
    return np.asarray(data) if hasattr(data, "dtype") else np.asarray(data, dtype=object)


def fit_encoder(
    encoder: Any, features: Any, weights: NDArray[np.float64] | None, dtype: str, scaling: Scaling = "standard"
) -> Any:
    """What encodes the features of an estimator, fitted; None if they are used as they are.

    Args: encoder – the setting; features – [N, d] numbers, or a table for a TableEncoder; weights – [N] > 0, or None; dtype –
        "float32" or "float64"; scaling – of numbers by encoder="auto"; "robust" does not depend on the weights.
    Raises: HyperparameterError for a setting that is none; the errors of TableEncoder.fit.
    """
    if encoder is None:
        return None
    if isinstance(encoder, str) and encoder == AUTO:
        plain = isinstance(features, np.ndarray) and features.dtype.kind in NUMBERS and not np.isnan(features).any()
        if plain and scaling == "standard":
            return Standardizer(dtype).fit(features, weights)
        return TableEncoder(scaling=scaling, dtype=dtype).fit(features)
    if not is_transformer(encoder):
        raise HyperparameterError(
            f'expected encoder to be "auto", None, or a transformer with fit and transform; got {encoder!r}; '
            "write encoder=fs.TableEncoder(), for instance"
        )
    from sklearn.base import clone

    return clone(encoder).fit(features)


def coded_inputs(encoder: Any, width: int, names: NDArray[Any] | None) -> ColumnInputs | MatrixInput:
    """The inputs of an estimator for other runtimes: the columns of a data frame, or those of an array of numbers as one.

    Args: encoder – the fitted one, or None; width – number of columns of X; names – of the columns of a data frame, or None.
    Raises: ExportError for another encoder than Standardizer and TableEncoder.
    """
    if encoder is None:
        codings = tuple(NumberCoding(0.0, 1.0, np.nan) for _ in range(width))
    elif type(encoder) is Standardizer:
        moments = zip(encoder.mean_.tolist(), encoder.scale_.tolist(), strict=True)
        codings = tuple(NumberCoding(mean, scale, mean) for mean, scale in moments)
    elif type(encoder) is TableEncoder:
        names = getattr(encoder, "feature_names_in_", names)
        numbers = tuple(coding for _, coding in encoder.codings if isinstance(coding, NumberCoding))
        if names is not None or len(numbers) < width or len({coding.clip for coding in numbers}) > 1:
            known = encoder.input_names if names is None else names
            return ColumnInputs(tuple(zip(known, (coding for _, coding in encoder.codings), strict=True)))
        codings = numbers
    else:
        raise ExportError(
            f'expected an estimator with encoder="auto", fs.TableEncoder or None, which ONNX can represent; got {encoder!r}; '
            "write fs.export_onnx(estimator.model_, path), and give that network the result of estimator.encoder_.transform(X)"
        )
    if names is not None:
        return ColumnInputs(tuple(zip(map(str, names), codings, strict=True)))
    return MatrixInput(width, () if encoder is None else codings)
