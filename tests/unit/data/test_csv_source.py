"""Delimited text files: what becomes a number, a text, a name, an error."""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusedstep.errors import DataFileError, EmptyDataError, UnknownColumn
from fusedstep.framework.tables import csv_source
from fusedstep.framework.tables.csv_source import read_csv


@pytest.fixture
def write(tmp_path):
    def write(text, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_delimiters_and_newlines(write, delimiter, newline):
    path = write(newline.join(delimiter.join(row) for row in (["a", "b c"], ["1", "x"], ["2.5e-1", "y"])))
    columns = read_csv(path)
    assert list(columns) == ["a", "b c"]
    assert columns["a"].tolist() == [1.0, 0.25]
    assert columns["b c"].tolist() == ["x", "y"]


def test_delimiter_is_the_one_that_cuts_evenly(write):
    columns = read_csv(write("name;words\nx;a,b,c\ny;d,e\n"))
    assert list(columns) == ["name", "words"]
    assert columns["words"].tolist() == ["a,b,c", "d,e"]


def test_tsv_is_cut_at_tabs_whatever_else_it_holds(write):
    assert list(read_csv(write("a,b\tc,d\n1\t2\n", "t.tsv"))) == ["a,b", "c,d"]
    assert list(read_csv(write("words\na,b\nc,d\n", "u.tsv"))) == ["words"]


def test_quotes_blanks_blank_lines_and_byte_order_mark(write):
    columns = read_csv(write('\ufeffa, b ,"c, d"\n\n 1 ,"x ""y""", z \n\n2,"two\nlines",w\n'))
    assert {name: column.tolist() for name, column in columns.items()} == {
        "a": [1.0, 2.0],
        "b": ['x "y"', "two\nlines"],
        "c, d": ["z", "w"],
    }


def test_absent_header_is_noticed(write):
    columns = read_csv(write("5.1,3,-1e3\n4.9,2,7\n"))
    assert {name: column.tolist() for name, column in columns.items()} == {
        "c0": [5.1, 4.9], "c1": [3, 2], "c2": [-1000, 7],
    }  # fmt: skip


def test_column_without_a_name_is_numbered(write):
    assert list(read_csv(write(",a\n1,2\n"))) == ["c0", "a"]


def test_empty_cells_and_nan_become_nan_in_numeric_columns_only(write):
    columns = read_csv(write("a,b,c\n1,,x\n,nan,\nnan, ,z\n"))
    np.testing.assert_array_equal(columns["a"], [1, np.nan, np.nan])
    np.testing.assert_array_equal(columns["b"], [np.nan] * 3)
    assert columns["c"].tolist() == ["x", None, "z"]


@pytest.mark.parametrize("cell", ["1_000", "0x10", "none of them", "1 2"])
def test_one_cell_that_is_no_number_makes_a_text_column(write, cell):
    assert read_csv(write(f"a;b\n1;2\n{cell};3\n"))["a"].tolist() == ["1", cell]


@pytest.mark.parametrize("cell", ["NA", "?", "-", "n/a", "NULL", " None "])
def test_marks_of_absence_among_numbers_are_gaps(write, cell):
    path = write(f"a;b\n1;x\n{cell};{cell}\n;y\n")
    columns = read_csv(path)
    np.testing.assert_array_equal(columns["a"], [1, np.nan, np.nan])
    assert columns["b"].tolist() == ["x", cell.strip(), "y"], "among texts they are texts"
    assert read_csv(path, text=["a"])["a"].tolist() == ["1", cell.strip(), None]
    only = read_csv(write(f"a;b\n{cell};1\n{cell};2\n"))["a"]
    assert only.tolist() == [cell.strip()] * 2, "and where there is no number at all"


@pytest.mark.parametrize("cell", ["1,5", "-0,25", "1.234,5", "1 234,5", "1,234,567.8", "2,5e-3"])
@pytest.mark.parametrize("others", [(), ("7",), ("", "NA", "3.5", "?")])
def test_decimal_commas_and_thousands_marks_do_not_become_text(write, cell, others):
    path = write("a;b\n" + "".join(f"{entry};2\n" for entry in (*others, cell)))
    with pytest.raises(DataFileError, match=r"column 'a': expected numbers with a decimal point.*write a dec") as caught:
        read_csv(path)
    assert repr(cell) in str(caught.value)
    as_text = read_csv(path, text=["a"])["a"].tolist()
    assert as_text == [entry or None for entry in (*others, cell)], "unless they are asked for as text"
    assert list(read_csv(path, only=["b"])) == ["b"]


@pytest.mark.parametrize("cell", ["1,2,3", "1,5 m", "a,b", ",5x", "12,14b"])
def test_other_texts_with_commas_are_texts(write, cell):
    assert read_csv(write(f"a;b\n1;2\n{cell};3\n1,5;4\n"))["a"].tolist() == ["1", cell, "1,5"]


def test_decimal_commas_without_a_header(write):
    with pytest.raises(DataFileError, match="first row: expected numbers with a decimal point"):
        read_csv(write("1,5;2\n2,5;3,25\n"))


def test_text_found_late_is_text_from_the_start(write, monkeypatch):
    monkeypatch.setattr(csv_source, "_BLOCK_ROWS", 2)
    columns = read_csv(write("a,b,c\n01,1,\n2,2,\n3,3,5\n4,4,x\nv,5,6\n"))
    assert columns["a"].tolist() == ["01", "2", "3", "4", "v"]
    assert columns["b"].tolist() == [1, 2, 3, 4, 5]
    assert columns["c"].tolist() == [None, None, "5", "x", "6"]


def test_only_some_columns_and_numbers_as_text(write):
    path = write("a,b,c\n01,1,x\n")
    assert list(read_csv(path, only=["c", "a"])) == ["a", "c"]
    assert read_csv(path, text=["a", "elsewhere"])["a"].tolist() == ["01"]
    with pytest.raises(UnknownColumn, match=r"'d' in t\.csv, found only: a, b, c"):
        read_csv(path, only=["d"])


def test_gzipped(write):
    assert read_csv(write(gzip.compress(b"a,b\n1,2\n"), "t.csv.gz"))["b"].tolist() == [2]


@given(
    st.lists(st.tuples(st.floats(allow_nan=False), st.text(st.characters(exclude_categories=["C", "Z"]))), min_size=1)
)
def test_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("number", "text"), *((repr(number), text) for number, text in rows)])
    columns = read_csv(path, text=["text"])
    assert columns["number"].tolist() == [number for number, _ in rows]
    assert columns["text"].tolist() == [text or None for _, text in rows]


