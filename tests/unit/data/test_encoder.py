"""TableEncoder against scikit-learn, from every kind of frame, through JSON, in blocks, and within its memory."""

from __future__ import annotations

import itertools
import json
import pickle
import subprocess
import sys
import time
import tracemalloc
import warnings
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fusedstep as fs
from fusedstep import errors
from fusedstep.framework.tables.column_statistics import RowSample
from fusedstep.framework.tables.table import Matrix, Table
from fusedstep.framework.tables.text_column import TextColumn

pandas = pytest.importorskip("pandas", reason="frames of pandas")
polars = pytest.importorskip("polars", reason="frames of Polars")
arrow = pytest.importorskip("pyarrow", reason="the extra tables")
pytest.importorskip("narwhals", reason="the extra tables")
sklearn = pytest.importorskip("sklearn", reason="scikit-learn is the oracle")


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def x(rng):
    values = rng.lognormal(0, 1.5, (300, 5)) * [1, 10, 1e-3, 1e6, 1]
    values[:, 3] = np.where(rng.random(300) < 0.9, 4.0, values[:, 3])
    values[:, 4] = 0.1
    return values


@pytest.fixture
def people(rng):
    numbers = rng.normal(40, 12, 60)
    numbers[[3, 17]] = np.nan
    town = rng.choice(np.array(["Ulm", "Bonn", "Köln", None], dtype=object), 60)
    days = np.datetime64("2020-02-27") + rng.integers(0, 900, 60).astype("timedelta64[D]")
    return pandas.DataFrame(
        {
            "age": numbers,
            "town": pandas.Series(town, dtype=object),
            "member": rng.random(60) < 0.3,
            "since": days.astype("datetime64[us]"),
            "income": rng.lognormal(8, 2, 60),
        }
    )


def encoder(**settings):
    return fs.TableEncoder(**{"dtype": "float64", **settings})


def test_standard_numbers_are_those_of_standard_scaler(x):
    scaler = sklearn.preprocessing.StandardScaler()
    np.testing.assert_allclose(encoder(scaling="standard").fit_transform(x)[:, :4], scaler.fit_transform(x)[:, :4], rtol=1e-11)


def test_moments_and_quartiles_leave_missing_entries_out(x):
    x[::7, 1] = np.nan
    there = ~np.isnan(x[:, 1])
    for scaling, scaler in [
        ("standard", sklearn.preprocessing.StandardScaler()),
        ("robust", sklearn.preprocessing.RobustScaler()),
    ]:
        expected = scaler.fit_transform(x)[there, 1]
        if scaling == "robust":
            expected = expected / np.sqrt(1 + (expected / 3) ** 2)
        np.testing.assert_allclose(encoder(scaling=scaling).fit_transform(x)[there, 1], expected, rtol=1e-11)


def test_robust_numbers_are_those_of_robust_scaler_smoothly_clipped(x):
    u = sklearn.preprocessing.RobustScaler().fit_transform(x)
    out = encoder().fit_transform(x)
    expected = u / np.sqrt(1 + (u / 3) ** 2)
    np.testing.assert_allclose(out[:, :3], expected[:, :3], rtol=1e-11, atol=1e-15)
    assert np.abs(out).max() <= 3.0
    half = (x[:, 3].max() - x[:, 3].min()) / 2
    spread = (x[:, 3] - 4.0) / half
    np.testing.assert_allclose(out[:, 3], spread / np.sqrt(1 + (spread / 3) ** 2), rtol=1e-11)
    np.testing.assert_array_equal(out[:, 4], 0.0)


def test_huge_numbers_are_clipped_and_not_lost():
    fitted = encoder().fit(np.arange(5.0)[:, np.newaxis])
    np.testing.assert_allclose(fitted.transform([[1e300], [-1e300]]), [[3.0], [-3.0]])
    with pytest.raises(errors.NonFiniteDataError, match=r"standard deviation.*'x0'"):
        encoder().fit([[-1.7e308], [1.7e308], [1.7e308]])


