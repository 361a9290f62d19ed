"""`fusedstep predict MODEL DATA`: writes the predictions of a saved model as CSV."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import BackendName, Decimal, Delimiter, Encoding, Header, MaxUnpacked


def predict(
    model: Annotated[Path, typer.Argument(help="Model file that fusedstep train wrote.", show_default=False)],
    data: Annotated[
        str, typer.Argument(help="As SOURCE of fusedstep train; a target column is not required.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT.csv", help="File to write. Default: standard output.")
    ] = None,
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="For classes: write only the most probable one, without probabilities.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Read DATA block by block from its file (Parquet, CSV, NPY, NPZ).")
    ] = False,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    decimal: Decimal = None,
    header: Header = None,
    max_unpacked: MaxUnpacked = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="training, validation or test, of a folder or an archive that has several.", show_default=False
        ),
    ] = None,
    raw_labels: Annotated[
        bool,
        typer.Option("--raw-labels", help="Write labels that begin with =, +, - or @ without an apostrophe before them."),
    ] = False,
    backend: BackendName = None,
) -> None:
    """Predict with a saved model, on any backend, not only the one used for training.

    Writes one line per row of DATA, numbered from 1: for classification the most probable class and the probability of each
    class, for regression the number in the units of the training data. For several targets there is a column for each, and for
    labels the probability of the second value (in alphabetical or numerical order) of each. A text value that did not occur in
    the training data is treated as none of the known categories; a note on stderr reports how often this happens.

    Predictions are written as they are computed, so memory does not grow with their number. DATA is in memory, or with --stream
    only a block of its rows: a row group of a Parquet file, or about 2 MB of a CSV file.

    A class label that is no number and begins with =, +, - or @ is written with an apostrophe before it, because a spreadsheet
    would evaluate it as a formula; a note on stderr says so. --raw-labels writes it as it is.
    """
    import sys

    from ...errors import OutputPathError
    from ..export.output_paths import replacing, require_writable
    from ..export.table_model import TableModel
    from ..sources.row_source import RowSource
    from ..tables.column_kind import kinds_from_json
    from ..tables.streaming import open_features
    from ..tables.text_layout import TextOptions
    from .backends_command import why
    from .column_report import summary
    from .predictions import Inputs, not_formulas, prediction_rows, write

    if out is not None:
        require_writable(out)
        for read in (data, model):
            if out.exists() and os.path.exists(read) and out.samefile(read):
                raise OutputPathError(
                    f"expected an output file other than the data and the model; got {str(out)!r}; give another name"
                )
    table = TableModel.load(model, backend)
    preprocessor = table.preprocessor
    features: Iterable[Any] = [table.read(data, max_unpacked, part, delimiter, encoding, decimal, header)] if not stream else []
    if stream:
        opened = open_features(
            data, preprocessor.input_names, preprocessor.text_columns, max_unpacked, preprocessor.kinds, part,
            TextOptions(delimiter, encoding, decimal, header),
        )  # fmt: skip
        features = [opened] if isinstance(opened, RowSource) else opened
    inputs = Inputs(preprocessor, features)
    several = preprocessor.targets.values() if preprocessor.several else ()
    labels = [*preprocessor.classes, *(label for coding in several for label in coding.classes.tolist())]
    written = {} if raw_labels else not_formulas(labels)
    blocks = inputs.blocks()
    first = next(blocks)  # what is wrong with it is known before anything is written
    rows = prediction_rows(table, chain([first], blocks), labels_only, written)
    if out is None:
        write(sys.stdout, rows)
    else:
        with replacing(out, "the predictions") as new, new.open("w", encoding="utf-8", newline="") as file:
            write(file, rows)
    for note in inputs.notes():
        print(f"note: {note}", file=sys.stderr)
    if written:
        shown = ", ".join(map(repr, written))
        print(f"note: labels that a spreadsheet would evaluate have an apostrophe before them: {shown}; "
              "--raw-labels leaves it out", file=sys.stderr)  # fmt: skip
    if out is None:
        return
    if preprocessor.kinds is not None:
        used = [one for one in kinds_from_json(preprocessor.kinds)[0] if one.kind != "dropped"]
        print(f"Columns as in the training data: {summary(used)}", file=sys.stderr)
    chosen = table.model.backend.name
    print(f"{inputs.rows:,} predictions in {out}, computed on {chosen} ({why(backend, chosen)})", file=sys.stderr)