@pytest.mark.parametrize(("line", "found"), [("1", 1), ("1,2,3", 3)])
def test_ragged_row_is_reported_with_its_line(write, line, found):
    with pytest.raises(DataFileError, match=rf"t\.csv, line 5: expected 2 cells, found {found};"):
        read_csv(write(f'a,b\n1,2\n"x\ny",3\n{line}\n4,5\n'))


@pytest.mark.parametrize(
    ("text", "expected"), [("", "file is empty"), ("\n\n", "file is empty"), ("a,b\n", "found none")]
)
def test_empty_file_is_reported(write, text, expected):
    with pytest.raises(EmptyDataError, match=expected):
        read_csv(write(text))


def test_repeated_names_are_reported(write):
    with pytest.raises(DataFileError, match="found a repeated"):
        read_csv(write("a,b,a\n1,2,3\n"))


def test_other_encodings_are_reported(write):
    with pytest.raises(DataFileError, match="expected UTF-8"):
        read_csv(write("a,b\nKöln,1\n".encode("latin-1")))


def test_damaged_files_are_reported(write):
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 100)
    with pytest.raises(DataFileError, match="reading failed"):
        read_csv(write(whole[:-10], "t.csv.gz"))
    with pytest.raises(DataFileError, match="reading failed"):
        read_csv(write(b"a,b\n1,2\n", "u.csv.gz"))
    with pytest.raises(DataFileError, match="field larger than"):
        read_csv(write("a,b\n1," + "x" * 200_000))
