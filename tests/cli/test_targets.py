"""Several targets, and rows divided by group or time, on the command line: what is printed, stored, predicted and refused."""

from __future__ import annotations

import csv
import datetime
import io
import json

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.cli.train_command import train as train_command
from fusedstep.framework.export.persistence import load_with_metadata
from fusedstep.framework.tables.preprocessing import Preprocessor
from fusedstep.framework.tables.reading import load

QUICK = ("--backend", "numpy", "--epochs", "3")
ROWS = 240


def columns():
    """Features u and v, a patient, a day, and targets of every kind."""
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((2, ROWS))
    patients, days = rng.integers(0, 40, ROWS), rng.permutation(ROWS) // 2
    day = [(datetime.date(2024, 1, 1) + datetime.timedelta(int(number))).isoformat() for number in days]
    return {
        "u": u, "v": v, "patient": [f"{number:03d}" for number in patients], "day": day,
        "tired": np.where(u > 0, "yes", "no").tolist(), "ill": (v > 1).astype(int), "ok": v > -1,
        "price": 1000 + 200 * u, "weight": 1e-3 * (u - v), "stage": [f"s{number % 3}" for number in range(ROWS)],
    }  # fmt: skip


@pytest.fixture
def table(tmp_path):
    """A CSV file with these columns; the arguments say which."""

    def write(*names, name="t.csv"):
        given = columns()
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows(zip(*(list(given[one]) for one in names), strict=True))
        return name

    return write


@pytest.fixture
def parquet(tmp_path):
    """The same as a Parquet file."""
    arrow = pytest.importorskip("pyarrow", reason="needs the extra tables")
    files = pytest.importorskip("pyarrow.parquet", reason="needs the extra tables")

    def write(*names):
        files.write_table(arrow.table({one: list(columns()[one]) for one in names}), tmp_path / "t.parquet")
        return "t.parquet"

    return write


def targets(*names):
    return [word for name in names for word in ("--target", name)]


def predictions(answer):
    return list(csv.DictReader(io.StringIO(answer.out)))


@pytest.mark.row("G18")
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_several_labels(form, call, table, parquet, tmp_path):
    source = {"csv": table, "parquet": parquet}[form]("u", "tired", "v", "ill", "ok")
    answer = call("train", source, *targets("tired", "ill", "ok"), "--backend", "numpy", "--epochs", "40")
    assert answer.code == 0, answer
    for words in ("3 targets (tired, ill, ok): labels of two values (classification)", "Targets (test part)", "F1", "AUC",
                  "Always predicting the more frequent value of each target gives"):  # fmt: skip
        assert words in answer.flat
    model, metadata = load_with_metadata(tmp_path / "t.safetensors", "numpy")
    assert (model.head, model.outputs) == ("binary", 3)
    assert metadata.notes["target"] == ["tired", "ill", "ok"]
    figures = metadata.notes["results_by_target"]["test"]
    assert list(figures) == ["tired", "ill", "ok"]
    assert set(figures["ill"]) == {"accuracy", "f1", "auc"}
    accuracy = np.mean([one["accuracy"] for one in figures.values()])
    assert metadata.notes["results"]["test"]["accuracy"] == pytest.approx(accuracy)
    answer = call("predict", "t.safetensors", source, "--backend", "numpy")
    rows, given = predictions(answer), columns()
    assert list(rows[0]) == [
        "row", "prediction_tired", "prediction_ill", "prediction_ok",
        "probability_tired=yes", "probability_ill=1", "probability_ok=True",
    ]  # fmt: skip
    assert np.mean([row["prediction_tired"] == one for row, one in zip(rows, given["tired"], strict=True)]) > 0.9
    assert np.mean([row["prediction_ok"] == str(one) for row, one in zip(rows, given["ok"], strict=True)]) > 0.8
    for row in rows:
        assert (row["prediction_ill"] == "1") == (float(row["probability_ill=1"]) > 0.5)
    preprocessor = Preprocessor.from_json(metadata.preprocessing)
    features = np.column_stack([given["u"], given["v"]])
    decoded = preprocessor.inverse_target(np.asarray(model.predict(preprocessor.transform(features))))
    assert [str(one) for one in decoded["tired"]] == [row["prediction_tired"] for row in rows]
    only = predictions(call("predict", "t.safetensors", source, "--backend", "numpy", "--labels-only"))
    assert list(only[0]) == ["row", "prediction_tired", "prediction_ill", "prediction_ok"]


