"""Delimited text files: how they are laid out, and what becomes a number, a text, a name, an error."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from datetime import datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusedstep.errors import DataFileError, EmptyDataError, HyperparameterError, UnknownColumn
from fusedstep.framework.tables import csv_source, text_layout
from fusedstep.framework.tables.csv_source import read_csv
from fusedstep.framework.tables.text_column import TextColumn
from fusedstep.framework.tables.text_layout import TextOptions

pytest.importorskip("pyarrow", reason="CSV is read through pyarrow")


@pytest.fixture
def write(tmp_path):
    def write(text, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def read(path, **given):
    """The columns as lists; arguments of `TextOptions` are taken as such."""
    options = {name: given.pop(name) for name in ("delimiter", "encoding", "decimal", "header") if name in given}
    columns = read_csv(path, options=TextOptions(**options), **given).columns
    return {name: column.tolist() for name, column in columns.items()}


def zipped(content, name="t.csv"):
    """A zip archive of one file, or of several, name -> content."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for one, inner in (content if isinstance(content, dict) else {name: content}).items():
            archive.writestr(one, inner)
    return packed.getvalue()


# Layout


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " ", ":"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiters_and_newlines(write, delimiter, newline):
    rows = ["a", "b c" if delimiter != " " else "b_c"], ["1", "x"], ["2.5e-1", "y"]
    path = write(newline.join(delimiter.join(row) for row in rows))
    assert read(path) == {"a": [1.0, 0.25], rows[0][1]: ["x", "y"]}
    assert read_csv(path).layout.delimiter == delimiter


def test_delimiter_is_the_one_that_cuts_evenly(write):
    assert read(write("name;words\nx;a,b,c\ny;d,e\n")) == {"name": ["x", "y"], "words": ["a,b,c", "d,e"]}
    assert list(read(write("a,b\n1:30,2;3\n2:45,3;4\n"))) == ["a", "b"]
    assert list(read(write("words\nsome of\nthe words\n"))) == ["words"], "blanks separate words, unless there are numbers"


def test_columns_that_several_delimiters_cut_evenly(write):
    assert read(write("1,5;2,5\n3,5;4,5\n")) == {"c0": [1.5, 3.5], "c1": [2.5, 4.5]}


def test_tsv_is_cut_at_tabs_whatever_else_it_holds(write):
    assert list(read(write("a,b\tc,d\n1\t2\n", "t.tsv"))) == ["a,b", "c,d"]
    assert list(read(write("words\na,b\nc,d\n", "u.tsv"))) == ["words"]


def test_columns_that_are_aligned_with_blanks(write):
    assert read(write("  a   b  c\n  1  2.5 x\n 10  3.0 'y\n")) == {"a": [1, 10], "b": [2.5, 3.0], "c": ["x", "'y"]}
    assert read(write('1.0   "a  b"  2\n3.5   "c" \t4\n2  d 3')) == {
        "c0": [1.0, 3.5, 2.0], "c1": ["a  b", "c", "d"], "c2": [2, 4, 3],
    }  # fmt: skip


def test_a_first_line_may_state_the_delimiter(write):
    assert read(write("sep=;\na;b,c\n1;2\n")) == {"a": [1], "b,c": [2]}
    assert read(write('"sep=|"\r\n\r\na|b\r\n1|2\r\n')) == {"a": [1], "b": [2]}


def test_comments_and_blank_lines(write):
    path = write("# made by hand\n#\n\na|b\n1|2\n# a remark\n   \n3|4\n")
    assert read(path) == {"a": [1, 3], "b": [2, 4]}
    assert read(write("a,b\n#1,x\n#2,y\n")) == {"a": ["#1", "#2"], "b": ["x", "y"]}, "lines of full length are rows"
    assert read(write("# made by hand\n# a\tb\n1\t2\n")) == {"a": [1], "b": [2]}, "the last comment may be the header"


