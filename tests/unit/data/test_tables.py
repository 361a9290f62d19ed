"""Columns, tables, matrices and data sets in memory; reading files is tested elsewhere."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest

from fusedstep.errors import DtypeError, ShapeError, UnknownColumn
from fusedstep.framework.tables.columns import as_column, narrowed
from fusedstep.framework.tables.table import Dataset, Matrix, Table, as_features
from fusedstep.framework.tables.text_column import TextColumn


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (np.array([1, 2], dtype=np.uint8), np.int64, [1, 2]),
        (np.array([1, 2], dtype=np.float32), np.float64, [1.0, 2.0]),
        ([True, False], np.bool_, [True, False]),
        (np.array(["2020-01-01", "NaT"], dtype="datetime64[D]"), "datetime64[us]", [datetime(2020, 1, 1), None]),
        (np.array([1, 2], dtype=object), np.int64, [1, 2]),
        (np.array([True, False], dtype=object), np.bool_, [True, False]),
        (np.array([1, 2.5], dtype=object), np.float64, [1.0, 2.5]),
        (np.array([[1], [2]]), np.int64, [1, 2]),
        (np.array([2**63 - 1], dtype=np.uint64), np.int64, [2**63 - 1]),
        ([1.5, 2], np.float64, [1.5, 2.0]),
        ([date(2020, 1, 2), None], "datetime64[us]", [datetime(2020, 1, 2), None]),
        (
            [datetime(2020, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))), datetime(2020, 1, 2, 3)],
            "datetime64[us]",
            [datetime(2020, 1, 2, 1), datetime(2020, 1, 2, 3)],
        ),
    ],
)
def test_as_column_brings_each_type_of_numbers_and_dates_to_one_of_four(values, dtype, expected):
    column = as_column(values, "c")
    assert column.dtype == dtype
    assert column.tolist() == expected
    assert {type(entry) for entry in column.tolist()} == {type(entry) for entry in expected}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (np.array([b"a", b"\xc3\xa9"]), ["a", "é"]),
        (np.array(["a", None, float("nan"), ""], dtype=object), ["a", None, None, ""]),
        (TextColumn.of(["b", None]), ["b", None]),
        (np.array([2**63 + 1, 2**63 + 2], dtype=np.uint64), ["9223372036854775809", "9223372036854775810"]),
        ([2**63, -1], ["9223372036854775808", "-1"]),
        ([2**70, 1], ["1180591620717411303424", "1"]),
    ],
)
def test_as_column_keeps_each_text_once(values, expected):
    column = as_column(values, "c")
    assert isinstance(column, TextColumn)
    assert column.tolist() == expected
    assert np.array(column).tolist() == expected


def test_as_column_turns_missing_numbers_into_nan():
    column = as_column(np.array([1, None, 3], dtype=object), "c")
    np.testing.assert_array_equal(column, [1.0, np.nan, 3.0])


@pytest.mark.parametrize(
    "values",
    [
        np.array(["a", 1], dtype=object),
        ["a", 1],
        [True, "a"],
        [date(2020, 1, 1), "a"],
        np.array([Decimal(1)], dtype=object),
        np.array([1j]),
    ],
)
def test_as_column_refuses_mixtures_and_complex_numbers(values):
    with pytest.raises(DtypeError, match=r"'age'.*expected"):
        as_column(values, "column 'age'")


def test_as_column_refuses_several_columns():
    with pytest.raises(ShapeError, match=r"\(2, 2\)"):
        as_column(np.zeros((2, 2)), "target")


def test_narrowed_only_where_nothing_is_lost():
    assert narrowed(np.array([1.0, -2.0])).dtype == np.int64
    for saved in ([1.5, 2.0], [1.0, np.nan], [1e300], [2.0**53]):
        assert narrowed(np.array(saved)).dtype == np.float64


def test_table_keeps_types_and_takes_columns_and_rows():
    table = Table({"n": np.array([1, 2]), "flag": np.array([True, False]), "t": np.array(["a", "b"])})
    assert [table.column(name).dtype for name in ("n", "flag")] == [np.int64, np.bool_]
    assert len(table) == 2
    assert table.select(["t", "n"]).names == ("t", "n")
    assert table.take([1]).column("t").tolist() == ["b"]


def test_table_refuses_unequal_columns():
    with pytest.raises(ShapeError, match="'b': 1"):
        Table({"a": np.zeros(2), "b": np.zeros(1)})


@pytest.mark.parametrize(
    "features", [Table({"age": np.zeros(1)}, "f.csv"), Matrix(np.zeros((1, 1)), ("age",), "f.csv")]
)
def test_unknown_column_names_source_columns_and_the_nearest(features):
    with pytest.raises(UnknownColumn, match=r"'agee' in f\.csv, found only: age; did you mean 'age'"):
        features.select(["agee"])
    with pytest.raises(UnknownColumn):
        features.column("agee")


def test_unknown_column_among_many_stays_readable():
    with pytest.raises(UnknownColumn, match="and 744 more") as caught:
        Matrix(np.zeros((1, 784))).select(["pixel0"])
    assert len(str(caught.value)) < 500


def test_matrix_is_float64_contiguous_and_named():
    matrix = Matrix(np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)))
    assert matrix.names == ("x0", "x1", "x2")
    assert matrix.values.dtype == np.float64
    assert matrix.values.flags.c_contiguous
    np.testing.assert_array_equal(matrix.select(["x2", "x0"]).values, [[2, 0], [5, 3]])
    np.testing.assert_array_equal(matrix.take(np.array([False, True])).values, [[3, 4, 5]])


@pytest.mark.parametrize(
    ("values", "names", "error"),
    [
        (np.zeros(3), (), ShapeError),
        (np.zeros((2, 2)), ("a",), ShapeError),
        (np.zeros((2, 2)), ("a", "a"), ShapeError),
        (np.array([["a"]]), (), DtypeError),
    ],
)
def test_matrix_refuses_wrong_shapes_names_and_text(values, names, error):
    with pytest.raises(error):
        Matrix(values, names)


def test_dataset_needs_one_target_per_row_and_takes_rows():
    data = Dataset(Matrix(np.arange(6).reshape(3, 2)), np.array([0, 1, 2]), "d")
    part = data.take([2, 0])
    assert (len(part), part.target.tolist(), part.features.values[0, 0], part.name) == (2, [2, 0], 4.0, "d")
    assert part.feature_names == ("x0", "x1")
    with pytest.raises(ShapeError, match="3 rows of features and 2 targets"):
        Dataset(data.features, np.array([0, 1]))


def test_as_features_accepts_mappings_and_arrays():
    assert isinstance(as_features({"a": [1, 2], "b": ["x", "y"]}), Table)
    assert isinstance(as_features([[1.0, 2.0]]), Matrix)
    matrix = Matrix(np.zeros((1, 1)))
    assert as_features(matrix) is matrix
