"""`fusedstep train --plot DIR`: the figures, and what happens where they cannot be written."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import fusedstep as fs

pytest.importorskip("matplotlib")
QUICK = ("--backend", "numpy", "--epochs", "3")


def test_d1_d2_d4_train_writes_figures(call, tmp_path):
    assert call("train", "iris", *QUICK, "-o", "plain.safetensors").code == 0
    answer = call("train", "iris", *QUICK, "-o", "plotted.safetensors", "--plot", "new/figures")
    assert answer.code == 0, answer
    plain, plotted = (fs.load(tmp_path / f"{name}.safetensors").parameters() for name in ("plain", "plotted"))
    for name, values in plain.items():
        np.testing.assert_array_equal(values, plotted[name], err_msg="the training is the same with figures")
    folder = tmp_path / "new" / "figures"
    assert {p.name for p in folder.iterdir()} == {
        "curves.png", "layers.png", "surface.png", "confusion.png", "calibration.png"
    }  # fmt: skip
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in folder.iterdir())
    listed = ", ".join(f"new/figures/{name}.png" for name in ("curves", "layers", "surface", "confusion", "calibration"))
    assert f"Figures: {listed}" in answer.flat


def test_d1_d2_d4_figures_of_a_regression_as_svg(call, tmp_path):
    answer = call("train", "diabetes", "--backend", "numpy", "--epochs", "1", "--plot", ".", "--plot-format", "svg", "--quiet")
    assert (answer.code, answer.out) == (0, ""), answer
    assert {p.name for p in tmp_path.glob("*.svg")} == {"curves.svg", "layers.svg", "surface.svg", "predicted.svg"}


def test_d5_two_columns_give_decision_regions(call, tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{a:.4f},{b:.4f},{'yes' if a > b else 'no'}" for a, b in rng.uniform(0, 1, (200, 2))]
    (tmp_path / "two.csv").write_text("\n".join(["width,height,larger", *lines]))
    answer = call("train", "two.csv", "--target", "larger", *QUICK, "--plot", "figures", "--plot-format", "svg")
    assert answer.code == 0, answer
    assert (tmp_path / "figures" / "regions.svg").stat().st_size > 1000


def test_figures_that_cannot_be_written_are_refused_before_training(refused, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert "is not a folder" in refused("train", "iris", "--plot", "file")
    assert "is not a folder" in refused("train", "iris", "--plot", "file/figures")
    assert "cannot be created" in refused("train", "iris", "--plot", "n" * 300)
    assert "png, svg, pdf" in refused("train", "iris", "--plot", "figures", "--plot-format", "jpeg")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert 'pip install "matplotlib>=' in refused("train", "iris", "--plot", "figures")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a folder in which nobody can make one: /proc")
@pytest.mark.parametrize("command", [("train", "iris", *QUICK, "--plot"), ("example", "e1", "--out")], ids=" ".join)
def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_computed(call, command):
    answer = call(*command, "/proc/nothing")
    assert answer.code == 2
    assert "Results" not in answer.out
    assert "finding" not in answer.out
    assert f"{command[-1]}: expected a folder for the figures; '/proc/nothing' cannot be created" in answer.err