@pytest.mark.row("G18")
def test_several_numbers_in_their_units(call, table, tmp_path):
    source = table("u", "v", "price", "weight")
    answer = call("train", source, *targets("price", "weight"), "--backend", "numpy", "--epochs", "60")
    assert answer.code == 0, answer
    assert "2 targets (price, weight): numbers (regression)" in answer.flat
    metadata = load_with_metadata(tmp_path / "t.safetensors", "numpy")[1]
    figures = metadata.notes["results_by_target"]["test"]
    given = columns()
    for name in ("price", "weight"):
        assert figures[name]["r2"] > 0.7
        assert figures[name]["rmse"] < 0.6 * np.std(given[name])
        stored = next(one for one in metadata.preprocessing["target"]["targets"] if one["name"] == name)
        assert stored["scale"] == pytest.approx(np.std(given[name]), rel=0.2)
    rows = predictions(call("predict", "t.safetensors", source, "--backend", "numpy"))
    assert list(rows[0]) == ["row", "prediction_price", "prediction_weight"]
    for name in ("price", "weight"):
        predicted = np.array([float(row[f"prediction_{name}"]) for row in rows])
        assert np.corrcoef(predicted, given[name])[0, 1] > 0.9
        assert predicted.mean() == pytest.approx(np.mean(given[name]), abs=0.3 * np.std(given[name]))


def test_one_number_has_its_error_in_its_unit_and_its_scale_in_the_file(call, table, tmp_path):
    call("train", table("u", "v", "price"), *targets("price"), "--backend", "numpy", "--epochs", "60")
    model, metadata = load_with_metadata(tmp_path / "t.safetensors", "numpy")
    preprocessor, given = Preprocessor.from_json(metadata.preprocessing), columns()
    result, coding = metadata.notes["results"]["test"], preprocessor.targets["target"]
    assert coding.scale == pytest.approx(200, rel=0.2)
    assert result["rmse"] == pytest.approx(np.sqrt(result["loss"]) * coding.scale)
    encoded = preprocessor.transform(np.column_stack([given["u"], given["v"]]))
    rows = predictions(call("predict", "t.safetensors", "t.csv", "--backend", "numpy"))
    written = [float(row["prediction"]) for row in rows]
    np.testing.assert_allclose(preprocessor.inverse_target(model.predict(encoded)), written, rtol=1e-6)


