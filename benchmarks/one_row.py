"""Predictions of one row, as in a service: fitted estimators, their ONNX files, their networks in PyTorch, and scikit-learn.

    python -m fusedstep.benchmarks.one_row

prints the tables of docs/serving.md. Predictions of a network alone, of any number of rows, are timed by `bench --predict`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..framework.estimators.mlp_classifier import MLPClassifier
from ..framework.export.onnx.model_file import export_onnx
from ..framework.export.torch.conversion import to_torch
from .machine import describe
from .reports.markdown import markdown_table
from .reports.tables import ReportTable, machine_line, number
from .results import BenchReport
from .statistics import spread
from .timing import Prepared, Sampling, interleave

Array = Any
Predict = Callable[[Any], Array]
Contenders = dict[str, tuple[Predict, list[Any]]]
"""Name -> probabilities of a row, and the rows."""

HIDDEN, COLUMNS, CLASSES = (512, 256), 100, 10
ROWS, SINGLE = 2000, 64
"""Of training, and how many of them are predicted, one after the other."""
SAMPLING = Sampling(rounds=61, seconds=0.003, pause=0.01)
"""Many short bursts, of which some are not interrupted where other processes share the processor."""
CLOSE = 1e-5
"""Largest difference of probabilities between runtimes."""
TRAINED: dict[str, Any] = {"hidden_layer_sizes": HIDDEN, "max_iter": 2, "random_state": 0}


def main() -> None:
    """Times all contenders that are installed, in turns, and prints a table for arrays and one for data frames."""
    print(machine_line(BenchReport(describe(), {})), end="\n\n")
    for title, contenders in (("A row of an array", of_arrays), ("A row of a data frame", of_frames)):
        with contenders() as found:
            print(markdown_table(report(title, timed(found, SAMPLING))), end="\n\n", flush=True)


def data() -> tuple[Array, Array]:
    """x [ROWS, COLUMNS] float32 and labels of CLASSES that depend on it."""
    x = np.random.default_rng(0).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    return x, x[:, :CLASSES].argmax(axis=1)


@contextmanager
def of_arrays() -> Iterator[Contenders]:
    """Models for a NumPy array; the probabilities of all but scikit-learn's, which are trained apart, are the same."""
    x, y = data()
    rows = [x[k : k + 1] for k in range(SINGLE)]
    ours = MLPClassifier(precision="float32", **TRAINED).fit(x, y)
    double = MLPClassifier(**TRAINED).fit(x, y)
    encoded = [ours.encoder_.transform(row) for row in rows]
    found: Contenders = {
        "`fs.MLPClassifier`, `predict_proba`, in float64": (double.predict_proba, rows),
        '`fs.MLPClassifier(precision="float32")`, `predict_proba`': (ours.predict_proba, rows),
        "its network alone, `model_.predict_proba`, of encoded rows": (ours.model_.predict_proba, encoded),
    }
    with exported(ours, lambda row: {"x": row}) as predict:
        if predict is not None:
            found["its ONNX file in onnxruntime"] = predict, rows
        if find_spec("torch") is not None:
            found["its network in PyTorch, `fs.to_torch`, of encoded rows"] = in_torch(ours), encoded
        require_same(found)
        theirs, scaled = of_scikit_learn()
        found["scikit-learn's `MLPClassifier`, `predict_proba`"] = theirs.fit(x, y).predict_proba, rows
        found["a pipeline of its `StandardScaler` and `MLPClassifier`"] = scaled.fit(x, y).predict_proba, rows
        yield found


@contextmanager
def of_frames() -> Iterator[Contenders]:
    """As `of_arrays`, for a data frame of 20 columns of numbers and two of text; nothing without pandas."""
    if find_spec("pandas") is None:
        yield {}
        return
    import pandas
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    x, y = data()
    frame = pandas.DataFrame({f"n{k}": x[:, k] for k in range(20)})
    for k, name in enumerate(("town", "kind")):
        frame[name] = np.array(["a", "b", "c", "d"])[np.digitize(x[:, 20 + k], [-0.7, 0.0, 0.7])]
    rows = [frame.iloc[k : k + 1] for k in range(SINGLE)]
    ours = MLPClassifier(precision="float32", **TRAINED).fit(frame, y)
    found: Contenders = {
        '`fs.MLPClassifier(precision="float32")`, `predict_proba`': (ours.predict_proba, rows)
    }
    with exported(ours, lambda row: row) as predict:
        if predict is not None:
            arrays = [
                {name: row[name].to_numpy(object if name in ("town", "kind") else float) for name in frame} for row in rows
            ]
            found["its ONNX file in onnxruntime, a NumPy array for each column"] = predict, arrays
        require_same(found)
        coding = make_column_transformer(
            (StandardScaler(), [f"n{k}" for k in range(20)]), (OneHotEncoder(sparse_output=False), ["town", "kind"])
        )
        theirs = make_pipeline(coding, of_scikit_learn()[0])
        found["scikit-learn's pipeline with `StandardScaler`, `OneHotEncoder` and `MLPClassifier`"] = (
            theirs.fit(frame, y).predict_proba, rows
        )  # fmt: skip
        yield found


@contextmanager
def exported(estimator: MLPClassifier, inputs: Callable[[Any], Any]) -> Iterator[Predict | None]:
    """The probabilities of an estimator's ONNX file in onnxruntime, encoding included; None if that is not installed."""
    if find_spec("onnxruntime") is None or find_spec("onnx") is None:
        yield None
        return
    import onnxruntime

    with TemporaryDirectory() as folder:
        path = Path(folder) / "estimator.onnx"
        export_onnx(estimator, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        yield lambda row: session.run(["probabilities"], inputs(row))[0]


def in_torch(estimator: MLPClassifier) -> Predict:
    """The probabilities of an estimator's network as a module, in inference mode."""
    import torch

    module = to_torch(estimator.model_)

    def predict(row: Array) -> Array:
        with torch.inference_mode():
            return torch.softmax(module(torch.from_numpy(row)), 1).numpy()

    return predict


def of_scikit_learn() -> tuple[Any, Any]:
    """Its classifier of the same widths, alone and behind its scaler."""
    from sklearn.neural_network import MLPClassifier as TheirClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return TheirClassifier(**TRAINED), make_pipeline(StandardScaler(), TheirClassifier(**TRAINED))


def require_same(found: Contenders) -> None:
    """Raises AssertionError unless all give the same probabilities."""
    (first, wanted), *others = (
        (name, np.concatenate([predict(row) for row in rows])) for name, (predict, rows) in found.items()
    )
    for name, values in others:
        apart = float(np.abs(values - wanted).max())
        if not apart <= CLOSE:
            raise AssertionError(f"expected {name} to give the probabilities of {first}; they differ by {apart:.1e}")


def timed(found: Contenders, sampling: Sampling) -> dict[str, list[float]]:
    """Seconds a row of each, round by round."""
    taken = interleave({name: _turns(*each) for name, each in found.items()}, sampling)
    return {name: each.seconds for name, each in taken.items()}


def _turns(predict: Predict, rows: list[Any]) -> Prepared:
    turn = cycle(rows)
    return Prepared(lambda: predict(next(turn)))


def report(title: str, seconds: dict[str, list[float]]) -> ReportTable:
    """Median, quartiles and smallest time in microseconds."""
    rows = []
    for name, values in seconds.items():
        low, middle, high, least = (number(1e6 * value) for value in (*spread(values), min(values)))
        rows.append([name, middle, f"{low} to {high}", least])
    return ReportTable(title, ["", "µs a row, median", "quartiles", "smallest"], rows, [])


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two epochs do not converge
        main()