@pytest.mark.parametrize("header", ["a,b,", "a,b"])
def test_a_delimiter_at_the_end_of_each_line(write, header):
    table = read_csv(write(f"{header}\n1,2,\n3,4,\n"))
    assert (table.names, len(table)) == (("a", "b"), 2)
    assert "each line ends in a delimiter" in " ".join(table.layout.notes)
    assert list(read(write(f"{header}\n" + "1,2,\n" * 300 + "3,4,5\n"))) == ["a", "b", "c2"], "something follows the last one"


def test_a_header_without_the_name_of_the_row_names(write):
    table = read_csv(write("a b\nr1 1 2\nr2 3 4\n"))
    assert {name: column.tolist() for name, column in table.columns.items()} == {"c0": ["r1", "r2"], "a": [1, 3], "b": [2, 4]}
    assert "one name less" in " ".join(table.layout.notes)


def test_quotes_blanks_blank_lines_and_byte_order_mark(write):
    path = write('\ufeffa, b ,"c, d"\n\n 1 ,"x ""y""", z \n\n2,"two\nlines",w\n')
    assert read(path) == {"a": [1, 2], "b": ['x "y"', "two\nlines"], "c, d": ["z", "w"]}
    assert read(write("'a','b, c'\n'1','x, y'\n'2','z'\n")) == {"a": [1, 2], "b, c": ["x, y", "z"]}
    assert read(write("a,b\n1,it's\n2,'t\n")) == {"a": [1, 2], "b": ["it's", "'t"]}


@pytest.mark.parametrize(
    "text",
    [
        "5.1,3,-1e3\n4.9,2,7\n",
        "5.1,x,?\n4.9,y,2\n",
        "x,y,x\ny,y,z\nx,z,z\n",
        "2020-01-01,a\n2020-01-02,b\n",
        "1,2,3\n2,3,4\n",
        "7\n8\n",
        "no,no,1,2,3,x\nyes,no,2,2,3,x\n",
        "no,1,2,3,x\nno,2,2,3,y\n",
        "1,5;x\n2,5;y\n",
        "0,1\n1,0\n",
    ],
)
def test_absent_header_is_noticed_and_can_be_stated(write, text):
    path = write(text)
    table = read_csv(path)
    assert table.names == tuple(f"c{j}" for j in range(len(table.names)))
    assert len(table) == text.count("\n")
    assert "no names" in " ".join(table.layout.notes)
    first = text.splitlines()[0].split(",")
    if len(set(first)) == len(first):
        assert len(read_csv(path, options=TextOptions(header=True))) == text.count("\n") - 1


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        "name,town\nEva,Ulm\n",
        "country,2019,2020\nPeru,x,1.5\nKenya,y,2.5\n",
        "0,1,2,3\n.5,.25,.5,.5\n.5,.25,.5,.5\n",
        "2019,2020\n1.5,7\n",
        "a,NA\n1,2\n",
        "id,x\n001,2\n",
        "day,x\n2020-01-01,u\n",
    ],
)
def test_header_is_noticed_and_can_be_denied(write, text):
    path = write(text)
    table = read_csv(path)
    assert table.names == tuple(text.splitlines()[0].split(","))
    assert table.layout.notes == ()
    assert len(read_csv(path, options=TextOptions(header=False))) == text.count("\n")


def test_expected_names_are_a_header(write):
    path = write("x,2,x2\nx,3,x3\n")
    assert list(read(path)) == ["c0", "c1", "c2"]
    for names in ({"text": ["x2"]}, {"only": ["2", "x"]}):
        table = read_csv(path, **names)
        assert (len(table), table.layout.names) == (1, ("x", "2", "x2"))


