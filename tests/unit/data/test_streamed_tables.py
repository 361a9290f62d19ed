"""Tables that are read row group by row group: the columns, kinds and encoded values of the table in memory."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from fusedstep import errors
from fusedstep.framework.cli.training import prepare
from fusedstep.framework.tables.encoder import TableEncoder
from fusedstep.framework.tables.preprocessing import Preprocessor
from fusedstep.framework.tables.reading import load
from fusedstep.framework.tables.table import StreamedTable

arrow = pytest.importorskip("pyarrow", reason="Parquet is read through pyarrow")
parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read through pyarrow")

ROWS, GROUP = 500, 64


def _gaps(values, every, first=0):
    """The values, of which each `every`-th from `first` on is missing."""
    return [None if row >= first and row % every == 0 else value for row, value in enumerate(values)]


def _columns():
    """A column of each type that tables have, with gaps in all rows, in late ones, and in none."""
    rng = np.random.default_rng(8)
    start = datetime(2021, 3, 4)
    whole = rng.integers(0, 90, ROWS).tolist()
    truths = rng.integers(0, 2, ROWS).astype(bool).tolist()
    moments = [start + timedelta(hours=int(hours)) for hours in rng.integers(0, 20_000, ROWS)]
    words = rng.choice(["red", "green", "blue"], ROWS).tolist()
    return {
        "x": rng.standard_normal(ROWS),
        "gaps": _gaps(rng.standard_normal(ROWS).tolist(), 7),
        "whole": whole,
        "late gaps": arrow.array(_gaps(whole, 9, 300), arrow.int64()),
        "large": arrow.array([2**62 + row // 2 for row in range(ROWS)], arrow.int64()),
        "large, gaps": arrow.array(_gaps([2**62 + row // 2 for row in range(ROWS)], 5, 400), arrow.int64()),
        "truth": truths,
        "truth, late gaps": arrow.array(_gaps(truths, 5, 400), arrow.bool_()),
        "word": words,
        "word, gaps": _gaps(words, 4),
        "many": [f"v{row % 150:03}" for row in range(ROWS)],
        "late word": arrow.array([None] * 200 + words[200:], arrow.string()),
        "dictionary": arrow.array(words).dictionary_encode(),
        "numbers in text": [f"{value:02}" for value in whole],
        "truth in text": _gaps(["True" if one else "FALSE" for one in truths], 6, 250),
        "date in text": [f"{moment:%Y-%m-%d}" for moment in moments],
        "moment": arrow.array(_gaps(moments, 11), arrow.timestamp("ms")),
        "day": arrow.array([moment.date() for moment in moments], arrow.date32()),
        "asked number": _gaps([f"{value}" if value % 10 else "n/k" for value in whole], 8, 100),
        "asked text": whole,
        "same": [3] * ROWS,
        "differs": [f"id {row}" for row in range(ROWS)],
        "nothing": arrow.nulls(ROWS),
        "left out": words,
        "y": [word[0] for word in words],
    }  # fmt: skip


@pytest.fixture
def path(tmp_path):
    parquet.write_table(arrow.table(_columns()), tmp_path / "d.parquet", row_group_size=GROUP)
    return tmp_path / "d.parquet"


def _load(path, stream, **options):
    given = {"number": ["asked number"], "text": ["asked text"], "drop": ["left out"]} | options
    return load(path, "y", stream=stream, **given)


def _values(source):
    return np.concatenate([block.copy() for _, block in source.blocks()])


def test_f5_the_kinds_and_notes_of_a_streamed_file_are_those_of_the_file_in_memory(path):
    memory, streamed = (_load(path, stream) for stream in (False, True))
    assert isinstance(streamed.features, StreamedTable)
    assert streamed.kinds == memory.kinds
    assert streamed.notes == memory.notes
    assert streamed.features.names == memory.features.names
    assert streamed.target.tolist() == memory.target.tolist()
    kinds = {one.name: one.kind for one in streamed.kinds}
    assert {kinds[name] for name in ("same", "differs", "nothing", "left out")} == {"dropped"}
    assert (kinds["date in text"], kinds["truth in text"], kinds["asked number"]) == ("date", "boolean", "number")


def test_f5_blocks_hold_the_columns_of_the_file_in_memory(path):
    memory, streamed = (_load(path, stream).features for stream in (False, True))
    blocks = [*streamed.blocks()]
    assert [len(block) for block in blocks] == [64] * 7 + [52]
    for name, column in memory.columns.items():
        parts = [block.column(name) for block in blocks]
        assert {type(part) for part in parts} == {type(column)}, name
        np.testing.assert_array_equal(np.concatenate([np.asarray(part) for part in parts]), np.asarray(column), name)


@pytest.mark.parametrize("scaling", ["robust", "standard"])
def test_f5_encoded_rows_have_the_bits_of_the_table_in_memory(path, scaling):
    memory, streamed = (_load(path, stream).features for stream in (False, True))
    encoder = TableEncoder(scaling=scaling).fit(memory)
    wanted = encoder.transform(memory)
    source = encoder.transform_source(streamed)
    assert wanted.dtype == np.float32
    np.testing.assert_array_equal(_values(source), wanted)
    assert source.edges.tolist() == [*range(0, 500, 64), 500]
    rows = np.random.default_rng(0).permutation(ROWS)[:77]
    wide = np.full((77, encoder.width), 7.0)
    source.read(rows, wide)
    np.testing.assert_array_equal(wide, wanted[rows])
    ascending = np.sort(rows)
    np.testing.assert_array_equal(_values(source.take(ascending)), wanted[ascending])
    np.testing.assert_array_equal(_values(encoder.transform_source(streamed.take(ascending))), wanted[ascending])


def test_f5_the_fit_of_few_rows_is_that_of_the_table_in_memory(path):
    rows = np.flatnonzero(np.arange(ROWS) % 3)
    made = []
    for stream in (False, True):
        part = _load(path, stream).take(rows)
        made.append(Preprocessor().fit(part.features, part.target).to_json())
    assert made[0] == made[1], "of up to 131,072 rows, medians and quartiles are those of all"


def test_f5_a_few_blocks_are_in_memory_and_each_is_read_once_in_order(path, monkeypatch):
    streamed = _load(path, True).features
    source = TableEncoder().fit(streamed).transform_source(streamed)
    read, original = [], streamed.block
    monkeypatch.setattr(streamed, "block", lambda number: read.append(number) or original(number))
    for start in range(0, ROWS, 10):
        source.read(slice(start, start + 10), np.empty((10, source.shape[1]), np.float32))
        assert len(source.rows._blocks) <= streamed.window + 1
    assert read == list(range(8))


def test_f5_shards_are_one_table_and_their_types_may_differ(tmp_path):
    for number, column in enumerate((arrow.array([1, 2, 3] * 4), arrow.array([1.5, None] * 6), arrow.nulls(12))):
        words = ["a", "b", None] * 4
        table = arrow.table({"number": column, "word": words if number else arrow.nulls(12), "y": ["u", "v"] * 6})
        parquet.write_table(table, tmp_path / f"part-{number:05}.parquet", row_group_size=5)
    memory, streamed = (load(tmp_path, "y", stream=stream) for stream in (False, True))
    assert streamed.kinds == memory.kinds
    wanted, found = (Preprocessor().fit(one.features, one.target) for one in (memory, streamed))
    assert found.to_json() == wanted.to_json()
    np.testing.assert_array_equal(_values(found.transform(streamed.features)), wanted.transform(memory.features))


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        ({"x": [1.0] * 470 + [np.inf] * 30}, {}, errors.NonFiniteDataError, "30 infinite values, the first in row 471, "),
        ({"word": [["list"]] * ROWS}, {}, errors.DataFileError, "'word': expected numbers, booleans, dates or text"),
        ({}, {"number": ["word"]}, errors.DataFileError, "column 'word': expected numbers (--number), found none"),
        ({}, {"drop": ["wrod"]}, errors.UnknownColumn, "'wrod'"),
        ({"y": [None] + ["u"] * (ROWS - 1)}, {}, errors.LabelError, "the first in row 1"),
        ({"date in text": ["2020-02-02"] * 400 + ["-x-"] * 100}, {}, errors.DataFileError, "row 401: expected dates, found"),
    ],
)  # fmt: skip
def test_f5_errors_are_those_of_the_file_in_memory(tmp_path, change, options, error, words):
    parquet.write_table(arrow.table(_columns() | change), tmp_path / "d.parquet", row_group_size=GROUP)
    messages = []
    for stream in (False, True):
        with pytest.raises(error) as raised:
            prepare(_load(tmp_path / "d.parquet", stream, **options), None, (None, None), 0)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    assert words in messages[1]


def test_f5_a_table_of_useless_columns_is_refused(tmp_path):
    parquet.write_table(arrow.table({"same": [1] * 20, "y": ["u", "v"] * 10}), tmp_path / "d.parquet")
    with pytest.raises(errors.EmptyDataError, match=r"none that can be used \(same: always 1"):
        load(tmp_path / "d.parquet", "y", stream=True)
