"""What Python code gives as a table: masked entries are missing, records have names, and what is no table is refused."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.errors import DtypeError, NonFiniteDataError, ShapeError
from fusedstep.framework.tables.columns import as_column
from fusedstep.framework.tables.preprocessing import Preprocessor
from fusedstep.framework.tables.table import Matrix

X = np.arange(12.0).reshape(6, 2)


def encoded(data):
    return fs.TableEncoder().fit(data).transform(data)


@pytest.mark.parametrize(
    ("masked", "plain"),
    [
        (np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]), [1.0, None, 3.0]),
        (np.ma.array([1, 2, 3], mask=[0, 1, 0]), [1.0, None, 3.0]),
        (np.ma.array(["a", "b", "c"], mask=[0, 1, 0]), ["a", None, "c"]),
        (np.ma.array(["2020-01-01", "2021-01-01"], dtype="M8[D]", mask=[0, 1]), ["2020-01-01", "NaT"]),
    ],
)
def test_masked_entries_are_missing(masked, plain):
    column = as_column(masked, "c")
    found = np.asarray(column).astype("M8[D]").astype(str).tolist() if masked.dtype.kind == "M" else column.tolist()
    assert [None if entry != entry else entry for entry in found] == plain


def test_masked_entries_of_a_matrix_are_missing():
    masked = np.ma.array(X, mask=False)
    assert np.array_equal(encoded(masked), encoded(X))
    masked[2, 1] = np.ma.masked
    missing = X.copy()
    missing[2, 1] = np.nan
    assert np.array_equal(Matrix(masked).values, missing, equal_nan=True)
    assert np.array_equal(encoded(masked), encoded(missing))
    assert np.array_equal(encoded({"a": masked[:, 0], "b": masked[:, 1]}), encoded(missing))
    with pytest.raises(NonFiniteDataError, match="the first in row 3"):
        Preprocessor().fit(X, masked[:, 1], "regression")


def test_masked_entries_of_a_source_are_refused():
    masked = np.ma.array(X, mask=False)
    assert np.array_equal(fs.ArrayRows(masked).whole(), X)
    masked[2, 1] = np.ma.masked
    with pytest.raises(DtypeError, match=r"1 entries masked, the first in row 3, column 2"):
        fs.ArrayRows(masked)


def test_records_are_columns_with_names():
    records = np.array([(1.0, "a"), (2.0, "b"), (3.0, "a")], dtype=[("n", "f8"), ("t", "U1")])
    encoder = fs.TableEncoder().fit(records)
    assert list(encoder.feature_names_in_) == ["n", "t"]
    columns = {name: records[name][::-1] for name in ("t", "n")}
    assert np.array_equal(encoder.transform(records[::-1]), encoder.transform(columns))


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_and_lists_are_arrays():
    for values in (np.matrix(X), X.tolist(), list(X), X.astype(object)):
        np.testing.assert_allclose(encoded(values), encoded(X))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: (row for row in X), "features: .*generator; list"),
        (lambda: None, "features: .*NoneType"),
        (lambda: [[1, 2], [3]], "features: .*2 values in row 1 and 1 values in row 2"),
        (lambda: X + 1j, "complex"),
    ],
)
def test_what_is_no_table_is_refused(make, words):
    with pytest.raises(DtypeError, match=words):
        fs.TableEncoder().fit(make())


@pytest.mark.parametrize(("values", "words"), [([{"a": 1.0}, {"a": 2.0}], "data frame of these rows"), (X[:, 0], r"\[N, 1\]")])
def test_one_dimension_is_refused_with_what_to_give(values, words):
    with pytest.raises(ShapeError, match=words):
        fs.TableEncoder().fit(values)


def test_a_batch_of_arrow_is_a_table():
    arrow = pytest.importorskip("pyarrow", reason="PyArrow is not installed")
    table = arrow.table({"n": X[:, 0], "t": ["a", "b"] * (len(X) // 2)})
    assert np.array_equal(encoded(table.to_batches()[0]), encoded(table))


def test_sparse_matrices_are_refused_with_the_call_that_makes_them_dense():
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    with pytest.raises(DtypeError, match=r"features: .*\.toarray\(\) makes a sparse matrix dense"):
        fs.TableEncoder().fit(sparse.csr_matrix(X))
    with pytest.raises(DtypeError, match=r"target: .*\.toarray\(\)"):
        Preprocessor().fit(X, sparse.csr_matrix(X[:, :1]))