def test_a_table_model_predicts_in_python_what_the_command_writes(call, table, tmp_path):
    given = columns()
    features = {name: np.asarray(given[name]) for name in ("v", "u")}  # in another order
    for names in (["price"], ["price", "weight"], ["stage"], ["tired", "ok"]):
        source = table("u", "v", *names)
        assert call("train", source, *targets(*names), *QUICK).code == 0
        rows = predictions(call("predict", "t.safetensors", source, "--backend", "numpy"))
        made = fs.TableModel.load(tmp_path / "t.safetensors", "numpy")
        found = made.predict(features)
        from_file = made.predict(tmp_path / source)
        for name in names:
            column, again = (found[name], from_file[name]) if len(names) > 1 else (found, from_file)
            assert column.shape == (ROWS,)
            assert column.tolist() == again.tolist()
            written = [row[f"prediction_{name}" if len(names) > 1 else "prediction"] for row in rows]
            assert [str(one) for one in column.tolist()] == written
        if names[0] in ("price",):
            with pytest.raises(fs.StateError, match="got a regression; use predict"):
                made.predict_proba(features)
        elif len(names) == 1:
            proba = made.predict_proba(features)
            assert proba.shape == (ROWS, 3)
            assert [made.preprocessor.classes[k] for k in proba.argmax(axis=1)] == found.tolist()
        else:
            proba = made.predict_proba(features)["tired"]
            assert proba.shape == (ROWS, 2)
            assert [made.preprocessor.targets["tired"].classes[k] for k in proba.argmax(axis=1)] == found["tired"].tolist()
        assert "TableModel(2 -> " in repr(made)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_are_read_as_the_file_of_the_training(library, call, tmp_path):
    frames = pytest.importorskip(library, reason="a library of data frames")
    given = columns()
    lines = [f"{u},{day},{'TRUE' if ok else 'False'},{k % 3 + 1},{stage}" for k, (u, day, ok, stage) in enumerate(
        zip(given["u"], given["day"], given["ok"], given["stage"], strict=True))]  # fmt: skip
    (tmp_path / "t.csv").write_text("u,day,ok,code,stage\n" + "\n".join(lines) + "\n")
    assert call("train", "t.csv", *targets("stage"), "--text", "code", *QUICK).code == 0
    made = fs.TableModel.load(tmp_path / "t.safetensors", "numpy")
    expected = made.predict_proba(tmp_path / "t.csv")
    as_text = frames.read_csv(tmp_path / "t.csv", **({"dtype": str} if library == "pandas" else {"infer_schema": False}))
    dates = {"parse_dates": ["day"]} if library == "pandas" else {"try_parse_dates": True}
    typed = frames.read_csv(tmp_path / "t.csv", **dates)
    for frame in (as_text, typed):
        np.testing.assert_allclose(made.predict_proba(frame), expected, rtol=1e-5)


def test_a_network_alone_is_no_table_model(tmp_path):
    fs.save(fs.mlp([2, 1]).initialize(0, "numpy"), tmp_path / "m.safetensors")
    with pytest.raises(fs.ModelFileError, match="expected a model with its preprocessing"):
        fs.TableModel.load(tmp_path / "m.safetensors")


def test_one_target_given_twice_is_one(call, table, tmp_path):
    assert call("train", table("u", "v", "tired"), *targets("tired", "tired"), *QUICK).code == 0
    assert load_with_metadata(tmp_path / "t.safetensors", "numpy")[1].notes["target"] == "tired"


def test_mixtures_are_refused(refused, table):
    source = table("u", "v", "tired", "price", "stage", "ill", "ok")
    error = refused("train", source, *targets("tired", "price"), *QUICK)
    assert "found 'tired': two values, 'price': numbers; train one model for each kind" in error
    assert "--task regression" not in error
    assert "'stage': 3 classes" in refused("train", source, *targets("tired", "stage"), *QUICK)
    assert "give --task regression" in refused("train", source, *targets("ill", "price"), *QUICK)
    assert "'nose'" in refused("train", source, *targets("ill", "nose"), *QUICK)
    error = refused("train", source, *targets("ill", "ok"), "--drop", "ill", *QUICK)
    assert "expected a feature column, got the target" in error


def test_mixed_numbers_on_request(call, table):
    answer = call("train", table("u", "v", "price", "ill"), *targets("ill", "price"), "--task", "regression", *QUICK)
    assert "2 targets (ill, price): numbers (regression)" in answer.flat


def test_no_feature_is_left(refused, table):
    assert "beside the targets tired, ill" in refused("train", table("tired", "ill"), *targets("tired", "ill"), *QUICK)


def test_arrays_of_an_archive_are_several_targets(call, tmp_path):
    given = columns()
    x = np.column_stack([given["u"], given["v"]])
    np.savez(tmp_path / "a.npz", x=x, price=given["price"], weight=given["weight"], patient=np.array(given["patient"]))
    answer = call("train", "a.npz", *targets("price", "weight"), "--group", "patient", *QUICK)
    assert answer.code == 0, answer
    assert "by group in 'patient'" in answer.flat
    streamed = call("train", "a.npz", *targets("price", "weight"), "--group", "patient", "--stream", *QUICK)
    assert streamed.code == 0, streamed
    assert "2 targets (price, weight)" in streamed.flat


