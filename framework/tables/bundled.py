"""The small data sets that are part of scikit-learn; nothing is downloaded.

Files on disk are read by the `*_source.py` modules.
"""

from __future__ import annotations

from ..optional import require
from .table import Dataset, Matrix, Task

BUNDLED: dict[str, Task] = {
    "digits": "classification",
    "iris": "classification",
    "wine": "classification",
    "breast_cancer": "classification",
    "diabetes": "regression",
}


def read_bundled(name: str) -> Dataset:
    """Read one of the sets of `BUNDLED` with the features, names and target that scikit-learn gives it.

    Raises: MissingDependency without scikit-learn.
    """
    datasets = require("sklearn.datasets", "sklearn", f"the bundled data set {name!r}")
    bunch = getattr(datasets, f"load_{name}")()
    features = Matrix(bunch.data, tuple(str(label) for label in bunch.feature_names), name)
    return Dataset(features, bunch.target, name, "target", BUNDLED[name])
