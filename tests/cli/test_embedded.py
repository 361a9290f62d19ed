"""Text of many values on the command line: codes, and a network that embeds them."""

from __future__ import annotations

import csv

import numpy as np
import pytest


@pytest.fixture
def shops(tmp_path):
    """80 shops, of which every second one sells more: 800 rows, a target of numbers and one of labels."""
    rng = np.random.default_rng(0)
    shop = rng.permutation(np.arange(800) % 80)
    size = rng.standard_normal(800)
    sales = 4.0 * (shop % 2) + 0.5 * size
    path = tmp_path / "shops.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["shop", "size", "sales", "good"])
        for k, a, b in zip(shop.tolist(), size.tolist(), sales.tolist(), strict=True):
            writer.writerow([f"shop {k}", f"{a:.4f}", f"{b:.4f}", "yes" if b > 2.0 else "no"])
    return path


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_labels_are_learned_from_embeddings(call, shops, tmp_path, backend):
    answer = call(
        "train", shops, "--target", "good", "--drop", "sales", "--epochs", 30, "--backend", backend, "--out", "m.safetensors"
    )
    assert answer.code == 0, answer
    assert "Network: 1 column embedded, " in answer.flat
    (tmp_path / "new.csv").write_text("size,shop\n0.0,shop 3\n0.0,shop 4\n0.0,unheard of\n", encoding="utf-8")
    answer = call("predict", "m.safetensors", "new.csv", "--labels-only", "--backend", backend)
    assert [line.split(",")[1] for line in answer.out.splitlines()[1:3]] == ["yes", "no"]
    assert "'shop' in 1 of 3 rows" in answer.err


def test_numbers_have_no_linear_baseline_of_codes(call, shops):
    answer = call("train", shops, "--target", "sales", "--drop", "good", "--epochs", 2, "--backend", "numpy")
    assert answer.code == 0, answer
    assert "1 column embedded" in answer.flat
    assert "inear regression" not in answer.flat


def test_other_commands_embed_too(call, shops):
    data = (shops, "--target", "good", "--drop", "sales", "--backend", "numpy")
    answer = call("search", *data, "--trials", 1, "--epochs", 1)
    assert answer.code == 0, answer
    answer = call("find-lr", *data)
    assert answer.code == 0, answer


def test_too_many_weights_of_embeddings_are_refused(refused, monkeypatch, shops):
    monkeypatch.setattr("fusedstep.framework.cli.recipe.MOST_WEIGHTS", 500)
    error = refused("train", shops, "--target", "good", "--drop", "sales", "--hidden", "2", "--backend", "numpy")
    assert "expected a network of at most 500 weights" in error
