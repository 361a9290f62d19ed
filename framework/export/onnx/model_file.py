"""`export_onnx`: a model as an ONNX file, for runtimes without this package.

What the nodes are is decided in layers.py, columns.py and answers.py.
"""

from __future__ import annotations

import json
from typing import Any

from ....errors import ExportError
from ...engine.model import Sequential, require_model
from ..coded_network import CodedNetwork, Exportable, Numbers
from ..output_paths import PathLike, replacing, require_writable
from .answers import add_answers, classes_of, output_names
from .columns import MATRIX, ROWS, encoded, input_names
from .graph import TEXT_OPSET, Graph
from .layers import LayerGraph


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

    Args: model – a network; `fs.TableModel.load(…)` of a file that fusedstep train wrote; or a fitted estimator; path – of the
        file, which is replaced only when the new one is complete; opset – version of the operators, 17 or newer, for text in
        files 20 or newer.
    Raises: ExportError for a layer, column or encoder that ONNX cannot represent, with its name; StateError for a network
        without parameters; NotFittedError of scikit-learn for an estimator before `fit`; HyperparameterError for another
        opset; OutputPathError; MissingDependency without the package onnx.
    Differs from: predictions here, which refuse infinite numbers and unknown codes; a graph cannot, and gives NaN for them.
    """
    _require_no_composition(model)
    coded = model.coded_network() if isinstance(model, Exportable) else model
    require_model(coded.network if isinstance(coded, CodedNetwork) else coded)
    require_writable(path)
    made = _graph(coded, opset) if isinstance(coded, CodedNetwork) else _graph_of_network(coded, opset)
    with replacing(path, "an ONNX file") as part:
        part.write_bytes(made.SerializeToString())


def _require_no_composition(model: Any) -> None:
    """Raises ExportError for estimators of scikit-learn, such as a Pipeline."""
    if hasattr(model, "get_params") and hasattr(model, "predict") and not isinstance(model, Exportable | type):
        raise ExportError(
            f"expected a network, TableModel, MLPClassifier or MLPRegressor; got {type(model).__name__}; pass the estimator "
            "inside, such as search.best_estimator_, or pipeline[-1], whose input is what the steps before it return"
        )


def _graph_of_network(network: Sequential, opset: int) -> Any:
    """The ModelProto of a network alone."""
    layers = _layers(Graph(opset, (MATRIX, "outputs")), network)
    graph = layers.graph
    x = graph.input(MATRIX, "float32", ROWS, "columns" if network.inputs is None else network.inputs)
    y = layers.run(network, x)
    graph.output("outputs", y, "float32", ROWS, "outputs" if network.outputs is None else network.outputs)
    names = {} if network.feature_names is None else {"feature_names": json.dumps(network.feature_names)}
    return graph.finish("A network of fusedstep: x [rows, columns] to outputs.", names)


def _graph(coded: CodedNetwork, opset: int) -> Any:
    """The ModelProto of a network with its codings."""
    names, outputs = input_names(coded.inputs), output_names(coded.answers)
    taken = sorted(set(names) & set(outputs))
    if taken:
        raise ExportError(
            f"expected columns with other names than the outputs of the ONNX model; got {taken[0]!r}; rename the column and "
            "train again"
        )
    layers = _layers(Graph(opset, [*names, *outputs]), coded.network)
    graph = layers.graph
    add_answers(graph, coded.network, coded.answers, layers.run(coded.network, encoded(graph, coded.inputs)))
    classes = {end[1:] if end else "target": classes_of(answer) for end, answer in coded.answers.items()}
    task = "regression" if all(isinstance(answer, Numbers) for answer in coded.answers.values()) else "classification"
    return graph.finish(
        "A model of fusedstep with its encoding; missing is NaN, empty text, or the smallest int64 in dates.",
        {"task": task, "classes": json.dumps(classes)},
    )


def _layers(graph: Graph, network: Sequential) -> LayerGraph:
    """The graph with the parameters of a network."""
    host = network.host_copies()[0]
    return LayerGraph(graph, {parameter: host[name] for name, parameter in network.declared()})