def test_column_without_a_name_is_numbered(write):
    assert list(read(write(",a\n1,2\n"))) == ["c0", "a"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"])
def test_encodings(write, encoding):
    path = write("größe,y\nKöln,1\nÅrhus,2\n".encode(encoding))
    assert read(path) == {"größe": ["Köln", "Århus"], "y": [1, 2]}
    assert any("not UTF-8" in note for note in read_csv(path).layout.notes) == (encoding in ("cp1252", "latin-1"))


def test_bytes_that_are_not_utf8_far_down(write):
    rows = "".join(f"{k},town {k}\n" for k in range(20_000))
    table = read_csv(write(f"a,b\n{rows}1,Köln\n".encode("cp1252")))
    assert table.column("b").tolist()[-1] == "Köln"
    assert table.layout.encoding in table.layout.notes[0]
    with pytest.raises(DataFileError, match=r"line 20004: expected UTF-8 text as in other lines.*--encoding"):
        read(write(f"a,b\n{rows}1,Köln\n1,Ulm\n".encode() + b"2,K\xf6ln\n3,W\xc3\xbcrzburg\n"))


def test_encoding_can_be_stated(write):
    path = write("a,y\nŁódź,1\n".encode("cp1250"))
    assert read(path, encoding="cp1250")["a"] == ["Łódź"]
    with pytest.raises(DataFileError, match=r"expected utf-8 text.*--encoding"):
        read(path, encoding="utf-8")
    with pytest.raises(DataFileError, match="binary data"):
        read(write(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256))))


@pytest.mark.parametrize(
    "given", [{"delimiter": "ab"}, {"delimiter": ""}, {"delimiter": "x"}, {"decimal": "x"}, {"encoding": "utf-99"},
              {"encoding": "base64"}]
)  # fmt: skip
def test_options_that_mean_nothing(given):
    (name,) = given
    with pytest.raises(HyperparameterError, match=f"--{name}: expected"):
        TextOptions(**given)


def test_delimiters_have_names(write):
    assert read(write("a,b\tc\n1,5\t2\n"), delimiter="tab", decimal=",") == {"a,b": [1.5], "c": [2]}


# Cells


def test_types_of_columns(write):
    path = write("i,f,b,d,t,text,z\n1,2,true,2020-01-02,2020-01-02 03:04:05,x,01\n,2.5,False,2021-02-03,2020-01-02,7,02\n")
    table = read_csv(path)
    assert [getattr(column, "dtype", "text") for column in table.columns.values()] == [
        "f8", "f8", "?", "M8[us]", "M8[us]", "text", "text",
    ]  # fmt: skip
    assert table.column("t").tolist() == [datetime(2020, 1, 2, 3, 4, 5), datetime(2020, 1, 2)]
    assert read(path, text=["z", "b", "f", "d"]) | {"i": 0, "t": 0} == {
        "i": 0, "f": ["2", "2.5"], "b": ["true", "False"], "d": ["2020-01-02", "2021-02-03"], "t": 0, "text": ["x", "7"],
        "z": ["01", "02"],
    }  # fmt: skip


def test_empty_cells_and_missing_texts(write):
    columns = read_csv(write("a,b,c,d\n1,,x,true\n,nan,,NA\nnan, ,z,false\n")).columns
    np.testing.assert_array_equal(columns["a"], [1, np.nan, np.nan])
    assert [columns[name].tolist() for name in "bcd"] == [
        [None, "nan", None], ["x", None, "z"], ["true", None, "false"],
    ]  # fmt: skip


@pytest.mark.parametrize("cell", ["1_000", "0x10", "none of them", "1 2", "12:30", "#N/B"])
def test_one_cell_that_is_no_number_makes_a_text_column(write, cell):
    assert read(write(f"a;b\n1;2\n{cell};3\n"))["a"] == ["1", cell]


@pytest.mark.parametrize("cell", ["NA", "?", "-", "n/a", "NULL", " None "])
def test_marks_of_absence_among_numbers_are_gaps(write, cell):
    path = write(f"a;b\n1;x\n{cell};{cell}\n;y\n")
    columns = read_csv(path).columns
    assert columns["b"].tolist() == ["x", cell.strip(), "y"], "among texts they are texts"
    if cell == cell.strip():
        np.testing.assert_array_equal(columns["a"], [1, np.nan, np.nan])
        np.testing.assert_array_equal(read_csv(path, missing=["nothing"]).column("a").tolist(), ["1", cell, None])
    assert read(path, text=["a"])["a"] == ["1", cell.strip(), None]
    assert read(write(f"a;b\n{cell};1\n{cell};2\n"))["a"] == [cell.strip()] * 2, "and where there is no number at all"