def test_figures_are_drawn(call, table, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    answer = call("train", table("u", "v", "tired", "ill"), *targets("tired", "ill"), "--plot", "figures", *QUICK)
    assert answer.code == 0, answer
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"curves", "layers", "surface"}


def test_many_targets_are_summarised(call, tmp_path):
    names = [f"l[{k}]=a,b" for k in range(50)]
    rng = np.random.default_rng(0)
    with (tmp_path / "many.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["u", *names], *([k % 7, *row] for k, row in enumerate(rng.integers(0, 2, (80, 50))))])
    answer = call("train", "many.csv", *targets(*names), *QUICK)
    assert answer.code == 0, answer
    assert "50 targets (l[0]=a,b, l[1]=a,b, l[2]=a,b" in answer.flat
    assert "l[7]=a,b and 42 more): labels" in answer.flat
    assert "… and 10 more targets, whose results are in the model file" in answer.flat
    assert len(load_with_metadata(tmp_path / "many.safetensors", "numpy")[1].notes["results_by_target"]["test"]) == 50


def test_labels_like_formulas(call, tmp_path):
    lines = [f"{k % 7},{'=1+1' if k % 2 else 'x'},{k % 3 % 2}" for k in range(80)]
    (tmp_path / "f.csv").write_text("a,b,c\n" + "\n".join(lines) + "\n")
    assert call("train", "f.csv", *targets("b", "c"), *QUICK).code == 0
    answer = call("predict", "f.safetensors", "f.csv", "--backend", "numpy")
    assert {row["prediction_b"] for row in predictions(answer)} <= {"'=1+1", "x"}
    assert "have an apostrophe before them: '=1+1'" in answer.err


def test_the_other_commands_take_several_targets(call, table):
    pytest.importorskip("optuna", reason="needs the extra search")
    source = table("u", "v", "tired", "ill", "patient")
    given = (*targets("tired", "ill"), "--group", "patient", "--backend", "numpy")
    answer = call("find-lr", source, *given, "--epochs", "1")
    assert answer.code == 0, answer
    assert "2 targets (tired, ill)" in answer.flat
    answer = call("search", source, *given, "--trials", "1", "--epochs", "1", "--width", "8-16", "--layers", "1-1")
    assert answer.code == 0, answer
    assert "--target tired --target ill --group patient" in answer.flat


# Groups and time


@pytest.mark.parametrize("stream", [False, True])
def test_no_group_is_in_two_parts(stream, call, table, parquet):
    source = parquet("u", "v", "patient", "price") if stream else table("u", "v", "patient", "stage")
    target = "price" if stream else "stage"
    answer = call("train", source, *targets(target), "--group", "patient", *QUICK, *(["--stream"] if stream else []))
    assert answer.code == 0, answer
    assert "by group in 'patient'" in answer.flat
    assert stream or "only divides the rows" in answer.flat
    assert "240 rows, 2 columns" in answer.flat
    assert call("predict", "t.safetensors", source, "--backend", "numpy").code == 0


def test_a_file_without_the_group_is_predicted(call, table):
    call("train", table("u", "v", "patient", "stage"), *targets("stage"), "--group", "patient", *QUICK)
    assert call("predict", "t.safetensors", table("u", "v", name="new.csv"), "--backend", "numpy").code == 0


def test_groups_are_told_apart_as_they_are_written(tmp_path):
    (tmp_path / "g.csv").write_text("a,g,y\n" + "\n".join(f"{k},{'01' if k % 2 else '1'},{k % 3}" for k in range(30)) + "\n")
    values = load(tmp_path / "g.csv", "y", group="g").split_by.values
    assert set(values.tolist()) == {"01", "1"}


def test_a_group_is_a_feature_if_its_kind_is_given(tmp_path, table):
    table("u", "v", "patient", "stage")
    assert load(tmp_path / "t.csv", "stage", group="patient").feature_names == ("u", "v")
    assert load(tmp_path / "t.csv", "stage", group="patient", text=["patient"]).feature_names == ("u", "v", "patient")
    assert load(tmp_path / "t.csv", "stage", group="patient", number=["patient"]).feature_names == ("u", "v", "patient")
    assert load(tmp_path / "t.csv", "stage", group="patient", drop=["patient"]).feature_names == ("u", "v")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_latest_rows_are_the_test_part(form, call, table, parquet, tmp_path):
    source = {"csv": table, "parquet": parquet}[form]("u", "v", "day", "price")
    answer = call("train", source, *targets("price"), "--time", "day", *QUICK)
    assert answer.code == 0, answer
    assert "168 training, 24 validation, 48 test, by time in 'day', the test part from 2024-04-06" in answer.flat
    data = train_and_prepare(tmp_path / source)
    day = np.array(columns()["day"], dtype="datetime64[D]")
    train, held, last = (day[data.rows[part]] for part in ("training", "validation", "test"))
    assert train.max() < held.min() <= held.max() < last.min()


def train_and_prepare(path):
    from fusedstep.framework.cli.training import prepare

    return prepare(load(path, "price", time="day"), None, (0.2, 0.1), 0)


def test_a_column_of_a_bundled_set(call):
    answer = call("train", "diabetes", "--group", "sex", "--validation-share", "0", *QUICK)
    assert answer.code == 0, answer
    assert "442 rows, 9 columns" in answer.flat
    assert "by group in 'sex' (1, 1 groups)" in answer.flat


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--group", "patient", "--time", "day"), "expected one of --group and --time"),
        (("--group", "stage"), "--group stage: expected a column other than the target"),
        (("--time", "stage"), "--time stage: expected a column other than the target"),
        (("--group", "patiend"), "did you mean 'patient'"),
        (("--time", "dya"), "did you mean 'day'"),
        (("--time", "patient", "--validation-share", "0.99"), "fractions"),
        (("--time", "colour"), "colour"),
    ],
)
def test_contradictions_are_refused(words, message, refused, table):
    assert message in refused("train", table("u", "v", "patient", "day", "stage"), *targets("stage"), *words, *QUICK)


