"""Targets as they are written: labels keep their spelling, type and order, and missing ones are counted."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusedstep.errors import DataFileError, DtypeError, FusedstepError, LabelError, NonFiniteDataError
from fusedstep.framework.tables.labels import find_target
from fusedstep.framework.tables.reading import load
from fusedstep.framework.tables.table import Table
from fusedstep.framework.tables.text_column import TextColumn


def target(*cells, times=10, **options):
    """The target of these cells, several times over."""
    return find_target(TextColumn.of(list(cells) * times), "y", **options)


@pytest.mark.parametrize(
    ("cells", "labels", "kind"),
    [
        (["yes", "no"], ["yes", "no"], "text"),
        (["01", "02"], ["01", "02"], "text"),
        (["1", "0"], [1, 0], "number"),
        (["-1", "1"], [-1, 1], "number"),
        (["+1", "-1"], ["+1", "-1"], "text"),
        (["1.0", "2.0"], [1.0, 2.0], "number"),
        (["1.00", "2.00"], ["1.00", "2.00"], "text"),
        (["True", "False"], [True, False], "boolean"),
        (["TRUE", "FALSE"], ["TRUE", "FALSE"], "text"),
        ([str(2**53), str(2**53 + 1)], [2**53, 2**53 + 1], "number"),
        ([str(2**64), str(2**64 + 1)], [str(2**64), str(2**64 + 1)], "text"),
        (["a", "b", "7"], ["a", "b", "7"], "text"),
    ],
)
def test_labels_are_printed_as_they_are_written(cells, labels, kind):
    column, found = target(*cells)
    assert column.tolist()[: len(cells)] == labels
    assert [str(label) for label in labels] == cells
    assert (found.kind, found.note) == (kind, "")


def test_the_task_decides_about_numbers_in_other_spellings():
    assert target("1.50", "2.50", task="classification")[0].tolist()[:2] == ["1.50", "2.50"]
    assert target("01", "02", task="regression")[0].tolist()[:2] == [1.0, 2.0]
    prices = [f"{price:.2f}" for price in np.linspace(1, 9, 40)]
    assert target(*prices, times=1)[0].dtype == np.float64
    assert target(*prices, times=1, task="classification")[0].tolist() == prices


def test_two_spellings_of_a_number_are_one_class_with_a_note():
    column, kind = target("1", "1.0", "2", task="classification")
    assert column.tolist()[:3] == [1, 1, 2]
    assert "'y' that are the same number, such as 1 and 1.0, are one class" in kind.note
    assert target("1", "1.0", "2", text=["y"])[0].tolist()[:3] == ["1", "1.0", "2"]


@pytest.mark.parametrize("token", ["NA", "?", "-", "n/a", "None"])
def test_missing_labels(token):
    with pytest.raises(LabelError, match=rf"'y': .*found 2 missing \('{re.escape(token)}'\), the first in row 2; .*--text y"):
        target("a", token, "b", None, times=1)
    assert target("a", token, "b", times=1, text=["y"])[0].tolist() == ["a", token, "b"]
    assert target("a", token, "b", times=1, missing=["x"])[0].tolist() == ["a", token, "b"]


def test_empty_labels():
    with pytest.raises(LabelError, match=r"every row, found 3 empty, the first in row 2; drop these rows$"):
        target("a", None, "b", times=3)
    with pytest.raises(LabelError, match="found 1 empty, the first in row 2"):
        target("a", None, "b", times=1, text=["y"])


def test_missing_numbers():
    with pytest.raises(NonFiniteDataError, match=r"'y': expected finite numbers, found 1 missing \('NA'\), the first in row 2"):
        target("1.5", "NA", "2.5", times=1)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["1", "2", "52%"], "'y', row 3: expected numbers such as .*, found '52%'; 2 of 3 cells are numbers; .*--text y"),
        (["52%", "53%"], "'y', row 1: expected numbers such as .*, found '52%', the first of 2 that are not; correct"),
        (["1", "2", "x", "y", "3"], "row 3: .*found 'x', the first of 2 that are not; 3 of 5 cells"),
    ],
)
def test_a_few_cells_do_not_turn_a_regression_into_classes(cells, words):
    with pytest.raises(DataFileError, match=words):
        target(*cells, times=1)
    assert target(*cells, times=1, text=["y"])[0].tolist() == cells


def test_typed_targets_stay_as_they_are():
    for values in (np.array([1, 2]), np.array([1.0, 2.5]), np.array([True, False])):
        assert find_target(values, "y")[0] is values
    assert target("1", "2", typed=True)[0].tolist()[:2] == ["1", "2"]
    assert find_target(np.array([3, 4]), "y", text=["y"])[0].tolist() == ["3", "4"]
    with pytest.raises(DtypeError, match="found dates"):
        find_target(np.array(["2020-01-02"], "datetime64[us]"), "y")


SORTS = (
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.text(max_size=3),
    st.sampled_from(["01", "1", "1.0", "True", "true", "+1"]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(*SORTS), min_size=1, max_size=12))
def test_classes_are_printed_as_they_are_written(cells):
    try:
        column, kind = find_target(TextColumn.of(cells), "y", task="classification")
    except FusedstepError:
        return
    labels = [str(label) for label in column.tolist()]
    assert labels == cells or "are one class" in kind.note


def test_from_a_file(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("a,y\n" + "1,01\n2,02\n3,01\n" * 5)
    data = load(path, "y")
    assert isinstance(data.features, Table)
    assert data.target.tolist()[:2] == ["01", "02"]
    assert load(path, "y", task="regression").target.tolist()[:2] == [1.0, 2.0]
