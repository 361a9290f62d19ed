"""The rule that tells classification from regression."""

from __future__ import annotations

import numpy as np
import pytest

from fusedstep.errors import DtypeError, EmptyDataError, HyperparameterError
from fusedstep.framework.tables.task import find_task


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (["a", "b", "c"], "classification"),
        ([True, False, False], "classification"),
        ([0, 1], "classification"),
        ([0.0, 1.0, 2.0] * 5, "classification"),
        ([1.0, np.nan, 1.0, 2.0], "classification"),
        (np.arange(20).repeat(2), "classification"),
        (np.arange(21).repeat(2), "regression"),
        (np.arange(100).repeat(100), "classification"),
        (np.arange(101).repeat(99), "regression"),
        (np.arange(10), "regression"),
        ([0.5, 1.5, 0.5, 1.5], "regression"),
        ([np.nan, np.nan], "regression"),
    ],
)
def test_rule(target, expected):
    assert find_task(target) == expected


def test_request_wins():
    assert find_task([0, 1], "regression") == "regression"
    assert find_task([0.5, 1.5], "classification") == "classification"


def test_regression_on_text_is_refused():
    with pytest.raises(DtypeError, match="got text such as 'cat'"):
        find_task(["cat", "dog"], "regression")


def test_unknown_request_names_the_choices():
    with pytest.raises(HyperparameterError, match="classification, regression, got 'regresion'; did you mean"):
        find_task([0, 1], "regresion")


@pytest.mark.parametrize("requested", [None, "regression"])
def test_no_rows(requested):
    with pytest.raises(EmptyDataError):
        find_task([], requested)
