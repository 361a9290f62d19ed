"""`fusedstep train --stream` and `--micro-batch`: data that stays in its file, and pieces of minibatches."""

from __future__ import annotations

import csv
import tracemalloc

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.cli.training import DataPart, linear_r2, streamed_linear_r2
from fusedstep.framework.export.persistence import load_with_metadata

QUICK = ("--backend", "numpy", "--epochs", "15", "--hidden", "16", "--dropout", "0")


@pytest.fixture
def files(tmp_path):
    """The same three clusters as .npz, .npy with labels, and Parquet: 300 rows of 4 columns."""
    rng = np.random.default_rng(2)
    y = np.arange(300) % 3
    x = (rng.standard_normal((300, 4)) + 2.0 * y[:, None]).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=y, names=np.array(["a", "b", "c", "d"]))
    np.savez_compressed(tmp_path / "small.npz", x=x, y=y)
    np.save(tmp_path / "d.npy", x)
    np.save(tmp_path / "labels.npy", y)
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {name: x[:, k] for k, name in enumerate("abcd")}
    words = np.array(["red", "green", "blue"])[y]
    parquet.write_table(arrow.table({**columns, "y": words}), tmp_path / "d.parquet", row_group_size=50)
    parquet.write_table(arrow.table({**columns, "word": words, "y": y}), tmp_path / "words.parquet", row_group_size=50)
    (tmp_path / "d.csv").write_text("a,y\n1,u\n2,v\n")
    (tmp_path / "d.feather").write_bytes(b"")
    return x, y


def _parameters(path):
    return np.concatenate([np.ravel(values) for values in fs.load(path).parameters().values()])


@pytest.mark.parametrize("source", [("d.npz",), ("d.npy", "--labels", "labels.npy")])
def test_f5_streamed_files_train_to_the_model_of_files_in_memory(call, files, tmp_path, source) -> None:
    memory = call("train", *source, *QUICK, "-o", "memory.safetensors")
    stream = call("train", *source, *QUICK, "-o", "stream.safetensors", "--stream")
    assert (memory.code, stream.code) == (0, 0), stream
    # Means and deviations come from one pass over the file instead of two over an array, and so differ by rounding.
    np.testing.assert_allclose(
        _parameters(tmp_path / "stream.safetensors"), _parameters(tmp_path / "memory.safetensors"), rtol=1e-4, atol=1e-5
    )
    results = [load_with_metadata(tmp_path / f"{name}.safetensors")[1].notes["results"] for name in ("memory", "stream")]
    assert results[0]["test"]["accuracy"] == results[1]["test"]["accuracy"] > 0.6
    assert "Always predicting the most frequent class" in stream.flat


def test_f5_parquet_is_streamed_with_a_target_of_words(call, files, tmp_path) -> None:
    answer = call("train", "d.parquet", "--target", "y", *QUICK, "--stream", "-o", "m.safetensors")
    assert answer.code == 0, answer
    assert "3 classes" in answer.flat
    assert load_with_metadata(tmp_path / "m.safetensors")[1].notes["results"]["test"]["accuracy"] > 0.6
    for options in ((), ("--stream",)):
        assert call("predict", "m.safetensors", "d.parquet", "-o", f"p{len(options)}.csv", *options).code == 0
    tables = [list(csv.reader((tmp_path / name).read_text().splitlines())) for name in ("p0.csv", "p1.csv")]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 301
    assert tables[0][0] == ["row", "prediction", "probability_blue", "probability_green", "probability_red"]


def test_f5_predictions_of_a_stream_are_those_of_the_file_in_memory(call, files, tmp_path) -> None:
    assert call("train", "d.npz", *QUICK, "-o", "m.safetensors").code == 0
    whole, streamed = (call("predict", "m.safetensors", "d.npz", "--labels-only", *more) for more in ((), ("--stream",)))
    assert whole.out == streamed.out
    assert whole.out.startswith("row,prediction\n1,")


def test_f5_numbers_are_streamed_and_compared_with_linear_regression(call, tmp_path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 3))
    np.savez(tmp_path / "line.npz", x=x, y=100.0 + x @ [1.0, -2.0, 0.5] + 0.1 * rng.standard_normal(400))
    answers = [call("train", "line.npz", "--task", "regression", *QUICK, *more) for more in ((), ("--stream",))]
    sentence = "Linear regression on the same split: test R² 0.99"
    assert all(sentence in answer.flat for answer in answers)


