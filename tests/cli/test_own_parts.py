"""Data that come divided: their own validation and test part in train, find-lr, search and predict."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fusedstep.framework.cli.training import prepare
from fusedstep.framework.export.persistence import load_with_metadata
from fusedstep.framework.tables.own_parts import OwnPart
from fusedstep.framework.tables.table import Dataset, Matrix

QUICK = ("--backend", "numpy", "--epochs", "2")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 4))
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture
def archive(tmp_path):
    """An archive as Keras makes it: 150 rows for training, 50 for the test."""
    path = tmp_path / "digits.npz"
    np.savez_compressed(path, x_train=X[:150], y_train=Y[:150], x_test=X[150:], y_test=Y[150:])
    return path


@pytest.fixture
def csv_files(tmp_path):
    """train.csv, valid.csv and test.csv."""
    paths = []
    for name, rows in (("train", slice(0, 120)), ("valid", slice(120, 150)), ("test", slice(150, 200))):
        lines = [",".join(map(str, [*x, "yes" if y else "no"])) for x, y in zip(X[rows], Y[rows], strict=True)]
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text("\n".join(["a,b,c,d,answer", *lines]))
    return paths


def test_an_archive_of_keras_is_tested_on_its_own_test_part(call, archive, tmp_path):
    answer = call("train", archive, *QUICK)
    assert answer.code == 0, answer
    assert "Rows: 135 training, 15 validation, 50 test (x_test of digits.npz)" in answer.flat
    _, metadata = load_with_metadata(tmp_path / "digits.safetensors")
    assert metadata.notes["rows"] == {"training": 135, "validation": 15, "test": 50}
    predicted = call("predict", "digits.safetensors", archive, "--part", "test", "--labels-only")
    assert predicted.code == 0, predicted
    assert predicted.out.count("\n") == 51


def test_a_fraction_takes_the_place_of_the_own_part_which_is_said(call, archive):
    answer = call("train", archive, "--test-share", "0.2", *QUICK)
    assert "Rows: 105 training, 15 validation, 30 test Note: 50 rows of x_test of digits.npz are not used" in answer.flat
    assert "because --test-share was given" in answer.flat


def test_files_of_parts(call, csv_files, tmp_path):
    train, valid, test = csv_files
    answer = call("train", train, "--target", "answer", "--validation", valid, "--test", test, *QUICK)
    assert answer.code == 0, answer
    assert "Rows: 120 training, 30 validation (valid.csv), 50 test (test.csv)" in answer.flat
    answer = call("train", train, "--target", "answer", "--test", test, *QUICK)
    assert "Rows: 108 training, 12 validation, 50 test (test.csv)" in answer.flat
    answer = call("train", tmp_path, "--target", "answer", "-o", "m.safetensors", *QUICK)
    assert "Rows: 120 training, 30 validation (valid.csv), 50 test (test.csv)" in answer.flat


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_a_folder_of_shards(call, tmp_path, stream):
    arrow = pytest.importorskip("pyarrow", reason="Parquet is read through pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read through pyarrow")
    for name, rows in (("train-00000-of-00002", slice(0, 80)), ("train-00001-of-00002", slice(80, 150)),
                       ("test-00000-of-00001", slice(150, 200))):  # fmt: skip
        table = arrow.table({**{f"c{k}": X[rows, k] for k in range(4)}, "label": Y[rows]})
        (tmp_path / "data").mkdir(exist_ok=True)
        parquet.write_table(table, tmp_path / "data" / f"{name}.parquet")
    answer = call("train", "data", "--target", "label", *stream, *QUICK)
    assert answer.code == 0, answer
    assert "Rows: 135 training, 15 validation, 50 test (test-00000-of-00001.parquet)" in answer.flat
    for part, rows in (("test", 50), ("training", 150)):
        predicted = call("predict", "data.safetensors", "data", "--part", part, "--labels-only", *stream)
        assert predicted.out.count("\n") == rows + 1


def test_searches_use_no_row_of_the_own_test_part(call, archive):
    pytest.importorskip("optuna", reason="searches need Optuna")
    answer = call("search", archive, "--trials", "1", "--epochs", "1", "--backend", "numpy")
    assert answer.code == 0, answer
    assert "Rows: 135 training, 15 validation, 50 test (x_test of digits.npz)" in answer.flat
    answer = call("find-lr", archive, "--sweep", "--backend", "numpy")
    assert "50 test (x_test of digits.npz)" in answer.flat


def test_the_search_hands_its_files_to_the_training(call, csv_files):
    pytest.importorskip("optuna", reason="searches need Optuna")
    train, valid, test = csv_files
    answer = call("search", train.name, "--target", "answer", "--validation", valid.name, "--test", test.name,
                  "--trials", "1", "--epochs", "1", "--backend", "numpy")  # fmt: skip
    assert answer.code == 0, answer
    assert "--validation valid.csv --test test.csv" in answer.flat


def test_a_wrong_row_of_a_part_is_found_in_its_array(refused, tmp_path):
    y = Y.astype(float)
    y[152] = np.nan
    np.savez(tmp_path / "m.npz", x_train=X[:150], y_train=y[:150], x_test=X[150:], y_test=y[150:])
    assert "the first in row 153" in (message := refused("train", "m.npz", *QUICK))
    assert "row 153 is row 3 of x_test of m.npz" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--test", "test.csv", "--test-share", "0.2"), "--test-share: expected none beside --test; got 0.2"),
        (("--validation", "valid.csv", "--validation-share", "0"), "--validation-share: expected none beside --validation"),
        (("--test", "none.csv"), "'none.csv' does not exist"),
        (("--test", "test.csv", "--out", "test.csv"), "expected an output file other than the data"),
    ],
)
def test_files_of_parts_that_do_not_fit(refused, csv_files, options, words):
    assert words in refused("train", csv_files[0].name, "--target", "answer", *options)


def test_groups_on_both_sides_of_an_own_test_part_are_said(call, tmp_path):
    for name, start in (("train", 0), ("test", 50)):
        lines = [f"{k},{x[0]},{y}" for k, (x, y) in enumerate(zip(X[:100], Y[:100], strict=True), start)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["house,a,y", *lines]))
    answer = call("train", "train.csv", "--target", "y", "--test", "test.csv", "--group", "house", *QUICK)
    assert answer.code == 0, answer
    assert re.search(r"Note: 4\d groups are in the training part and in the data's own test part", answer.flat)


def test_several_targets_and_a_group_of_an_archive_of_parts(call, tmp_path):
    arrays = {}
    for part, rows in (("train", slice(0, 150)), ("test", slice(150, 200))):
        arrays.update({f"x_{part}": X[rows], f"a_{part}": X[rows, 1], f"b_{part}": X[rows, 2]})
        arrays[f"g_{part}"] = np.arange(200)[rows] // 4
    np.savez(tmp_path / "m.npz", **arrays)
    for stream in ([], ["--stream"]):
        answer = call("train", "m.npz", "--target", "a", "--target", "b_train", "--group", "g", *stream, *QUICK)
        assert answer.code == 0, answer
        assert "50 test (x_test of m.npz)" in answer.flat


def test_the_first_index_of_svmlight_is_stored_with_the_model(call, refused, tmp_path):
    pytest.importorskip("sklearn", reason="svmlight files are read through scikit-learn")
    (tmp_path / "t.svm").write_text("".join(f"{y} 0:{x[0]} 1:{x[1]}\n" for x, y in zip(X, Y, strict=True)))
    assert call("train", "t.svm", *QUICK).code == 0
    (tmp_path / "both.svm").write_text("0 0:0 1:1.5\n")
    (tmp_path / "second.svm").write_text("0 1:1.5\n")
    both, second = (call("predict", "t.safetensors", f"{name}.svm").out for name in ("both", "second"))
    assert both == second
    (tmp_path / "wide.svm").write_text("0 1:1.5 2:1\n")
    assert "expected indices 0 to 1, as in the data of the training, found 2 in row 1" in refused(
        "predict", "t.safetensors", "wide.svm"
    )


def test_the_rows_of_own_parts_are_in_no_other_part():
    own = {"validation": OwnPart(100, 120, "v"), "test": OwnPart(120, 150, "t")}
    x = np.arange(200.0)[:, None]
    dataset = Dataset(Matrix(x), Y, own=own)
    data = prepare(dataset, None, (None, None), 0)
    every = data.preprocessor.transform(Matrix(x)).reshape(-1)
    rows = {name: every.searchsorted(part.x.reshape(-1)) for name, part in data.parts.items()}
    assert rows["validation"].tolist() == list(range(100, 120))
    assert rows["test"].tolist() == list(range(120, 150))
    assert rows["training"].tolist() == [*range(100), *range(150, 200)]
    data = prepare(dataset, None, (0.2, None), 0)
    assert {name: len(part) for name, part in data.parts.items()} == {"training": 120, "validation": 20, "test": 30}
    rows = data.preprocessor.transform(Matrix(x)).reshape(-1).searchsorted(data.parts["test"].x.reshape(-1))
    assert not set(rows) & set(range(100, 150))