@pytest.mark.row("G5")
def test_missing_numbers_are_those_of_simple_imputer(x):
    x[[5, 60, 200], 0] = x[[1, 60], 2] = np.nan
    imputer = sklearn.impute.SimpleImputer(strategy="median", add_indicator=True)
    filled = imputer.fit_transform(x)
    fitted = encoder(scaling="standard").fit(x)
    assert fitted.get_feature_names_out().tolist() == ["x0", "x0 is missing", "x1", "x2", "x2 is missing", "x3", "x4"]
    out = fitted.transform(x)
    np.testing.assert_array_equal(out[:, [1, 4]], filled[:, 5:])
    np.testing.assert_array_equal(out[:, [0, 2, 3, 5, 6]], fitted.transform(filled[:, :5])[:, [0, 2, 3, 5, 6]])


def test_numbers_missing_first_at_transform_count_as_the_median(x):
    fitted = encoder().fit(x)
    row = np.full((1, 5), np.nan)
    assert fitted.width == 5
    np.testing.assert_array_equal(fitted.transform(row), fitted.transform(np.median(x, axis=0)[np.newaxis]))


def test_text_is_that_of_one_hot_encoder(rng):
    frame = pandas.DataFrame({"a": rng.choice(["u", "", "wé"], 50), "b": rng.choice(np.array(["x", None], dtype=object), 50)})
    test = pandas.DataFrame({"a": ["u", "new", ""], "b": ["x", None, "new"]})
    oracle = sklearn.preprocessing.OneHotEncoder(sparse_output=False, handle_unknown="ignore").fit(frame)
    fitted = encoder().fit(frame)
    assert fitted.get_feature_names_out().tolist() == ["a=", "a=u", "a=wé", "b is missing", "b=x"]
    np.testing.assert_array_equal(fitted.transform(test)[:, [0, 1, 2, 4, 3]], oracle.transform(test))
    assert fitted.unseen(test) == {"a": 1, "b": 1}
    assert fitted.categories_ == {}


@pytest.mark.row("G5")
def test_missing_text_that_was_not_in_fit_is_unseen_unless_an_empty_one_was():
    plain, empty, missing = (fs.TableEncoder().fit({"t": cells}) for cells in (["a", "b"], ["a", ""], ["a", None]))
    np.testing.assert_array_equal(plain.transform({"t": [None, "", "b"]}), [[0, 0], [0, 0], [0, 1]])
    np.testing.assert_array_equal(empty.transform({"t": [None, "", "a"]}), [[1, 0], [1, 0], [0, 1]])
    np.testing.assert_array_equal(missing.transform({"t": [None, "", "a"]}), [[1, 0], [1, 0], [0, 1]])
    assert plain.unseen({"t": [None, "", "b"]}) == {"t": 2}


def test_many_categories_are_integer_codes():
    words = [f"w{k:03}" for k in range(100) for _ in range(1 + k % 3)]
    table = {"n": np.arange(len(words)), "w": words, "few": ["a"] + ["b"] * (len(words) - 1)}
    table["w"][5] = None
    fitted = fs.TableEncoder(max_one_hot=10).fit(table)
    frequent = sorted({word for word in words if words.count(word) > 1 and word is not None})
    assert fitted.categories_ == {1: len(frequent) + 2}
    assert fitted.get_feature_names_out().tolist() == ["n", "w", "few=a", "few=b"]
    out = fitted.transform(table)[:, 1]
    code = {None: 1, **{word: number for number, word in enumerate(frequent, 2)}}
    np.testing.assert_array_equal(out, [code.get(word, 0) for word in words])
    assert fitted.transform({"n": [0], "w": ["new"], "few": ["a"]})[0, 1] == 0
    every = fs.TableEncoder(max_one_hot=10, min_frequency=1).fit(table)
    assert every.categories_[1] == len(set(words)) + 1
    assert fs.TableEncoder(max_one_hot=None).fit(table).categories_ == {}


