"""`Preprocessor`: converts features and target to the input of a network; stored with the model as plain values.

The encodings of features and targets are in `encoder.py` and `target_coding.py`; they are combined here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

from numpy.typing import ArrayLike, DTypeLike, NDArray

from ...errors import ModelFileError, ShapeError, StateError
from ..sources.row_source import RowSource
from .column_codings import Coding
from .column_kind import kinds_from_json
from .column_statistics import Scaling
from .encoder import FORMAT, TableEncoder
from .frames import named_columns
from .several_targets import AnyCoding, SeveralTargets, fit_target, target_from_json
from .table import StreamedTable, Task
from .target_coding import Label, TargetCoding
from .targets import TargetLike, as_target, rows_of

_FORMAT = "fusedstep.preprocessor/2"
_FIRST_FORMAT = "fusedstep.preprocessor/1"


class Preprocessor:
    """A `TableEncoder` of the features and the encoded target, with statistics of the training part only.

    features: as of `TableEncoder`; text of many categories becomes integer codes, see `categories`
    class labels: index into `classes`, which are sorted and keep their type (str, int, float or bool)
    regression target: (y − mean) / scale, scale the standard deviation (ddof = 0), 1 for a constant target

    Args: scaling, dtype – of the encoder; scaling None is "robust" for classes and "standard" for regression, where a target
        may be linear in a number far from its median.
    Attributes: kinds – what the columns of a file were taken for, by `kinds_to_json`; stored with the rest, and passed to
        `load_features` for predictions; None without a file. first_index – the index of the first column of an svmlight file, 0
        or 1, likewise.
    """

    def __init__(self, scaling: Scaling | None = None, dtype: DTypeLike = "float32") -> None:
        self._scaling = scaling
        self._dtype = dtype
        self._fitted: tuple[TableEncoder, AnyCoding] | None = None
        self.kinds: Any = None
        self.first_index: int | None = None

    def fit(
        self, features: Any, target: TargetLike | RowSource, task: Task | None = None, known_target: TargetLike | None = None
    ) -> Preprocessor:
        """Compute encodings and classes; the state is unchanged if this raises.

        Args: features – the training part, as for `TableEncoder.fit`; target – [N], or a RowSource, which is read into memory,
            or several as for `as_target`; task – None: determined by `find_task`; known_target – the target of all rows, for
            classes that the training part lacks.
        Returns: itself.
        Raises: as `TableEncoder.fit`; ShapeError for unequal lengths; NonFiniteDataError for a missing or infinite target;
            LabelError for an empty label or a single class; DtypeError for regression on text.
        """
        column = as_target(target.whole() if isinstance(target, RowSource) else target)
        table = features if isinstance(features, RowSource | StreamedTable) else named_columns(features)
        if len(table) != rows_of(column):
            raise ShapeError(
                f"expected one target per row, got {len(table)} rows and {rows_of(column)} targets; align them"
            )
        coding = fit_target(column, task, known_target)
        scaling = self._scaling or ("robust" if coding.task == "classification" else "standard")
        self._fitted = (TableEncoder(scaling=scaling, dtype=self._dtype).fit(table), coding)
        return self

    @property
    def task(self) -> Task:
        """The fitted task: "classification" or "regression"."""
        return self._codings()[1].task

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the columns that `transform` expects; pass them to `load_features(source, columns=…)`."""
        return self._codings()[0].input_names

    @property
    def columns(self) -> tuple[tuple[str, Coding], ...]:
        """Name and encoding of each input column, in order."""
        return self._codings()[0].codings

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Names of the text input columns; pass them to `load_features(source, text=…)`."""
        return self._codings()[0].text_columns

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns that `transform` returns: the column name for numbers, `column=category` for text."""
        return tuple(self._codings()[0].get_feature_names_out().tolist())

    @property
    def width(self) -> int:
        """Number of columns that `transform` returns: the fan-in of the first layer."""
        return self._codings()[0].width

    @property
    def outputs(self) -> int:
        """Number of network outputs: one per class, 1 for regression, one per target for several."""
        return self._codings()[1].outputs

    @property
    def classes(self) -> list[Label]:
        """Class labels in the order of their indices; empty for regression and for several targets."""
        labels: list[Label] = self._codings()[1].classes.tolist()
        return labels

    @property
    def several(self) -> bool:
        """Whether several targets were fitted: labels of two values each, or numbers."""
        return isinstance(self._codings()[1], SeveralTargets)

    @property
    def targets(self) -> dict[str, TargetCoding]:
        """Name -> fitted encoding of each target, with `classes`, or `mean` and `scale`; a single one is called "target"."""
        coding = self._codings()[1]
        return coding.codings if isinstance(coding, SeveralTargets) else {"target": coding}

    @property
    def categories(self) -> dict[int, int]:
        """Column that `transform` returns -> number of its integer codes, for `fs.mlp(…, categories=…)`."""
        return self._codings()[0].categories_

    @overload
    def transform(self, features: RowSource | StreamedTable) -> RowSource: ...
    @overload
    def transform(self, features: Any) -> NDArray[Any]: ...
    def transform(self, features: Any) -> NDArray[Any] | RowSource:
        """Encode features for the network.

        Args: features – as for `TableEncoder.transform`, with the columns `input_names`; others are ignored.
        Returns: [N, width] float32, C-contiguous, on the host; for a RowSource or StreamedTable, a source that encodes rows
            when they are read.
        Raises: UnknownColumn, ShapeError, DtypeError if the columns are not those of `fit`; NonFiniteDataError for infinity;
            EmptyDataError for no rows.
        """
        return self._codings()[0].transform(self._selected(features))

    def transform_source(self, features: Any) -> RowSource:
        """As `transform`, as a source that encodes rows when they are read; see `TableEncoder.transform_source`."""
        return self._codings()[0].transform_source(self._selected(features))

    def unseen(self, features: Any) -> dict[str, int]:
        """Count text values that did not occur in the training part, which `transform` encodes as all zeros.

        Args: features – as for `transform`.
        Returns: column -> number of rows; columns without such values are left out.
        """
        return self._codings()[0].unseen(features)

    def transform_target(self, target: TargetLike) -> NDArray[Any]:
        """Encode the target for the loss.

        Args: target – [N] labels or numbers, or several targets as in `fit`.
        Returns: class indices [N] int64, or standardised numbers [N, 1] float64, on the host; for several targets [N, k]
            float64, of which labels are 0 and 1.
        Raises: LabelError for labels that did not occur in the training part; NonFiniteDataError; EmptyDataError; DtypeError
            for text if numbers were fitted.
        """
        return self._codings()[1].transform(target)

    def inverse_target(self, predictions: ArrayLike) -> Any:
        """Convert predictions to the units of the original target.

        Args: predictions – classification: indices [N] or scores [N, C], of which the largest is taken; regression:
            standardised numbers [N] or [N, 1]; several targets: 0 and 1 or probabilities, or standardised numbers, [N, k].
        Returns: [N] class labels of their original type, or float64 numbers, on the host; for several targets name -> [N].
        Raises: ShapeError for other shapes; LabelError for indices out of range.
        """
        return self._codings()[1].inverse(predictions)

    def to_json(self) -> dict[str, Any]:
        """The complete fitted state, as plain values that JSON can represent without loss."""
        encoder, target = self._codings()
        read = {"kinds": self.kinds, "first_index": self.first_index}
        return {"format": _FORMAT, "encoder": encoder.to_json(), "target": target.to_json(), **read}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Preprocessor:
        """Restore the result of `to_json`, also of version 0.1.0; ModelFileError if it has another format or is incomplete."""
        found = stored.get("format") if isinstance(stored, Mapping) else type(stored).__name__
        if found not in (_FORMAT, _FIRST_FORMAT):
            raise ModelFileError(
                f"preprocessor: expected format {_FORMAT!r}, found {found!r}; save the model again with this version"
            )
        made = cls()
        try:
            first = found == _FIRST_FORMAT
            encoder = TableEncoder.from_json(_of_first_version(stored["features"]) if first else stored["encoder"])
            made.kinds = stored.get("kinds") if first else stored["kinds"]
            made.first_index = None if first else stored["first_index"]
            if made.first_index not in (None, 0, 1) or isinstance(made.first_index, bool):
                raise ValueError("first_index is neither 0 nor 1")
            if made.kinds is not None:
                kinds_from_json(made.kinds)
            made._scaling, made._dtype = encoder.scaling, encoder.dtype
            made._fitted = (encoder, target_from_json(stored["target"]))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ModelFileError(
                f"preprocessor: expected encoder and target as to_json writes them, found a part missing or of "
                f"another type ({error!r}); save the model again"
            ) from error
        return made

    def _selected(self, features: Any) -> Any:
        """Only the columns of the encoder, which would warn of others."""
        streamed = isinstance(features, RowSource | StreamedTable)
        return features if streamed else named_columns(features).select(self.input_names)[0]

    def _codings(self) -> tuple[TableEncoder, AnyCoding]:
        if self._fitted is None:
            raise StateError("expected a fitted preprocessor, this one is not; call fit(features, target) first")
        return self._fitted


def _of_first_version(columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The encoder in a model file of version 0.1.0 as one of this version, with means in place of medians.

    Raises: KeyError, TypeError or ValueError if a part is missing or wrong.
    """
    made = []
    for column in columns:
        if column["kind"] == "numeric":
            numbers = {"center": column["mean"], "scale": column["scale"], "fill": column["mean"]}
            made.append({"name": column["name"], "kind": "number", **numbers, "clip": False, "indicator": False})
        elif column["kind"] == "text":
            made.append({"name": column["name"], "kind": "text", "categories": column["categories"], "codes": False})
        else:
            raise ValueError("a column is neither numeric nor text")
    settings = TableEncoder(scaling="standard", max_one_hot=None, dtype="float64").get_params()
    return {"format": FORMAT, **settings, "named": True, "columns": made}
