"""What the columns of a table are taken for: no value is changed in silence."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusedstep.errors import DataFileError, EmptyDataError, HyperparameterError, UnknownColumn
from fusedstep.framework.tables.cells import MISSING
from fusedstep.framework.tables.columns import is_text
from fusedstep.framework.tables.kinds import apply_kinds, find_kinds, kinds_from_json, kinds_to_json
from fusedstep.framework.tables.table import Table
from fusedstep.framework.tables.text_column import TextColumn

ROWS = 20


ONE = {"name": "x", "kind": "text", "detail": "", "form": None, "forced": False}
"""A column in a model file."""


def text(*cells):
    """A column of text, whose cells are repeated to ROWS rows."""
    return TextColumn.of((list(cells) * ROWS)[:ROWS])


def found(column, **options):
    """The kind of a column beside another one, and what became of it; None if it was dropped."""
    table, kinds = find_kinds(Table({"x": column, "other": text("u", "v")}), **options)
    return kinds[0], table.columns.get("x")


class TestKinds:
    """One kind of column each."""

    def test_numbers(self):
        kind, column = found(text("1.5", "2", " 3 ", "NA", ""))
        assert (kind.kind, kind.detail, kind.missing) == ("number", "1.5 to 3", 8)
        np.testing.assert_array_equal(column[:5], [1.5, 2.0, 3.0, np.nan, np.nan])

    def test_whole_numbers_stay_exact(self):
        kind, column = found(text("1", str(2**60 + 1)))
        assert column.dtype == np.int64
        assert column[:2].tolist() == [1, 2**60 + 1]
        assert kind.note == ""

    def test_whole_numbers_beside_missing_ones_are_rounded_and_the_note_tells(self):
        kind, column = found(text("1", "NA", str(2**60 + 1)))
        assert column[2] == float(2**60 + 1)
        assert kind.note == f"whole numbers of more than 15 digits in 'x' are rounded, the first '{2**60 + 1}' in row 3"

    def test_numbers_that_begin_with_0_may_be_codes(self):
        kind, column = found(text("01234", "23456"))
        assert column[:2].tolist() == [1234, 23456]
        assert kind.note == "numbers of 'x' such as '01234' begin with 0; if they are codes, give --text"
        assert found(text("0.5", "0", "-0.25", "00.5"))[0].note == ""

    def test_few_different_numbers_stay_numbers(self):
        assert found(text("0", "1"))[0].kind == "number"
        assert found(np.arange(ROWS) % 2)[0].kind == "number"

    def test_text(self):
        kind, column = found(text("Riga", "Oslo", "NA", "None", None))
        assert (kind.kind, kind.detail, kind.missing) == ("text", "4 values: NA, None, Oslo, Riga", 4)
        assert column.tolist()[:5] == ["Riga", "Oslo", "NA", "None", None]

    def test_booleans(self):
        kind, column = found(text("TRUE", "false", "False"))
        assert (kind.kind, kind.detail) == ("boolean", "35 % true")
        assert column[:3].tolist() == [True, False, False]
        assert found(column)[0] == kind

    def test_booleans_beside_missing_ones(self):
        kind, column = found(text("TRUE", "False", "NA", None))
        assert (kind.kind, kind.detail, kind.missing) == ("boolean", "50 % true", 10)
        assert column.tolist()[:4] == ["true", "false", None, None]

    @pytest.mark.parametrize("words", [("yes", "no"), ("t", "f"), ("true", "false", "maybe")])
    def test_other_words_are_no_booleans(self, words):
        assert found(text(*words))[0].kind == "text"

    def test_dates(self):
        kind, column = found(text("31.12.2020", "1.2.2021", "?"))
        assert (kind.kind, kind.form, kind.detail, kind.missing) == ("date", "d.m.Y", "2020-12-31 to 2021-02-01", 6)
        assert column[:2].tolist() == [datetime(2020, 12, 31), datetime(2021, 2, 1)]
        assert np.isnat(column[2])
        assert found(column)[0].kind == "date"

    def test_one_cell_decides_the_order_of_day_and_month(self):
        assert found(text("03/04/2020", "13/04/2020"))[0].form == "d/m/Y"
        assert found(text("03/04/2020", "04/13/2020"))[0].form == "m/d/Y"

    def test_ambiguous_dates_stay_text_with_a_note(self):
        kind, column = found(text("03/04/2020", "05/06/2020"))
        assert kind.kind == "text"
        assert "'03/04/2020' in 'x' may be day/month or month/day" in kind.note
        assert column.tolist()[:2] == ["03/04/2020", "05/06/2020"]
        assert "mix day/month and month/day" in found(text("01/02/2020", "02/03/2020", "13/04/2020", "04/13/2020"))[0].note

    @pytest.mark.parametrize("cells", [("2020-01-02", "03.04.2020"), ("2020-01", "2020-02"), ("5 May 2020", "2020-05-06")])
    def test_dates_in_several_or_unknown_forms_stay_text_with_a_note(self, cells):
        kind, column = found(text(*cells))
        assert kind.kind == "text"
        assert f"cells such as '{cells[0]}' in 'x' look like dates, but not in one form, and stay text" in kind.note
        assert column.tolist()[:2] == list(cells)


class TestDropped:
    """Columns of no use are left out, with the reason."""

    @pytest.mark.parametrize(
        ("column", "reason"),
        [
            (text(None), "no values"),
            (text("NA", "", "-"), "no values"),
            (np.full(ROWS, np.nan), "no values"),
            (np.full(ROWS, "NaT", "datetime64[us]"), "no values"),
            (text(*(f"name {i}" for i in range(ROWS))), "every value differs"),
            (text("web"), "always 'web'"),
            (text("5"), "always 5"),
            (np.full(ROWS, 0.5), "always 0.5"),
            (np.ones(ROWS, bool), "always true"),
            (text("2020-01-02"), "always 2020-01-02"),
        ],
    )
    def test_useless_columns(self, column, reason):
        kind, made = found(column)
        assert (kind.kind, kind.detail, made) == ("dropped", reason, None)

    @pytest.mark.parametrize("name", ["Unnamed: 0", "c0", "", "__index_level_0__", "index"])
    @pytest.mark.parametrize("start", [0, 1])
    @pytest.mark.parametrize("as_text", [False, True])
    def test_the_index_of_pandas_or_r(self, name, start, as_text):
        numbers = np.arange(start, start + ROWS)
        _, kinds = find_kinds(Table({name: text(*map(str, numbers)) if as_text else numbers, "a": np.arange(ROWS) % 3.0}))
        assert next((one.kind, one.detail) for one in kinds) == ("dropped", f"has no name and counts the rows from {start}")

    def test_the_index_of_rows_that_were_shuffled(self):
        shuffled = np.random.default_rng(0).permutation(100)[:ROWS]
        _, kinds = find_kinds(Table({"Unnamed: 0": shuffled, "index": shuffled, "a": np.arange(ROWS) % 3.0}))
        assert [one.kind for one in kinds] == ["dropped", "number", "number"]
        assert kinds[0].detail == "has no name and numbers the rows"

    def test_the_index_of_tables_that_were_joined(self):
        joined = np.tile(np.arange(30), 5)
        _, kinds = find_kinds(Table({"Unnamed: 0": joined, "a": joined, "b": np.arange(150) % 7}))
        assert [one.kind for one in kinds] == ["dropped", "number", "number"]
        _, kinds = find_kinds(Table({"Unnamed: 0": np.arange(150) % 3, "a": joined}))
        assert [one.kind for one in kinds] == ["number", "number"]

    def test_a_file_without_header_names_no_column(self):
        table = {"c0": np.random.default_rng(0).permutation(ROWS), "c1": np.arange(ROWS) % 3.0}
        assert [one.kind for one in find_kinds(Table(table))[1]] == ["number", "number"]

    def test_a_named_column_that_counts_the_rows_stays_with_a_note(self):
        kind, column = found(np.arange(1, ROWS + 1))
        assert kind.kind == "number"
        assert "'x' counts the rows" in kind.note
        assert column.tolist() == list(range(1, ROWS + 1))

    def test_few_rows_say_nothing(self):
        table, _ = find_kinds(Table({"a": TextColumn.of("xyz"), "b": np.ones(3), "c0": np.arange(3)}))
        assert table.names == ("a", "b", "c0")

    def test_text_that_differs_but_is_mostly_missing_stays(self):
        assert found(text(*([None] * 12 + list("abcdefgh"))))[0].kind == "text"

    def test_nothing_left(self):
        with pytest.raises(EmptyDataError, match=r"found none that can be used \(a: no values; b: always 1\)"):
            find_kinds(Table({"a": text(None), "b": np.ones(ROWS)}))


class TestFewBadCells:
    """One cell never changes the type of a column."""

    @pytest.mark.parametrize("cell", ["1.2.3", "unknown", "n.a", "1_000", "52%"])
    def test_numbers(self, cell):
        with pytest.raises(DataFileError) as caught:
            found(text(*map(str, range(ROWS - 1)), cell))
        message = str(caught.value)
        assert f"column 'x', row 20: expected numbers, found {cell!r}; 19 of 20 cells are numbers" in message
        assert f"--missing {'+' + cell}" in message
        assert "--number x" in message
        assert "--text x or --drop x" in message

    def test_several_cells(self):
        with pytest.raises(
            DataFileError, match=r"row 3: expected numbers, found 'a', the first of 2 that are not; 10 of 12 cells"
        ):
            find_kinds(Table({"x": TextColumn.of([*"12a34", "NA", *"56789b0"])}))

    def test_dates(self):
        with pytest.raises(DataFileError, match="row 2: expected dates, found 'soon', the first of 7 that are not; 13 of 20"):
            found(text("2020-01-02", "soon", "2020-01-03"))

    @pytest.mark.parametrize("cell", ["52%", "1,5", "$3", "1,234.5"])
    def test_numbers_with_signs(self, cell):
        with pytest.raises(DataFileError, match=r"column 'x', row 2: expected numbers such as 1.5.*--text x"):
            found(text("1", cell))

    def test_half_is_text(self):
        kind, _ = found(text("1", "a"))
        assert kind.kind == "text"

    def test_the_caller_decides(self):
        column = text(*map(str, range(ROWS - 1)), "unknown")
        kind, made = found(column, number=["x"])
        assert np.isnan(made[-1])
        assert kind.note == "1 cell of 'x' taken as missing (--number), the first 'unknown' in row 20"
        assert found(column, text=["x"])[1].tolist() == column.tolist()
        assert found(column, drop=["x"]) == (kind.__class__("x", "dropped", "on request"), None)
        kind, made = found(column, missing=[*MISSING, "UNKNOWN"])
        assert (kind.kind, kind.missing, kind.note) == ("number", 1, "")

    def test_number_of_no_numbers(self):
        with pytest.raises(DataFileError, match="found none among 20 cells; the first is 'a'"):
            found(text("a"), number=["x"])


class TestChoices:
    """Names that the caller gives."""

    def test_unknown_names(self):
        for option in ("text", "number", "drop"):
            with pytest.raises(UnknownColumn, match=f"--{option} column 'othre'.*did you mean 'other'"):
                found(text("a"), **{option: ["othre"]})

    def test_twice(self):
        with pytest.raises(HyperparameterError, match=r"'x'.*got --text and --drop"):
            found(text("a"), text=["x"], drop=["x"])

    def test_a_text_instead_of_names(self):
        with pytest.raises(HyperparameterError, match="expected a list of column names, got the text 'x'"):
            found(text("a"), drop="x")

    def test_text_keeps_what_would_be_dropped(self):
        assert found(text("web"), text=["x"])[0].kind == "text"
        assert found(np.arange(ROWS), text=["x"])[1].tolist() == [str(i) for i in range(ROWS)]

    def test_types_of_a_source_are_kept(self):
        kind, column = found(text("01", "02"), typed=True)
        assert (kind.kind, column.tolist()[0]) == ("text", "01")
        assert kind.note == "'x' is text of numbers; --number reads them"
        assert found(text("1", "2", "3", "x"), typed=True)[0].kind == "text"
        kind, _ = found(text(*map(str, range(ROWS))), typed=True)
        assert (kind.kind, kind.note) == ("dropped", "'x' is text of numbers; --number reads them")

    def test_blank_text_is_missing_in_every_format(self):
        kind, column = found(text("a", "", " ", None, "b"), typed=True)
        assert column.tolist()[:5] == ["a", None, None, None, "b"]
        assert (kind.detail, kind.missing) == ("2 values: a, b", 12)


class TestNewTables:
    """New data are read by the kinds of the training data."""

    @staticmethod
    def read(trained, new):
        """A new column, read as one that was trained with."""
        _, kinds = find_kinds(Table({"x": trained, "other": text("u", "v")}))
        kinds, missing = kinds_from_json(json.loads(json.dumps(kinds_to_json(kinds))))
        return apply_kinds(Table({"other": TextColumn.of(["u"] * len(new)), "x": new}), kinds, missing).columns["x"]

    @pytest.mark.parametrize(
        "new",
        [np.array([True, False]), np.array([1, 0]), np.array([1.0, 0]), TextColumn.of(["true", "FALSE"]), TextColumn.of("10")],
    )
    def test_booleans_of_every_format(self, new):
        column = self.read(text("True", "False"), new)
        assert column.dtype == np.bool_
        assert column.tolist() == [True, False]

    def test_missing_booleans(self):
        assert self.read(text("True", "False"), TextColumn.of(["TRUE", "NA", None])).tolist() == ["true", None, None]

    @pytest.mark.parametrize(
        "new", [np.array([1, 2]), np.array([1.0, 2.0]), TextColumn.of(["1", " 2.0"]), np.array([True, False])]
    )
    def test_numbers(self, new):
        column = self.read(text("1.5", "2"), new)
        assert column.dtype.kind in "if"
        assert column[0] == 1

    def test_missing_numbers(self):
        np.testing.assert_array_equal(self.read(text("1.5", "2"), TextColumn.of(["NA", "3", None])), [np.nan, 3.0, np.nan])
        np.testing.assert_array_equal(self.read(text("1.5", "2"), TextColumn.of([None, "?"])), [np.nan, np.nan])

    def test_numbers_on_request(self):
        _, kinds = find_kinds(Table({"x": text("1.5", "2", "?!")}), number=["x"])
        kinds, missing = kinds_from_json(json.loads(json.dumps(kinds_to_json(kinds))))
        column = apply_kinds(Table({"x": TextColumn.of(["3", "unknown", "?"])}), kinds, missing).columns["x"]
        np.testing.assert_array_equal(column, [3.0, np.nan, np.nan])

    def test_dates_in_the_order_that_was_learnt(self):
        assert self.read(text("31/12/2020", "03/04/2020"), TextColumn.of(["03/04/2021"])).tolist() == [datetime(2021, 4, 3)]
        stamp = np.array(["2020-01-02"], "datetime64[us]")
        assert self.read(text("31/12/2020", "03/04/2020"), stamp).tolist() == stamp.tolist()
        assert np.isnat(self.read(text("31/12/2020", "03/04/2020"), np.array([np.nan, np.nan]))).all()

    @pytest.mark.parametrize(
        ("new", "cells"),
        [
            (np.array([1, 2]), ["1", "2"]),
            (np.array([1.0, np.nan]), ["1", None]),
            (np.array([1.5, 2.0]), ["1.5", "2.0"]),
            (np.array([True, False]), ["true", "false"]),
        ],
    )
    def test_text_of_other_types(self, new, cells):
        assert self.read(text("1", "b"), new).tolist() == cells

    @pytest.mark.parametrize(
        ("trained", "new", "words"),
        [
            (
                text("1.5", "2"),
                TextColumn.of(["1", "abc", "x"]),
                "expected numbers as in the training data, found 'abc', and 1",
            ),
            (
                text("2020-01-02", "2020-01-03"),
                TextColumn.of(["2020-01-02", "2.1.2020"]),
                "expected dates .* found '2.1.2020';",
            ),
            (text("true", "false"), TextColumn.of(["true", "2"]), r"expected booleans \(true, false\) .*found '2';"),
            (
                text("1.5", "2"),
                np.array(["2020-01-02"], "datetime64[us]"),
                "expected numbers as in the training data, found dates",
            ),
            (text("2020-01-02", "2020-01-03"), np.array([1.0]), "expected dates as in the training data, found numbers"),
        ],
    )
    def test_cells_that_cannot_be_read(self, trained, new, words):
        with pytest.raises(DataFileError, match=rf"column 'x'(, row 2)?: {words}"):
            self.read(trained, new)

    def test_missing_column(self):
        _, kinds = find_kinds(Table({"x": text("1", "2"), "gone": text(None)}))
        assert apply_kinds(Table({"x": np.ones(2), "more": np.ones(2)}), kinds).names == ("x",)
        with pytest.raises(UnknownColumn, match="'x'"):
            apply_kinds(Table({"y": np.ones(2)}), kinds)

    @pytest.mark.parametrize(
        "change",
        [
            {"columns": [{"name": "x"}]}, {"columns": ["x"]}, {"columns": None}, {"missing": 3}, {"missing": [3]},
            {"columns": [{**ONE, "name": 3}]},
            {"columns": [{**ONE, "kind": "file"}]}, {"columns": [{**ONE, "form": "%Y"}]}, {"columns": [{**ONE, "forced": 1}]},
            {"columns": [ONE, ONE]},
        ],
    )  # fmt: skip
    def test_wrong_json(self, change):
        stored = {**kinds_to_json(find_kinds(Table({"x": text("1", "2")}))[1]), **change}
        with pytest.raises((KeyError, TypeError, ValueError)):
            kinds_from_json(stored)

    def test_json_holds_what_reading_needs(self):
        table = {"when": text("1.2.2020", "13.1.2020"), "a": text("1", "2"), "n": text("1", "x"), "gone": text(None)}
        _, kinds = find_kinds(Table(table), number=["n"])
        stored = kinds_to_json(kinds, ["?"])
        assert stored["missing"] == ["?"]
        assert stored["columns"] == [
            {"name": "when", "kind": "date", "form": "d.m.Y"},
            {"name": "a", "kind": "number"},
            {"name": "n", "kind": "number", "forced": True},
            {"name": "gone", "kind": "dropped", "detail": "no values"},
        ]
        assert kinds_to_json(*kinds_from_json(stored)) == stored


integers, floats = st.integers(-(2**70), 2**70).map(str), st.floats(allow_nan=False).map(repr)
numbers = st.one_of(integers, floats, st.decimals(allow_nan=False).map(str))
days = st.dates().map(str)
tokens = st.sampled_from(MISSING)
others = st.one_of(st.text(max_size=5), st.sampled_from(["52%", "1,5", "12a", "True", "false", "03/04/2020"]))
columns = st.one_of(
    *(st.lists(st.one_of(*sorts), min_size=1, max_size=30)
      for sorts in ([numbers], [numbers, tokens], [numbers, others], [days, tokens], [days, others], [others, tokens],
                    [st.sampled_from(["true", "FALSE", "NA"])], [tokens]))
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(cells=columns, typed=st.booleans())
def test_what_comes_back_is_what_was_there(cells, typed):
    """Every cell of every column: it is read as what it says, or an error or a note names it."""
    missing = {token.lower() for token in MISSING}
    given = Table({"x": TextColumn.of(cells), "other": np.arange(len(cells)) % 2})
    try:
        table, (kind, _) = find_kinds(given, text=["other"], typed=typed)
    except DataFileError:
        return
    if kind.kind == "dropped":
        present = [cell for cell in cells if cell.strip().lower() not in missing]
        assert kind.detail
        assert not present or len(cells) >= 10
        return
    column = table.columns["x"]
    for cell, value in zip(cells, column.tolist(), strict=True):
        word = cell.strip().lower()
        if kind.kind == "text":
            assert value == (cell if cell.strip() else None)
        elif word in missing:
            assert value is None or value != value
        elif kind.kind == "boolean":
            assert str(value).lower() == word
        elif kind.kind == "date":
            assert str(value)[:10] == word[:10]
        elif is_text(column) or isinstance(value, float):
            assert value == float(word)
            if word.lstrip("+-").isdecimal() and int(word) != int(value):
                assert "rounded" in kind.note
        else:
            assert value == int(word)
    if kind.kind in ("number", "boolean", "text"):
        again = apply_kinds(Table({"x": TextColumn.of(cells)}), (kind,)).columns["x"]
        np.testing.assert_array_equal(np.asarray(again), np.asarray(column).astype(np.asarray(again).dtype))
