"""`fusedstep predict MODEL DATA`: the answers of a saved model, as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import BackendName, Debug


def predict(
    model: Annotated[Path, typer.Argument(help="Model file that fusedstep train wrote.", show_default=False)],
    data: Annotated[
        str, typer.Argument(help="Like SOURCE of fusedstep train; a target column need not be there.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT.csv", help="File to write. Default: to the terminal.")
    ] = None,
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="For classes: only the most probable one, without probabilities.")
    ] = False,
    backend: BackendName = None,
    debug: Debug = False,
) -> None:
    """Predict with a saved model, on any backend, whatever it was trained on.

    Writes one line per row of DATA (rows count from 1): for classes the most probable one and the probability of each, for
    numbers the number in the units of the training data. A text that the training data does not have counts as none of those
    it has; a note on stderr says how often that happens.
    """
    del debug
    import sys

    from ...errors import ModelFileError, OutputPathError
    from ..data import Preprocessor, load_features
    from ..persistence import load_with_metadata, replacing, require_writable
    from .backends_command import why

    if out is not None:
        require_writable(out)
        for read in (data, model):
            if out.exists() and Path(read).exists() and out.samefile(read):
                raise OutputPathError(
                    f"expected another file than the data and the model to write to; got {str(out)!r}; give another name"
                )
    network, metadata = load_with_metadata(model, backend)
    if metadata.preprocessing is None:
        raise ModelFileError(
            f"{model}: expected a model with its preprocessing, as fusedstep train saves it; found none; "
            "use fs.load and model.predict in Python"
        )
    preprocessor = Preprocessor.from_json(metadata.preprocessing)
    _require_fit(model, network, preprocessor)
    features = load_features(data, preprocessor.input_names, preprocessor.text_columns)
    inputs = preprocessor.transform(features)
    unseen = preprocessor.unseen(features)
    rows = _rows(network, preprocessor, inputs, labels_only)
    if unseen:
        counts = ", ".join(f"{name!r} in {count:,} of {len(inputs):,} rows" for name, count in unseen.items())
        print(f"note: texts that the training data does not have count as none of those it has: {counts}", file=sys.stderr)
    if out is None:
        _write(sys.stdout, rows)
        return
    with replacing(out, "the predictions") as part, part.open("w", encoding="utf-8", newline="") as stream:
        _write(stream, rows)
    chosen = network.backend.name
    print(f"{len(inputs):,} predictions in {out}, computed by {chosen} ({why(backend, chosen)})", file=sys.stderr)


def _require_fit(path: Path, network: Any, preprocessor: Any) -> None:
    """The network and the preprocessing of a file must belong together."""
    from ...errors import ModelFileError

    if (network.inputs, network.outputs) != (preprocessor.width, preprocessor.outputs):
        raise ModelFileError(
            f"{path}: expected a network from {preprocessor.width} columns to {preprocessor.outputs} outputs, as its "
            f"preprocessing says; found one from {network.inputs} to {network.outputs}; train and save it again"
        )


def _rows(network: Any, preprocessor: Any, inputs: Any, labels_only: bool) -> Iterator[Sequence[Any]]:
    """The header, then one line per row."""
    backend = network.backend
    if preprocessor.task == "regression":
        answers = preprocessor.inverse_target(backend.to_numpy(network(inputs)))
        yield "row", "prediction"
        yield from enumerate(answers.tolist(), 1)
        return
    probabilities = backend.to_numpy(network.predict_proba(inputs))
    answers = preprocessor.inverse_target(probabilities)
    if labels_only:
        yield "row", "prediction"
        yield from enumerate(answers.tolist(), 1)
        return
    yield "row", "prediction", *(f"probability_{label}" for label in preprocessor.classes)
    for row, (answer, shares) in enumerate(zip(answers.tolist(), probabilities.tolist(), strict=True), 1):
        yield row, answer, *(f"{share:.6g}" for share in shares)


def _write(stream: Any, rows: Iterator[Sequence[Any]]) -> None:
    import csv

    csv.writer(stream, lineterminator="\n").writerows(rows)