def test_booleans_are_0_and_1(people):
    fitted = fs.TableEncoder().fit(people[["member"]])
    np.testing.assert_array_equal(fitted.transform(people[["member"]])[:, 0], people["member"])
    given = pandas.DataFrame({"member": pandas.array([True, None, False], dtype="boolean")})
    np.testing.assert_array_equal(fitted.transform(given)[:, 0], [1, 0, 0])
    with_missing = fs.TableEncoder().fit(given)
    assert with_missing.get_feature_names_out().tolist() == ["member is missing", "member=false", "member=true"]
    np.testing.assert_array_equal(with_missing.transform({"member": [True, False]}), [[0, 0, 1], [0, 1, 0]])


def test_dates_are_calendar_features(rng):
    moments = pandas.Series(pandas.Timestamp("2019-11-05") + pandas.to_timedelta(rng.integers(0, 60_000_000, 80), unit="s"))
    fitted = encoder(scaling="standard").fit({"at": moments})
    out = dict(zip(fitted.get_feature_names_out(), fitted.transform({"at": moments}).T, strict=True))
    days = (moments - pandas.Timestamp(0)).dt.total_seconds().to_numpy() / 86400
    np.testing.assert_allclose(out["at days"], (days - days.mean()) / days.std(), rtol=1e-9)
    years = moments.dt.year.to_numpy()
    np.testing.assert_allclose(out["at year"], (years - years.mean()) / years.std(), rtol=1e-9)
    hours = moments.dt.hour + moments.dt.minute / 60 + moments.dt.second / 3600
    parts = {
        "month": (moments.dt.month - 1) / 12,
        "day": (moments.dt.day - 1) / 31,
        "weekday": moments.dt.day_of_week / 7,
        "hour": hours / 24,
    }
    for part, turns in parts.items():
        np.testing.assert_allclose(out[f"at {part} sin"], np.sin(2 * np.pi * turns), atol=1e-12)
        np.testing.assert_allclose(out[f"at {part} cos"], np.cos(2 * np.pi * turns), atol=1e-12)
    assert len(out) == 10


def test_parts_of_a_date_that_do_not_differ_are_left_out():
    days = np.array(["2024-03-04", "2024-03-11", "NaT"], "datetime64[D]")
    fitted = encoder(scaling="standard").fit({"d": days})
    assert fitted.get_feature_names_out().tolist() == ["d days", "d is missing", "d day sin", "d day cos"]
    out = fitted.transform({"d": days})
    np.testing.assert_allclose(out[:, :2], [[-1, 0], [1, 0], [0, 1]], atol=1e-12)
    np.testing.assert_array_equal(out[2, 2:], fitted.transform({"d": np.array(["2024-03-07T12"], "datetime64[h]")})[0, 2:])
    before = encoder().fit({"d": np.array(["1900-01-01", "1969-12-31"], "datetime64[D]")})
    assert np.isfinite(before.transform({"d": np.array(["0001-01-01", "9999-12-31"], "datetime64[D]")})).all()


def test_columns_are_found_by_name_in_any_order(people):
    fitted = fs.TableEncoder().fit(people)
    expected = fitted.transform(people)
    np.testing.assert_array_equal(fitted.transform(people[people.columns[::-1]]), expected)
    with pytest.warns(UserWarning, match="not in fit are ignored: 'extra', 'more'"):
        np.testing.assert_array_equal(fitted.transform(people.assign(extra=1, more="a")), expected)
    with pytest.raises(errors.UnknownColumn, match=r"expected the columns 'town', 'income', found only: age, member, since"):
        fitted.transform(people[["age", "member", "since"]])
    with pytest.raises(errors.ShapeError, match=r"\[N, 5\]"):
        fitted.transform(np.zeros((3, 4)))
    with pytest.raises(errors.ShapeError, match="different column names"):
        fitted.transform(people.rename(columns={"age": "town"}))


def test_an_array_has_no_names(x):
    fitted = fs.TableEncoder().fit(x)
    assert fitted.n_features_in_ == 5
    assert not hasattr(fitted, "feature_names_in_")
    again = fs.TableEncoder.from_json(fitted.to_json())
    assert not hasattr(again, "feature_names_in_")
    named = fs.TableEncoder().fit(pandas.DataFrame(x, columns=list("abcde")))
    assert named.feature_names_in_.tolist() == list("abcde")
    np.testing.assert_array_equal(named.transform(x), fitted.transform(x))


