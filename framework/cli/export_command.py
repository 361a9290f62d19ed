"""`fusedstep export MODEL OUT`: writes a saved model as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[
        Path, typer.Argument(help="Model file that fusedstep train or fs.save wrote.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="File to write.", show_default=False)],
    opset: Annotated[
        int, typer.Option(metavar="VERSION", help="Of the ONNX operators: 17 or newer, for text columns 20 or newer.")
    ] = 20,
) -> None:
    """Write a saved model as an ONNX file, for onnxruntime and other runtimes.

    For a model of fusedstep train the file has one input for each column, encodes it as in training, and gives predictions as
    they were written in the training data, with the probabilities of classes. Numbers and booleans (0 and 1) are float64,
    missing is NaN; text is string, missing is the empty text; dates are int64 microseconds since 1970, missing is the smallest
    int64. For a model of fs.save the file has the input x, encoded numbers, and the outputs of the network.
    """
    from ...errors import OutputPathError
    from ..export.onnx.answers import output_names
    from ..export.onnx.model_file import export_onnx
    from ..export.output_paths import require_writable
    from ..export.persistence import load_with_metadata
    from ..export.table_model import TableModel
    from ..sources.names import listed

    require_writable(out)
    if out.exists() and model.exists() and out.samefile(model):
        raise OutputPathError(f"expected an output file other than the model; got {str(out)!r}; give another name")
    network, metadata = load_with_metadata(model, "numpy")
    if metadata.preprocessing is None:
        export_onnx(network, out, opset=opset)
        print(f"{out}: x [rows, {network.inputs}] -> outputs [rows, {network.outputs}]")
    else:
        table = TableModel.load(model, "numpy")
        export_onnx(table, out, opset=opset)
        print(f"{out}: {listed(table.preprocessor.input_names)} -> {', '.join(output_names(table.coded_network().answers))}")