def test_f5_the_comparison_is_the_same_for_a_stream() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 6))
    y = (x @ np.arange(6.0) + rng.standard_normal(500))[:, np.newaxis]
    parts = DataPart(x[:400], y[:400]), DataPart(x[400:], y[400:])
    streamed = [DataPart(fs.ArrayRows(part.x), part.y) for part in parts]
    assert linear_r2(*streamed) == pytest.approx(linear_r2(*parts), rel=1e-10)
    assert streamed_linear_r2(*parts) == pytest.approx(linear_r2(*parts), rel=1e-10)


@pytest.mark.parametrize("size", ["7", "auto", "none", "AUTO"])
def test_f5_micro_batches_of_any_size_give_the_same_model(call, files, tmp_path, size) -> None:
    assert call("train", "d.npz", *QUICK, "-o", "whole.safetensors", "--micro-batch", "none").code == 0
    assert call("train", "d.npz", *QUICK, "-o", "cut.safetensors", "--micro-batch", size).code == 0
    first, second = (_parameters(tmp_path / f"{name}.safetensors") for name in ("whole", "cut"))
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
    if size != "7":
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("d.npz", "--micro-batch", "0"), "--micro-batch: expected a number of rows"),
        (("d.npz", "--micro-batch", "-3"), "--micro-batch: expected a number of rows"),
        (("d.npz", "--micro-batch", "half"), "--micro-batch: expected a number of rows"),
        (("iris", "--stream"), "--stream: expected an .npy, .npz or .parquet file"),
        (("small.npz", "--stream"), "np.savez instead of np.savez_compressed"),
        (("d.npy", "--stream"), "give --labels"),
        (("d.npy",), "give --labels"),
        (("d.npy", "--stream", "--labels", "d.npy"), "one entry per row"),
        (("d.npz", "--stream", "--target", "z"), "z"),
        (("d.parquet", "--stream"), "target column"),
        (("d.csv", "--stream", "--target", "y"), "parquet.write_table(csv.read_csv('d.csv'), 'd.parquet'"),
        (("d.feather", "--stream", "--target", "y"), "parquet.write_table(feather.read_table('d.feather'), 'd.parquet'"),
    ],
)
def test_f5_what_cannot_be_streamed_is_refused(refused, files, arguments, words) -> None:
    assert words in refused("train", "--backend", "numpy", *arguments)


def test_f5_infinity_is_named_with_its_row(refused, files, tmp_path) -> None:
    x, y = files
    x[250, 1] = np.inf
    np.savez(tmp_path / "gap.npz", x=x, y=y)
    message = refused("train", "gap.npz", *QUICK, "--stream")
    assert "gap.npz" in message
    assert "row" in message