def test_object_arrays_have_columns_of_their_own_types():
    rows = np.array([[1.5, "a", True], [None, "b", False], [3.5, None, True]], dtype=object)
    fitted = fs.TableEncoder().fit(rows)
    assert fitted.get_feature_names_out().tolist() == ["x0", "x0 is missing", "x1 is missing", "x1=a", "x1=b", "x2"]
    np.testing.assert_array_equal(fitted.transform(rows)[:, 1:], [[0, 0, 1, 0, 1], [1, 0, 0, 1, 0], [0, 1, 0, 0, 1]])


CELLS = {
    "float": st.one_of(st.none(), st.floats(-1e6, 1e6)),
    "whole": st.one_of(st.none(), st.integers(-(2**40), 2**40)),
    "text": st.one_of(st.none(), st.sampled_from(["", "a", "b", "NA", "ü"])),
    "truth": st.one_of(st.none(), st.booleans()),
    "date": st.one_of(st.none(), st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))),
}
ARROW = {
    "float": arrow.float64(),
    "whole": arrow.int64(),
    "text": arrow.string(),
    "truth": arrow.bool_(),
    "date": arrow.timestamp("us"),
}


@pytest.mark.row("G6")
@settings(deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.fixed_dictionaries({name: st.lists(cell, min_size=n, max_size=n) for name, cell in CELLS.items()})
    )
)
def test_every_kind_of_frame_gives_the_same_matrix(cells):
    table = arrow.table({name: arrow.array(column, ARROW[name]) for name, column in cells.items()})
    frames = {
        "arrow": table,
        "polars": polars.from_arrow(table),
        "pandas": table.to_pandas(),
        "pandas, nullable": table.to_pandas().astype({"whole": "Int64", "truth": "boolean", "text": "string"}),
        "pandas, Arrow": table.to_pandas(types_mapper=pandas.ArrowDtype),
        "pandas, categories": table.to_pandas().astype({"text": "category"}),
        "mapping of series": dict(polars.from_arrow(table).to_dict()),
    }
    fitted = encoder(max_one_hot=4).fit(table)
    expected = fitted.transform(table)
    assert np.isfinite(expected).all()
    for name, frame in frames.items():
        np.testing.assert_array_equal(fitted.transform(frame), expected, name)
        if all(set(column) != {None} for column in cells.values()):  # pandas has no type for such a column
            again = encoder(max_one_hot=4).fit(frame)
            assert again.get_feature_names_out().tolist() == fitted.get_feature_names_out().tolist(), name
            np.testing.assert_array_equal(again.transform(frame), expected, name)


@pytest.mark.parametrize("kind", ["pandas", "arrow"])
def test_integers_booleans_and_categories_of_any_width(kind):
    columns = {
        "a": np.array([1, 2, 3], np.uint8), "b": np.array([1, 2, 4], np.float32), "c": np.array([1, 0, 1], np.bool_),
        "d": np.array([5, 2**62, 1], np.uint64), "e": np.array([1, 2, 3], np.int16),
    }  # fmt: skip
    frame = pandas.DataFrame(columns) if kind == "pandas" else arrow.table(columns)
    np.testing.assert_array_equal(fs.TableEncoder().fit_transform(frame), fs.TableEncoder().fit_transform(columns))


def test_columns_that_arrow_does_not_know():
    numbers = [1.5, 0.0, 2.5, 0.0]
    sparse = pandas.DataFrame({"a": pandas.arrays.SparseArray(numbers)})
    want = fs.TableEncoder().fit({"a": numbers}).transform({"a": numbers})
    np.testing.assert_array_equal(fs.TableEncoder().fit(sparse).transform(sparse), want)
    large = pandas.DataFrame({"a": [2**70, 2**70 + 1]})
    assert list(fs.TableEncoder().fit(large).get_feature_names_out()) == [f"a={2**70}", f"a={2**70 + 1}"]


