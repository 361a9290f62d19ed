"""The outputs of an ONNX graph of a table: labels as they were written with their probabilities, or numbers in their unit.

They are those of `TableModel.predict` and `predict_proba`; the layers before are in layers.py.
"""

from __future__ import annotations

import numpy as np

from ....errors import ExportError
from ...engine.model import Sequential
from ...layers.softmax import Softmax
from ...tables.preprocessing import Preprocessor
from ...tables.target_coding import TargetCoding
from .columns import ROWS
from .graph import Graph


def output_names(preprocessor: Preprocessor) -> list[str]:
    """Names of the outputs: "prediction" and, for labels, "probabilities"; with "_target" behind them for several targets."""
    kinds = ["prediction"] if preprocessor.task == "regression" else ["prediction", "probabilities"]
    if not preprocessor.several:
        return kinds
    return [f"{kind}_{name}" for name in preprocessor.targets for kind in kinds]


def add_answers(graph: Graph, model: Sequential, preprocessor: Preprocessor, y: str) -> None:
    """Adds the outputs, of the outputs y [rows, outputs] of the network."""
    names = iter(output_names(preprocessor))
    codings = list(preprocessor.targets.values())
    if preprocessor.task == "regression":
        for number, coding in enumerate(codings):
            _add_number(graph, next(names), _column(graph, y, number), coding)
        return
    scores = _probabilities(graph, model, y)
    if not preprocessor.several:
        index = graph.add("ArgMax", scores, axis=1, keepdims=0)
        _add_labels(graph, next(names), next(names), index, scores, codings[0])
        return
    for number, coding in enumerate(codings):
        second = graph.add("Slice", scores, *(graph.constant([value], "int64") for value in (number, number + 1, 1)))
        both = graph.add("Concat", graph.add("Sub", graph.constant(1.0, "float32"), second), second, axis=1)
        above = graph.add("Greater", _column(graph, scores, number), graph.constant(0.5, "float32"))
        _add_labels(graph, next(names), next(names), graph.cast(above, "int64"), both, coding)


def _column(graph: Graph, matrix: str, number: int) -> str:
    """One column as [rows]."""
    return graph.add("Gather", matrix, graph.constant(number, "int64"), axis=1)


def _probabilities(graph: Graph, model: Sequential, y: str) -> str:
    """As `Sequential.predict_proba`; for binary targets the probability of 1."""
    if model.head == "binary":
        return graph.add("Sigmoid", y)
    if model.head not in (None, "classes"):
        raise ExportError(
            f"expected a network whose outputs are logits of classes; got one with head {model.head!r}; export the network: "
            "fs.export_onnx(table_model.model, path)"
        )
    return y if isinstance(model.layers[-1], Softmax) else graph.add("Softmax", y, axis=1)


def _add_labels(graph: Graph, name: str, beside: str, index: str, probabilities: str, coding: TargetCoding) -> None:
    dtype = np.dtype(coding.classes.dtype).name
    graph.output(name, graph.add("Gather", graph.constant(coding.classes), index, axis=0), dtype, ROWS)
    graph.output(beside, probabilities, "float32", ROWS, len(coding.classes))


def _add_number(graph: Graph, name: str, value: str, coding: TargetCoding) -> None:
    wide = graph.cast(value, "float64")
    scaled = graph.add("Mul", wide, graph.constant(coding.scale, "float64"))
    graph.output(name, graph.add("Add", scaled, graph.constant(coding.mean, "float64")), "float64", ROWS)
