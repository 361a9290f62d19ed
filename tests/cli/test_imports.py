"""What each command imports: nothing that it does not need, so that it starts quickly."""

import json
import subprocess
import sys

import pytest

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
    "backends --backend numpy": set(),
    "train iris --epochs 1 --backend numpy -o other.safetensors": {"numba", "cupy", "scipy"},
    "train iris --epochs 1 --backend numba -o other.safetensors": {"cupy", "numba", "scipy"},
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