def test_what_is_no_table_is_refused_by_name(people):
    mixed = pandas.DataFrame({"a": [1, 2], "b": pandas.Series(["x", 3], dtype=object)})
    for table, error, words in [
        (mixed, errors.DtypeError, "column 'b': expected all numbers, all text"),
        ({"b": ["x", 3]}, errors.DtypeError, "column 'b'.*mixture of int, str"),
        (pandas.DataFrame({"b": [1j, 2j]}), errors.DtypeError, "column 'b'.*complex128"),
        ({"b": np.array(["x", 3], dtype=object)}, errors.DtypeError, "column 'b'.*mixture of int, str"),
        (pandas.DataFrame({"z": [[1], [2, 3]]}), errors.DtypeError, "column 'z'.*list"),
        ({"c": [1j]}, errors.DtypeError, "column 'c'"),
        (polars.from_pandas(people).lazy(), errors.DtypeError, r"LazyFrame; call collect\(\) first"),
        ([1, 2, 3], errors.ShapeError, r"got shape \(3,\)"),
        (np.array([[1j]]), errors.DtypeError, "complex"),
        (arrow.table([arrow.array([1]), arrow.array([2])], names=["a", "a"]), errors.ShapeError, "different column names"),
        (np.array([[np.inf], [np.nan]]), errors.NonFiniteDataError, "1 infinite value, the first in row 1, column 'x0'"),
        (people[:0], errors.EmptyDataError, "got 0 rows of 5"),
        (people[[]], errors.EmptyDataError, "of 0 columns"),
    ]:  # fmt: skip
        with pytest.raises(error, match=words):
            fs.TableEncoder().fit(table)


def test_other_types_than_in_fit_are_refused_by_name(people):
    fitted = fs.TableEncoder().fit(people)
    for name, values, words in [
        ("age", ["7", "old"], "'age': expected numbers as in fit, got text such as 'old' in row 2"),
        ("age", np.array(["2020-01-01"] * 2, "datetime64[D]"), "'age': expected numbers as in fit, got dates"),
        ("member", ["true", "yes"], "'member': expected booleans as in fit, got text such as 'true'"),
        ("town", [1, 2], "'town': expected text as in fit, got numbers"),
        ("town", np.array(["2020-01-01"] * 2, "datetime64[D]"), "'town': expected text as in fit, got dates"),
        ("since", [1, 2], "'since': expected dates as in fit, got numbers"),
        ("since", ["2020-01-01"] * 2, "'since': expected dates as in fit, got text"),
    ]:
        with pytest.raises(errors.DtypeError, match=words):
            fitted.transform({**people[:2].to_dict("series"), name: values})
    with pytest.raises(errors.NonFiniteDataError, match="2 infinite values, the first in row 1, column 'income'"):
        fitted.transform(people[:2].assign(income=np.inf))


def test_a_column_without_entries_is_missing_whatever_its_type(people):
    fitted = fs.TableEncoder().fit(people)
    expected = fitted.transform(people[:2].assign(age=np.nan, town=None, since=np.datetime64("NaT", "us")))
    nothing = {"age": [None] * 2, "town": [np.nan] * 2, "since": [None] * 2}
    np.testing.assert_array_equal(fitted.transform({**people[:2].to_dict("list"), **nothing}), expected)
    empty = fs.TableEncoder().fit({"a": [np.nan, np.nan], "b": [1, 2]})
    np.testing.assert_array_equal(empty.transform({"a": [np.nan, 0.0], "b": [1, 2]})[:, :2], [[0, 1], [0, 0]])


