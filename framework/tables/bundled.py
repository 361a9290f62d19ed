"""The small data sets that are part of scikit-learn; nothing is downloaded.

Their files are read without importing scikit-learn, which takes longer than training on them. Files of users are read by the
`*_source.py` modules.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..optional import folder_of, require
from .table import Dataset, Matrix, Task

BUNDLED: dict[str, Task] = {
    "digits": "classification",
    "iris": "classification",
    "wine": "classification",
    "breast_cancer": "classification",
    "diabetes": "regression",
}

_CELLS = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip
_FEATURES: dict[str, tuple[str, ...]] = {
    "digits": tuple(f"pixel_{row}_{column}" for row, column in product(range(8), range(8))),
    "iris": ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"),
    "wine": (
        "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids",
        "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines", "proline",
    ),
    "breast_cancer": tuple(form.format(what) for form, what in product(("mean {}", "{} error", "worst {}"), _CELLS)),
    "diabetes": ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"),
}  # fmt: skip
"""The names of scikit-learn."""


def read_bundled(name: str) -> Dataset:
    """Read one of the sets of `BUNDLED` with the features, names and target that scikit-learn gives it.

    Raises: MissingDependency without scikit-learn.
    """
    asked = "sklearn", f"the bundled data set {name!r}"
    try:
        x, y = _read(name, folder_of("sklearn", *asked) / "datasets" / "data")
    except FileNotFoundError:  # a version of scikit-learn that stores them elsewhere
        x, y = getattr(require("sklearn.datasets", *asked), f"load_{name}")(return_X_y=True)
    return Dataset(Matrix(x, _FEATURES[name], name), y, name, "target", BUNDLED[name])


def _read(name: str, folder: Path) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Features and target from the files in scikit-learn's folder."""
    if name == "diabetes":
        # Standardised, and divided by the square root of the number of rows, as `load_diabetes` does.
        x, y = (np.loadtxt(folder / f"diabetes_{part}.csv.gz") for part in ("data_raw", "target"))
        return (x - x.mean(axis=0)) / x.std(axis=0) / len(x) ** 0.5, y
    file = {"digits": "digits.csv.gz", "wine": "wine_data.csv"}.get(name, f"{name}.csv")
    table = np.loadtxt(folder / file, delimiter=",", skiprows=0 if name == "digits" else 1)  # their first line is a summary
    return table[:, :-1], table[:, -1].astype(int)
