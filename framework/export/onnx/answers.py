"""The outputs of an ONNX graph: labels as they were written with their probabilities, or numbers in their unit.

They are those of `predict` and `predict_proba` of table models, estimators and ensembles; the layers before are in layers.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ....errors import ExportError
from ...engine.model import Sequential
from ...layers.softmax import Softmax
from ..coded_network import Answer, Classes, Flags, Numbers, TwoClasses
from .columns import ROWS
from .graph import Graph


def output_names(answers: Mapping[str, Answer]) -> list[str]:
    """Names of the outputs: "prediction" and, for labels, "probabilities", each with the end of its name."""
    return [
        kind + end
        for end, answer in answers.items()
        for kind in (["prediction"] if isinstance(answer, Numbers) else ["prediction", "probabilities"])
    ]


def values_of(graph: Graph, network: Sequential, answers: Mapping[str, Answer], y: str) -> str:
    """What answers are made of, from the outputs y [rows, outputs] of a network: probabilities of labels, or numbers."""
    if not all(isinstance(answer, Numbers) for answer in answers.values()):
        return _probabilities(graph, network, y)
    return graph.add("Exp", y) if network.head == "log_rates" else y


def votes_of(graph: Graph, network: Sequential, probabilities: str) -> str:
    """[rows, outputs]: 1 for the label that a network predicts, and 0 for others."""
    if network.head == "binary":
        vote = graph.add("Greater", probabilities, graph.constant(0.5, "float32"))
    else:
        label = graph.add("ArgMax", probabilities, axis=1, keepdims=1)
        vote = graph.add("Equal", label, graph.constant(np.arange(network.outputs or 0), "int64"))
    return graph.cast(vote, "float32")


def add_answers(graph: Graph, answers: Mapping[str, Answer], values: str) -> None:
    """Adds the outputs, of the values that `values_of` gives for one network, or their mean over several."""
    for end, answer in answers.items():
        name, beside = f"prediction{end}", f"probabilities{end}"
        if isinstance(answer, Numbers):
            _add_numbers(graph, name, values, answer)
        elif isinstance(answer, Flags):
            above = graph.add("Greater", values, graph.constant(0.5, "float32"))
            graph.output(name, graph.cast(above, answer.dtype), answer.dtype, ROWS, "labels")
            graph.output(beside, values, "float32", ROWS, "labels")
        elif isinstance(answer, TwoClasses):
            _add_two_classes(graph, name, beside, values, answer)
        else:
            index = graph.add("ArgMax", values, axis=1, keepdims=0)
            _add_labels(graph, name, beside, index, values, answer.labels)


def classes_of(answer: Answer) -> list[object]:
    """The labels in the order of their probabilities; empty where there are none."""
    labels: list[object] = answer.labels.tolist() if isinstance(answer, Classes | TwoClasses) else []
    return labels


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


def _add_two_classes(graph: Graph, name: str, beside: str, scores: str, answer: TwoClasses) -> None:
    bounds = (answer.output, answer.output + 1, 1)
    second = graph.add("Slice", scores, *(graph.constant([value], "int64") for value in bounds))
    both = graph.add("Concat", graph.add("Sub", graph.constant(1.0, "float32"), second), second, axis=1)
    above = graph.add("Greater", _column(graph, scores, answer.output), graph.constant(0.5, "float32"))
    _add_labels(graph, name, beside, graph.cast(above, "int64"), both, answer.labels)


def _add_labels(graph: Graph, name: str, beside: str, index: str, probabilities: str, labels: NDArray[np.generic]) -> None:
    dtype = np.dtype(labels.dtype).name
    graph.output(name, graph.add("Gather", graph.constant(labels), index, axis=0), dtype, ROWS)
    graph.output(beside, probabilities, "float32", ROWS, len(labels))


def _add_numbers(graph: Graph, name: str, y: str, answer: Numbers) -> None:
    wide = graph.cast(y if answer.output is None else _column(graph, y, answer.output), "float64")
    scaled = graph.add("Mul", wide, graph.constant(answer.scale, "float64"))
    value = graph.add("Add", scaled, graph.constant(answer.mean, "float64"))
    shape = (ROWS,) if answer.output is not None else (ROWS, len(answer.mean))
    graph.output(name, value if answer.dtype == "float64" else graph.cast(value, answer.dtype), answer.dtype, *shape)