def test_json_holds_everything(people):
    fitted = fs.TableEncoder(max_one_hot=3).fit(people)
    text = json.dumps(fitted.to_json(), allow_nan=False)
    again = fs.TableEncoder.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    assert again.get_params() == fitted.get_params()
    assert again.categories_ == fitted.categories_ == {2: 5}
    assert again.transform(people).tobytes() == fitted.transform(people).tobytes()
    copy = pickle.loads(pickle.dumps(fitted))
    assert copy.transform(people).tobytes() == fitted.transform(people).tobytes()
    fitted.set_params(dtype=np.float64)
    assert fs.TableEncoder.from_json(json.loads(json.dumps(fitted.to_json()))).transform(people).dtype == np.float64


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored.update(format="fusedstep.table-encoder/0"),
        lambda stored: stored.pop("scaling"),
        lambda stored: stored.update(scaling="loud"),
        lambda stored: stored.update(dtype="int8"),
        lambda stored: stored.update(max_one_hot=-1),
        lambda stored: stored.update(min_frequency=1.5),
        lambda stored: stored.update(named=1),
        lambda stored: stored.update(columns=[]),
        lambda stored: stored.update(columns={}),
        lambda stored: stored["columns"].append(stored["columns"][0]),
        lambda stored: stored["columns"][0].update(name=3),
        lambda stored: stored["columns"][0].update(kind="blob"),
        lambda stored: stored["columns"][0].update(center="1"),
        lambda stored: stored["columns"][0].update(center=10**400),
        lambda stored: stored["columns"][0].update(scale=0.0),
        lambda stored: stored["columns"][0].update(fill=float("nan")),
        lambda stored: stored["columns"][0].update(clip=1),
        lambda stored: stored["columns"][0].update(indicator=None),
        lambda stored: stored["columns"][0].pop("indicator"),
        lambda stored: stored["columns"][1].update(categories="ab"),
        lambda stored: stored["columns"][1].update(categories=["a", "a"]),
        lambda stored: stored["columns"][1].update(categories=["a", 1]),
        lambda stored: stored["columns"][1].update(categories=[None, None]),
        lambda stored: stored["columns"][1].update(codes="no"),
        lambda stored: stored["columns"][3].update(parts=["month", "moon"]),
        lambda stored: stored["columns"][3].update(parts="month"),
        lambda stored: stored["columns"][3].update(days=None),
        lambda stored: stored["columns"][3].update(year={"kind": "number"}),
        lambda stored: stored["columns"][3]["days"].update(fill=1e300),
    ],
)
def test_damaged_json_is_reported(people, change):
    stored = fs.TableEncoder().fit(people).to_json()
    change(stored)
    with pytest.raises(errors.ModelFileError, match="table encoder: expected"):
        fs.TableEncoder.from_json(stored)


def test_json_of_another_kind_is_reported():
    with pytest.raises(errors.ModelFileError, match="found 'list'"):
        fs.TableEncoder.from_json([])


def test_before_fit_and_after_a_fit_that_failed(people):
    fresh = fs.TableEncoder()
    for call in (lambda: fresh.transform(people), fresh.get_feature_names_out, fresh.to_json, lambda: fresh.width):
        with pytest.raises(errors.StateError, match="call fit"):
            call()
    fitted = fs.TableEncoder().fit(people)
    before = fitted.to_json()
    with pytest.raises(errors.NonFiniteDataError):
        fitted.fit(people.assign(age=np.inf))
    assert fitted.to_json() == before


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scaling": "robst"}, "did you mean 'robust'"),
        ({"max_one_hot": 2.5}, "max_one_hot"),
        ({"min_frequency": 0}, "min_frequency"),
        ({"dtype": "int32"}, "dtype"),
    ],
)
def test_wrong_settings_are_reported(wrong, words):
    for made in (fs.TableEncoder(**wrong), fs.TableEncoder().set_params(**wrong)):  # which scikit-learn wants to pass
        with pytest.raises(errors.HyperparameterError, match=words):
            made.fit([[1.0]])
    with pytest.raises(errors.HyperparameterError, match="did you mean 'scaling'"):
        fs.TableEncoder().set_params(scalng="robust")


def test_scikit_learn_takes_it_as_a_transformer(people):
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.utils.validation import check_is_fitted

    given = fs.TableEncoder(scaling="standard", dtype=np.float64)
    copy = clone(given.fit(people))
    assert copy.get_params() == given.get_params()
    assert not hasattr(copy, "n_features_in_")
    check_is_fitted(given)
    pipe = make_pipeline(fs.TableEncoder(), LogisticRegression())
    y = people["member"]
    assert cross_val_score(pipe, people, y, cv=3).mean() > 0.9
    fitted = pipe.fit(people, y)
    assert fitted[:-1].get_feature_names_out()[0] == "age"
    assert fitted.set_params(tableencoder__scaling="standard").get_params()["tableencoder__scaling"] == "standard"
    with pytest.raises(errors.ShapeError, match="names of fit"):
        given.get_feature_names_out(["a"])


