"""`TableEncoder`: converts a table of numbers, booleans, text and dates to the matrix of a network.

The encodings are in `fitted_columns.py` and `column_codings.py`, their fitting is in `column_fit.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...errors import HyperparameterError, ModelFileError, ShapeError, StateError
from ..settings import whole
from ..sources.names import did_you_mean, listed
from ..sources.row_source import RowSource
from ..suggestions import PREDICTION, suggests_arguments
from .column_codings import Coding
from .column_fit import fit_stream, fit_table
from .column_statistics import Scaling, Settings
from .fitted_columns import FittedColumns, require_matrix, require_rows
from .frames import named_columns
from .table import Matrix, StreamedTable

FORMAT = "fusedstep.table-encoder/1"
_SCALINGS: tuple[Scaling, ...] = get_args(Scaling)
_DTYPES = ("float32", "float64")


@suggests_arguments
class TableEncoder:
    """Numbers, booleans, text and dates of a table as one matrix, with statistics of the rows of `fit` only.

    number: u = (x − median) / (upper − lower quartile), then u / √(1 + (u/3)²), which keeps outliers within ±3 ("robust"), or
        (x − mean) / standard deviation ("standard"). A missing number counts as the median, and if some were missing in fit, a
        column of its own is 1 where it was.
    boolean: 0 or 1
    text of few categories: a column of 0 and 1 for each, sorted; missing is a category of its own. A value that did not occur
        in fit is all zeros.
    text of many categories: one column of integer codes, for `fs.mlp(…, categories=encoder.categories_)`: 0 for values that did
        not occur in fit or hardly, the others from 1 on.
    date: days and year as numbers, and sine and cosine of month, day of the month, weekday and hour as far as they differ.

    Args: scaling – "robust" or "standard"; max_one_hot – largest number of categories of a text column that are columns of
        their own, None for no limit; min_frequency – rows in which a value must occur for a code of its own, so that code 0 is
        learned from those that are rare; dtype – of the output, "float32" or "float64".
    Attributes, once fitted: n_features_in_, feature_names_in_ – of the input (no names if it had none); categories_ – column of
        the output -> number of its codes.
    Differs from: scikit-learn's ColumnTransformer, whose interface it has: no column has to be assigned to a transformer, input
        columns are found by name in any order, and memory is that of the output.
    Source: smooth clipping: Holzmüller et al., "Better by default", 2024, appendix A.
    """

    _columns: FittedColumns | None = None

    def __init__(
        self, *, scaling: Scaling = "robust", max_one_hot: int | None = 64, min_frequency: int = 2,
        dtype: DTypeLike = "float32",
    ) -> None:  # fmt: skip
        self.scaling = scaling
        self.max_one_hot = max_one_hot
        self.min_frequency = min_frequency
        self.dtype = dtype

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """The settings, by name, as scikit-learn asks for them."""
        return {name: getattr(self, name) for name in ("scaling", "max_one_hot", "min_frequency", "dtype")}

    def set_params(self, **params: Any) -> TableEncoder:
        """Change settings, for the next fit; HyperparameterError for unknown names."""
        known = self.get_params()
        for name in params:
            if name not in known:
                raise HyperparameterError(
                    f"TableEncoder: expected settings among {', '.join(known)}, got {name!r}{did_you_mean(name, known)}"
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    @suggests_arguments(use=PREDICTION)
    def fit(self, X: Any, y: Any = None) -> TableEncoder:  # noqa: ARG002
        """Determine the kind of each column and what its encoding needs; the state is unchanged if this raises.

        Args: X – a data frame (pandas, Polars, PyArrow, …), a mapping of columns, [N, d] numbers, or a RowSource, which is read
            once, block by block; its medians and quartiles are those of a sample of up to 131,072 rows; y – ignored.
        Returns: itself.
        Raises: HyperparameterError for wrong settings; EmptyDataError for no rows or columns; NonFiniteDataError for infinity;
            ShapeError, DtypeError for what is no table of numbers, booleans, text and dates; MissingDependency for frames
            without the extra `tables`.
        """
        settings = self._settings()
        if isinstance(X, StreamedTable):
            return self.fit_blocks(X.blocks())
        if isinstance(X, RowSource):
            require_matrix(X)
            names, named = X.names, True
            codings = fit_stream((Matrix(block, names, X.name) for _, block in X.blocks(np.float64)), settings)
        else:
            table = named_columns(X)
            require_rows(table)
            names, named = table.names, table.named
            codings = fit_table(table, settings)
        self._set(FittedColumns(tuple((name, codings[name]) for name in names)), named)
        return self

    def fit_blocks(self, blocks: Iterable[Any]) -> TableEncoder:
        """As `fit`, of a table that comes in blocks of rows, each of them as for `fit`, in one pass."""
        given = (block for block in map(named_columns, blocks) if len(block))
        first = next(given, named_columns(np.zeros((0, 0))))
        require_rows(first)
        codings = fit_stream(chain([first], given), self._settings())
        self._set(FittedColumns(tuple((name, codings[name]) for name in first.names)), first.named)
        return self

    @suggests_arguments(use=PREDICTION)
    def transform(self, X: Any) -> NDArray[Any]:
        """Encode a table.

        Args: X – as for `fit`. Columns are found by name in any order; those that were not in fit are ignored with a
            UserWarning that names them. An array [N, d] has its columns in the order of fit.
        Returns: [N, width], C-contiguous, on the host; for a RowSource a source that encodes rows when they are read.
        Raises: UnknownColumn, ShapeError, DtypeError if the columns are not those of fit; NonFiniteDataError for infinity;
            EmptyDataError for no rows; StateError before fit.
        """
        if isinstance(X, RowSource | StreamedTable):
            return self.transform_source(X)  # type: ignore[return-value]
        table, others = named_columns(X).select(self.input_names)
        if others:
            warnings.warn(
                f"features: columns that were not in fit are ignored: {listed([repr(name) for name in others])}", stacklevel=2
            )
        return self._fitted().encode(table, self.dtype)

    @suggests_arguments(use=PREDICTION)
    def fit_transform(self, X: Any, y: Any = None) -> NDArray[Any]:
        """`fit`, then `transform`."""
        return self.fit(X, y).transform(X)

    def transform_source(self, X: Any) -> RowSource:
        """A source that encodes rows when they are read.

        Args: X – a RowSource of numbers, or a table as for `transform`, best one of this package, because the columns of a data
            frame are converted for each block of rows.
        Raises: as `transform`.
        """
        columns = self._fitted()
        data = X if isinstance(X, RowSource | StreamedTable) else named_columns(X).select(columns.names)[0]
        return columns.rows_of(data, self.dtype)

    def unseen(self, X: Any) -> dict[str, int]:
        """Text column -> rows whose value did not occur in fit; columns without such rows are left out."""
        return self._fitted().unseen(X)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the input columns, x0, x1, … if there were none."""
        return self._fitted().names

    @property
    def codings(self) -> tuple[tuple[str, Coding], ...]:
        """Name and encoding of each input column, in order."""
        return self._fitted().columns

    @property
    def width(self) -> int:
        """Number of columns of the output: the fan-in of the first layer."""
        return self._fitted().width

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Names of the text columns."""
        return tuple(self._fitted().text)

    @property
    def categories_(self) -> dict[int, int]:
        """Column of the output -> number of its codes, 0 among them, for each text column of many categories."""
        return self._fitted().categories

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names of the columns of the output: "column", "column=category", "column is missing", "column month sin" and so on.

        Args: input_features – None, or the names of the input, which must be those of fit.
        """
        if input_features is not None and tuple(input_features) != self.input_names:
            raise ShapeError(f"input_features: expected the names of fit, {listed(self.input_names)}, got others; leave it out")
        return _objects(self._fitted().output_names)

    def to_json(self) -> dict[str, Any]:
        """Settings and fitted state, as plain values that JSON can represent without loss."""
        columns = self._fitted().to_json()
        settings = {**self.get_params(), "dtype": np.dtype(self.dtype).name}
        return {"format": FORMAT, **settings, "named": hasattr(self, "feature_names_in_"), "columns": columns}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TableEncoder:
        """Restore the result of `to_json`; ModelFileError if it has another format or is incomplete."""
        found = stored.get("format") if isinstance(stored, Mapping) else type(stored).__name__
        if found != FORMAT:
            raise ModelFileError(
                f"table encoder: expected format {FORMAT!r}, found {found!r}; save it again with this version"
            )
        try:
            made = cls(**{name: stored[name] for name in cls().get_params()})
            made._settings()
            if not isinstance(stored["named"], bool):
                raise TypeError("it is not known whether the columns were named")
            made._set(FittedColumns.from_json(stored["columns"]), stored["named"])
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ModelFileError(
                f"table encoder: expected settings and columns as to_json writes them, found a part missing or of another type "
                f"({error!r}); save it again"
            ) from error
        return made

    def __repr__(self) -> str:
        return f"TableEncoder({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    def __sklearn_is_fitted__(self) -> bool:
        """For scikit-learn."""
        return self._columns is not None

    def __sklearn_tags__(self) -> Any:
        """For scikit-learn, which calls this."""
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        inputs = InputTags(string=True, categorical=True, allow_nan=True)
        return Tags(None, TargetTags(required=False), TransformerTags(preserves_dtype=[]), input_tags=inputs)

    def _settings(self) -> Settings:
        if self.scaling not in _SCALINGS:
            raise HyperparameterError(
                f"scaling: expected one of {', '.join(_SCALINGS)}, got {self.scaling!r}"
                f"{did_you_mean(str(self.scaling), _SCALINGS)}"
            )
        if self.dtype is None or np.dtype(self.dtype).name not in _DTYPES:
            raise HyperparameterError(f"dtype: expected one of {', '.join(_DTYPES)}, got {self.dtype!r}")
        if self.max_one_hot is not None:
            whole(self.max_one_hot, "max_one_hot")
        whole(self.min_frequency, "min_frequency")
        return Settings(self.scaling, self.max_one_hot, self.min_frequency)

    def _set(self, columns: FittedColumns, named: bool) -> None:
        self._columns = columns
        self.n_features_in_ = len(columns.columns)
        vars(self).pop("feature_names_in_", None)
        if named:
            self.feature_names_in_ = _objects(columns.names)

    def _fitted(self) -> FittedColumns:
        if self._columns is None:
            raise StateError("expected a fitted TableEncoder, this one is not; call fit(X) first")
        return self._columns


def _objects(names: Sequence[str]) -> NDArray[Any]:
    out = np.empty(len(names), dtype=object)
    out[:] = names
    return out
