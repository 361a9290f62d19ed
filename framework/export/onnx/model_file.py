"""`export_onnx`: a model as an ONNX file, for runtimes without this package.

What the nodes are is decided in layers.py, columns.py and answers.py.
"""

from __future__ import annotations

import json
from typing import Any

from ....errors import ExportError
from ...engine.model import Sequential, require_model
from ..output_paths import PathLike, replacing, require_writable
from ..table_model import TableModel
from .answers import add_answers, output_names
from .columns import ROWS, encoded
from .graph import TEXT_OPSET, Graph
from .layers import LayerGraph


def export_onnx(model: Sequential | TableModel, path: PathLike, *, opset: int = TEXT_OPSET) -> None:
    """Writes a model in evaluation mode as an ONNX file, for example for onnxruntime.

    A network has the input "x" [rows, d] float32 and the output "outputs" [rows, e] float32, which `model(x)` returns. Its
    parameters are float32 in the file.

    A TableModel has one input [rows] for each column, with its name, and encodes it in the graph: numbers and booleans (0 and
    1) are float64, missing is NaN; text is string, missing is ""; dates are int64 microseconds since 1970, missing is the
    smallest int64, as in `dates.astype("datetime64[us]").astype("int64")`. Its outputs are "prediction" [rows], labels as they
    were written (string, int64, bool or double) or numbers in their unit (double), and for labels "probabilities" [rows,
    classes] in the order of the classes, which the metadata of the file list; for several targets "prediction_NAME" and
    "probabilities_NAME" of each.

    Args: model – a network, or `fs.TableModel.load(…)` of a file that fusedstep train wrote; path – of the file, which is
        replaced only when the new one is complete; opset – version of the operators, 17 or newer, for text columns 20 or newer.
    Raises: ExportError for a layer or column that ONNX cannot represent, with its name; StateError for a network without
        parameters; HyperparameterError for another opset; OutputPathError; MissingDependency without the package onnx.
    Differs from: predictions here, which refuse infinite numbers and unknown codes; a graph cannot, and gives NaN for them.
    """
    network = model.model if isinstance(model, TableModel) else model
    require_model(network)
    require_writable(path)
    made = _graph(model, network, opset)
    with replacing(path, "an ONNX file") as part:
        part.write_bytes(made.SerializeToString())


def _graph(model: Sequential | TableModel, network: Sequential, opset: int) -> Any:
    """The ModelProto."""
    host = network.host_copies()[0]
    values = {parameter: host[name] for name, parameter in network.declared()}
    if not isinstance(model, TableModel):
        graph = Graph(opset, ("x", "outputs"))
        x = graph.input("x", "float32", ROWS, "columns" if network.inputs is None else network.inputs)
        y = LayerGraph(graph, values).run(network, x)
        graph.output("outputs", y, "float32", ROWS, "outputs" if network.outputs is None else network.outputs)
        names = {} if network.feature_names is None else {"feature_names": json.dumps(network.feature_names)}
        return graph.finish("A network of fusedstep: x [rows, columns] to outputs.", names)
    preprocessor = model.preprocessor
    names_of_columns = [name for name, _ in preprocessor.columns]
    taken = sorted(set(names_of_columns) & set(output_names(preprocessor)))
    if taken:
        raise ExportError(
            f"expected columns with other names than the outputs of the ONNX model; got {taken[0]!r}; rename the column and "
            "train again"
        )
    graph = Graph(opset, [*names_of_columns, *output_names(preprocessor)])
    x = encoded(graph, preprocessor)
    add_answers(graph, network, preprocessor, LayerGraph(graph, values).run(network, x))
    classes = {name: coding.classes.tolist() for name, coding in preprocessor.targets.items()}
    return graph.finish(
        "A table model of fusedstep: one input for each column; missing is NaN, empty text, or the smallest int64 in dates.",
        {"task": preprocessor.task, "classes": json.dumps(classes)},
    )