def test_blocks_of_rows_give_what_the_whole_table_gives(people, rng):
    whole = encoder(max_one_hot=3).fit(people)
    for cuts in ([0, 60], [0, 1, 2, 30, 60], [0, 59, 60]):
        blocks = [people[a:b] for a, b in itertools.pairwise(cuts)]
        pieces = encoder(max_one_hot=3).fit_blocks(blocks)
        assert pieces.categories_ == whole.categories_
        np.testing.assert_allclose(pieces.transform(people), whole.transform(people), rtol=1e-12, atol=1e-12)
    with pytest.raises(errors.EmptyDataError):
        fs.TableEncoder().fit_blocks([])
    with pytest.raises(errors.NonFiniteDataError, match=r"from row 31 on.*in row 30, column 'income'"):
        fs.TableEncoder().fit_blocks([people[:30], people[30:].assign(income=[*[1.0] * 29, np.inf])])


def test_blocks_without_entries_say_nothing_about_a_column(people):
    people.loc[:29, ["age", "town", "since", "income"]] = [np.nan, None, pandas.NaT, np.nan]
    people["never"] = np.nan
    whole = encoder().fit(people)
    blocks = [people[:15].assign(town=np.nan, since=np.nan), people[15:29].assign(town=np.nan), people[29:]]
    pieces = encoder().fit_blocks(blocks)
    assert pieces.get_feature_names_out().tolist() == whole.get_feature_names_out().tolist()
    np.testing.assert_allclose(pieces.transform(people), whole.transform(people), rtol=1e-12, atol=1e-12)
    with pytest.raises(errors.DtypeError, match="'age': expected numbers as in fit, got text"):
        fs.TableEncoder().fit_blocks([people[30:], people[30:].assign(age="old")])


def test_rows_of_a_sample_do_not_depend_on_the_blocks(rng):
    values = rng.normal(size=(300_000, 1))
    one, many = RowSample(1), RowSample(1)
    one.add(values, 0)
    for start in range(0, 300_000, 7_000):
        many.add(values[start : start + 7_000], start)
    np.testing.assert_array_equal(one.values(), many.values())
    assert 1 << 16 < len(one.values()) <= 1 << 17
    assert abs(np.median(one.values()) - np.median(values)) < 0.02
    few = RowSample(1_000_000)
    few.add(values[:900], 0)
    np.testing.assert_array_equal(few.values(), values[:900])


def test_sources_with_missing_numbers_are_encoded_as_they_are_read(x):
    x[::9, 1] = np.nan
    memory, stream = (encoder().fit(given) for given in (x, fs.ArrayRows(x, "x")))
    np.testing.assert_allclose(stream.transform(x), memory.transform(x), rtol=1e-12, atol=1e-12)
    coded = stream.transform(fs.ArrayRows(x))
    assert isinstance(coded, fs.RowSource)
    assert coded.names == tuple(memory.get_feature_names_out())
    out = np.full((3, 6), np.nan, np.float32)
    coded.read(np.array([9, 0, 4]), out)
    np.testing.assert_allclose(out, memory.transform(x)[[9, 0, 4]], rtol=1e-6)
    text = fs.TableEncoder().fit({"x0": [1.0], "x1": ["a"]})
    with pytest.raises(errors.DtypeError, match="which can be streamed; fitted with others: x1"):
        text.transform(fs.ArrayRows(x[:, :2]))


def test_a_table_is_encoded_as_it_is_read(people):
    fitted = fs.TableEncoder(max_one_hot=3).fit(people)
    expected = fitted.transform(people)
    for table in (people, people[people.columns[::-1]], Table({name: people[name].to_numpy() for name in people})):
        source = fitted.transform_source(table)
        assert (source.shape, source.dtype) == (expected.shape, expected.dtype)
        assert source.names == tuple(fitted.get_feature_names_out())
        for rows in (slice(0, 60), slice(7, 19), np.array([5, 3, 59, 3])):
            out = np.full_like(expected[rows], np.nan)
            source.read(rows, out)
            np.testing.assert_array_equal(out, expected[rows])
    with pytest.raises(errors.NonFiniteDataError, match="column 'income'"):
        fitted.transform_source(people.assign(income=np.inf))
    with pytest.raises(errors.DtypeError, match="column 'town'"):
        fitted.transform_source(people.assign(town=1.0))
    with pytest.raises(errors.UnknownColumn, match="'town'"):
        fitted.transform_source(people[["age"]])


