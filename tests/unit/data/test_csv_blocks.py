"""Text files read block by block: the columns of the file read as a whole, whatever a block ends in."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from fusedstep import errors
from fusedstep.framework.tables import csv_source
from fusedstep.framework.tables.column_kind import kinds_to_json
from fusedstep.framework.tables.reading import load, load_features
from fusedstep.framework.tables.streaming import open_features
from fusedstep.framework.tables.text_layout import TextOptions

pytest.importorskip("pyarrow.csv", reason="CSV is read through pyarrow")

ROWS = 400


def _lines():
    """Rows of numbers with missing tokens, text with delimiters, quotes and line breaks, dates, booleans and a target."""
    for row in range(ROWS):
        value = ["NA", " 1.5 ", "", "-2e3", f"{row}"][row % 5]
        text = ["plain", '" a, b"', '"two\nlines"', "  blanks  ", "", "NA", '"say ""no"""'][row % 7]
        date = "" if row % 11 == 0 else f"2020-0{1 + row % 9}-1{row % 7}"
        truth = ["true", "FALSE", "n/a"][row % 3]
        yield f"{value},{text},{date},{truth},{row * 7 % 90},{'uv'[row % 2]}\n"


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(csv_source, "_BLOCK", 700)
    monkeypatch.setattr(csv_source, "_LINES", 4)


def _compared(path, **options):
    """The kinds of a file, and the columns of a second reading, whole and in blocks."""
    data = load(path, "y", **options)
    kinds, names = kinds_to_json(data.kinds, data.missing), data.feature_names
    memory = load_features(path, names, kinds=kinds, **options)
    blocks = [*open_features(path, names, kinds=kinds, options=TextOptions(**options))]
    for name in names:
        found = np.concatenate([np.asarray(block.column(name), object) for block in blocks])
        wanted = np.asarray(memory.column(name), object)
        assert [one if one == one else None for one in found] == [one if one == one else None for one in wanted], name
    return data.kinds, blocks


@pytest.mark.parametrize("packed", [False, True])
def test_blocks_have_the_cells_of_the_whole_file(tmp_path, small_blocks, packed):
    content = "x,text,day,truth,n,y\n" + "".join(_lines())
    path = tmp_path / ("d.csv.gz" if packed else "d.csv")
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    kinds, blocks = _compared(path)
    assert [one.kind for one in kinds] == ["number", "text", "date", "boolean", "number"]
    assert len(blocks) > 5


def test_decimal_commas_and_other_encodings_are_those_of_the_first_rows(tmp_path, small_blocks):
    lines = "".join(f"{row % 50},{row % 10};Köln {row % 3};{'uv'[row % 2]}\n" for row in range(ROWS))
    (tmp_path / "d.csv").write_text("größe;ort;y\n" + lines, encoding="utf-16")
    kinds, blocks = _compared(tmp_path / "d.csv")
    assert [one.kind for one in kinds] == ["number", "text"]
    assert len(blocks) > 5
    (tmp_path / "latin.csv").write_text("größe;ort;y\n" + lines, encoding="latin-1")
    _compared(tmp_path / "latin.csv", encoding="latin-1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("3,old,u,1,2\n", "line 302: expected 3 cells, found 5"),
        ("old,a,u\n", "column 'x', row 301: expected numbers as in the training data, found 'old'"),
        ("inf,a,u\n", "the first in row 301, column 'x'"),
        ('1,"open,u\n', "expected a quote at the end of a cell|expected 3 cells|expected a readable text table"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_or_row(tmp_path, small_blocks, change, words):
    lines = [f"{row},{'ab'[row % 2]},{'uv'[row % 3 % 2]}\n" for row in range(ROWS)]
    path = tmp_path / "d.csv"
    path.write_text("x,text,y\n" + "".join(lines))
    data = load(path, "y")
    kinds = kinds_to_json(data.kinds, data.missing)
    lines[300] = change
    path.write_text("x,text,y\n" + "".join(lines))
    with pytest.raises(errors.FusedstepError, match=words):
        [*open_features(path, data.feature_names, kinds=kinds)]


def test_bytes_that_are_no_utf8_in_later_rows_are_refused_with_what_to_do(tmp_path, small_blocks):
    path = tmp_path / "d.csv"
    lines = [f"{row},{'ab'[row % 2]},{'uv'[row % 3 % 2]}\n".encode() for row in range(80_000)]
    path.write_bytes(b"x,text,y\n" + b"".join(lines))
    data = load(path, "y")
    path.write_bytes(b"x,text,y\n" + b"".join(lines) + b"3,K\xf6ln,u\n")
    with pytest.raises(errors.DataFileError, match="--encoding"):
        [*open_features(path, data.feature_names, kinds=kinds_to_json(data.kinds, data.missing))]


def test_a_file_without_rows_is_refused(tmp_path):
    (tmp_path / "d.csv").write_text("x,text,y\n")
    with pytest.raises(errors.EmptyDataError, match="expected data rows after the header"):
        [*open_features(tmp_path / "d.csv", ["x"])]