@pytest.mark.parametrize(("token", "value"), [("-999", "5"), ("9.5", "5"), ("1900-01-01", "2020-01-02"), ("false", "True")])
def test_missing_texts_may_look_like_values(write, token, value):
    """They are not in the first rows."""
    path = write("a,b\n" + f"{value},x\n" * 400 + f"{token},y\n {token},z\n{value},x\n")
    column = read_csv(path, missing=[token]).column("a")
    missing = column.missing if isinstance(column, TextColumn) else np.isnan(column)
    assert np.flatnonzero(missing).tolist() == [400, 401]
    assert len(read(path, only=["b"])["b"]) == 403


@pytest.mark.parametrize("number", [2**53 + 1, -(2**63), 2**63 - 1])
def test_whole_numbers_are_exact(write, number):
    assert read(write(f"a,b\n{number},1\n{number - 1 if number > 0 else number + 1},2\n"))["a"][0] == number


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30, 10**400])
def test_whole_numbers_that_no_type_holds_stay_as_they_are_written(write, number):
    assert read(write(f"a,b\n{number},1e300\n1,2\n")) == {"a": [str(number), "1"], "b": [1e300, 2.0]}


@pytest.mark.parametrize("cell", ["1,5", "-0,25", "2,5e-3", ",5", "12,"])
@pytest.mark.parametrize("others", [(), ("7",), ("", "NA", "3", "?")])
@pytest.mark.parametrize("rows", [0, 300])
def test_decimal_commas(write, cell, others, rows):
    cells = [*("8" for _ in range(rows)), *others, cell]
    path = write("a;b\n" + "".join(f"{entry};2\n" for entry in cells))
    table = read_csv(path)
    assert table.column("a").dtype == np.float64
    assert table.column("a")[-1] == float(cell.replace(",", "."))
    assert table.layout.decimal == ","
    assert "decimal commas" in " ".join(table.layout.notes)
    assert read(path, decimal=".")["a"][-1] == cell
    assert read(path, text=["a"])["a"][-1] == cell


@pytest.mark.parametrize(
    "cells", [("1,5", "1.5"), ("1,234", "5,678"), ("1.234,5", "1"), ("1 234,5", "1"), ("1,234,567.8", "1")]
)
def test_numbers_that_may_mean_two_things_stay_text(write, cells):
    path = write("a;b\n" + "".join(f"{cell};2\n" for cell in cells))
    assert read(path)["a"] == list(cells)


@pytest.mark.parametrize("cell", ["1,2,3", "1,5 m", "a,b", ",5x", "12,14b"])
def test_other_texts_with_commas_are_texts(write, cell):
    assert read(write(f"a;b\n1;2\n{cell};3\n1,5;4\n"))["a"] == ["1", cell, "1,5"]


@pytest.mark.parametrize("row", [0, 150, 900])
@pytest.mark.parametrize("cell", ["00501", " 00501", '"00501"', "0007"])
@pytest.mark.parametrize("line", ["{},7", "7,{}"])
def test_whole_numbers_that_begin_with_0_are_read_as_written(write, line, cell, row):
    cells = [str(10000 + i) if i % 5 else "" for i in range(1000)]
    cells[row] = cell
    path = write("a,b\n" + "".join(line.format(one) + "\n" for one in cells))
    column = read(path)["ab"[line.startswith("7")]]
    assert (column[row], column[11], column[5]) == (cell.strip(' "'), "10011", None)


def test_a_zero_that_starts_a_number_is_seen_where_blocks_meet(write, monkeypatch):
    text = "a,b\n" + "5,6\n" * 100 + "5,012\n" + "5,6\n" * 100
    for size in range(text.index("012") - 3, text.index("012") + 4):
        monkeypatch.setattr(text_layout, "_BLOCK", size)
        assert "012" in read(write(text))["b"]


def test_zeros_of_fractions_times_and_other_columns_change_nothing(write):
    text = "a,b,c,d\n" + "0,0.5,05:00,2020-01-01\n7,00.5,007,2020-01-02 05:00\n"
    assert read(write(text))["a"] == [0, 7]


