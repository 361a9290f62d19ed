"""`export_onnx`: a model as an ONNX file, for runtimes without this package.

What the nodes are is decided in layers.py, columns.py and answers.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from ....errors import ExportError
from ...engine.model import Sequential, require_model
from ...suggestions import suggests_arguments
from ..coded_network import CodedNetwork, Ensemble, Exportable, Numbers
from ..output_paths import PathLike, replacing, require_writable
from .answers import add_answers, classes_of, output_names, values_of, votes_of
from .columns import MATRIX, ROWS, encoded, input_names
from .graph import TEXT_OPSET, Graph
from .layers import LayerGraph


@suggests_arguments
def export_onnx(model: Sequential | Exportable, path: PathLike, *, opset: int = TEXT_OPSET) -> None:
    """Writes a model in evaluation mode as an ONNX file, for example for onnxruntime.

    A network has the input "x" [rows, d] float32 and the output "outputs" [rows, e] float32, which `model(x)` returns. Its
    parameters are float32 in the file.

    A TableModel has one input [rows] for each column, with its name, and encodes it in the graph: numbers and booleans (0 and
    1) are float64, missing is NaN; text is string, missing is ""; dates are int64 microseconds since 1970, missing is the
    smallest int64, as in `dates.astype("datetime64[us]").astype("int64")`. Its outputs are "prediction" [rows], labels as they
    were written (string, int64, bool or double) or numbers in their unit (double), and for labels "probabilities" [rows,
    classes] in the order of the classes, which the metadata of the file list; for several targets "prediction_NAME" and
    "probabilities_NAME" of each.

    A fitted MLPClassifier or MLPRegressor has the same inputs, if X was a data frame; "x" [rows, d] float32, if it was an array
    of numbers; and x0, x1, … for other arrays. Its outputs are "prediction", which are those of `predict`, and "probabilities":
    those of `predict_proba`, computed in float32. With several labels a row, or several targets, they are [rows, k].

    A trained fs.Bagging has the input "x" [rows, d] float32, and the outputs "prediction" [rows] int64 and "probabilities"
    [rows, classes], the mean over its members; for several binary targets [rows, k]; for numbers "prediction" alone, float32.

    Args: model – a network; `fs.TableModel.load(…)` of a file that fusedstep train wrote; a fitted estimator, or Bagging;
        path – of the file, which is replaced only when the new one is complete; opset – version of the operators, 17 or newer,
        for text in files 20 or newer.
    Raises: ExportError for a layer, column or encoder that ONNX cannot represent, with its name, and for a Bagging of signed
        scores; StateError for a network without parameters, and for a Bagging before `fit`; NotFittedError of scikit-learn for
        an estimator before `fit`; HyperparameterError for another opset; OutputPathError; MissingDependency without the
        package onnx.
    Differs from: predictions here, which refuse infinite numbers and unknown codes; a graph cannot, and gives NaN for them.
    """
    _require_no_composition(model)
    if isinstance(model, Exportable):
        make = partial(_graph, model.coded_network())
    else:
        require_model(model)
        make = partial(_graph_of_network, model)
    require_writable(path)
    made = make(opset)
    with replacing(path, "an ONNX file") as part:
        part.write_bytes(made.SerializeToString())


def _require_no_composition(model: Any) -> None:
    """Raises ExportError for estimators of scikit-learn, such as a Pipeline."""
    if hasattr(model, "get_params") and hasattr(model, "predict") and not isinstance(model, Exportable | type):
        raise ExportError(
            f"expected a network, TableModel, Bagging, MLPClassifier or MLPRegressor; got {type(model).__name__}; pass the "
            "estimator inside, such as search.best_estimator_, or pipeline[-1], whose input is what the steps before it return"
        )


def _graph_of_network(network: Sequential, opset: int) -> Any:
    """The ModelProto of a network alone."""
    graph = Graph(opset, (MATRIX, "outputs"))
    x = graph.input(MATRIX, "float32", ROWS, "columns" if network.inputs is None else network.inputs)
    y = _outputs(graph, network, x)
    graph.output("outputs", y, "float32", ROWS, "outputs" if network.outputs is None else network.outputs)
    return graph.finish("A network of fusedstep: x [rows, columns] to outputs.", _names(network.feature_names))


def _graph(coded: CodedNetwork, opset: int) -> Any:
    """The ModelProto of a network with its codings."""
    names, outputs = input_names(coded.inputs), output_names(coded.answers)
    taken = sorted(set(names) & set(outputs))
    if taken:
        raise ExportError(
            f"expected columns with other names than the outputs of the ONNX model; got {taken[0]!r}; rename the column and "
            "train again"
        )
    graph = Graph(opset, [*names, *outputs])
    add_answers(graph, coded.answers, _values(graph, coded, encoded(graph, coded.inputs)))
    classes = {end[1:] if end else "target": classes_of(answer) for end, answer in coded.answers.items()}
    task = "regression" if all(isinstance(answer, Numbers) for answer in coded.answers.values()) else "classification"
    found = {"task": task, "classes": json.dumps(classes)}
    if isinstance(coded.network, Ensemble):
        found |= _names(coded.network.feature_names)
    about = "A model of fusedstep with its encoding; missing is NaN, empty text, or the smallest int64 in dates."
    return graph.finish(about, found)


def _values(graph: Graph, coded: CodedNetwork, x: str) -> str:
    """What the answers are made of, see `values_of`; of an ensemble the mean over its members, or of their votes."""
    network = coded.network
    if isinstance(network, Sequential):
        return values_of(graph, network, coded.answers, _outputs(graph, network, x))
    found = []
    for member, columns in network.members:
        own = x if columns is None else graph.add("Gather", x, graph.constant(columns, "int64"), axis=1)
        values = values_of(graph, member, coded.answers, _outputs(graph, member, own))
        found.append(votes_of(graph, member, values) if network.votes else values)
    return graph.add("Mean", *found)


def _outputs(graph: Graph, network: Sequential, x: str) -> str:
    """The outputs of a network, whose parameters are put into the graph."""
    host = network.host_copies()[0]
    return LayerGraph(graph, {parameter: host[name] for name, parameter in network.declared()}).run(network, x)


def _names(feature_names: Sequence[str] | None) -> dict[str, str]:
    return {} if feature_names is None else {"feature_names": json.dumps(feature_names)}
