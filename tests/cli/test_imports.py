"""What each command imports: nothing that it does not need, so that it starts quickly."""

import json
import subprocess
import sys

import pytest
from pyarrow import csv, feather, parquet

NEVER = {"torch", "jax", "sklearn", "matplotlib", "pandas", "pyarrow", "optuna", "joblib", "numba.cuda", "scipy.stats",
         "scipy.special", "scipy.optimize", "fusedstep.framework.search", "fusedstep.framework.second_order",
         "fusedstep.framework.estimators", "fusedstep.framework.diagnostics", "fusedstep.benchmarks"}  # fmt: skip
"""None of these commands needs one of them."""
NUMERIC = {"numpy", "numba", "cupy", "safetensors", "threadpoolctl"}
RUN = """
import json, sys
from fusedstep.framework.cli import main
try:
    main()
finally:
    print(json.dumps(list(sys.modules)))
"""
COMMANDS = {
    "--help": NUMERIC,
    "--version": {*NUMERIC, "rich"},
    "train --help": NUMERIC,
    "example --list": NUMERIC,
    "export --help": NUMERIC,
    "backends --backend numpy": set(),
    "train iris --epochs 1 --backend numpy -o other.safetensors": {"numba", "cupy", "scipy"},
    "train iris --epochs 1 --backend numba -o other.safetensors": {"cupy", "numba", "scipy"},
    "export iris.safetensors iris.onnx": {"numba", "cupy", "scipy", "rich"},
    "predict iris.safetensors iris --backend numpy -o iris.csv": {"numba", "cupy", "scipy", "rich"},
    "predict iris.safetensors iris --backend numba -o iris.csv": {"cupy", "numba", "scipy", "rich"},
}
"""Command -> what it does not import beside NEVER."""


def modules(command, folder):
    """Those that are imported when the command ends."""
    done = subprocess.run([sys.executable, "-c", RUN, *command.split()], cwd=folder, capture_output=True, text=True,
                          check=True, encoding="utf-8")  # fmt: skip
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a trained model."""
    path = tmp_path_factory.mktemp("imports")
    modules("train iris --epochs 1 --backend numpy", path)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_only_what_it_needs(command, folder):
    assert not modules(command, folder) & (NEVER | COMMANDS[command])


@pytest.mark.parametrize("command", ["train iris --epochs 1 -o auto.safetensors", "predict iris.safetensors iris -o iris.csv"])
def test_where_no_device_is_to_be_expected_none_is_looked_for(command, folder, monkeypatch):
    # With the backend `auto`, on a machine with CuPy but without a driver, or without both.
    from fusedstep.backends.cupy import availability

    monkeypatch.delenv("FUSEDSTEP_BACKEND", raising=False)
    try:
        availability.load_driver()
    except OSError:
        assert not modules(command, folder) & {*NEVER, "cupy"}
    else:
        pytest.skip("there is a driver")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A folder with a model of a table, t.safetensors, and new rows in each format."""
    path = tmp_path_factory.mktemp("table")
    lines = [f"{k % 7 or 'NA'},{k * 1.5},{'ab'[k % 2]},{'true' if k % 3 else 'false'},2024-01-{k % 28 + 1:02},{'yn'[k % 2]}"
             for k in range(60)]  # fmt: skip
    (path / "t.csv").write_text("\n".join(["n,x,t,b,d,y", *lines]) + "\n")
    modules("train t.csv --target y --epochs 1 --backend numpy", path)
    (path / "new.csv").write_text("\n".join(["n,x,t,b,d", *(line[:-2] for line in lines), ",,,,"]) + "\n")
    options = csv.ConvertOptions(strings_can_be_null=True)
    rows = csv.read_csv(path / "new.csv", convert_options=options)
    parquet.write_table(rows, path / "new.parquet")
    feather.write_feather(rows, path / "new.feather")
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "feather"])
def test_predictions_of_tables_need_neither_pandas_nor_scikit_learn(kind, table):
    """PyArrow imports pandas, where it is installed, in many conversions from and to Python and NumPy."""
    imported = modules(f"predict t.safetensors new.{kind} --backend numpy -o {kind}.out.csv", table)
    assert "pyarrow" in imported
    assert not imported & {"pandas", "polars", "narwhals", "sklearn", "scipy"}
    assert len((table / f"{kind}.out.csv").read_text().splitlines()) == 62
