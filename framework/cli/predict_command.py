"""`fusedstep predict MODEL DATA`: writes the predictions of a saved model as CSV."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import BackendName, MaxUnpacked


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
    max_unpacked: MaxUnpacked = None,
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

    from ...errors import ModelFileError, OutputPathError
    from ..export.output_paths import replacing, require_writable
    from ..export.persistence import load_with_metadata
    from ..tables.column_kind import kinds_from_json
    from ..tables.preprocessing import Preprocessor
    from ..tables.reading import load_features, open_features
    from .backends_command import why
    from .column_report import missing_values, summary

    if out is not None:
        require_writable(out)
        for read in (data, model):
            if out.exists() and os.path.exists(read) and out.samefile(read):
                raise OutputPathError(
                    f"expected an output file other than the data and the model; got {str(out)!r}; give another name"
                )
    network, metadata = load_with_metadata(model, backend)
    if metadata.preprocessing is None:
        raise ModelFileError(
            f"{model}: expected a model with its preprocessing, as fusedstep train saves it; found none; "
            "use fs.load and model.predict in Python"
        )
    preprocessor = Preprocessor.from_json(metadata.preprocessing)
    _require_fit(model, network, preprocessor)
    inputs: Any
    if stream:
        inputs, unseen = preprocessor.transform(open_features(data, preprocessor.input_names, max_unpacked)), {}
    else:
        features = load_features(
            data, preprocessor.input_names, preprocessor.text_columns, max_unpacked, preprocessor.kinds
        )
        inputs, unseen = preprocessor.transform_source(features), preprocessor.unseen(features)
    several = preprocessor.targets.values() if preprocessor.several else ()
    labels = [*preprocessor.classes, *(label for coding in several for label in coding.classes.tolist())]
    written = {} if raw_labels else _not_formulas(labels)
    rows = _rows(network, preprocessor, inputs, labels_only, written)
    if unseen:
        counts = ", ".join(f"{name!r} in {count:,} of {len(inputs):,} rows" for name, count in unseen.items())
        hardly = ", or in columns of many values only once," if preprocessor.categories else ""
        print(f"note: text values that did not occur in the training data{hardly} are treated as unknown: {counts}",
              file=sys.stderr)  # fmt: skip
    for note in [] if stream else missing_values(features):
        print(f"note: {note}", file=sys.stderr)
    if written:
        shown = ", ".join(map(repr, written))
        print(f"note: labels that a spreadsheet would evaluate have an apostrophe before them: {shown}; "
              "--raw-labels leaves it out", file=sys.stderr)  # fmt: skip
    if out is None:
        _write(sys.stdout, rows)
        return
    with replacing(out, "the predictions") as part, part.open("w", encoding="utf-8", newline="") as file:
        _write(file, rows)
    if preprocessor.kinds is not None:
        used = [one for one in kinds_from_json(preprocessor.kinds)[0] if one.kind != "dropped"]
        print(f"Columns as in the training data: {summary(used)}", file=sys.stderr)
    chosen = network.backend.name
    print(f"{len(inputs):,} predictions in {out}, computed on {chosen} ({why(backend, chosen)})", file=sys.stderr)


def _require_fit(path: Path, network: Any, preprocessor: Any) -> None:
    """Checks that the network and the preprocessing of a file match."""
    from ...errors import ModelFileError

    if (network.inputs, network.outputs) != (preprocessor.width, preprocessor.outputs):
        raise ModelFileError(
            f"{path}: expected a network from {preprocessor.width} columns to {preprocessor.outputs} outputs, as its "
            f"preprocessing says; found one from {network.inputs} to {network.outputs}; train and save it again"
        )


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


def _rows(
    network: Any, preprocessor: Any, inputs: Any, labels_only: bool, written: dict[Any, str]
) -> Iterator[Sequence[Any]]:
    """The header, then one line per row; `inputs` – a RowSource; `written` – labels that are written otherwise."""
    fractions = preprocessor.task == "classification" and not labels_only
    if preprocessor.several:
        second = ((name, coding.classes[1]) for name, coding in preprocessor.targets.items() if fractions)
        names = (f"prediction_{name}" for name in preprocessor.targets)
        yield "row", *names, *(f"probability_{name}={label}" for name, label in second)
    else:
        yield "row", "prediction", *(f"probability_{label}" for label in preprocessor.classes if fractions)
    for start, block in _inputs(inputs):
        yield from _block(network, preprocessor, block, start + 1, fractions, written)


def _inputs(source: Any) -> Iterator[tuple[int, Any]]:
    """First row and values of blocks of rows, of whole passes of the network, so that all blocks are computed alike."""
    import numpy as np

    from ..engine.model import PREDICTION_ROWS

    step = PREDICTION_ROWS * max(1, _ENTRIES // (PREDICTION_ROWS * source.shape[1]))
    for start in range(0, len(source), step):
        block = np.empty((min(step, len(source) - start), *source.row_shape), source.dtype)
        source.read(slice(start, start + len(block)), block)
        yield start, block


def _block(
    network: Any, preprocessor: Any, inputs: Any, first: int, fractions: bool, written: dict[Any, str]
) -> Iterator[Sequence[Any]]:
    """One line for each of some rows; `first` – the number of the first one; `fractions` – whether with probabilities."""
    backend = network.backend
    if preprocessor.several:
        yield from _block_of_several(network, preprocessor, inputs, first, fractions, written)
        return
    if preprocessor.task == "regression":
        answers = preprocessor.inverse_target(backend.to_numpy(network(inputs)))
        yield from enumerate(answers.tolist(), first)
        return
    probabilities = backend.to_numpy(network.predict_proba(inputs))
    answers = [written.get(answer, answer) for answer in preprocessor.inverse_target(probabilities).tolist()]
    if not fractions:
        yield from enumerate(answers, first)
        return
    for row, (answer, given) in enumerate(zip(answers, probabilities.tolist(), strict=True), first):
        yield row, answer, *(f"{fraction:.6g}" for fraction in given)


def _block_of_several(
    network: Any, preprocessor: Any, inputs: Any, first: int, fractions: bool, written: dict[Any, str]
) -> Iterator[Sequence[Any]]:
    """As `_block` for several targets: all predictions, then the probabilities."""
    labels = preprocessor.task == "classification"
    outputs = network.backend.to_numpy(network.predict_proba(inputs) if labels else network(inputs))
    if labels and outputs.shape[1] != preprocessor.outputs:
        outputs = outputs[:, 1:]  # of a single target, which has a column for each of its two values
    columns = [[written.get(one, one) for one in column.tolist()] for column in preprocessor.inverse_target(outputs).values()]
    shown = outputs.tolist() if fractions else [[]] * len(outputs)
    for row, (answers, given) in enumerate(zip(zip(*columns, strict=True), shown, strict=True), first):
        yield row, *answers, *(f"{fraction:.6g}" for fraction in given)


def _write(stream: Any, rows: Iterator[Sequence[Any]]) -> None:
    import csv

    csv.writer(stream, lineterminator="\n").writerows(rows)
