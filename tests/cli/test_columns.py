"""What `train` and other commands print about columns, the options that decide about them, and predictions by them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open

from fusedstep.framework.cli.column_report import FEW_COLUMNS

TRAIN = ("--target", "y", "--backend", "numpy", "--epochs", 2)


@pytest.fixture
def table(tmp_path):
    """Writes a CSV: name -> cells, repeated to 60 rows."""

    def write(columns, rows=60, name="d.csv"):
        filled = [(list(cells) * rows)[:rows] for cells in columns.values()]
        lines = [",".join(columns), *(",".join(map(str, line)) for line in zip(*filled, strict=True))]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


MIXED = {
    "": range(60), "id": range(1, 61), "age": [31, 45, 52, 18, 77], "town": ["Ulm", "Bonn", "Riga"],
    "member": ["True", "False"], "name": [f"person {i}" for i in range(60)], "empty": [""], "src": ["web"], "y": ["yes", "no"],
}  # fmt: skip


def test_few_columns_are_listed(call, table):
    answer = call("train", table(MIXED), *TRAIN)
    assert answer.code == 0, answer
    lines = {line.split("│")[1].strip(): line for line in answer.out.splitlines() if line.count("│") > 3}
    for name, words in {
        "c0": "dropped │ (has no name and counts the rows from 0)", "id": "number │ 1 to 60", "age": "number │ 18 to 77",
        "town": "text │ 3 values: Bonn, Riga, Ulm", "member": "boolean │ 50 % true", "name": "dropped │ (every value differs)",
        "empty": "dropped │ (no values)", "src": "dropped │ (always 'web')",
    }.items():  # fmt: skip
        assert words in " ".join(lines[name].split())
    assert "Note: 'id' counts the rows; if it only identifies them, leave it out with --drop" in answer.flat


def test_many_columns_are_summarised(call, table):
    numbers = {f"f{i}": [i, i + 1.5, i + 2] for i in range(FEW_COLUMNS)}
    answer = call(
        "train", table({**numbers, "k": [1], "z": [2], "town": ["Ulm", "Bonn"], "gone": [""], "y": ["u", "v"]}), *TRAIN
    )
    assert "Columns: 12 numbers, 1 text, 3 dropped Text: 'town' (2 values)" in answer.flat
    assert "Dropped: 'k', 'z' (the same value in every row)" in answer.flat
    assert "Dropped: 'gone' (no values)" in answer.flat


def test_quiet_still_names_what_was_dropped(call, table):
    answer = call("train", table(MIXED), *TRAIN, "--quiet")
    assert answer.out == ""
    assert "note: dropped 'c0' (has no name and counts the rows from 0)\n" in answer.err
    assert "note: 'id' counts the rows" in answer.err


@pytest.mark.parametrize("command", ["search", "find-lr"])
def test_other_commands_print_them_too(call, table, command):
    if command == "search":
        pytest.importorskip("optuna", reason="searches need Optuna")
    extra = ("--trials", 1) if command == "search" else ("--sweep",)
    answer = call(command, table(MIXED, 200), "--target", "y", "--backend", "numpy", *extra, "--drop", "id", "--text", "age")
    assert answer.code == 0, answer
    assert "dropped │ (on request)" in " ".join(answer.out.split())
    assert "text │ 5 values: 18, 31, 45, 52, 77" in " ".join(answer.out.split())
    if command == "search":
        assert "--text age --drop id" in answer.flat


def test_names_and_cells_that_would_control_the_terminal(call, table):
    path = table({"\x1b[31ma": [1.5, 2.5], "[bold]b": ["\x1b[2Jx", "[red]y", "x" * 300], "y": ["u", "v"], "k": ["z" * 300]})
    answer = call("train", path, *TRAIN)
    assert "\x1b" not in answer.out
    assert "'\\x1b[31ma'" in answer.out
    assert "[bold]b" in answer.out
    assert "z" * 60 not in answer.flat


def test_arrays_have_no_such_table(call, archive):
    answer = call("train", archive, "--backend", "numpy", "--epochs", 2)
    assert "Columns" not in answer.out


def test_one_cell_stops_and_each_option_helps(call, refused, table):
    path = table({"a": [*range(59), "1.2.3"], "b": [1.5, 2.5, 4.0], "y": ["u", "v"]})
    message = refused("train", path, *TRAIN)
    assert "d.csv, column 'a', row 60: expected numbers, found '1.2.3'; 59 of 60 cells are numbers" in message
    for option in (["--text", "a"], ["--drop", "a"]):
        assert call("train", path, *TRAIN, *option).code == 0
    for option in (["--number", "a"], ["--missing", "+1.2.3"]):
        answer = call("train", path, *TRAIN, *option)
        assert "found '1.2.3'" not in answer.err


def test_options_are_checked(refused, table):
    path = table({"a": [1.5, 2.5, 3.0], "y": ["u", "v"]})
    assert "'b' in d.csv, found only: a, y" in refused("train", path, *TRAIN, "--drop", "b")
    assert "--drop y: expected a feature column, got the target" in refused("train", path, *TRAIN, "--drop", "y")
    assert "got --text and --number" in refused("train", path, *TRAIN, "--text", "a", "--number", "a")


@pytest.mark.parametrize("label", ["NA", "?"])
def test_missing_labels_are_counted(call, refused, table, label):
    path = table({"a": [1.5, 2.5, 3.0], "y": ["u", "v", label]})
    assert f"found 20 missing ('{label}'), the first in row 3" in refused("train", path, *TRAIN)
    for option in (["--text", "y"], ["--missing", "x"]):
        assert call("train", path, *TRAIN, *option).code == 0
        answer = call("predict", "d.safetensors", path, "--backend", "numpy")
        assert f"probability_{label}" in answer.out


@pytest.mark.parametrize(
    "labels", [["01", "02"], ["1", "2"], ["1.0", "0.0"], ["TRUE", "FALSE"], ["True", "False"], [2**53, 2**53 + 1], ["é", "=x"]]
)
def test_predicted_labels_are_spelled_as_in_the_file(call, table, labels):
    path = table({"a": [1.5, 2.5], "y": labels})
    assert call("train", path, *TRAIN).code == 0
    answer = call("predict", "d.safetensors", path, "--backend", "numpy", "--raw-labels")
    header = answer.out.splitlines()[0].split(",")[2:]
    assert sorted(header) == sorted(f"probability_{label}" for label in labels)
    assert {line.split(",")[1] for line in answer.out.splitlines()[1:]} <= {str(label) for label in labels}


def test_booleans_are_the_same_in_every_format(call, table, tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="Parquet is read through pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read through pyarrow")
    flag = ["True", "False", "False"]
    path = table({"flag": flag, "a": [1.5, 2.5], "y": ["u", "v", "v"]})
    assert call("train", path, *TRAIN).code == 0
    wanted = call("predict", "d.safetensors", path, "--backend", "numpy")
    values = [word == "True" for word in flag * 20]
    numbers = [1.5, 2.5] * 30
    for name, column in {
        "bool": values,
        "text": [str(value).upper() for value in values],
        "int": list(map(int, values)),
    }.items():
        file = tmp_path / f"{name}.parquet"
        parquet.write_table(arrow.table({"a": numbers, "flag": column}), file)
        assert call("predict", "d.safetensors", file, "--backend", "numpy").out == wanted.out
    for cells in (["TRUE", "false", "FALSE"], [1, 0, 0], ["1.0", "0.0", "0.0"], [" 1", "FALSE", 0]):
        other = table({"a": [1.5, 2.5], "flag": cells}, name="new.csv")
        for more in ((), ("--stream",)):
            assert call("predict", "d.safetensors", other, "--backend", "numpy", *more).out == wanted.out


@pytest.mark.parametrize("word", ["true", "TRUE", "False"])
def test_booleans_of_any_spelling_are_1_and_0_for_a_model_of_numbers(call, table, word):
    assert call("train", table({"flag": [1, 0, 0, 1], "a": [1.5, 2.5, 7], "y": ["u", "v", "v"]}), *TRAIN).code == 0
    spelled = {1: word if word != "False" else "True", 0: word if word == "False" else "false"}
    new = [table({"flag": cells, "a": [1.5, 2.5, 7]}, name=f"{cells[0]}.csv") for cells in
           ([1, 0, "", 1], [spelled[1], spelled[0], "NA", spelled[1]])]  # fmt: skip
    one, other = (call("predict", "d.safetensors", path, "--backend", "numpy") for path in new)
    assert one.out == other.out
    assert one.code == 0


def test_a_new_file_that_cannot_be_read_as_the_old_one(call, refused, table):
    assert call("train", table({"a": [1.5, 2.5, 4.0], "b": ["p", "q"], "y": ["u", "v"]}), *TRAIN).code == 0
    new = table({"a": [1.5, "many", 4.0], "b": ["p", "q"]}, name="new.csv")
    message = refused("predict", "d.safetensors", new, "--backend", "numpy")
    assert "new.csv, column 'a', row 2: expected numbers as in the training data, found 'many', and 19 cells more" in message


def test_numbers_that_begin_with_0_are_said(call, table):
    path = table({"zip": ["01234", "23456"], "a": [1.5, 2.5, 3.5], "y": ["u", "v"]})
    note = "Note: numbers of 'zip' such as '01234' begin with 0; if they are codes, give --text"
    assert note in call("train", path, *TRAIN).flat
    assert note not in call("train", path, *TRAIN, "--text", "zip").flat


def test_text_of_digits_stays_text_when_predicting(call, table):
    path = table({"zip": ["01", "2", "10"], "a": [1.5, 2.5], "y": ["u", "v", "v"]})
    assert call("train", path, *TRAIN, "--text", "zip").code == 0
    assert "unseen" not in call("predict", "d.safetensors", path, "--backend", "numpy").err


def test_the_model_stores_how_columns_were_read(call, table):
    assert call("train", table(MIXED), *TRAIN, "--missing", "x,y").code == 0
    with safe_open("d.safetensors", "numpy") as file:
        stored = json.dumps(file.metadata())
    assert "every value differs" in stored
    assert "town" in stored


def test_the_index_of_a_sorted_table_is_no_feature(call, table):
    """Sorted rows with their number: a network that saw the number would know every label."""
    rng = np.random.default_rng(0)
    path = table({"": range(200), "a": rng.standard_normal(200), "y": ["u"] * 100 + ["v"] * 100}, 200)
    answer = call("train", path, "--target", "y", "--backend", "numpy", "--epochs", 20)
    assert "1 column," in answer.out
    assert "100.00 %" not in answer.out
