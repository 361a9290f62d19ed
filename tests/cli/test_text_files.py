"""How a text file is laid out, on the command line: inferred and said, or stated."""

from __future__ import annotations

import gzip

import pytest

from fusedstep.framework.cli.declared import command_line
from fusedstep.framework.cli.train_options import TrainOptions

pytest.importorskip("pyarrow", reason="CSV is read through pyarrow")

TRAIN = ("--backend", "numpy", "--epochs", 2, "--out", "m.safetensors")
ROWS = [(f"{k % 9}.5", ["Łódź", "Kraków"][k % 2], ["tak", "nie"][k % 2]) for k in range(60)]


def table(delimiter=",", header="x,miasto,y", decimal="."):
    lines = [header.replace(",", delimiter)] if header else []
    return "\n".join(lines + [delimiter.join((x.replace(".", decimal), *rest)) for x, *rest in ROWS]) + "\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (table("|").encode(), ""),
        (("# made by hand\n" + table()).encode(), ""),
        (("sep=;\n" + table(";")).encode("utf-16"), ""),
        (gzip.compress(table("\t", decimal=",").encode()), "numbers are read with decimal commas"),
    ],
)
def test_layouts_are_inferred_by_train_and_predict(call, tmp_path, content, said):
    (tmp_path / "d.csv").write_bytes(table().encode())
    assert call("train", "d.csv", "--target", "y", *TRAIN).code == 0
    expected = call("predict", "m.safetensors", "d.csv")
    (tmp_path / "other.csv").write_bytes(content)
    trained = call("train", "other.csv", "--target", "y", *TRAIN)
    assert trained.code == 0, trained
    assert said in trained.flat
    predicted = call("predict", "m.safetensors", "other.csv")
    assert predicted.out == expected.out
    assert said in predicted.err


def test_layouts_are_stated_to_train_and_predict(call, tmp_path):
    (tmp_path / "d.csv").write_bytes(table().encode())
    assert call("train", "d.csv", "--target", "y", *TRAIN).code == 0
    expected = call("predict", "m.safetensors", "d.csv").out
    (tmp_path / "other.txt").write_bytes(table(";", None, ",").encode("cp1250"))
    stated = ("--delimiter", "semicolon", "--encoding", "cp1250", "--decimal", ",", "--no-header")
    assert call("train", "other.txt", "--target", "c2", *TRAIN, *stated).code == 0
    assert call("predict", "m.safetensors", "other.txt", *stated).out == expected


def test_a_first_row_that_is_data_is_said_and_can_be_names(call, refused, tmp_path):
    (tmp_path / "d.csv").write_bytes(table(header=None).encode())
    answer = call("train", "d.csv", "--target", "c2", *TRAIN)
    assert "the first row holds no names, so the columns are called c0, c1" in answer.flat
    quiet = call("train", "d.csv", "--target", "c2", *TRAIN, "--quiet")
    assert "note: the first row holds no names" in quiet.err
    assert "found only: 0.5, Łódź, tak" in refused("train", "d.csv", "--target", "c2", *TRAIN, "--header")


@pytest.mark.parametrize(
    "given", [("--delimiter", "ab"), ("--encoding", "utf-99"), ("--decimal", "x")], ids=" ".join
)
def test_values_that_mean_nothing(refused, tmp_path, given):
    (tmp_path / "d.csv").write_bytes(table().encode())
    assert f"{given[0]}: expected" in refused("train", "d.csv", "--target", "y", *given)


def test_a_command_line_states_the_header():
    assert command_line("train", TrainOptions("d.csv", header=False)) == "fusedstep train d.csv --no-header"
    assert command_line("train", TrainOptions("d.csv", header=True)) == "fusedstep train d.csv --header"
