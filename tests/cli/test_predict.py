"""`fusedstep predict`: answers in the words and units of the training data, on any backend."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.export.persistence import load_with_metadata


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


ONCE = {}


@pytest.fixture
def trained(call, people, tmp_path):
    """people.safetensors, trained on text columns with a text target."""
    path = tmp_path / "people.safetensors"
    if ONCE:
        path.write_bytes(ONCE["model"])
    else:
        assert call("train", people, "--target", "answer", "--backend", "numpy").code == 0
        ONCE["model"] = path.read_bytes()
    return path.name


def test_round_trip_with_text_columns_and_a_text_target(call, trained, people, tmp_path):
    rows = read(people.read_text(encoding="utf-8"))
    without = tmp_path / "new.csv"
    with without.open("w", encoding="utf-8", newline="") as stream:  # other order, one column more, no target
        writer = csv.writer(stream)
        writer.writerow(["city", "extra", "code", "age"])
        writer.writerows([r["city"], "?", r["code"], r["age"]] for r in rows)
    answer = call("predict", trained, without, "-o", "out.csv")
    assert answer.code == 0, answer
    assert "120 predictions in out.csv" in answer.err
    answers = read((tmp_path / "out.csv").read_text())
    assert list(answers[0]) == ["row", "prediction", "probability_no", "probability_yes, often"]
    assert [a["row"] for a in answers] == [str(k) for k in range(1, 121)]
    right = [a["prediction"] == r["answer"] for a, r in zip(answers, rows, strict=True)]
    assert np.mean(right) > 0.85
    for a in answers:
        shares = float(a["probability_no"]), float(a["probability_yes, often"])
        assert sum(shares) == pytest.approx(1.0, abs=1e-5)
        assert (shares[1] > shares[0]) == (a["prediction"] == "yes, often")
    again = call("predict", trained, people)
    assert read(again.out) == answers, "the target column does no harm"


def test_numbers_come_in_their_own_units(call, line):
    assert call("train", line, "--target", "price", "--backend", "numpy", "--dropout", "0").code == 0
    answer = call("predict", "line.safetensors", line)
    answers = read(answer.out)
    assert list(answers[0]) == ["row", "prediction"]
    predicted = np.array([float(a["prediction"]) for a in answers])
    actual = np.genfromtxt(line, delimiter=",", names=True)["price"]
    assert np.std(predicted - actual) < 0.2 * np.std(actual)


def test_every_backend_answers_alike(call):
    assert call("train", "iris", "--backend", "numba").code == 0
    tables = [read(call("predict", "iris.safetensors", "iris", "--backend", name).out) for name in ("numpy", "numba")]
    for first, second in zip(*tables, strict=True):
        assert first["prediction"] == second["prediction"]
        for column in ("probability_0", "probability_1", "probability_2"):
            assert float(first[column]) == pytest.approx(float(second[column]), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("source", ["archive", "images"])
def test_other_formats(call, request, source, tmp_path):
    path = request.getfixturevalue(source)
    assert call("train", path, "--backend", "numpy", "-o", "m").code == 0
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink(missing_ok=True)
    answers = read(call("predict", "m", path).out)
    truth = np.arange(len(answers)) % (3 if source == "archive" else 2)
    assert np.mean([int(a["prediction"]) == t for a, t in zip(answers, truth, strict=True)]) > 0.9


def test_labels_only(call):
    call("train", "iris", "--backend", "numpy", "--epochs", 2)
    answer = call("predict", "iris.safetensors", "iris", "--labels-only")
    assert list(read(answer.out)[0]) == ["row", "prediction"]


def test_predictions_are_those_of_the_library(call):
    call("train", "wine", "--backend", "numpy", "--epochs", 5)
    from fusedstep.framework.tables.preprocessing import Preprocessor
    from fusedstep.framework.tables.reading import load

    model, metadata = load_with_metadata("wine.safetensors", "numpy")
    x = Preprocessor.from_json(metadata.preprocessing).transform(load("wine").features)
    answers = read(call("predict", "wine.safetensors", "wine", "--backend", "numpy").out)
    np.testing.assert_array_equal([int(a["prediction"]) for a in answers], model.predict(x))


def test_an_unseen_text_is_no_error_but_is_told(call, trained, tmp_path, people):
    (tmp_path / "new.csv").write_text("age,city,code\n30,Lima,3\n40,Oslo,4\n50,Lima,5\n")
    answer = call("predict", trained, "new.csv")
    assert answer.code == 0
    assert len(read(answer.out)) == 3
    assert answer.err.startswith("note: text values that did not occur in the training data")
    assert answer.err.endswith(": 'city' in 2 of 3 rows\n")
    assert answer.err.count("\n") == 1
    assert call("predict", trained, people).err == ""


@pytest.mark.parametrize("labels_only", [[], ["--labels-only"]])
def test_rows_are_predicted_block_by_block(call, trained, people, monkeypatch, labels_only):
    whole = call("predict", trained, people, *labels_only)
    monkeypatch.setattr("fusedstep.framework.engine.model.PREDICTION_ROWS", 7)
    monkeypatch.setattr("fusedstep.framework.cli.predictions._ENTRIES", 1)
    in_blocks = call("predict", trained, people, *labels_only)
    assert len(read(in_blocks.out)) == len(read(whole.out)) > 7
    for ours, theirs in zip(read(in_blocks.out), read(whole.out), strict=True):
        assert ours["prediction"] == theirs["prediction"]
        for name in set(theirs) - {"row", "prediction"}:  # products of 7 rows may be rounded otherwise
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-4)


# What is refused


def test_a_missing_column(refused, trained, tmp_path):
    (tmp_path / "new.csv").write_text("age,town,code\n30,Oslo,3\n")
    message = refused("predict", trained, "new.csv")
    assert "'city'" in message
    assert "age, town, code" in message


def test_text_where_numbers_were(refused, trained, tmp_path):
    (tmp_path / "new.csv").write_text("age,city,code\nold,Oslo,3\n")
    assert "column 'age', row 1: expected numbers" in refused("predict", trained, "new.csv")


def test_decimal_commas_where_points_were(call, refused, trained, tmp_path):
    (tmp_path / "new.csv").write_text("age;city;code\n30,5;Oslo;3\n")
    (tmp_path / "same.csv").write_text("age,city,code\n30.5,Oslo,3\n")
    with_commas = call("predict", trained, "new.csv")
    assert with_commas.out == call("predict", trained, "same.csv").out
    assert "note: numbers are read with decimal commas" in with_commas.err
    assert "column 'age', row 1: expected numbers" in refused("predict", trained, "new.csv", "--decimal", ".")


def test_missing_numbers_count_as_the_median(call, trained, tmp_path):
    (tmp_path / "new.csv").write_text("age,city,code\n30,Oslo,3\n,Oslo,3\n")
    median = next(c for c in load_with_metadata(trained)[1].preprocessing["encoder"]["columns"] if c["name"] == "age")["fill"]
    (tmp_path / "filled.csv").write_text(f"age,city,code\n30,Oslo,3\n{median!r},Oslo,3\n")
    answer = call("predict", trained, "new.csv")
    assert answer.code == 0
    assert answer.out == call("predict", trained, "filled.csv").out


def test_no_rows(refused, trained, tmp_path):
    (tmp_path / "new.csv").write_text("age,city,code\n")
    assert "data rows" in refused("predict", trained, "new.csv")


def test_other_columns_of_a_matrix(refused, call):
    call("train", "iris", "--backend", "numpy", "--epochs", 1)
    assert "sepal length" in refused("predict", "iris.safetensors", "wine")


def test_a_missing_model(refused):
    assert "'nothing.safetensors' does not exist" in refused("predict", "nothing.safetensors", "iris")


def test_a_missing_data_file(refused, trained):
    assert "did you mean 'people.csv'" in refused("predict", trained, "peple.csv")


def test_a_truncated_model(refused, trained, people, tmp_path):
    path = tmp_path / trained
    path.write_bytes(path.read_bytes()[:-10])
    assert "truncated" in refused("predict", trained, people)


def test_a_file_that_is_no_model(refused, people):
    assert "safetensors" in refused("predict", people, people)


def test_a_model_without_preprocessing(refused, tmp_path):
    fs.save(fs.mlp([4, 3]).initialize(backend="numpy"), tmp_path / "bare.safetensors")
    assert "found none" in refused("predict", "bare.safetensors", "iris")


def test_a_network_that_does_not_fit_its_preprocessing(refused, call, tmp_path):
    call("train", "iris", "--backend", "numpy", "--epochs", 1)
    _, metadata = load_with_metadata("iris.safetensors")
    fs.save(fs.mlp([5, 3]).initialize(backend="numpy"), "iris.safetensors", metadata.preprocessing)
    assert "from 4 columns to 3 outputs" in refused("predict", "iris.safetensors", "iris")


def test_an_output_that_cannot_be_written(refused, trained, people):
    assert "folder that exists" in refused("predict", trained, people, "-o", "missing/out.csv")
    assert "is a folder" in refused("predict", trained, people, "-o", ".")


def test_data_and_model_are_never_overwritten(refused, trained, people):
    before = people.read_bytes()
    assert "an output file other" in refused("predict", trained, people, "-o", people)
    assert "an output file other" in refused("predict", trained, people, "-o", trained)
    assert people.read_bytes() == before


def test_a_failing_write_leaves_no_half_file(refused, trained, people, monkeypatch):
    from fusedstep.framework.cli import predictions

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predictions, "write", full)
    assert "No space left" in refused("predict", trained, people, "-o", "out.csv")


@pytest.mark.parametrize("name", ["n" * 300, "deep/" * 1000 + "m"])
def test_names_that_no_file_can_have(refused, call, trained, people, name):
    assert "does not exist" in refused("predict", name, people, "-o", "out.csv")
    assert "expected a data file" in refused("predict", trained, f"{name}.csv")
    assert "expected a writable path" in refused("predict", trained, people, "-o", name)
    assert "expected a writable path" in refused("train", people, "--target", "answer", "-o", name)


# Labels that a spreadsheet would evaluate


@pytest.fixture
def formulas(call, tmp_path):
    """formulas.safetensors, trained on labels of which some are formulas, and its table."""
    labels = ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\uff1d1", "plain", "-7.5"]
    with (tmp_path / "formulas.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["x", "y"], *([k % 7, labels[k % 7]] for k in range(70))])
    assert call("train", "formulas.csv", "--target", "y", "--backend", "numpy").code == 0
    return labels


def test_a_label_that_is_a_formula_is_written_as_text(call, formulas):
    for options in ((), ("--labels-only",)):
        answer = call("predict", "formulas.safetensors", "formulas.csv", *options)
        found = {row["prediction"] for row in read(answer.out)}
        assert found == {f"'{label}" for label in formulas[:5]} | {"plain", "-7.5"}
        assert answer.err.startswith("note: labels that a spreadsheet would evaluate have an apostrophe before them: ")
        assert answer.err.count("\n") == 1


def test_raw_labels_are_those_of_the_data(call, formulas):
    answer = call("predict", "formulas.safetensors", "formulas.csv", "--raw-labels")
    assert {row["prediction"] for row in read(answer.out)} == set(formulas)
    assert answer.err == ""


def test_negative_numbers_stay_numbers(call, tmp_path):
    (tmp_path / "down.csv").write_text("x,y\n" + "".join(f"{k},{-k - 0.5}\n" for k in range(60)))
    assert call("train", "down.csv", "--target", "y", "--backend", "numpy", "--epochs", 2).code == 0
    answer = call("predict", "down.safetensors", "down.csv")
    assert any(float(row["prediction"]) < 0 for row in read(answer.out))
    assert answer.err == ""