@pytest.fixture
def people(tmp_path):
    """Numbers, text, dates and booleans with missing values, as Parquet in groups of 64 rows and as CSV: 400 rows."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rng = np.random.default_rng(4)
    age = np.round(rng.normal(40.0, 12.0, 400), 1)
    town = rng.choice(["Ulm", "Köln", "Bonn"], 400)
    columns = {
        "id": [f"p{row}" for row in range(400)],
        "age": [None if row % 9 == 0 else value for row, value in enumerate(age.tolist())],
        "town": [None if row % 13 == 0 else value for row, value in enumerate(town.tolist())],
        "seen": (np.datetime64("2020-01-01") + rng.integers(0, 900, 400)).astype("datetime64[D]"),
        "member": rng.integers(0, 2, 400).astype(bool),
        "code": [f"{code:03}" for code in rng.integers(0, 150, 400)],
        "answer": np.where((age > 40.0) ^ (town == "Ulm"), "yes", "no"),
    }
    table = arrow.table(columns)
    parquet.write_table(table, tmp_path / "people.parquet", row_group_size=64)
    pytest.importorskip("pyarrow.csv").write_csv(table, tmp_path / "people.csv")
    return table


def test_f5_a_table_is_streamed_with_the_report_of_a_table_in_memory(call, people, tmp_path) -> None:
    options = ("--target", "answer", *QUICK, "--text", "code", "--drop", "id")
    memory, stream = (
        call("train", "people.parquet", *options, "-o", f"m{len(more)}.safetensors", *more) for more in ((), ("--stream",))
    )
    assert (memory.code, stream.code) == (0, 0), stream
    report = stream.out[: stream.out.index("Training")] if "Training" in stream.out else stream.out
    for words in ("Columns", "3 values: Bonn, Köln, Ulm", "2020-01-", "% true", "on request"):
        assert words in report
    encoders = [load_with_metadata(tmp_path / f"m{k}.safetensors")[1].preprocessing for k in (0, 1)]
    assert encoders[0] == encoders[1]


@pytest.mark.parametrize("source", ["people.parquet", "people.csv"])
def test_f5_predictions_of_a_streamed_table_are_those_of_the_table_in_memory(call, people, tmp_path, source) -> None:
    assert call("train", "people.parquet", "--target", "answer", *QUICK, "--text", "code", "-o", "m.safetensors").code == 0
    answers = [call("predict", "m.safetensors", source, "-o", f"p{len(more)}.csv", *more) for more in ((), ("--stream",))]
    assert [answer.code for answer in answers] == [0, 0], answers
    assert (tmp_path / "p0.csv").read_text() == (tmp_path / "p1.csv").read_text()
    assert answers[0].err.replace("p0.csv", "p1.csv") == answers[1].err
    assert "missing values: 'age' in 45 of 400 rows, 'town' in 31 of 400 rows" in answers[1].err


def test_f5_a_streamed_table_is_resumed_with_the_file_it_was_trained_on(call, people, tmp_path) -> None:
    options = ("train", "people.parquet", "--target", "answer", "--drop", "id", "--stream", *QUICK)
    assert call(*options, "-o", "whole.safetensors").code == 0
    assert call(*options, "-o", "half.safetensors", "--checkpoint", "c", "--checkpoint-every", "3").code == 0
    (tmp_path / "half.safetensors").unlink()
    assert call(*options, "-o", "half.safetensors", "--checkpoint", "c", "--resume").code == 0
    np.testing.assert_array_equal(*(_parameters(tmp_path / f"{name}.safetensors") for name in ("whole", "half")))
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(people, tmp_path / "people.parquet", row_group_size=64, compression="none")
    assert "file.size" in call(*options, "-o", "other.safetensors", "--checkpoint", "c", "--resume").err


def test_f5_a_streamed_table_is_divided_by_a_column(call, people) -> None:
    answer = call("train", "people.parquet", "--target", "answer", "--group", "code", "--drop", "id", "--stream", *QUICK)
    assert answer.code == 0
    assert "only divides the rows" in answer.flat


def test_f5_a_cell_that_cannot_be_read_is_named_with_its_row_in_the_file(call, people, tmp_path) -> None:
    assert call("train", "people.parquet", "--target", "answer", *QUICK, "--drop", "id", "-o", "m.safetensors").code == 0
    lines = (tmp_path / "people.csv").read_text().splitlines()
    lines[350] = lines[350].replace(lines[350].split(",")[1], "old", 1)
    (tmp_path / "people.csv").write_text("\n".join(lines))
    for more in ((), ("--stream",)):
        answer = call("predict", "m.safetensors", "people.csv", "-o", "p.csv", *more)
        assert answer.code == 2
        assert "column 'age', row 350: expected numbers as in the training data, found 'old'" in answer.err
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_f5_the_memory_of_predictions_does_not_grow_with_the_rows(call, people, tmp_path, monkeypatch, form) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("fusedstep.framework.engine.model.PREDICTION_ROWS", 512)
    monkeypatch.setattr("fusedstep.framework.cli.predictions._ENTRIES", 1)
    monkeypatch.setattr("fusedstep.framework.tables.csv_source._BLOCK", 1 << 13)
    monkeypatch.setattr("fusedstep.framework.tables.text_layout._BLOCK", 1 << 13)
    assert call("train", "people.parquet", "--target", "answer", *QUICK, "-o", "m.safetensors").code == 0
    peaks = []
    for times in (10, 10, 40):
        table = arrow.concat_tables([people] * times)
        if form == "csv":
            pytest.importorskip("pyarrow.csv").write_csv(table, tmp_path / "large.csv")
        else:
            parquet.write_table(table, tmp_path / "large.parquet", row_group_size=500)
        tracemalloc.start()
        assert call("predict", "m.safetensors", f"large.{form}", "--stream", "-o", "p.csv").code == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.3 * peaks[1], f"bytes for 4,000 rows (twice) and 16,000: {peaks}"
