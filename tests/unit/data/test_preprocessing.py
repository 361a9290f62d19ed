"""Coding of features and targets, against scikit-learn and through JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fusedstep.errors import (
    DtypeError,
    EmptyDataError,
    LabelError,
    ModelFileError,
    NonFiniteDataError,
    ShapeError,
    StateError,
    UnknownColumn,
)
from fusedstep.framework.tables.column_kind import ColumnKind, kinds_to_json
from fusedstep.framework.tables.moments import column_moments
from fusedstep.framework.tables.preprocessing import Preprocessor
from fusedstep.framework.tables.table import Matrix, Table

preprocessing = pytest.importorskip("sklearn.preprocessing", reason="scikit-learn is the oracle")


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def mixed(rng):
    return Table(
        {
            "age": rng.normal(40, 12, 50),
            "town": rng.choice(["Ulm", "Bonn", "Köln", ""], 50),
            "income": rng.lognormal(8, 2, 50),
            "sex": rng.choice(["f", "m"], 50),
        },
        "people.csv",
    )


def test_columns_of_many_categories_are_codes_for_embeddings():
    cells = [f"u{k % 150}" for k in range(400)]
    fitted = Preprocessor().fit({"x": np.arange(400), "id": cells}, np.arange(400) % 2)
    assert (fitted.width, fitted.categories, fitted.text_columns) == (2, {1: 151}, ("id",))
    again = Preprocessor.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again.categories == {1: 151}
    out = again.transform({"x": [1, 2], "id": ["u0", "new"]})
    assert out[:, 1].tolist() == [1, 0]
    assert again.unseen({"x": [1, 2], "id": ["u0", "new"]}) == {"id": 1}


def test_unseen_categories_are_counted(mixed):
    fitted = Preprocessor().fit(mixed, np.arange(50) % 2)
    assert fitted.unseen(mixed) == {}
    towns = np.array(mixed.column("town"))
    towns[[3, 7]] = "Lima"
    assert fitted.unseen(Table({**mixed.columns, "town": towns})) == {"town": 2}
    numbers = Preprocessor().fit(np.eye(4), [0, 1, 0, 1])
    assert numbers.unseen(np.ones((2, 4))) == {}


def test_matrix_agrees_with_standard_scaler(rng):
    train, test = rng.normal(3, 2, (100, 7)), rng.normal(3, 2, (40, 7))
    train[:, 2] = 0.1
    fitted = Preprocessor("standard", "float64").fit(train, np.arange(100) % 3)
    scaler = preprocessing.StandardScaler().fit(train)
    out = fitted.transform(test)
    assert out.dtype == np.float64
    assert out.flags.c_contiguous
    narrow = Preprocessor("standard").fit(train, np.arange(100) % 3).transform(test)
    assert narrow.flags.c_contiguous
    np.testing.assert_array_equal(narrow, out.astype(np.float32))
    keep = [0, 1, 3, 4, 5, 6]
    np.testing.assert_allclose(out[:, keep], scaler.transform(test)[:, keep], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(fitted.transform(train)[:, 2], 0.0)
    np.testing.assert_allclose(fitted.transform(train).std(axis=0)[keep], 1.0)


def test_table_agrees_with_one_hot_encoder(mixed):
    fitted = Preprocessor("standard", "float64").fit(mixed, np.arange(50) % 2)
    encoder = preprocessing.OneHotEncoder(sparse_output=False)
    text = np.column_stack([mixed.column("town"), mixed.column("sex")])
    one_hot = encoder.fit_transform(text)
    scaled = preprocessing.StandardScaler().fit_transform(
        np.column_stack([mixed.column("age"), mixed.column("income")])
    )
    expected = np.column_stack([scaled[:, :1], one_hot[:, :4], scaled[:, 1:], one_hot[:, 4:]])
    np.testing.assert_allclose(fitted.transform(mixed), expected, rtol=1e-12, atol=1e-12)
    assert fitted.feature_names == (
        "age", "town=", "town=Bonn", "town=Köln", "town=Ulm", "income", "sex=f", "sex=m",
    )  # fmt: skip
    assert fitted.width == 8
    assert fitted.input_names == mixed.names
    assert fitted.text_columns == ("town", "sex")


def test_matrix_and_table_of_the_same_numbers_agree(rng):
    x = rng.normal(size=(30, 3))
    y = np.arange(30) % 2
    table = Table({f"x{j}": x[:, j] for j in range(3)})
    by_matrix = Preprocessor(dtype="float64").fit(x, y).transform(table)
    by_table = Preprocessor(dtype="float64").fit(table, y).transform(x)
    np.testing.assert_allclose(by_matrix, by_table, rtol=1e-12, atol=1e-14)


def test_unseen_category_gives_zeros_and_extra_columns_are_ignored(mixed):
    fitted = Preprocessor().fit(mixed.select(["sex"]), np.arange(50) % 2)
    out = fitted.transform({"more": [np.nan, 1.0], "sex": ["x", "m"]})
    np.testing.assert_array_equal(out, [[0, 0], [0, 1]])


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(2, 40), st.integers(1, 4)), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from([1e-150, 1e-3, 1.0, 1e150, 1e301]),
)
def test_moments_agree_with_numpy_at_every_size_of_number(values, factor):
    mean, scale = column_moments(values * factor)
    deviation = values.std(axis=0)
    ample = deviation > 1e-6 * np.abs(values).max(axis=0)
    np.testing.assert_allclose(mean[ample], values.mean(axis=0)[ample] * factor, rtol=1e-9, atol=1e-9 * factor)
    np.testing.assert_allclose(scale[ample], deviation[ample] * factor, rtol=1e-9)
    assert (scale > 0).all()


def test_constant_columns_are_constant_in_spite_of_rounding():
    values = np.full((1_000_003, 1), 0.1)
    mean, scale = column_moments(values)
    assert (mean[0], scale[0]) == (0.1, 1.0)
    values[::2] = np.nextafter(0.1, 1)
    assert column_moments(values)[1][0] == 1.0


def test_moments_do_not_depend_on_a_large_offset(rng):
    values = rng.normal(size=(500, 1))
    np.testing.assert_allclose(column_moments(values + 1e6)[1], values.std(axis=0), rtol=1e-9)


def test_spread_beyond_float64_is_reported():
    with pytest.raises(NonFiniteDataError, match=r"standard deviation.*'a'"):
        Preprocessor().fit({"a": [-1.7e308, 1.7e308, 1.7e308]}, [0, 1, 0])


@pytest.mark.parametrize(
    ("labels", "classes", "kind"),
    [
        (["dog", "cat", "dog"], ["cat", "dog"], str),
        ([7, -1, 7], [-1, 7], int),
        ([0.5, 2.0, 0.5], [0.5, 2.0], float),
        ([True, False, True], [False, True], bool),
    ],
)
def test_class_labels_keep_their_type_both_ways_and_through_json(labels, classes, kind):
    x = np.arange(3.0)[:, np.newaxis]
    fitted = Preprocessor().fit(x, np.array(labels), "classification")
    stored = json.loads(json.dumps(fitted.to_json()))
    for one in (fitted, Preprocessor.from_json(stored)):
        assert one.classes == classes
        assert {type(label) for label in one.classes} == {kind}
        assert one.outputs == 2
        indices = one.transform_target(labels)
        assert indices.dtype == np.int64
        assert [classes[index] for index in indices] == labels
        assert one.inverse_target(indices).tolist() == labels
        assert one.inverse_target(np.eye(2)[indices]).tolist() == labels


def test_whole_floats_match_integer_labels():
    fitted = Preprocessor().fit(np.zeros((3, 1)), [0, 1, 2], "classification")
    assert fitted.transform_target([2.0, 0.0]).tolist() == [2, 0]


def test_regression_target_is_standardised_and_comes_back(rng):
    x, y = rng.normal(size=(60, 2)), rng.normal(100, 30, 60)
    fitted = Preprocessor().fit(x, y)
    coded = fitted.transform_target(y)
    assert (fitted.task, fitted.outputs, fitted.classes, coded.shape) == ("regression", 1, [], (60, 1))
    assert coded.flags.c_contiguous
    np.testing.assert_allclose(coded, preprocessing.StandardScaler().fit_transform(y[:, np.newaxis]), rtol=1e-12)
    for predictions in (coded, coded[:, 0], coded.astype(np.float32)):
        restored = fitted.inverse_target(predictions)
        assert (restored.shape, restored.dtype) == ((60,), np.float64)
        np.testing.assert_allclose(restored, y, rtol=1e-5)


@given(
    hnp.arrays(np.float64, (5, 3), elements=st.floats(-1e100, 1e100)),
    st.lists(st.text(max_size=5), min_size=5, max_size=5),
    st.sampled_from(["regression", "classification"]),
)
def test_json_round_trip_is_exact(numbers, words, task):
    table = Table({"a": numbers[:, 0], "w": np.array(words, dtype=object), "b": numbers[:, 1]})
    target = numbers[:, 2] if task == "regression" else np.array([3, 1, 2, 1, 3])
    fitted = Preprocessor().fit(table, target, task)
    text = json.dumps(fitted.to_json(), allow_nan=False)
    again = Preprocessor.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    assert again.transform(table).tobytes() == fitted.transform(table).tobytes()
    assert again.transform_target(target).tobytes() == fitted.transform_target(target).tobytes()
    assert (again.feature_names, again.input_names, again.task) == (
        fitted.feature_names, fitted.input_names, fitted.task,
    )  # fmt: skip


FIRST = {
    "format": "fusedstep.preprocessor/1",
    "features": [
        {"name": "a", "kind": "numeric", "mean": 3.0, "scale": 2.0},
        {"name": "town", "kind": "text", "categories": ["", "Ulm"]},
        {"name": "b", "kind": "numeric", "mean": 0.1, "scale": 0.3},
    ],
    "target": {"task": "classification", "classes": ["no", "yes"], "mean": 0.0, "scale": 1.0},
}


def test_preprocessing_of_version_0_1_0_gives_the_same_matrix():
    fitted = Preprocessor.from_json(json.loads(json.dumps(FIRST)))
    assert (fitted.input_names, fitted.text_columns, fitted.kinds) == (("a", "town", "b"), ("town",), None)
    assert fitted.feature_names == ("a", "town=", "town=Ulm", "b")
    table = {"b": [0.7, np.nan, 1], "more": ["", "x", ""], "town": ["Ulm", None, "Bonn"], "a": [True, False, True]}
    out = fitted.transform(table)
    assert out.dtype == np.float64
    expected = [[(1 - 3.0) / 2, 0, 1, (0.7 - 0.1) / 0.3], [(0 - 3.0) / 2, 1, 0, 0], [(1 - 3.0) / 2, 0, 0, (1 - 0.1) / 0.3]]
    np.testing.assert_array_equal(out, expected)
    assert fitted.unseen(table) == {"town": 1}
    again = Preprocessor.from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(again.transform(table), expected)


BOTH = [
    lambda stored: stored.update(format="fusedstep.preprocessor/0"),
    lambda stored: stored.pop("target"),
    lambda stored: stored["target"].update(task="clustering"),
    lambda stored: stored["target"].update(classes=[1, "a"]),
    lambda stored: stored["target"].update(classes=None),
    lambda stored: stored["target"].update(classes=[1]),
    lambda stored: stored["target"].update(classes=[1, 1]),
    lambda stored: stored["target"].update(classes=[[1], [2]]),
    lambda stored: stored["target"].update(classes={"a": 1, "b": 2}),
    lambda stored: stored["target"].update(classes=[1.5, float("inf")]),
    lambda stored: stored["target"].update(classes=[10**30, 1]),
    lambda stored: stored["target"].update(task="regression"),
    lambda stored: stored["target"].update(task=["classification"]),
    lambda stored: stored["target"].update(mean=True),
    lambda stored: stored["target"].update(scale=-1.0),
]


@pytest.mark.parametrize(
    "change",
    [
        *BOTH,
        lambda stored: stored.pop("features"),
        lambda stored: stored["features"][0].pop("mean"),
        lambda stored: stored["features"][0].update(kind="date"),
        lambda stored: stored.update(features=[[1]]),
        lambda stored: stored.update(features=[]),
        lambda stored: stored.update(features={}),
        lambda stored: stored["features"][0].update(mean=[1.0]),
        lambda stored: stored["features"][0].update(mean="1"),
        lambda stored: stored["features"][0].update(mean=10**400),
        lambda stored: stored["features"][0].update(scale=0),
        lambda stored: stored["features"][0].update(scale=float("nan")),
        lambda stored: stored["features"][0].update(name=3),
        lambda stored: stored["features"].append(stored["features"][0]),
        lambda stored: stored["features"][0].update(kind="text", categories="ab"),
        lambda stored: stored["features"][0].update(kind="text", categories=["a", "a"]),
        lambda stored: stored["features"][0].update(kind="text", categories=["a", 1]),
    ],
)
def test_damaged_json_of_version_0_1_0_is_reported(change):
    stored = json.loads(json.dumps(FIRST))
    change(stored)
    with pytest.raises(ModelFileError, match="preprocessor: expected"):
        Preprocessor.from_json(stored)


@pytest.mark.parametrize(
    "change",
    [
        *BOTH,
        lambda stored: stored.pop("kinds"),
        lambda stored: stored.update(kinds=[3]),
        lambda stored: stored["encoder"].pop("columns"),
    ],
)
def test_damaged_json_is_reported(change):
    stored = Preprocessor().fit(np.zeros((2, 1)), [0, 1]).to_json()
    change(stored)
    with pytest.raises(ModelFileError, match="preprocessor: expected"):
        Preprocessor.from_json(stored)


def test_kinds_of_columns_are_stored():
    fitted = Preprocessor().fit(np.zeros((2, 1)), [0, 1])
    fitted.kinds = kinds_to_json([ColumnKind("a", "number")], ["NA"])
    assert Preprocessor.from_json(json.loads(json.dumps(fitted.to_json()))).kinds == fitted.kinds


def test_json_of_another_kind_is_reported():
    with pytest.raises(ModelFileError, match="found 'list'"):
        Preprocessor.from_json([])


def test_infinity_is_reported_with_place_before_anything_is_fitted(mixed):
    y = np.arange(50) % 2
    fitted = Preprocessor().fit(mixed, y)
    before = fitted.to_json()
    broken = Table({**mixed.columns, "income": np.where(np.arange(50) < 4, 1.0, np.inf)})
    with pytest.raises(NonFiniteDataError, match=r"found 46 .*row 5, column 'income'"):
        fitted.fit(broken, y)
    with pytest.raises(NonFiniteDataError, match=r"target: .*found 1 .*row 3;"):
        fitted.fit(mixed, np.where(np.arange(50) == 2, np.nan, y))
    assert fitted.to_json() == before
    fresh = Preprocessor()
    with pytest.raises(NonFiniteDataError):
        fresh.fit(broken, y)
    with pytest.raises(StateError):
        fresh.transform(mixed)
    with pytest.raises(NonFiniteDataError, match="row 5, column 'income'"):
        fitted.transform(broken)
    with pytest.raises(NonFiniteDataError):
        fitted.transform_target([0.0, np.nan])


@pytest.mark.parametrize("call", ["task", "input_names", "width", "outputs", "classes", "feature_names"])
def test_unfitted_is_reported(call):
    with pytest.raises(StateError, match=r"call fit"):
        getattr(Preprocessor(), call)
    with pytest.raises(StateError):
        Preprocessor().to_json()


def test_labels_unseen_in_training_are_reported():
    fitted = Preprocessor().fit(np.zeros((2, 1)), ["cat", "dog"])
    with pytest.raises(LabelError, match=r"\(cat, dog\), found 2 others, the first 'dag' in row 2; did you mean 'dog'"):
        fitted.transform_target(["cat", "dag", "cow"])
    with pytest.raises(LabelError, match="the first 1 in row 1"):
        fitted.transform_target([1, 2])
    with pytest.raises(LabelError, match=r"0, 1.*the first 2 in row 2"):
        Preprocessor().fit(np.zeros((2, 1)), [0, 1]).transform_target([0, 2])


def test_empty_label_and_single_class_are_reported():
    with pytest.raises(LabelError, match="found 1 empty, the first in row 2"):
        Preprocessor().fit(np.zeros((3, 1)), ["a", "", "b"])
    with pytest.raises(LabelError, match="at least 2 classes"):
        Preprocessor().fit(np.zeros((3, 1)), ["a", "a", "a"])


@pytest.mark.parametrize(
    ("features", "target"), [(np.zeros((0, 2)), []), (np.zeros((2, 0)), [0, 1]), ({}, []), ({"a": []}, [])]
)
def test_empty_is_reported(features, target):
    with pytest.raises(EmptyDataError):
        Preprocessor().fit(features, np.array(target, dtype=float))


def test_empty_is_reported_after_fitting_too():
    fitted = Preprocessor().fit(np.zeros((2, 1)), [0, 1])
    with pytest.raises(EmptyDataError):
        fitted.transform(np.zeros((0, 1)))
    with pytest.raises(EmptyDataError):
        fitted.transform_target([])


def test_wrong_shapes_and_columns_are_reported(mixed):
    y = np.arange(50) % 2
    with pytest.raises(ShapeError, match="50 rows and 49 targets"):
        Preprocessor().fit(mixed, y[1:])
    fitted = Preprocessor().fit(np.zeros((2, 3)), [0, 1])
    with pytest.raises(ShapeError, match=r"\[N, 3\]"):
        fitted.transform(np.zeros((2, 2)))
    with pytest.raises(UnknownColumn, match="x2"):
        fitted.transform(Matrix(np.zeros((2, 2))))
    with pytest.raises(ShapeError, match=r"scores \[N, 2\]"):
        fitted.inverse_target(np.zeros((4, 3)))
    with pytest.raises(ShapeError):
        fitted.inverse_target(np.zeros(4))
    with pytest.raises(LabelError, match="from 0 to 1, got -1 to 2"):
        fitted.inverse_target([-1, 2])
    with pytest.raises(ShapeError):
        Preprocessor().fit(np.zeros((2, 1)), [0.5, 1.5]).inverse_target(np.zeros((2, 2)))


def test_wrong_kinds_are_reported(mixed):
    fitted = Preprocessor().fit(mixed.select(["age", "sex"]), np.arange(50) % 2)
    with pytest.raises(DtypeError, match="'age': expected numbers as in fit, got text such as 'old' in row 2"):
        fitted.transform({"age": ["3", "old"], "sex": ["f", "m"]})
    with pytest.raises(DtypeError, match="'sex': expected text as in fit, got numbers"):
        fitted.transform({"age": [3], "sex": [1]})
    with pytest.raises(DtypeError, match="'sex': expected text"):
        fitted.transform(np.zeros((2, 2)))
    with pytest.raises(DtypeError, match="got text such as 'a'"):
        Preprocessor().fit(np.zeros((2, 1)), [0.5, 1.5]).transform_target(["a"])
    with pytest.raises(DtypeError):
        Preprocessor().fit(np.zeros((2, 1)), ["a", "b"], "regression")


def test_empty_predictions_are_fine():
    fitted = Preprocessor().fit(np.zeros((2, 1)), [0, 1])
    assert fitted.inverse_target(np.zeros(0, dtype=int)).tolist() == []
