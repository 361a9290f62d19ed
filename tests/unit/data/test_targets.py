"""Several targets: labels and numbers, mixtures, constants; what is said about classes; figures of each target."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fusedstep import errors
from fusedstep.errors import DtypeError, EmptyDataError, LabelError, ModelFileError, NonFiniteDataError, ShapeError
from fusedstep.framework.cli.figures_by_target import figures_by_target
from fusedstep.framework.cli.training import loss_of, prepare
from fusedstep.framework.losses import MSE, BinaryCrossEntropy
from fusedstep.framework.tables.preprocessing import Preprocessor
from fusedstep.framework.tables.table import Dataset, Matrix, SplitColumn
from fusedstep.framework.tables.target_notes import notes_on_sizes
from fusedstep.framework.tables.targets import as_target
from fusedstep.framework.tables.task import find_task

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3))
TEXT = np.where(X[:, 0] > 0, "yes", "no").astype(object)
LABELS = {"text": TEXT, "number": (X[:, 1] > 0).astype(int), "truth": X[:, 2] > 0, "real": (X[:, 0] > 1).astype(float)}
NUMBERS = {"price": 1e6 + 1e3 * X[:, 0], "rate": 1e-3 * X[:, 1]}


def back(preprocessor):
    """The same preprocessor from its JSON."""
    return Preprocessor.from_json(json.loads(json.dumps(preprocessor.to_json())))


def test_labels_come_back_as_they_were():
    made = Preprocessor().fit(X, LABELS)
    for one in (made, back(made)):
        assert (one.task, one.outputs, one.classes, one.several) == ("classification", 4, [], True)
        assert {name: coding.classes.tolist() for name, coding in one.targets.items()} == {
            "text": ["no", "yes"], "number": [0, 1], "truth": [False, True], "real": [0.0, 1.0],
        }  # fmt: skip
        encoded = one.transform_target(LABELS)
        assert encoded.dtype == np.float64
        np.testing.assert_array_equal(encoded, np.column_stack([TEXT == "yes", *list(LABELS.values())[1:]]))
        for predictions in (encoded, encoded.astype(int), 0.2 + 0.6 * encoded):
            decoded = one.inverse_target(predictions)
            assert {name: column.tolist() for name, column in decoded.items()} == {
                name: list(column) for name, column in LABELS.items()
            }


def test_numbers_come_back_in_their_units():
    made = Preprocessor().fit(X, NUMBERS)
    for one in (made, back(made)):
        assert (one.task, one.outputs, one.classes, one.several) == ("regression", 2, [], True)
        assert one.targets["price"].scale == pytest.approx(NUMBERS["price"].std())
        encoded = one.transform_target(NUMBERS)
        np.testing.assert_allclose(encoded.mean(axis=0), 0.0, atol=1e-9)
        np.testing.assert_allclose(encoded.std(axis=0), 1.0)
        for name, column in one.inverse_target(encoded).items():
            np.testing.assert_allclose(column, NUMBERS[name], rtol=1e-12)


def test_a_matrix_is_several_targets():
    made = Preprocessor().fit(X, X[:, :2])
    assert list(made.targets) == ["y0", "y1"]
    assert made.transform_target(X[:5, :2]).shape == (5, 2)
    assert find_task(np.eye(3)[RNG.integers(0, 3, 60)]) == "classification"
    assert as_target(np.zeros((4, 1))).shape == (4,)


@pytest.mark.parametrize("name", ["price", "real"])
def test_a_mapping_of_one_target_is_one_output(name):
    made = back(Preprocessor().fit(X, {name: {**NUMBERS, **LABELS}[name]}))
    assert made.outputs == 1
    assert made.transform_target({name: {**NUMBERS, **LABELS}[name]}).shape == (60, 1)


MIXTURES = {
    "labels and numbers": {"a": LABELS["number"], "b": NUMBERS["rate"]},
    "text and numbers": {"a": TEXT, "b": NUMBERS["rate"]},
    "three classes": {"a": LABELS["number"], "b": np.arange(60) % 3},
    "classes and numbers": {"a": np.arange(60) % 3, "b": NUMBERS["rate"]},
    "text of three classes": {"a": np.array(["u", "v", "w"] * 20, object), "b": TEXT},
}


@pytest.mark.parametrize("targets", MIXTURES.values(), ids=MIXTURES)
def test_mixtures_are_refused_and_numbers_may_be_asked_for(targets):
    text = any(np.asarray(column).dtype == object for column in targets.values())
    with pytest.raises(LabelError, match=r"targets: expected two values in each.*one model for each kind") as error:
        find_task(targets)
    assert "'a': " in str(error.value)
    assert "'b': " in str(error.value)
    assert ("--task regression" in str(error.value)) is not text
    if text:
        with pytest.raises(DtypeError, match="regression: expected a numeric target 'a', got text such as"):
            find_task(targets, "regression")
    else:
        assert Preprocessor().fit(X, targets, "regression").task == "regression"
    if "numbers" in str(error.value) or "classes" in str(error.value):
        with pytest.raises(LabelError, match="expected two values in each"):
            find_task(targets, "classification")


def test_asked_for_classification_of_two_numbers():
    assert find_task({"a": np.array([0.5, 1.5] * 30), "b": TEXT}, "classification") == "classification"


def test_a_label_of_one_value():
    made = Preprocessor().fit(X, {"a": np.zeros(60), "b": np.ones(60, int), "c": np.ones(60, bool), "d": TEXT})
    assert [coding.classes.tolist() for coding in made.targets.values()] == [[0.0, 1.0], [0, 1], [False, True], ["no", "yes"]]
    for column in (np.full(60, "no", object), np.full(60, 7)):
        with pytest.raises(LabelError, match=r"target 'a': expected two values, found only \[.*\] in 60 rows; leave out"):
            Preprocessor().fit(X, {"a": column, "b": TEXT})


def test_labels_that_training_rows_lack_are_known_beforehand():
    made = Preprocessor().fit(X[:5], {"a": TEXT[:1].repeat(5), "b": TEXT[:5]}, None, {"a": TEXT, "b": TEXT})
    assert made.targets["a"].classes.tolist() == ["no", "yes"]
    one = Preprocessor().fit(X[:4], ["a", "b", "a", "b"], None, ["c", "a", "b"])
    assert one.classes == ["a", "b", "c"]
    assert one.transform_target(["c"]).tolist() == [2]


def test_wrong_targets_are_named():
    made = Preprocessor().fit(X, LABELS)
    with pytest.raises(errors.UnknownColumn, match="truth"):
        made.transform_target({name: column for name, column in LABELS.items() if name != "truth"})
    with pytest.raises(ShapeError, match="expected 4 columns"):
        made.transform_target(TEXT)
    with pytest.raises(ShapeError, match=r"expected shape \[N, 4\]"):
        made.inverse_target(np.zeros((3, 2)))
    with pytest.raises(LabelError, match=r"expected 0 and 1, or probabilities, got values from -1\.5"):
        made.inverse_target(np.full((3, 4), -1.5))
    with pytest.raises(LabelError, match="target 'text': expected labels seen in training"):
        made.transform_target({**LABELS, "text": np.full(60, "maybe", object)})
    with pytest.raises(LabelError, match="target 'text': expected a label in every row, found 1 empty, the first in row 3"):
        Preprocessor().fit(X, {**LABELS, "text": [None if row == 2 else value for row, value in enumerate(TEXT)]})
    with pytest.raises(NonFiniteDataError, match="target 'rate'"):
        Preprocessor().fit(X, {**NUMBERS, "rate": np.where(X[:, 0] > 1, np.nan, X[:, 1])})
    with pytest.raises(ShapeError, match="one or several columns of equal length"):
        Preprocessor().fit(X, {"a": TEXT, "b": TEXT[:4]})
    with pytest.raises(ShapeError, match="expected one column, got 'a', 'b'"):
        Preprocessor().fit(X, TEXT).transform_target({"a": TEXT, "b": TEXT})
    with pytest.raises(EmptyDataError):
        find_task({"a": [], "b": []})


@pytest.mark.parametrize(
    "change",
    [
        lambda target: target.update(targets=[]),
        lambda target: target["targets"].append(target["targets"][0]),
        lambda target: target["targets"][0].update(classes=["a", "b", "c"]),
        lambda target: target["targets"][0].update(task="regression", classes=[]),
        lambda target: target["targets"][0].pop("name"),
        lambda target: target.update(targets=3),
    ],
)
def test_damaged_targets_are_refused(change):
    stored = Preprocessor().fit(X, LABELS).to_json()
    change(stored["target"])
    with pytest.raises(ModelFileError):
        Preprocessor.from_json(stored)


# What `prepare` says and refuses


def prepared(target, split_by=None, task=None, fractions=(0.2, 0.2)):
    rows = len(next(iter(target.values()))) if isinstance(target, dict) else len(target)
    return prepare(Dataset(Matrix(np.ones((rows, 1))), target, "d", "y", split_by=split_by), task, fractions, 0)


def test_one_member_of_a_class_is_trained_on_and_named():
    data = prepared(np.array(["a"] * 40 + ["b"] * 40 + ["c"], object))
    assert data.preprocessor.classes == ["a", "b", "c"]
    assert (data.parts["training"].y == 2).sum() == 1
    assert data.notes == ("the test part has no row of class 'c' (1 row); its results do not cover them",)


@pytest.mark.parametrize("by", ["time", "group"])
def test_a_class_that_only_other_parts_have(by):
    target = np.array([0, 1] * 40 + [2] * 20)
    when = np.arange(100) if by == "time" else np.where(target == 2, 99, np.arange(100))
    data = prepared(target, SplitColumn(by, "when", when))
    assert data.preprocessor.classes == [0, 1, 2]
    if by == "time":
        assert (data.parts["test"].y == 2).all()
        assert data.notes[0].startswith("the training part has no row of class 2 (20 rows); the network cannot learn")
        assert data.notes[1] == "the test part has no row of 2 classes: 0 (40 rows), 1 (40 rows); its results do not cover them"
    else:
        assert not set(when[data.rows["training"]]) & set(when[data.rows["test"]])


def test_parts_of_other_sizes_than_asked_for_are_said():
    target = np.arange(100) % 2
    groups = np.repeat(["a", "b", "c"], [50, 30, 20])
    notes = prepared(target, SplitColumn("group", "g", groups), fractions=(0.1, 0.2)).notes
    assert notes == (
        "the validation part has 30 % of the rows instead of 20 %, as rows of a group stay together",
        "the test part has 20 % of the rows instead of 10 %, as rows of a group stay together",
    )
    notes = prepared(target, SplitColumn("time", "t", np.repeat([1, 2, 3], [50, 20, 30]))).notes
    assert notes == ("the test part has 30 % of the rows instead of 20 %, as rows of the same time stay together",)
    assert prepared(target, SplitColumn("time", "t", np.arange(100))).notes == ()
    rows = {"training": np.arange(80), "validation": np.arange(20), "test": np.arange(500)}
    assert notes_on_sizes("group", rows, {"validation": 0.2, "test": 0.0}) == ()  # a test part of its own


def test_a_training_part_of_one_class_is_refused():
    with pytest.raises(LabelError, match=r"found only 'a' \(60 rows\), as only other parts have class 'b'"):
        prepared(np.array(["a"] * 70 + ["b"] * 30, object), SplitColumn("time", "when", np.arange(100)))


def test_many_absent_classes_are_counted():
    target = np.array([0, 1] * 40 + list(range(2, 22)))
    note = prepared(target, SplitColumn("time", "when", np.arange(100)), "classification").notes[0]
    assert "20 classes: 2 (1 row), 3 (1 row), 4 (1 row), 5 (1 row), 6 (1 row) and 15 more" in note


def test_a_class_for_each_row_is_refused():
    with pytest.raises(LabelError, match=r"found 40 different values in as many rows, such as 'id0'.*identifies rows"):
        prepared(np.array([f"id{k}" for k in range(40)], object))


@pytest.mark.parametrize("classes", [20, 30, 50])
def test_two_rows_of_each_class(classes):
    data = prepared(np.array([f"c{k}" for k in range(classes)] * 2, object))
    assert len(data.preprocessor.classes) == classes
    assert set(data.parts["training"].y) == set(range(classes))
    assert "the test part has no row of" in data.notes[0]


def test_classes_may_be_fractions():
    target = np.array([0.25, 0.5, 0.5, 1.75] * 20)
    data = prepared(target, task="classification")
    assert [np.bincount(part.y).tolist() for part in data.parts.values()] == [[12, 24, 12], [4, 8, 4], [4, 8, 4]]


@pytest.mark.parametrize("value", [3.5, 1e12])
def test_a_constant_target(value):
    data = prepared(np.full(60, value), task="regression")
    assert data.notes == ("target 'y' has the same value in all 36 training rows, so R² is undefined",)
    np.testing.assert_array_equal(data.parts["test"].y, 0.0)
    assert data.preprocessor.inverse_target([[0.0]]).tolist() == [value]


def test_a_constant_class_is_refused():
    with pytest.raises(LabelError, match=r"target 'y': expected at least 2 classes, found only 5 in all 60 rows"):
        prepared(np.full(60, 5))


def test_a_constant_label_among_others():
    data = prepared({"a": np.zeros(60, int), "b": np.arange(60) % 2})
    assert data.notes == ("target 'a' has the same value in all 36 training rows, so nothing can be learned about it",)


def test_losses_of_several_targets():
    assert type(loss_of(prepared(LABELS))) is BinaryCrossEntropy
    assert type(loss_of(prepared(NUMBERS))) is MSE
    assert prepared(LABELS).kind == "labels"
    assert prepared(NUMBERS).parts["training"].y.shape == (36, 2)


def test_the_rarest_label_is_in_every_part():
    rare = np.zeros(200, int)
    rare[:10] = 1
    for seed in range(5):
        target = {"common": RNG.permutation(np.arange(200) % 2), "rare": RNG.permutation(rare)}
        data = prepare(Dataset(Matrix(np.ones((200, 1))), target), None, (0.2, 0.2), seed)
        assert [int(data.parts[part].y[:, 1].sum()) for part in ("training", "validation", "test")] == [6, 2, 2]


# Figures


def test_figures_are_in_the_units_of_the_target():
    made = Preprocessor().fit(X, NUMBERS)
    encoded = made.transform_target(NUMBERS)
    found = figures_by_target(encoded + 0.5, encoded, made.targets)
    assert found["price"] == {
        "r2": pytest.approx(0.75), "rmse": pytest.approx(0.5 * NUMBERS["price"].std()),
        "mae": pytest.approx(0.5 * NUMBERS["price"].std()),
    }  # fmt: skip
    assert found["rate"]["rmse"] == pytest.approx(0.5 * NUMBERS["rate"].std())
    labels = Preprocessor().fit(X, LABELS)
    wanted = labels.transform_target(LABELS)
    perfect = figures_by_target(2 * wanted - 1, wanted, labels.targets)
    assert all(figures == {"accuracy": 1.0, "f1": 1.0, "auc": 1.0} for figures in perfect.values())
    constant = figures_by_target(encoded, np.zeros_like(encoded), made.targets)
    assert math.isnan(constant["price"]["r2"])