def test_tables_of_files_are_taken_too():
    table = Table({"a": [1.0, np.nan, 3.0], "t": TextColumn.of(["x", None, "y"])})
    out = encoder(scaling="standard").fit_transform(table)
    np.testing.assert_array_equal(out, [[-1, 0, 0, 1, 0], [0, 1, 1, 0, 0], [1, 0, 0, 0, 1]])
    matrix = Matrix(np.arange(6.0).reshape(3, 2), ("a", "b"))
    np.testing.assert_array_equal(encoder().fit_transform(matrix), encoder().fit_transform(matrix.values))


@pytest.mark.parametrize("kind", ["frame", "matrix", "wide"])
def test_memory_is_that_of_the_output(rng, kind):
    count = 100_000
    if kind == "frame":
        given = pandas.DataFrame({f"n{k}": rng.normal(size=count) for k in range(10)})
        for k, different in enumerate([3, 30, 5000]):
            words = np.array([f"word {number}" for number in range(different)], dtype=object)
            given[f"t{k}"] = pandas.Series(words[rng.integers(0, different, count)], dtype="string[pyarrow]")
    else:
        given = rng.normal(size=(count, 60) if kind == "matrix" else (2_000, 3_000)).astype("f4")
    made = fs.TableEncoder().fit(given[:1000])
    made.transform(given[:1000])
    tracemalloc.start()
    before = arrow.total_allocated_bytes()
    try:
        out = made.fit_transform(given)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert out.flags.c_contiguous
    assert out.dtype == np.float32
    assert arrow.total_allocated_bytes() - before < out.nbytes / 10
    assert peak < 1.5 * out.nbytes + (1 << 25 if out.nbytes < 1 << 25 else 0)


def test_it_is_faster_than_scikit_learn(rng):
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers, words = [f"n{k}" for k in range(15)], [f"t{k}" for k in range(8)]
    frame = pandas.DataFrame({name: rng.normal(size=60_000) for name in numbers})
    frame.loc[::20, numbers[::3]] = np.nan
    for name, different in zip(words, [2, 5, 12, 30, 60, 300, 2000, 8000], strict=True):
        values = np.array([f"value {k}" for k in range(different)], dtype=object)
        frame[name] = pandas.Series(values[(rng.random(60_000) ** 2 * different).astype(int)], dtype="str")
    scaled = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    theirs = ColumnTransformer(
        [("n", scaled, numbers), ("t", OneHotEncoder(handle_unknown="ignore", dtype=np.float32), words)]
    )
    seconds = []
    for one in (fs.TableEncoder(), theirs):
        trials = []
        for _ in range(3):
            before = time.process_time()
            one.fit_transform(frame)
            trials.append(time.process_time() - before)
        seconds.append(min(trials))
    assert seconds[0] < seconds[1]


def test_neither_scikit_learn_nor_pandas_is_imported():
    program = """
import sys, numpy as np, fusedstep as fs
fitted = fs.TableEncoder().fit({"a": [1.0, 2.0], "t": ["x", None]})
fs.TableEncoder.from_json(fitted.to_json()).transform({"a": [1.0], "t": ["x"]})
found = {"sklearn", "pandas", "polars", "narwhals", "pyarrow"} & set(sys.modules)
assert not found, found
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_network_takes_the_matrix(people):
    fitted = fs.TableEncoder().fit(people)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = fitted.transform(people)
        step = fs.TrainStep(fs.mlp([fitted.width, 8, 2]), fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=0, backend="numpy")
        history = fs.Trainer(step).fit(x, people["member"].to_numpy().astype(int), epochs=30)
    assert history["loss"][-1] < history["loss"][0] / 2