@pytest.mark.parametrize("name", ["a", "b"])
def test_dropped_columns_are_not_read(write, name):
    columns = read(write("a,y,b,\n1,2,3,\n4,5,6,\n"), drop=[name])
    assert columns == {"a": [1, 4], "y": [2, 5], "b": [3, 6]} | {name: [None, None]}


def test_text_found_late_is_text_from_the_start(write, monkeypatch):
    monkeypatch.setattr(csv_source, "_BLOCK", 100)
    monkeypatch.setattr(csv_source, "_LINES", 1)
    columns = read(write("a,b,c\n01,1,\n" + "2,2,\n" * 500 + "v,5,6\n"))
    assert columns["a"] == ["01", *["2"] * 500, "v"]
    assert columns["b"] == [1, *[2] * 500, 5]
    np.testing.assert_array_equal(columns["c"], [np.nan] * 501 + [6])


def test_only_some_columns_and_numbers_as_text(write):
    path = write("a,b,c\n01,1,x\n")
    assert list(read(path, only=["c", "a"])) == ["a", "c"]
    assert read(path, text=["a", "elsewhere"])["a"] == ["01"]
    with pytest.raises(UnknownColumn, match=r"'d' in t\.csv, found only: a, b, c"):
        read(path, only=["d"])


def test_many_columns(write):
    names, row = [f"name{j}" for j in range(20_000)], [f"{j}.25" for j in range(20_000)]
    table = read_csv(write("\n".join([",".join(names), *[",".join(row)] * 7])))
    assert table.names == tuple(names)
    assert [column[6] for column in table.columns.values()] == [j + 0.25 for j in range(20_000)]


def test_long_cells_and_cells_with_line_breaks(write):
    long = "x" * 3_000_000
    assert read(write(f"a,b\n1,{long}\n2,y\n"))["b"] == [long, "y"]
    lines = [f"{k}\n{'line' * (k % 7)}\n," for k in range(40_000)]
    rows = "".join(f'{k},"{cell}"\n' for k, cell in enumerate(lines))
    assert read(write(f"a,b\n{rows}"))["b"] == [cell.strip() for cell in lines]
    late = "".join(f"{k},x\n" for k in range(40_000))
    assert read(write(f"a,b\n{late}{rows}"))["b"] == ["x"] * 40_000 + [cell.strip() for cell in lines]


# Every layout of every table


PACKED = {"plain": bytes, "gzip": gzip.compress, "zip": zipped}
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
CELLS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="'"), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    rows=st.lists(st.tuples(FLOATS, CELLS, st.integers(-(2**63), 2**63 - 1)), min_size=1),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    packed=st.sampled_from(sorted(PACKED)),
    decimal=st.sampled_from([".", ","]),
    header=st.booleans(),
    stated=st.booleans(),
)  # fmt: skip
def test_round_trip(tmp_path, rows, delimiter, newline, quoting, encoding, packed, decimal, header, stated):
    """A table that is written in any layout is read with the same values, the layout being stated or inferred."""
    if delimiter == "," and decimal == ",":
        quoting = csv.QUOTE_ALL
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=newline, quoting=quoting)
    cells = [(repr(number).replace(".", decimal), f"t{text}", str(whole)) for number, text, whole in rows]
    writer.writerows([("number", "text", "whole"), *cells] if header else cells)
    path = tmp_path / "t.csv"
    path.write_bytes(PACKED[packed](stream.getvalue().encode(encoding)))
    given = {"delimiter": delimiter, "decimal": decimal, "encoding": encoding, "header": header} if stated else {}
    number, text, whole = read(path, **given).values()
    if stated or all("." in repr(number) and "e" not in repr(number) for number, _, _ in rows):
        assert number == [number for number, _, _ in rows]
    assert text == [cell.strip() for _, cell, _ in cells]
    assert whole == [whole for _, _, whole in rows]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_comes_back(tmp_path, cells):
    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("number", "text"), *enumerate(cells)])
    table = read_csv(path, text=["text"])
    assert isinstance(table.column("text"), TextColumn)
    assert table.column("text").tolist() == [cell.strip() or None for cell in cells]


