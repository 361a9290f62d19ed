"""What a cell of text says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fusedstep.framework.tables.cells import (
    DATE_FORMS,
    MISSING,
    booleans,
    dates,
    integers,
    is_decorated,
    is_missing,
    like_dates,
    missing_tokens,
    numbers,
    parse_missing,
)


@pytest.mark.parametrize(
    ("cell", "number"),
    [("1", 1.0), (" -1.5 ", -1.5), ("+2", 2.0), ("1.", 1.0), (".5", 0.5), ("1e-3", 1e-3), ("1E5", 1e5), ("007", 7.0),
     ("-0", -0.0), ("inf", math.inf), ("-Infinity", -math.inf)],
)  # fmt: skip
def test_numbers(cell, number):
    assert numbers([cell])[0] == number


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "x",
        "nan",
        "1_000",
        "1,5",
        "1 000",
        "52%",
        "$5",
        "0x10",
        "1.2.3",
        "1e",
        "e5",
        "--1",
        "1e999",
        "١٢",
        "1d3",
        "+",
        ".",
        "12a",
    ],
)
def test_cells_that_are_no_numbers(cell):
    assert np.isnan(numbers([cell])[0])


def test_decimal_commas():
    np.testing.assert_array_equal(numbers(["1,5", "-,25", "3", "1e3", "1.5"], ","), [1.5, -0.25, 3.0, 1000.0, np.nan])


def test_whole_numbers_are_exact_or_not_given():
    assert integers([str(2**53 + 1), "-7", " +5"]).tolist() == [2**53 + 1, -7, 5]
    assert integers([str(2**63)]) is None
    assert integers(["9" * 5000]) is None
    assert integers(["1", "1.0"]) is None


def test_booleans_are_two_words_in_any_case():
    assert booleans(["True", "FALSE", " true ", "t", "yes", "1"]) == [True, False, True, None, None, None]


@pytest.mark.parametrize(
    ("cell", "forms", "moment"),
    [
        ("2020-12-31", ["Y-m-d"], "2020-12-31"),
        ("2020/1/2", ["Y-m-d"], "2020-01-02"),
        ("2020-12-31T23:59:58", ["Y-m-d"], "2020-12-31T23:59:58"),
        ("2020-12-31 23:59:58.25", ["Y-m-d"], "2020-12-31T23:59:58.250"),
        ("2020-12-31T23:59:58.123456789Z", ["Y-m-d"], "2020-12-31T23:59:58.123456"),
        ("2020-12-31T23:30:00-01:30", ["Y-m-d"], "2021-01-01T01:00"),
        ("2020-12-31 10:00+0200", ["Y-m-d"], "2020-12-31T08:00"),
        ("31.12.2020", ["d.m.Y"], "2020-12-31"),
        ("31.12.2020 14:05", ["d.m.Y"], "2020-12-31T14:05"),
        ("31/12/2020", ["d/m/Y"], "2020-12-31"),
        ("12-31-2020", ["m/d/Y"], "2020-12-31"),
        ("12/31/2020 2:05 PM", ["m/d/Y"], "2020-12-31T14:05"),
        ("12/31/2020 12:05:09 am", ["m/d/Y"], "2020-12-31T00:05:09"),
        ("31 Dec 2020", ["d Mon Y"], "2020-12-31"),
        ("31-DEC-2020", ["d Mon Y"], "2020-12-31"),
        ("31DEC2020", [], ""),
        ("1 sept. 2020", ["d Mon Y"], "2020-09-01"),
        ("December 31, 2020", ["Mon d Y"], "2020-12-31"),
        ("Jan 2 2020", ["Mon d Y"], "2020-01-02"),
        ("03/04/2020", ["d/m/Y", "m/d/Y"], "2020-04-03"),
        ("31/13/2020", [], ""),
        ("2021-02-29", [], ""),
        ("2020-12-31 25:00", [], ""),
        ("2020-12-31 13:00 PM", [], ""),
        ("2020-12", [], ""),
        ("20201231", [], ""),
        ("2020-12/31", [], ""),
        ("31.12.20", [], ""),
        ("Foo 2 2020", [], ""),
        ("now", [], ""),
        ("0000-01-01", [], ""),
    ],
)
def test_dates(cell, forms, moment):
    found = {form: dates([f" {cell}"], form)[0] for form in DATE_FORMS}
    assert [form for form, value in found.items() if not np.isnat(value)] == forms
    if forms:
        assert found[forms[0]] == np.datetime64(moment)
        assert like_dates([cell]).all()


def test_the_usual_missing_tokens_in_any_case():
    tokens = missing_tokens(MISSING)
    assert is_missing(
        ["", " ", "NA", "n/a", "#N/A", "NaN", "NULL", "none", "?", "-", "--", "n.a.", "N.A.", "\\N"], tokens
    ).all()
    assert not is_missing(["0", "no", "x", "unknown", "-1", "nano"], tokens).any()
    assert is_missing(["X", ""], missing_tokens(["x"])).all()


def test_missing_tokens_of_a_command_line():
    assert parse_missing(None) == MISSING
    assert parse_missing("NA, -999") == ("", "NA", "-999")
    assert parse_missing("+-999") == (*MISSING, "-999")
    assert set(parse_missing("")) == {""}


@pytest.mark.parametrize(
    "cell",
    ["52%", "1,5", "1,234,567.8", "1.234,5", "$5", "5 €", "-$1,000.00", "1 234", "(3.5)", "3 %", "£.50", "\u22125.2", "5.2-"],
)
def test_numbers_with_signs(cell):
    assert is_decorated(cell)


@pytest.mark.parametrize("cell", ["", "a", "1.2.3", "12:30", "10-19", "12 kg", "%", "$", "1-800-555", "192.168.0.1", "52%%"])
def test_text_is_no_number_with_signs(cell):
    assert not is_decorated(cell)
