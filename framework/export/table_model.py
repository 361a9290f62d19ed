"""`TableModel`: a network with the preprocessing of its table and target, as `fusedstep train` saves both in one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ...backends import Backend
from ...errors import ModelFileError, StateError
from ..engine.model import Sequential
from ..sources.row_source import RowSource
from ..suggestions import PREDICTION, suggests_arguments
from ..tables.column_kind import kinds_from_json
from ..tables.frames import named_columns
from ..tables.preprocessing import Preprocessor
from ..tables.table import Features, Table
from .coded_network import Answer, Classes, CodedNetwork, ColumnInputs, Exportable, Numbers, TwoClasses
from .output_paths import PathLike
from .persistence import load_with_metadata


@suggests_arguments
class TableModel(Exportable):
    """Predictions for rows of a table, in the labels and units of the target.

    Args: model – the network; preprocessor – fitted to its training data.
    Attributes: model, preprocessor.

        houses = fs.TableModel.load("houses.safetensors")
        houses.predict(frame)
    Differs from: `fs.load`, which returns the network alone: it takes encoded columns and gives standardised numbers.
    """

    def __init__(self, model: Sequential, preprocessor: Preprocessor) -> None:
        self.model = model
        self.preprocessor = preprocessor

    @classmethod
    def load(cls, path: PathLike, backend: str | Backend | None = None) -> TableModel:
        """Reads a file that `fusedstep train` wrote, on any backend.

        Raises: ModelFileError for a file without preprocessing, or whose network does not fit it; those of `fs.load`.
        """
        network, metadata = load_with_metadata(path, backend)
        if metadata.preprocessing is None:
            raise ModelFileError(
                f"{Path(path)}: expected a model with its preprocessing, as fusedstep train saves it; found none; "
                "use fs.load and model.predict in Python"
            )
        made = cls(network, Preprocessor.from_json(metadata.preprocessing))
        expected = made.preprocessor.width, made.preprocessor.outputs
        if (network.inputs, network.outputs) != expected:
            raise ModelFileError(
                f"{Path(path)}: expected a network from {expected[0]} columns to {expected[1]} outputs, as its preprocessing "
                f"says; found one from {network.inputs} to {network.outputs}; train and save it again"
            )
        return made

    @suggests_arguments(use=PREDICTION)
    def predict(self, features: Any) -> Any:
        """The predictions [N]: labels as they were written, or numbers in the unit of the target.

        Args: features – a data frame, a mapping of columns, [N, d] numbers, or the path of a file, with the columns of the
            training data; others are ignored.
        Returns: an array on the host; for several targets name -> array.
        Raises: as `TableEncoder.transform`, and for a file as `fusedstep predict`.
        """
        return self.decoded(self.scores(self.encoded(features)))

    @suggests_arguments(use=PREDICTION)
    def predict_proba(self, features: Any) -> Any:
        """The probabilities [N, C] of the classes `preprocessor.classes`; for several targets name -> [N, 2].

        Args: features – as for `predict`.
        Raises: StateError for a regression; others as `predict`.
        """
        if self.preprocessor.task == "regression":
            raise StateError("expected a model of classes or labels; got a regression; use predict")
        scores = self.scores(self.encoded(features))
        if not self.preprocessor.several:
            return scores
        names = self.preprocessor.targets
        return {name: np.column_stack([1.0 - second, second]) for name, second in zip(names, scores.T, strict=True)}

    def read(
        self,
        source: str | os.PathLike[str],
        max_unpacked: int | str | None = None,
        part: str | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        decimal: str | None = None,
        header: bool | None = None,
    ) -> Features:
        """The features in a file, as those of the training data were read; arguments as of `load_features`."""
        from ..tables.reading import load_features

        made = self.preprocessor
        return load_features(
            source, made.input_names, made.text_columns, max_unpacked, made.kinds, part, made.first_index,
            delimiter, encoding, decimal, header,
        )  # fmt: skip

    def encoded(self, features: Any) -> Any:
        """The matrix that the network takes, for features as `predict` takes them."""
        made = self.preprocessor
        if isinstance(features, str | os.PathLike):
            features = self.read(features)
        elif made.kinds is not None and not isinstance(features, RowSource):
            from ..tables.kinds import apply_kinds

            chosen = named_columns(features).select(made.input_names)[0]
            known, missing = kinds_from_json(made.kinds)
            kinds = {one.name: one for one in known}
            table = Table({name: chosen.column(place) for place, name in enumerate(chosen.names)}, chosen.source)
            features = apply_kinds(table, [kinds[name] for name in chosen.names], missing)
        return made.transform(features)

    def scores(self, encoded: Any) -> Any:
        """What the predictions are made of, on the host: probabilities [N, C], of several labels those of the second value
        [N, k], or standardised numbers [N, k].
        """
        if self.preprocessor.task == "regression":
            return self.model.backend.to_numpy(self.model(encoded))
        found = self.model.backend.to_numpy(self.model.predict_proba(encoded))
        return found[:, 1:] if self.preprocessor.several and self.preprocessor.outputs == 1 else found

    def decoded(self, scores: Any) -> Any:
        """Predictions from the result of `scores`."""
        return self.preprocessor.inverse_target(scores)

    def coded_network(self) -> CodedNetwork:
        """See Exportable."""
        made = self.preprocessor
        kinds = () if made.kinds is None else kinds_from_json(made.kinds)[0]
        booleans = frozenset(one.name for one in kinds if one.kind == "boolean")
        answers: dict[str, Answer] = {}
        for number, (name, coding) in enumerate(made.targets.items()):
            end = f"_{name}" if made.several else ""
            if made.task == "regression":
                answers[end] = Numbers(coding.mean, coding.scale, number)
            else:
                answers[end] = TwoClasses(coding.classes, number) if made.several else Classes(coding.classes)
        return CodedNetwork(self.model, ColumnInputs(made.columns, booleans, made.kinds is not None), answers)

    def __repr__(self) -> str:
        return f"TableModel({self.preprocessor.width} -> {self.preprocessor.outputs}, {self.preprocessor.task})"
