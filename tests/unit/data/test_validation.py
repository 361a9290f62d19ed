"""Finding NaN and infinity; the oracle is np.isfinite on the whole array."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fusedstep.errors import DtypeError, NonFiniteDataError
from fusedstep.framework.sources import blocks
from fusedstep.framework.tables import validation
from fusedstep.framework.tables.table import Matrix, Table
from fusedstep.framework.tables.validation import require_finite, require_no_infinity


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=7),
        elements=st.sampled_from([0.0, 1.0, np.nan, np.inf, -np.inf]),
    ),
    st.integers(1, 20),
)
def test_find_nonfinite_agrees_with_isfinite_for_every_block_size(matrix, block):
    bad = ~np.isfinite(matrix.reshape(len(matrix), -1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_BLOCK_ELEMENTS", block)
        found = validation.find_nonfinite(matrix)
    if not bad.any():
        assert found is None
    else:
        assert found == (bad.sum(), *np.argwhere(bad)[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_message_has_name_count_row_and_column(bad):
    matrix = np.zeros((5, 3))
    matrix[2, 1] = matrix[4, 0] = bad
    with pytest.raises(NonFiniteDataError, match=r"validation data: .*found 2 .*row 3, column 'b'"):
        require_finite(matrix, "validation data", ["a", "b", "c"])
    with pytest.raises(NonFiniteDataError, match=r"row 3, column 2 \(counted from 1\);"):
        require_finite(matrix, "x")
    with pytest.raises(NonFiniteDataError, match=r"found 1 NaN.*row 3;"):
        require_finite(matrix[:4, 1], "target")


def test_whole_numbers_and_empty_arrays_pass_and_text_is_refused():
    require_finite(np.array([[1, 2]]), "x")
    require_finite(np.array([True]), "x")
    require_finite(np.zeros((0, 3)), "x")
    require_finite(np.zeros((3, 0)), "x")
    with pytest.raises(DtypeError, match="x: expected real numbers"):
        require_finite(np.array(["a"]), "x")


def test_table_reports_the_first_row_over_all_columns():
    table = Table({"a": [0.0, np.nan, np.inf], "t": ["x", "", "z"], "b": [0.0, -np.inf, np.inf]})
    with pytest.raises(NonFiniteDataError, match=r"features: .*found 3 infinite values.*row 2, column 'b'"):
        require_no_infinity(table)
    matrix = Matrix(np.column_stack([table.columns["a"], table.columns["b"]]), ("a", "b"))
    with pytest.raises(NonFiniteDataError, match=r"features: .*found 3 infinite values.*row 2, column 'b'"):
        require_no_infinity(matrix)


def test_missing_numbers_pass_where_only_infinity_is_refused():
    require_no_infinity(Table({"a": [0.0, np.nan], "d": np.array(["2020-01-01", "NaT"], "datetime64[D]")}))
    require_no_infinity(Matrix(np.array([[np.nan, 1.0]])))


def test_memory_stays_far_below_one_copy():
    matrix = np.zeros((200_000, 100), dtype=np.float32)
    tracemalloc.start()
    try:
        require_finite(matrix, "x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < matrix.nbytes / 10