# Compression


@pytest.mark.parametrize("pack", [gzip.compress, zipped, lambda data: zipped(data, "other name")])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zip"])
def test_compression_by_content(write, pack, name):
    assert read(write(pack(b"a,b\n1,2\n"), name)) == {"a": [1], "b": [2]}


def test_archives_of_several_files_or_damaged_ones(write):
    with pytest.raises(DataFileError, match=r"expected one file in the zip archive, found 2 \(a.csv, b.csv\)"):
        read(write(zipped(dict.fromkeys(("folder/", "a.csv", "b.csv", "__MACOSX/._a.csv"), "a,b\n1,2\n"))))
    whole = zipped(b"a,b\n" + b"1,2\n" * 100)
    for damaged in (whole[:-20], whole[:40], whole[:50] + bytes(8) + whole[58:]):
        with pytest.raises(DataFileError, match="reading failed"):
            read(write(damaged))
    with pytest.raises(DataFileError, match="save it as CSV"):
        read(write(zipped({"[Content_Types].xml": "", "xl/workbook.xml": ""})))


# What is wrong


@pytest.mark.parametrize(("line", "found"), [("1", 1), ("1,2,3", 3)])
@pytest.mark.parametrize("rows", [1, 50_000])
def test_ragged_row_is_reported_with_its_line(write, line, found, rows):
    more = "4,5\n" * rows
    with pytest.raises(DataFileError, match=rf"t\.csv, line {rows + 4}: expected 2 cells, found {found};"):
        read(write(f'a,b\n"x\ny",3\n{more}{line}\n4,5\n'))


@pytest.mark.parametrize("before", ["My table\n", "Sales 2020\n\n", "% made by x\n% and y\n"])
def test_lines_before_the_table_are_named(write, before):
    with pytest.raises(DataFileError, match=rf"line {before.count(chr(10)) + 1}: .*found 3; remove the lines before the table"):
        read(write(before + "a,b,c\n" + "1,2,3\n" * 30))


@pytest.mark.parametrize(("text", "given"), [("a!b!y\n1!2!3\n", {}), ("a,b,y\n1,2,3\n", {"delimiter": ";"})])
def test_a_table_of_one_column_may_have_another_delimiter(write, text, given):
    for wanted in ({"text": ["y"]}, {"only": ["a", "b"]}):
        with pytest.raises(UnknownColumn, match=r"found only 'a.b.y', with '[,;]' as delimiter; .* --delimiter"):
            read(write(text), **given, **wanted)
    assert len(read(write(text), **given)) == 1
    for only in (["a"], ["b", "a"]):
        with pytest.raises(UnknownColumn, match="expected the column 'a'"):
            read(write("b\n1\n"), only=only)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "ascii"])
def test_a_stated_encoding_that_is_another(write, encoding):
    with pytest.raises(DataFileError, match=f"expected {encoding}.* text, found other bytes .*; give its encoding"):
        read(write("größe,y\n" + "1,2\n" * 50), encoding=encoding)


def test_a_quote_that_is_never_closed(write):
    rows = "1,2\n" * 50_000
    for text in (f'a,b\n1,"x\n{rows}', f'a,b\n{rows}1,"x\n1,2\n'):
        with pytest.raises(DataFileError, match=r"line (2|50002): expected"):
            read(write(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "file is empty"), ("\n\n", "file is empty"), ("# x\n", "file is empty"), ("a,b\n", "found none")],
)
def test_empty_file_is_reported(write, text, expected):
    with pytest.raises(EmptyDataError, match=expected):
        read(write(text))


def test_repeated_names_are_reported(write):
    with pytest.raises(DataFileError, match="found a repeated"):
        read(write("a,b,a\n1,2,3\n"))


def test_damaged_files_are_reported(write):
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 100)
    with pytest.raises(DataFileError, match="reading failed"):
        read(write(whole[:-10], "t.csv.gz"))
