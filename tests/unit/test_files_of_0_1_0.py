"""Files that version 0.1.0 wrote, in tests/files/0.1.0: models, pickles of steps and trainers, compiled kernels."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs

FILES = Path(__file__).parents[1] / "files" / "0.1.0"
EXPECTED = json.loads((FILES / "expected.json").read_text())


@pytest.fixture(scope="module")
def data():
    with np.load(FILES / "data.npz") as arrays:
        return arrays["x"], arrays["y"]


def unpickled(name):
    with (FILES / f"{name}.pickle").open("rb") as file:
        return pickle.load(file)


def test_a_model_file_gives_the_same_predictions(data):
    model = fs.load(FILES / "model.safetensors", backend="numpy")
    np.testing.assert_allclose(model.predict_proba(data[0][:4]), EXPECTED["numpy"]["predictions"], rtol=1e-5)


def test_a_model_file_knows_no_shape_of_y():
    assert fs.load(FILES / "model.safetensors", backend="numpy").target_ndim is None


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_a_pickled_step_gives_the_same_predictions(name, data):
    step = unpickled(f"step-{name}")
    assert step.backend.name == name
    np.testing.assert_allclose(step.model.predict_proba(data[0][:4]), EXPECTED[name]["predictions"], rtol=1e-5)


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_a_pickled_trainer_goes_on_where_it_was(name, data):
    x, y = data
    trainer = unpickled(f"trainer-{name}")
    trainer.fit(x[:40], y[:40], validation=(x[40:], y[40:]), epochs=1, batch_size=8)
    assert trainer.step.steps == EXPECTED[name]["steps"]
    got = trainer.step.model.predict_proba(x[:4])
    np.testing.assert_allclose(got, EXPECTED[name]["next_epoch"], rtol=1e-4)


def test_a_pickled_history_is_one():
    history = unpickled("history")
    assert isinstance(history, fs.History)
    assert len(history["loss"]) == 3


def test_its_compiled_kernels_do_no_harm(tmp_path):
    """They are found or made anew, as the processor and the versions say; what they compute is right."""
    folder = tmp_path / "kernels"
    folder.mkdir()
    for source in (FILES / "kernels").glob("*.py"):
        shutil.copy(source, folder)
    shutil.copytree(FILES / "kernels" / "compiled", folder / "__pycache__")
    program = """
import numpy as np, fusedstep as fs
numba = fs.backend("numba")
x = numba.asarray(np.ones((3, 4), "f4"))
numba.rows("softmax", x, x)
assert (x == 0.25).all()
"""
    environment = {**os.environ, "FUSEDSTEP_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
