"""Predictions of one row: the contenders give the same probabilities, and their times become a table."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fusedstep.benchmarks import one_row
from fusedstep.benchmarks.reports.markdown import markdown_table

pytest.importorskip("sklearn", reason="needs scikit-learn")


@pytest.fixture
def small(monkeypatch):
    for name, value in (("COLUMNS", 30), ("ROWS", 200), ("SINGLE", 3)):
        monkeypatch.setattr(one_row, name, value)
    monkeypatch.setattr(one_row, "TRAINED", {**one_row.TRAINED, "hidden_layer_sizes": (8,)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("contenders", [one_row.of_arrays, one_row.of_frames])
def test_contenders_are_timed(contenders, small, quick):
    if contenders is one_row.of_frames:
        pytest.importorskip("pandas", reason="needs pandas")
    with contenders() as found:
        assert all(predict(rows[0]).shape == (1, one_row.CLASSES) for predict, rows in found.values())
        assert {len(rows) for _, rows in found.values()} == {3}
        table = one_row.report("A row", one_row.timed(found, quick))
    assert [row[0] for row in table.rows] == list(found)
    assert any("fs.MLPClassifier" in name for name in found)
    assert any("scikit-learn" in name for name in found)
    assert all(0.0 < float(row[3].replace(",", "")) <= float(row[1].replace(",", "")) for row in table.rows)
    assert markdown_table(table).startswith("## A row\n\n|  | µs a row, median | quartiles | smallest |")


def test_who_computes_something_else_is_not_timed():
    rows = [np.zeros((1, 2))]
    found = {"ours": (lambda row: row + 0.5, rows), "theirs": (lambda row: row + 0.5 + 1e-6, rows)}
    one_row.require_same(found)
    for wrong in (0.501, np.nan):
        found["wrong"] = (lambda row, wrong=wrong: row + wrong, rows)
        with pytest.raises(AssertionError, match="expected wrong to give the probabilities of ours"):
            one_row.require_same(found)
