"""`fusedstep train`: every kind of source, the table of results, and the file that it writes."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.cli.recipe import recipe_for
from fusedstep.framework.cli.train_command import train as train_command
from fusedstep.framework.cli.training import linear_r2, prepare
from fusedstep.framework.export.persistence import load_with_metadata
from fusedstep.framework.optimizers import OPTIMIZERS
from fusedstep.framework.tables.reading import load
from fusedstep.framework.tables.table import Dataset, Matrix

QUICK = ("--backend", "numpy", "--epochs", "3")


def test_a_bundled_set_without_any_option(call, tmp_path):
    answer = call("train", "iris")
    assert answer.code == 0, answer
    assert answer.err == ""
    for word in ("iris: 150 rows, 4 columns", "105 training, 15 validation, 30 test", "Backend:", "accuracy", "parameters",
                 "Model: iris.safetensors", "Always predicting the most frequent class gives 33.33 %"):  # fmt: skip
        assert word in answer.flat
    model, metadata = load_with_metadata(tmp_path / "iris.safetensors")
    assert (model.inputs, model.outputs, model.head) == (4, 3, "classes")
    assert metadata.notes["results"]["test"]["accuracy"] > 0.9
    assert metadata.notes["rows"] == {"training": 105, "validation": 15, "test": 30}
    assert metadata.preprocessing["target"]["task"] == "classification"


def test_names_are_printed_as_they_are(call, tmp_path):
    x = np.random.default_rng(0).standard_normal((40, 2))
    np.savetxt(tmp_path / ":cat:[red].csv", x, delimiter=",", header="a,:dog:", comments="")
    answer = call("train", ":cat:[red].csv", "--target", ":dog:", *QUICK)
    assert answer.code == 0, answer
    for words in (":cat:[red]: 40 rows", "target ':dog:'", "Model: :cat:[red].safetensors"):
        assert words in answer.flat


def test_the_options_reach_the_training(call, tmp_path):
    answer = call(
        "train", "wine", "--hidden", "12,7", "--number-embedding", "none", "--activation", "prelu", "--dropout", "0.25", "--lr",
        "0.02", "--optimizer", "nadam", "--batch-size", "50", "--epochs", "4", "--patience", "0", "--weight-decay", "0.5",
        "--clip-norm", "2", "--seed", "7", "--test-share", "0.3", "--validation-share", "0.2", "--backend", "numpy",
        "--precision", "float64", "--out", "here.safetensors",
    )  # fmt: skip
    assert answer.code == 0, answer
    model, metadata = load_with_metadata(tmp_path / "here.safetensors")
    assert " ".join(type(layer).__name__ for layer in model.layers) == "Linear PReLU Dropout Linear PReLU Dropout Linear"
    assert (model.layers[0].outputs, model.layers[3].outputs, model.layers[2].p, model.dtype) == (12, 7, 0.25, "float64")
    training = metadata.notes["training"]
    assert {key: training[key] for key in ("optimizer", "lr", "weight_decay", "clip_norm", "batch_size", "epochs", "seed")} == {
        "optimizer": "NAdam", "lr": 0.02, "weight_decay": 0.5, "clip_norm": 2.0, "batch_size": 50, "epochs": 4, "seed": 7,
    }  # fmt: skip
    assert metadata.notes["rows"] == {"training": 89, "validation": 36, "test": 53}
    assert "set by --backend" in answer.flat


def test_an_ensemble_is_trained_and_predicts(call, tmp_path):
    answer = call("train", "iris", "--hidden", "8", "--ensemble", "4", "--out", "four.safetensors", *QUICK)
    assert answer.code == 0, answer
    assert ", 4 networks in one; " in answer.flat
    model, metadata = load_with_metadata(tmp_path / "four.safetensors")
    assert (model.inputs, model.outputs, model.layers[-1].members) == (4, 3, 4)
    assert metadata.notes["training"]["ensemble"] == 4
    assert call("predict", "four.safetensors", "iris", "-o", "answers.csv").code == 0
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 151
    for wrong in ("0", "-3"):
        answer = call("train", "iris", "--ensemble", wrong)
        assert (answer.code, "--ensemble: expected a whole number >= 1" in answer.err) == (2, True), answer


def test_the_same_seed_twice_is_bit_identical_and_another_is_not(call, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert call("train", "iris", "--seed", seed, "-o", f"{name}.safetensors", *QUICK).code == 0
    first, again, other = (
        fs.load(tmp_path / f"{name}.safetensors").parameters()["1.Linear.weight"] for name in ("a", "b", "c")
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_text_columns_and_a_text_target(call, people, tmp_path):
    answer = call("train", people, "--target", "answer")
    assert answer.code == 0, answer
    assert "3 columns (5 after coding)" in answer.flat
    assert "target 'answer': 2 classes (classification)" in answer.flat
    assert load_with_metadata(tmp_path / "people.safetensors")[1].notes["results"]["test"]["accuracy"] > 0.8


def test_missing_numbers_booleans_and_dates_are_features(call, tmp_path):
    rng = np.random.default_rng(0)
    lines = ["age,member,since,answer"]
    for _ in range(300):
        age, member, day = rng.integers(18, 80), rng.random() < 0.5, np.datetime64("2020-01-01") + rng.integers(0, 700)
        answer = ("no", "yes")[int(member)]
        lines.append(f"{'NA' if rng.random() < 0.2 else age},{str(member).lower()},{day},{answer}")
    (tmp_path / "all.csv").write_text("\n".join(lines) + "\n")
    answer = call("train", "all.csv", "--target", "answer", "--backend", "numpy", "--epochs", "60")
    assert answer.code == 0, answer
    metadata = load_with_metadata(tmp_path / "all.safetensors")[1]
    assert metadata.notes["results"]["test"]["accuracy"] > 0.9
    kinds = {column["name"]: column["kind"] for column in metadata.preprocessing["encoder"]["columns"]}
    assert kinds == {"age": "number", "member": "boolean", "since": "date"}
    (tmp_path / "new.csv").write_text("member,age,more,since\ntrue,,x,\nfalse,30,x,2021-02-03\n")
    assert call("predict", "all.safetensors", "new.csv", "--labels-only").out == "row,prediction\n1,yes\n2,no\n"


def test_a_table_of_numbers_is_compared_with_linear_regression(call, line):
    answer = call("train", line, "--target", "price", *QUICK)
    assert "Linear regression on the same split: test R² 0.99" in answer.flat
    assert "The network is not better" in answer.flat, "three epochs cannot beat it on linear data"
    assert "RMSE" in answer.flat


def test_the_comparison_is_least_squares_on_the_same_split():
    data = prepare(load("diabetes"), None, (0.2, 0.1), 0)
    training, test = data.parts["training"], data.parts["test"]
    from sklearn.linear_model import LinearRegression

    expected = LinearRegression().fit(training.x.astype(float), training.y).score(test.x.astype(float), test.y)
    assert linear_r2(training, test) == pytest.approx(expected, abs=1e-10)


def test_the_preprocessing_sees_the_training_part_only():
    x = np.zeros((100, 1))
    labels = np.arange(100) % 2
    clean = prepare(Dataset(Matrix(x), labels), None, (0.2, 0.1), 0)
    assert len(clean.parts["training"]) == 70
    for name in ("validation", "test"):
        rows = _rows_of(name, labels)
        changed = x.copy()
        changed[rows] = 1e6
        stored = prepare(Dataset(Matrix(changed), labels), None, (0.2, 0.1), 0).preprocessor.to_json()
        (column,) = stored["encoder"]["columns"]
        assert (column["center"], column["scale"], column["fill"]) == (0.0, 1.0, 0.0)


def _rows_of(part, labels):
    from fusedstep.framework.tables.splits import split

    return split(labels, (0.2, 0.1), 0)[("training", "validation", "test").index(part)]


@pytest.mark.parametrize("source", ["archive", "images"])
def test_other_formats(call, request, source):
    answer = call("train", request.getfixturevalue(source), "--backend", "numpy", "--epochs", "60")
    assert answer.code == 0, answer
    assert "classification" in answer.flat


def test_parquet_and_svmlight(call, tmp_path, people):
    import pyarrow.csv
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.csv.read_csv(people), tmp_path / "people.parquet")
    assert call("train", "people.parquet", "--target", "answer", *QUICK).code == 0
    rows = "".join(f"{i % 2} 1:{i % 2} 3:{i % 5}\n" for i in range(80))
    (tmp_path / "rows.svm").write_text(rows)
    assert call("train", "rows.svm", *QUICK).code == 0


def test_labels_of_images_given_by_hand(call, images, tmp_path):
    (tmp_path / "train-labels-idx1-ubyte.gz").rename(tmp_path / "numbers.gz")
    assert call("train", images, "--labels", tmp_path / "numbers.gz", *QUICK).code == 0


def test_the_task_can_be_given(call, tmp_path):
    assert call("train", "iris", "--task", "regression", *QUICK).code == 0
    assert load_with_metadata(tmp_path / "iris.safetensors")[1].notes["task"] == "regression"


def test_few_rows_are_all_trained_on(call, tmp_path):
    text = "x,y\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(20))
    (tmp_path / "few.csv").write_text(text)
    answer = call("train", "few.csv", "--target", "y", "--backend", "numpy")
    assert answer.code == 0, answer
    assert "too few for a validation part" in answer.flat
    assert "16 training, 4 test" in answer.flat
    assert load_with_metadata(tmp_path / "few.safetensors")[1].notes["training"]["epochs"] == 256


def test_no_test_part_and_no_validation_part(call):
    answer = call("train", "iris", "--test-share", "0", "--validation-share", "0", *QUICK)
    assert answer.code == 0, answer
    assert "Rows: 150 training Backend" in answer.flat
    assert "most frequent" not in answer.flat


def test_a_constant_target_has_no_r2(call, tmp_path):
    (tmp_path / "flat.csv").write_text("x,y\n" + "".join(f"{i},1.5\n" for i in range(60)))
    answer = call("train", "flat.csv", "--target", "y", "--task", "regression", *QUICK)
    assert answer.code == 0, answer
    assert "undefined" in answer.flat
    assert "is constant" in answer.flat
    assert load_with_metadata(tmp_path / "flat.safetensors")[1].notes["results"]["test"]["r2"] is None


def test_no_hidden_layer_is_a_linear_model(call, tmp_path):
    assert "a linear model" in call("train", "iris", "--hidden", "none", *QUICK).flat
    assert len(fs.load(tmp_path / "iris.safetensors").layers) == 1


def test_quiet_is_quiet(call, tmp_path):
    answer = call("train", "iris", "--quiet", *QUICK)
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert (tmp_path / "iris.safetensors").exists()


@pytest.mark.parametrize("options", [(), ("--quiet",)])
def test_replacing_an_older_model_is_told(call, tmp_path, options):
    assert call("train", "iris", *QUICK, *options).err == ""
    before = (tmp_path / "iris.safetensors").read_bytes()
    answer = call("train", "iris", "--seed", 1, *QUICK, *options)
    assert answer.code == 0
    assert answer.err == "note: an existing iris.safetensors was replaced; use --out to keep an older model\n"
    assert (tmp_path / "iris.safetensors").read_bytes() != before
    assert call("train", "iris", "--out", "iris.safetensors", *QUICK, *options).err == "", "it was asked for"


def test_the_variable_chooses_the_backend(call, monkeypatch):
    monkeypatch.setenv("FUSEDSTEP_BACKEND", "numpy")
    assert "Backend: numpy (set by FUSEDSTEP_BACKEND=numpy)" in call("train", "iris", "--epochs", 2).flat


def test_numpy_and_numba_train_to_the_same_model(call, tmp_path):
    for name in ("numpy", "numba"):
        call("train", "iris", "--backend", name, "--precision", "float64", "--epochs", 5, "-o", f"{name}.safetensors")
    first, second = (fs.load(tmp_path / f"{name}.safetensors", "numpy").parameters() for name in ("numpy", "numba"))
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-7, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("rows", "task", "words"),
    [(2_000, "classification", "network:"), (999, "regression", "regression below 1,000"), (49, "regression", "below 50 rows")],
)
def test_the_help_states_the_preset(rows, task, words):
    recipe = recipe_for(rows, task)
    text = " ".join((train_command.__doc__ or "").split())
    said = text[text.index(words) :].split(" With --stream")[0]
    units = " and ".join(filter(None, (", ".join(map(str, recipe.hidden[:-1])), str(recipe.hidden[-1]))))
    phrases = [f"{recipe.epochs} epochs"]
    if rows >= 50:
        phrases += [f"{units} {recipe.activation}", f"dropout {recipe.dropout:g}", f"AdamW at {recipe.lr:g}",
                    f"weight decay {recipe.weight_decay:g}", recipe.schedule]  # fmt: skip
    for phrase in phrases:
        assert phrase in said


def test_an_option_replaces_one_setting_of_the_preset(call, tmp_path):
    answer = call("train", "iris", "--epochs", 3, "--dropout", 0.3, "--schedule", "constant", "--backend", "numpy")
    assert answer.code == 0, answer
    assert "Settings: 256 · 256 · 256 relu, AdamW, schedule constant, minibatches of 32, at most 3 epochs" in answer.flat
    assert "Network: 4 numbers embedded, 32 → 256 → 256 → 256 → 3, relu, dropout 0.3" in answer.flat
    notes = load_with_metadata(tmp_path / "iris.safetensors")[1].notes["training"]
    preset = asdict(recipe_for(120, "classification"))
    given = {"epochs": 3, "dropout": 0.3, "schedule": "constant"}
    for name in ("hidden", "activation", "number_embedding", "label_smoothing", "batch_size", "beta2", "optimizer", *given):
        expected = given.get(name, preset[name])
        assert notes[name] == (list(expected) if isinstance(expected, tuple) else expected), name
    assert call("train", "iris", "--number-embedding", "plr").code != 0
    assert call("train", "iris", "--label-smoothing", "1").code != 0


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_every_optimiser_can_replace_that_of_the_preset(optimizer):
    recipe = recipe_for(500, "classification", optimizer=optimizer)
    assert recipe.make_optimizer().lr > 0.0
    assert (recipe.lr is None) == (optimizer != "AdamW")


@pytest.mark.parametrize(("source", "least"), [("breast_cancer", 0.96), ("wine", 0.96), ("iris", 0.94)])
def test_accuracy_of_the_defaults(source, least):
    assert np.mean([_test_figure(source, seed)["accuracy"] for seed in range(5)]) >= least


@pytest.mark.parametrize(("seeds", "least"), [(1, 0.965), pytest.param(5, 0.975, marks=pytest.mark.exhaustive)])
def test_accuracy_on_digits(seeds, least):
    assert np.mean([_test_figure("digits", seed)["accuracy"] for seed in range(seeds)]) >= least


def test_diabetes_is_at_least_close_to_linear_regression():
    figures = [_train("diabetes", seed) for seed in range(5)]
    assert np.mean([f.figures["test"]["r2"] - f.baseline for f in figures]) > -0.01


def _train(source, seed):
    from fusedstep.framework.cli.train_options import TrainOptions
    from fusedstep.framework.cli.training import train_model

    data = prepare(load(source), None, (0.2, 0.1), seed)
    return train_model(data, TrainOptions(source, seed=seed), fs.backend())


def _test_figure(source, seed):
    return _train(source, seed).figures["test"]


# Figures of the classes


def test_g4_a_table_of_classes_and_a_confusion_matrix(call, tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    answer = call("train", "iris", "--backend", "numpy", "--epochs", "20")
    assert answer.code == 0, answer
    for words in ("Classes (test part)", "precision", "recall", "F1", "total and mean", "ROC AUC of the test part: 0.",
                  "mean over the classes, each against the rest", "Confusion matrix (test part)", "predicted as"):  # fmt: skip
        assert words in answer.flat
    model, metadata = load_with_metadata(tmp_path / "iris.safetensors")
    found = metadata.notes["results_by_class"]
    data = prepare(load("iris"), None, (None, None), 0)
    test = data.parts["test"]
    answers, chances = np.asarray(model.predict(test.x)), np.asarray(model.predict_proba(test.x), np.float64)
    assert found["confusion"] == metrics.confusion_matrix(test.y, answers).tolist()
    chances /= chances.sum(axis=1, keepdims=True)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(test.y, chances, multi_class="ovr"), rel=1e-6)
    report = metrics.classification_report(test.y, answers, output_dict=True)
    assert [one["class"] for one in found["classes"]] == ["0", "1", "2"]
    for one in found["classes"]:
        expected = report[one["class"]]
        assert [one["precision"], one["recall"], one["f1"], one["rows"]] == pytest.approx(list(expected.values()))


def test_g4_many_classes_show_the_worst_confusions(call, tmp_path):
    rng = np.random.default_rng(0)
    right = np.repeat(np.arange(45), 12)
    lines = [f"{k + rng.normal(0, 0.6):.3f},class [{k}] with a rather long name" for k in right]
    (tmp_path / "many.csv").write_text("\n".join(["x,kind", *lines]))
    answer = call("train", "many.csv", "--target", "kind", *QUICK)
    assert answer.code == 0, answer
    assert "Most frequent confusions (test part)" in answer.flat
    assert "… and 5 more classes with a larger F1" in answer.flat
    assert "Confusion matrix" not in answer.flat
    assert "class [7] with a rather…" in answer.out or "class [0] with a rather…" in answer.out
    found = load_with_metadata(tmp_path / "many.safetensors")[1].notes["results_by_class"]
    assert "confusion" not in found
    assert len(found["classes"]) == 45
    assert 1 <= len(found["worst_confusions"]) <= 10


def test_g4_wide_names_of_classes_are_numbered(call, tmp_path):
    lines = [f"{k % 6},the class of number {k % 6}" for k in range(120)]
    (tmp_path / "wide.csv").write_text("\n".join(["x,kind", *lines]))
    answer = call("train", "wide.csv", "--target", "kind", "--test-share", "0", *QUICK)
    assert answer.code == 0, answer
    assert "Classes (validation part)" in answer.flat
    assert "1: the class of number 0" in answer.flat


def test_g4_a_regression_shows_errors_in_the_units_of_the_target(call, tmp_path, line):
    answer = call("train", str(line), "--target", "price", "--backend", "numpy", "--epochs", "10")
    assert answer.code == 0, answer
    assert "RMSE" in answer.flat
    assert "MAE" in answer.flat
    found = load_with_metadata(tmp_path / "line.safetensors")[1].notes["results"]["test"]
    data = prepare(load(line, "price"), None, (None, None), 0)
    table = fs.TableModel.load(tmp_path / "line.safetensors")
    everything = np.loadtxt(line, delimiter=",", skiprows=1)
    errors = (np.asarray(table.predict(str(line))) - everything[:, 3])[data.rows["test"]]
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-4)
    assert found["rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-4)


def test_embeddings_that_are_asked_for_are_not_left_out(call):
    """Of 30 columns by 398 rows none is embedded by itself."""
    same = ["train", "breast_cancer", "--epochs", "1"]
    plain, asked = (call(*same, *more) for more in ([], ["--number-embedding", "periodic"]))
    assert plain.code == asked.code == 0
    assert "numbers embedded" not in plain.flat
    assert "30 numbers embedded" in asked.flat
