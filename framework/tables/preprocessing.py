"""`Preprocessor`: converts features and target to the input of a network; stored with the model as plain values.

The encodings of columns and targets are in `feature_coding.py` and `target_coding.py`; they are combined here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import ModelFileError, ShapeError, StateError
from ..sources.row_source import RowSource
from .column_kind import kinds_from_json
from .feature_coding import FeatureCoding
from .moments import FloatArray
from .several_targets import AnyCoding, SeveralTargets, fit_target, target_from_json
from .table import Features, Task, as_features
from .target_coding import Label, TargetCoding
from .targets import TargetLike, as_target, rows_of

_FORMAT = "fusedstep.preprocessor/1"


class Preprocessor:
    """Standardised numbers, one-hot text and encoded targets, with statistics of the training part only.

    numeric column: (x − mean) / scale, scale the standard deviation (ddof = 0), 1 for a constant column
    text column: one 0/1 column per category of the training part, sorted; an unseen category gives zeros only
    class labels: index into `classes`, which are sorted and keep their type (str, int, float or bool)
    regression target: (y − mean) / scale, as for a numeric column

    Attributes: kinds – what the columns of a file were taken for, by `kinds_to_json`; stored with the rest, and passed to
        `load_features` for predictions; None without a file.
    Differs from: scikit-learn's OneHotEncoder, which by default refuses unseen categories.
    """

    def __init__(self) -> None:
        self.kinds: Any = None
        self._fitted: tuple[FeatureCoding, AnyCoding] | None = None

    def fit(
        self,
        features: Features | ArrayLike | RowSource,
        target: TargetLike | RowSource,
        task: Task | None = None,
        known_target: TargetLike | None = None,
    ) -> Preprocessor:
        """Compute means, scales, categories and classes; the state is unchanged if this raises.

        Args: features – the training part: Table, Matrix, mapping of columns, [N, d] numbers, or a RowSource, which is read
            once, block by block; target – [N], or a RowSource, which is read into memory, or several as for `as_target`; task –
            None: determined by `find_task`; known_target – the target of all rows, for classes that the training part lacks.
        Returns: itself.
        Raises: EmptyDataError for no rows or columns; ShapeError for unequal lengths; NonFiniteDataError for NaN or infinity;
            LabelError for an empty label or a single class; DtypeError for regression on text; DataFileError for a text column
            with more categories than half the rows (100 are always allowed, 10,000 at most).
        """
        column = as_target(target.whole() if isinstance(target, RowSource) else target)
        table = features if isinstance(features, RowSource) else as_features(features)
        if len(table) != rows_of(column):
            raise ShapeError(
                f"expected one target per row, got {len(table)} rows and {rows_of(column)} targets; align them"
            )
        coding = FeatureCoding.fit_source(table) if isinstance(table, RowSource) else FeatureCoding.fit(table)
        self._fitted = (coding, fit_target(column, task, known_target))
        return self

    @property
    def task(self) -> Task:
        """The fitted task: "classification" or "regression"."""
        return self._codings()[1].task

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the columns that `transform` expects; pass them to `load_features(source, columns=…)`."""
        return self._codings()[0].names

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Names of the text input columns; pass them to `load_features(source, text=…)`."""
        return tuple(self._codings()[0].categories)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns that `transform` returns: the column name for numbers, `column=category` for text."""
        return self._codings()[0].output_names

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

    @overload
    def transform(self, features: RowSource) -> RowSource: ...
    @overload
    def transform(self, features: Features | ArrayLike) -> FloatArray: ...
    def transform(self, features: Features | ArrayLike | RowSource) -> FloatArray | RowSource:
        """Encode features for the network.

        Args: features – Table, Matrix or mapping with the columns `input_names` (others are ignored), or [N, d] numbers in the
            order of `input_names`, or a RowSource of those.
        Returns: [N, width] float64, C-contiguous, on the host; for a RowSource, a source that encodes rows when they are read.
        Raises: UnknownColumn, ShapeError, DtypeError if the columns are not those of `fit`; NonFiniteDataError; EmptyDataError
            for no rows.
        """
        coding = self._codings()[0]
        return coding.transform_source(features) if isinstance(features, RowSource) else coding.transform(features)

    def unseen(self, features: Features | ArrayLike) -> dict[str, int]:
        """Count text values that did not occur in the training part, which `transform` encodes as all zeros.

        Args: features – as for `transform`.
        Returns: column -> number of rows; columns without such values are left out.
        """
        return self._codings()[0].unseen(features)

    def transform_target(self, target: TargetLike) -> NDArray[np.int64] | FloatArray:
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
        features, target = self._codings()
        return {"format": _FORMAT, "features": features.to_json(), "target": target.to_json(), "kinds": self.kinds}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Preprocessor:
        """Restore the result of `to_json`; ModelFileError if it has another format or is incomplete."""
        found = stored.get("format") if isinstance(stored, Mapping) else type(stored).__name__
        if found != _FORMAT:
            raise ModelFileError(
                f"preprocessor: expected format {_FORMAT!r}, found {found!r}; save the model again with this version"
            )
        made = cls()
        try:
            made.kinds = stored.get("kinds")
            if made.kinds is not None:
                kinds_from_json(made.kinds)
            made._fitted = (FeatureCoding.from_json(stored["features"]), target_from_json(stored["target"]))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ModelFileError(
                f"preprocessor: expected features and target as to_json writes them, found a part missing or of "
                f"another type ({error!r}); save the model again"
            ) from error
        return made

    def _codings(self) -> tuple[FeatureCoding, AnyCoding]:
        if self._fitted is None:
            raise StateError("expected a fitted preprocessor, this one is not; call fit(features, target) first")
        return self._fitted