def test_missing_groups_and_times_are_named(refused, tmp_path):
    lines = [f"{k},{'' if k == 3 else k % 9},{'' if k == 4 else f'2024-01-{k % 28 + 1:02}'},{k % 2}" for k in range(60)]
    (tmp_path / "m.csv").write_text("a,g,t,y\n" + "\n".join(lines) + "\n")
    assert "1 missing, the first in row 4" in refused("train", "m.csv", *targets("y"), "--group", "g", "--drop", "t", *QUICK)
    assert "1 missing, the first in row 5" in refused("train", "m.csv", *targets("y"), "--time", "t", "--drop", "g", *QUICK)


def test_a_class_of_the_latest_rows_is_said(call, tmp_path):
    lines = [f"{k % 11},{k},{'new' if k >= 90 else 'ab'[k % 2]}" for k in range(100)]
    (tmp_path / "c.csv").write_text("a,t,y\n" + "\n".join(lines) + "\n")
    answer = call("train", "c.csv", *targets("y"), "--time", "t", *QUICK)
    assert answer.code == 0, answer
    assert "the training part has no row of class 'new' (10 rows); the network cannot learn" in answer.flat
    quiet = call("train", "c.csv", *targets("y"), "--time", "t", "--quiet", *QUICK)
    assert quiet.out == ""
    assert "note: the training part has no row of class 'new' (10 rows)" in quiet.err
    header = call("predict", "c.safetensors", "c.csv", "--backend", "numpy").out.splitlines()[0]
    assert header == "row,prediction,probability_a,probability_b,probability_new"


def test_help_says_what_the_options_do():
    assert "--group" in (train_command.__doc__ or "")


def test_a_file_of_one_target_is_written_as_before(call, table, tmp_path):
    call("train", table("u", "v", "stage"), *targets("stage"), *QUICK)
    stored = load_with_metadata(tmp_path / "t.safetensors", "numpy")[1].preprocessing["target"]
    classes = ["s0", "s1", "s2"]
    assert json.loads(json.dumps(stored)) == {"task": "classification", "classes": classes, "mean": 0.0, "scale": 1.0}
    assert fs.load(tmp_path / "t.safetensors", "numpy").head == "classes"
