"""`fusedstep train --weight COLUMN` and `--class-weight balanced`."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.cli.training import linear_r2, prepare, streamed_linear_r2
from fusedstep.framework.export.persistence import load_with_metadata
from fusedstep.framework.sources.row_source import ArrayRows
from fusedstep.framework.tables.reading import load

QUICK = ("--backend", "numpy", "--epochs", "3")
RNG = np.random.default_rng(0)
ROWS = 240
A, B = RNG.standard_normal((2, ROWS)).round(4)
WEIGHTS = RNG.integers(0, 4, ROWS)
LABELS = np.where(A + 0.8 * RNG.standard_normal(ROWS) > 0.4, "yes", "no")
PRICES = (100.0 + 20.0 * A - 10.0 * B + 5.0 * RNG.standard_normal(ROWS)).round(3)


def write(path, weights=WEIGHTS, targets=LABELS, order=slice(None), target="bought"):
    """A CSV with columns a, b, w and the target."""
    rows = [f"{a},{b},{w},{t}" for a, b, w, t in zip(A, B, weights, targets, strict=True)]
    path.write_text("\n".join([f"a,b,w,{target}", *np.array(rows)[order]]))
    return path


def notes(path):
    return load_with_metadata(path)[1].notes


def predictions_of(model, path):
    """(targets, answers, probabilities of yes, weights) of a table of the columns that `write` writes."""
    from csv import DictReader

    with open(path) as stream:
        rows = list(DictReader(stream))
    table = fs.TableModel.load(model)
    answers = np.array(table.predict(str(path)))
    return np.array([row["bought"] for row in rows]), answers, np.array([float(row["w"]) for row in rows])


def test_g2_results_are_weighted_in_every_part(call, tmp_path):
    """The figures in the model file against scikit-learn on the predictions of parts that are files of their own."""
    metrics = pytest.importorskip("sklearn.metrics")
    write(tmp_path / "train.csv", order=slice(0, 150))
    write(tmp_path / "valid.csv", order=slice(150, 190))
    write(tmp_path / "held.csv", order=slice(190, None))
    answer = call(
        "train", "train.csv", "--target", "bought", "--weight", "w", "--validation", "valid.csv", "--test", "held.csv", *QUICK,
        "-o", "m.safetensors",
    )  # fmt: skip
    assert answer.code == 0, answer
    assert "weighted by 'w'" in answer.flat
    assert f"{int((WEIGHTS == 0).sum())} rows of weight 0 are left out" in answer.flat
    assert "the weight of each row" in answer.flat
    found = notes(tmp_path / "m.safetensors")
    assert found["weight"] == "w"
    assert found["rows"] == {
        "training": int((WEIGHTS[:150] > 0).sum()), "validation": int((WEIGHTS[150:190] > 0).sum()),
        "test": int((WEIGHTS[190:] > 0).sum()),
    }  # fmt: skip
    for part, file in (("training", "train.csv"), ("validation", "valid.csv"), ("test", "held.csv")):
        targets, answers, weights = predictions_of(tmp_path / "m.safetensors", tmp_path / file)
        expected = metrics.accuracy_score(targets, answers, sample_weight=weights)
        assert found["results"][part]["accuracy"] == pytest.approx(expected, rel=1e-6)
    by_class = found["results_by_class"]
    assert by_class["part"] == "test"
    np.testing.assert_allclose(by_class["confusion"], metrics.confusion_matrix(targets, answers, sample_weight=weights))
    report = metrics.classification_report(targets, answers, sample_weight=weights, output_dict=True, zero_division=0.0)
    for one in by_class["classes"]:
        assert one["precision"] == pytest.approx(report[one["class"]]["precision"])
        assert one["f1"] == pytest.approx(report[one["class"]]["f1-score"])


def test_g2_weight_2_is_trained_as_the_row_twice(call, tmp_path):
    twice = np.repeat(np.arange(ROWS), WEIGHTS)
    write(tmp_path / "w.csv")
    write(tmp_path / "twice.csv", order=twice)
    write(tmp_path / "all.csv")
    for file, options in (("w.csv", ("--weight", "w")), ("twice.csv", ("--drop", "w"))):
        answer = call(
            "train", file, "--target", "bought", "--hidden", "none", "--dropout", "0", "--batch-size", "1000", "--epochs", "40",
            "--validation-share", "0", "--test", "all.csv", "--weight-decay", "0", "--optimizer", "sgd", "--lr", "0.5",
            "--backend", "numpy", *options,
        )  # fmt: skip
        assert answer.code == 0, answer
    weighted, repeated = (fs.TableModel.load(tmp_path / f"{name}.safetensors") for name in ("w", "twice"))
    chances = [np.asarray(model.predict_proba(str(tmp_path / "w.csv"))) for model in (weighted, repeated)]
    # Numbers are scaled by quantiles of the rows, which repetition moves a little.
    np.testing.assert_allclose(*chances, atol=0.05)
    assert np.abs(chances[0] - 0.5).max() > 0.3


def test_g2_predict_needs_no_weights(call, tmp_path):
    write(tmp_path / "w.csv")
    assert call("train", "w.csv", "--target", "bought", "--weight", "w", *QUICK).code == 0
    (tmp_path / "new.csv").write_text("b,a\n0.5,1.0\n-0.5,-1.0\n")
    assert call("predict", "w.safetensors", "new.csv", "-o", "p.csv").code == 0
    (tmp_path / "odd.csv").write_text("a,w,b\n1.0,many,0.5\n-1.0,-3,-0.5\n")
    assert call("predict", "w.safetensors", "odd.csv", "-o", "q.csv").code == 0
    assert (tmp_path / "p.csv").read_text() == (tmp_path / "q.csv").read_text()
    assert load_with_metadata(tmp_path / "w.safetensors")[0].inputs == 2


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("-1", "got '-1' in row 18"), ("", "got no value in row 18"), ("NA", "got no value in row 18"),
        ("many", "got 'many' in row 18"), ("inf", "got 'inf' in row 18"), ("nan", "got no value in row 18"),
        ("5 kg", "got '5 kg' in row 18"),
    ],
)  # fmt: skip
def test_g2_wrong_weights_are_refused_by_row(cell, words, refused, tmp_path):
    weights = WEIGHTS.astype(object)
    weights[17] = cell
    write(tmp_path / "w.csv", weights)
    message = refused("train", "w.csv", "--target", "bought", "--weight", "w", *QUICK)
    assert "--weight w: expected a number >= 0 in every row" in message
    assert words in message
    with pytest.raises(fs.SampleWeightError):
        load(tmp_path / "w.csv", "bought", weight="w")


def test_g2_wrong_weights_of_a_file_of_parts_name_the_file(refused, tmp_path):
    weights = WEIGHTS.astype(object)
    weights[[160, 170]] = "-2"
    write(tmp_path / "a.csv", weights, order=slice(0, 150))
    write(tmp_path / "b.csv", weights, order=slice(150, None))
    message = refused("train", "a.csv", "--target", "bought", "--weight", "w", "--test", "b.csv", *QUICK)
    assert "row 161 is row 11 of b.csv" in message
    assert "and in 1 more" in message


def test_g2_columns_that_cannot_be_weights(refused, tmp_path):
    write(tmp_path / "w.csv")
    train = ("train", "w.csv", "--target", "bought", *QUICK)
    assert "--weight column" in refused(*train, "--weight", "v")
    assert "rows cannot be weighed by what is predicted" in refused(*train, "--weight", "bought")
    assert "other than that which divides the rows" in refused(*train, "--weight", "w", "--group", "w")
    write(tmp_path / "zero.csv", np.zeros(ROWS, int))
    assert "expected a weight > 0 in the training part" in refused("train", "zero.csv", "--target", "bought", "--weight", "w")
    write(tmp_path / "test.csv", np.zeros(ROWS, int))
    assert "in the test part; got only 0" in refused(*train, "--weight", "w", "--test", "test.csv")


@pytest.mark.parametrize("stream", [(), ("--stream",)], ids=["loaded", "streamed"])
def test_g2_weights_of_parquet_and_npz(stream, call, refused, tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = {"a": A, "b": B, "w": WEIGHTS.astype(float), "price": PRICES, "flag": WEIGHTS > 1}
    parquet.write_table(pa.table(table), tmp_path / "p.parquet", row_group_size=50)
    np.savez(tmp_path / "z.npz", x=np.column_stack([A, B]), y=PRICES, w=WEIGHTS)
    found = []
    for file, options in (("p.parquet", ("--target", "price", "--drop", "flag")), ("z.npz", ())):
        answer = call("train", file, *options, "--weight", "w", *QUICK, *stream, "--find-lr")
        assert answer.code == 0, answer
        found.append(notes(tmp_path / f"{file[0]}.safetensors"))
        assert found[-1]["weight"] == "w"
        assert sum(found[-1]["rows"].values()) == (WEIGHTS > 0).sum()
    assert "got booleans" in refused("train", "p.parquet", "--target", "price", "--weight", "flag", *QUICK, *stream)
    if stream:
        np.save(tmp_path / "x.npy", np.column_stack([A, B, WEIGHTS]))
        np.save(tmp_path / "y.npy", PRICES)
        message = refused("train", "x.npy", "--labels", "y.npy", "--weight", "x2", *QUICK, *stream)
        assert "expected no --weight with --stream" in message


def test_g2_the_baselines_are_weighted(tmp_path):
    np.savez(tmp_path / "z.npz", x=np.column_stack([A, B]), y=PRICES, w=WEIGHTS)
    data = prepare(load(tmp_path / "z.npz", weight="w"), None, (0.3, 0.0), 0)
    training, test = data.parts["training"], data.parts["test"]
    again = [np.repeat(np.arange(len(part)), part.weights.astype(int)) for part in (training, test)]
    repeated = [
        type(part)(part.x[rows], part.y[rows]) for part, rows in zip((training, test), again, strict=True)
    ]  # fmt: skip
    assert linear_r2(training, test) == pytest.approx(linear_r2(*repeated), rel=1e-9)
    streamed = [type(part)(ArrayRows(part.x), part.y, part.weights) for part in (training, test)]
    assert streamed_linear_r2(*streamed) == pytest.approx(linear_r2(training, test), rel=1e-9)


def test_g2_weights_of_several_targets(call, tmp_path):
    lines = [f"{a},{b},{w},{int(a > 0)},{int(b > 0)}" for a, b, w in zip(A, B, WEIGHTS, strict=True)]
    (tmp_path / "two.csv").write_text("\n".join(["a,b,w,up,right", *lines]))
    assert call("train", "two.csv", "--target", "up", "--target", "right", "--weight", "w", *QUICK).code == 0
    assert notes(tmp_path / "two.safetensors")["results_by_target"]["test"]["up"]["accuracy"] > 0.5


@pytest.mark.parametrize("sweep", [(), ("--sweep",)], ids=["rates", "sweep"])
def test_g2_a_learning_rate_is_searched_with_the_weights(sweep, call, tmp_path):
    write(tmp_path / "w.csv")
    write(tmp_path / "one.csv", np.ones(ROWS, int))
    train = ("--target", "bought", "--weight", "w", "--backend", "numpy", "--epochs", "1", *sweep)
    first, same, other = (call("find-lr", name, *train) for name in ("w.csv", "w.csv", "one.csv"))
    assert first.code == 0, first
    assert first.flat.partition("Minibatches")[2] == same.flat.partition("Minibatches")[2]
    assert "rows of weight 0 are left out" in first.flat
    assert other.code == 0, other
    step = fs.TrainStep(fs.mlp([2, 4, 2]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=0, backend="numpy")
    x, y = np.column_stack([A, B]), (LABELS == "yes").astype(int)
    search = fs.sweep_learning_rate if sweep else fs.find_learning_rate
    options = {} if sweep else {"rates": [0.1], "finer": [], "epochs": 1}
    weights = WEIGHTS + (A > 0)
    plain, weighted = (search(step, x, y, sample_weight=w, **options) for w in (None, weights))
    assert plain.trials[0].loss != weighted.trials[0].loss


def test_g2_a_search_weighs_training_and_validation_as_train_does(call, tmp_path):
    pytest.importorskip("optuna")
    write(tmp_path / "w.csv")
    data = ("w.csv", "--target", "bought", "--weight", "w")
    small = ("--trials", "3", "--epochs", "3", "--width", "4-8", "--layers", "1", "--backend", "numpy")
    answer = call("search", *data, *small)
    assert answer.code == 0, answer
    assert "weighted by 'w'" in answer.flat
    assert "rows of weight 0 are left out" in answer.flat
    write(tmp_path / "one.csv", np.ones(ROWS, int))
    best = [float(found.flat.partition("Best of 3: validation loss ")[2].partition(":")[0])
            for found in (answer, call("search", "one.csv", *data[1:], *small))]  # fmt: skip
    command = shlex.split(answer.out.rstrip().splitlines()[-1].removeprefix("Train it: fusedstep "))
    assert command[command.index("--weight") + 1] == "w"
    assert call(*command, "--backend", "numpy", "-o", "best.safetensors").code == 0
    trained = notes(tmp_path / "best.safetensors")
    assert trained["weight"] == "w"
    assert trained["results"]["validation"]["loss"] == pytest.approx(best[0], abs=1e-3)
    assert best[0] != pytest.approx(best[1], abs=5e-3)


@pytest.mark.parametrize("command", ["search", "find-lr"])
def test_g3_searches_train_with_balanced_classes(command, call, refused, tmp_path):
    if command == "search":
        pytest.importorskip("optuna")
    rare = np.where(A > 1.0, "yes", "no")
    write(tmp_path / "rare.csv", targets=rare)
    short = (command, "rare.csv", "--target", "bought", "--drop", "w", "--backend", "numpy", "--epochs", "1")
    short += ("--trials", "1") if command == "search" else ()
    plain, balanced = (call(*short, *options) for options in ((), ("--class-weight", "balanced")))
    assert plain.code == balanced.code == 0, balanced
    losses = [re.findall(r"\d\.\d{3,}", one.flat.partition("Backend")[2]) for one in (plain, balanced)]
    assert losses[0] != losses[1]
    assert ("--class-weight balanced" in balanced.flat) == (command == "search")
    assert "expected balanced; got 'equal'" in refused(*short, "--class-weight", "equal")
    assert "predicts numbers" in refused(command, "rare.csv", "--target", "a", "--class-weight", "balanced")


def test_g3_balanced_classes_find_more_of_the_rare_one(call, refused, tmp_path):
    rare = np.where(A + 0.5 * B + 1.5 * np.random.default_rng(1).standard_normal(ROWS) > 1.9, "yes", "no")
    write(tmp_path / "rare.csv", targets=rare)
    recalls = []
    for options in ((), ("--class-weight", "balanced")):
        answer = call("train", "rare.csv", "--target", "bought", "--drop", "w", *QUICK, "--hidden", "none", *options)
        assert answer.code == 0, answer
        assert ("balanced classes" in answer.flat) == bool(options)
        found = notes(tmp_path / "rare.safetensors")
        assert found["training"].get("class_weight") == ("balanced" if options else None)
        recalls.append(found["results_by_class"]["classes"][1]["recall"])
    assert recalls[1] > recalls[0]
    assert "expected balanced; got 'equal'" in refused("train", "rare.csv", "--target", "bought", "--class-weight", "equal")
    assert "predicts numbers" in refused("train", "rare.csv", "--target", "a", "--class-weight", "balanced")
