"""`fusedstep predict MODEL DATA`: writes the predictions of a saved model as CSV."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
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
        bool, typer.Option("--stream", help="Read DATA block by block from its file (NPY, NPZ, Parquet).")
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

    A class label that is no number and begins with =, +, - or @ is written with an apostrophe before it, because a spreadsheet
    would evaluate it as a formula; a note on stderr says so. --raw-labels writes it as it is.
    """
    import sys

    from ...errors import OutputPathError
    from ..export.output_paths import replacing, require_writable
    from ..export.table_model import TableModel
    from ..tables.column_kind import kinds_from_json
    from ..tables.reading import open_features
    from ..tables.table import Table
    from .backends_command import why
    from .column_report import missing_values, summary

    if out is not None:
        require_writable(out)
        for read in (data, model):
            if out.exists() and os.path.exists(read) and out.samefile(read):
                raise OutputPathError(
                    f"expected an output file other than the data and the model; got {str(out)!r}; give another name"
                )
    table = TableModel.load(model, backend)
    preprocessor = table.preprocessor
    inputs: Any
    if stream:
        inputs, unseen = preprocessor.transform(open_features(data, preprocessor.input_names, max_unpacked, part)), {}
    else:
        features = table.read(data, max_unpacked, part, delimiter, encoding, decimal, header)
        for note in features.layout.notes if isinstance(features, Table) and features.layout else ():
            print(f"note: {note}", file=sys.stderr)
        inputs, unseen = preprocessor.transform_source(features), preprocessor.unseen(features)
    several = preprocessor.targets.values() if preprocessor.several else ()
    labels = [*preprocessor.classes, *(label for coding in several for label in coding.classes.tolist())]
    written = {} if raw_labels else _not_formulas(labels)
    rows = _rows(table, inputs, labels_only, written)
    if unseen:
        counts = ", ".join(f"{name!r} in {count:,} of {len(inputs):,} rows" for name, count in unseen.items())
        print(f"note: text values that did not occur in the training data are treated as unknown: {counts}", file=sys.stderr)
    for note in [] if stream else missing_values(features):
        print(f"note: {note}", file=sys.stderr)
    if written:
        shown = ", ".join(map(repr, written))
        print(f"note: labels that a spreadsheet would evaluate have an apostrophe before them: {shown}; "
              "--raw-labels leaves it out", file=sys.stderr)  # fmt: skip
    if out is None:
        _write(sys.stdout, rows)
        return
    with replacing(out, "the predictions") as new, new.open("w", encoding="utf-8", newline="") as file:
        _write(file, rows)
    if preprocessor.kinds is not None:
        used = [one for one in kinds_from_json(preprocessor.kinds)[0] if one.kind != "dropped"]
        print(f"Columns as in the training data: {summary(used)}", file=sys.stderr)
    chosen = table.model.backend.name
    print(f"{len(inputs):,} predictions in {out}, computed on {chosen} ({why(backend, chosen)})", file=sys.stderr)


_ENTRIES = 1 << 20
"""Numbers that are encoded at a time."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that spreadsheets evaluate, also in full width."""


def _not_formulas(labels: Sequence[Any]) -> dict[Any, str]:
    """Label -> how it is written, for those that a spreadsheet would take for a formula."""
    texts = (label for label in labels if isinstance(label, str))
    return {text: f"'{text}" for text in texts if text.startswith(_FORMULA) and not _number(text)}


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _rows(table: Any, inputs: Any, labels_only: bool, written: dict[Any, str]) -> Iterator[Sequence[Any]]:
    """The header, then one line per row; `inputs` – a RowSource; `written` – labels that are written otherwise."""
    preprocessor = table.preprocessor
    fractions = preprocessor.task == "classification" and not labels_only
    if preprocessor.several:
        second = ((name, coding.classes[1]) for name, coding in preprocessor.targets.items() if fractions)
        names = (f"prediction_{name}" for name in preprocessor.targets)
        yield "row", *names, *(f"probability_{name}={label}" for name, label in second)
    else:
        yield "row", "prediction", *(f"probability_{label}" for label in preprocessor.classes if fractions)
    for start, block in _inputs(inputs):
        yield from _block(table, block, start + 1, fractions, written)


def _inputs(source: Any) -> Iterator[tuple[int, Any]]:
    """First row and values of blocks of rows, of whole passes of the network, so that all blocks are computed alike."""
    import numpy as np

    from ..engine.model import PREDICTION_ROWS

    step = PREDICTION_ROWS * max(1, _ENTRIES // (PREDICTION_ROWS * source.shape[1]))
    for start in range(0, len(source), step):
        block = np.empty((min(step, len(source) - start), *source.row_shape), source.dtype)
        source.read(slice(start, start + len(block)), block)
        yield start, block


def _block(table: Any, inputs: Any, first: int, fractions: bool, written: dict[Any, str]) -> Iterator[Sequence[Any]]:
    """One line for each of some rows; `first` – the number of the first one; `fractions` – whether with probabilities."""
    scores = table.scores(inputs)
    decoded = table.decoded(scores)
    columns = decoded.values() if table.preprocessor.several else [decoded]
    answers = zip(*([written.get(one, one) for one in column.tolist()] for column in columns), strict=True)
    shown = scores.tolist() if fractions else [[]] * len(scores)
    for row, (predicted, given) in enumerate(zip(answers, shown, strict=True), first):
        yield row, *predicted, *(f"{fraction:.6g}" for fraction in given)


def _write(stream: Any, rows: Iterator[Sequence[Any]]) -> None:
    import csv

    csv.writer(stream, lineterminator="\n").writerows(rows)
