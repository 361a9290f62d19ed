"""Feather and Arrow IPC files and streams, and Parquet: every type, damaged files, and what they may become."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pytest

from fusedstep.errors import DataFileError, EmptyDataError, UnknownColumn
from fusedstep.framework.tables.columns import is_text
from fusedstep.framework.tables.feather_source import read_feather
from fusedstep.framework.tables.parquet_source import read_parquet
from fusedstep.framework.tables.reading import load, load_features

arrow = pytest.importorskip("pyarrow", reason="read through pyarrow")
feather = pytest.importorskip("pyarrow.feather", reason="read through pyarrow")
parquet = pytest.importorskip("pyarrow.parquet", reason="read through pyarrow")

MOMENT = datetime(2024, 2, 29, 12, 30, 15)
SINGLE = {
    **{str(kind): (kind, [1, 2, 3]) for kind in (
        arrow.int8(), arrow.int16(), arrow.int32(), arrow.int64(), arrow.uint8(), arrow.uint16(), arrow.uint32(),
        arrow.uint64(), arrow.float16(), arrow.float32(), arrow.float64(),
    )},
    **{name: (getattr(arrow, name)(9, 2), [Decimal("1.25"), Decimal("-2.50"), Decimal(0)]) for name in (
        "decimal32", "decimal64", "decimal128", "decimal256",
    ) if hasattr(arrow, name)},
    **{str(kind): (kind, ["a", "", "b"]) for kind in (arrow.string(), arrow.large_string(), arrow.string_view())},
    **{str(kind): (kind, [b"a", b"x", b"b"]) for kind in (
        arrow.binary(), arrow.large_binary(), arrow.binary_view(), arrow.binary(1),
    )},
    "bool": (arrow.bool_(), [True, False, True]),
    "null": (arrow.null(), [None, None, None]),
    **{str(kind): (kind, [date(2024, 2, 29), date(1960, 1, 1), date(2100, 1, 1)]) for kind in (arrow.date32(), arrow.date64())},
    **{str(kind): (kind, [MOMENT, MOMENT + timedelta(1), MOMENT]) for kind in (
        arrow.timestamp("s"), arrow.timestamp("ms"), arrow.timestamp("us"), arrow.timestamp("ns"),
    )},
    **{str(kind): (kind, [time(1, 2, 3), time(0), time(23, 59, 59)]) for kind in (
        arrow.time32("s"), arrow.time32("ms"), arrow.time64("us"), arrow.time64("ns"),
    )},
    **{str(kind): (kind, [timedelta(seconds=90), timedelta(0), timedelta(days=3)]) for kind in (
        arrow.duration("s"), arrow.duration("us"), arrow.duration("ns"),
    )},
    "dictionary of text": (arrow.dictionary(arrow.int8(), arrow.string()), ["a", "b", "a"]),
    "dictionary of numbers": (arrow.dictionary(arrow.int16(), arrow.int64()), [5, 7, 5]),
}  # fmt: skip
"""Types of single values, with values."""


def expected(entry):
    """What is read of a value of Python."""
    if isinstance(entry, bytes):
        return entry.decode()
    if isinstance(entry, Decimal):
        return float(entry)
    if isinstance(entry, time):
        return float(entry.hour * 3600 + entry.minute * 60 + entry.second)
    if isinstance(entry, timedelta):
        return entry.total_seconds()
    return datetime(entry.year, entry.month, entry.day) if type(entry) is date else entry


def write(table, path, **given):
    if path.suffix == ".parquet":
        try:
            parquet.write_table(table, path, **given)
        except arrow.ArrowNotImplementedError as error:
            pytest.skip(f"this version of PyArrow does not write it: {error}")
    elif given.pop("stream", False):
        with arrow.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    else:
        feather.write_feather(table, path, **given)
    return path


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow", ".ipc"])
@pytest.mark.parametrize("gaps", [False, True])
def test_every_type_of_single_values(tmp_path, name, suffix, gaps):
    kind, values = SINGLE[name]
    values = [values[0], None, *values[2:]] if gaps else values
    entries = [np.float16(one) if kind == arrow.float16() and one is not None else one for one in values * 3]
    table = arrow.table({"a": arrow.array(entries, kind), "y": list(range(9))})
    found = load_features(write(table, tmp_path / f"t{suffix}"), ["a"]).column("a")
    present = [one for one, value in zip(found.tolist(), values * 3, strict=True) if value is not None]
    spelled = {True: "true"} if gaps and name == "bool" else {}
    assert present == [spelled.get(value, expected(value)) for value in values * 3 if value is not None]
    if None in values:
        missing = found.missing if is_text(found) else np.isnan(found)
        assert missing.tolist() == [value is None for value in values * 3]


@pytest.mark.parametrize(
    "kind", [arrow.list_(arrow.int8()), arrow.struct({"x": arrow.int8()}), arrow.map_(arrow.string(), arrow.int8())], ids=str
)
@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_other_types_are_refused_by_name(tmp_path, kind, suffix):
    table = arrow.table({"a": [1, 2], "many": arrow.array([None, None], kind), "y": [0, 1]})
    path = write(table, tmp_path / f"t{suffix}")
    with pytest.raises(DataFileError, match=rf"t{suffix}, column 'many': expected numbers, booleans, dates or text, found"):
        load(path, "y")
    assert load_features(path, ["y", "a"]).names == ("y", "a")


@pytest.mark.parametrize(
    "given", [{}, {"compression": "uncompressed"}, {"compression": "zstd"}, {"chunksize": 7}, {"stream": True}]
)
@pytest.mark.parametrize("suffix", [".feather", ".arrow", ".ipc"])
def test_feather(tmp_path, given, suffix):
    words = arrow.array(["a", "b", None] * 10)
    columns = {"x": np.arange(30) / 4, "t": words, "d": words.dictionary_encode(), "y": [0, 1] * 15}
    path = write(arrow.table(columns | {"__index_level_0__": range(30)}), tmp_path / f"t{suffix}", **given)
    data = load(path, "y")
    assert data.feature_names == ("x", "t", "d")
    assert data.features.column("t").tolist() == data.features.column("d").tolist() == ["a", "b", None] * 10
    np.testing.assert_array_equal(data.features.column("x"), columns["x"])
    assert data.target.tolist() == [0, 1] * 15
    assert read_feather(path, ["y"], ["y"]).column("y").tolist() == ["0", "1"] * 15


def test_feather_reports(tmp_path):
    path = write(arrow.table({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "t.feather")
    with pytest.raises(UnknownColumn, match=r"'c' in t\.feather, found only: a, b"):
        load_features(path, ["c"])
    with pytest.raises(EmptyDataError, match="found none"):
        load_features(write(arrow.table({"a": arrow.array([], arrow.int8())}), tmp_path / "none.feather"))
    with pytest.raises(DataFileError, match="different column names"):
        load_features(write(arrow.table([[1], [2]], ["a", "a"]), tmp_path / "twice.arrow", stream=True))
    (tmp_path / "old.feather").write_bytes(b"FEA1" + bytes(100))
    with pytest.raises(DataFileError, match="found version 1"):
        load_features(tmp_path / "old.feather")
    whole = path.read_bytes()
    for size in (0, 4, 8, 30, 200, len(whole) // 2):
        (tmp_path / "cut.feather").write_bytes(whole[:size])
        with pytest.raises(DataFileError, match="expected a Feather or Arrow file"):
            load_features(tmp_path / "cut.feather")


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_what_feather_becomes_is_limited_before_it_is_unpacked(tmp_path, compression, monkeypatch):
    table = arrow.table({"x": np.zeros(400_000), "t": arrow.array(["abc" * 100] * 400_000).dictionary_encode()})
    path = write(table, tmp_path / "t.feather", compression=compression, chunksize=2**30)
    assert path.stat().st_size < 100_000
    assert len(load_features(path)) == 400_000
    monkeypatch.setattr(arrow.RecordBatchStreamReader, "read_all", None)
    with pytest.raises(DataFileError, match=r"at most 1 MB in memory.*found [4-9]\.?\d* MB or more"):
        load_features(path, max_unpacked="1MB")


@pytest.mark.parametrize("reader", [read_parquet, read_feather])
def test_columns_of_nulls_do_not_become_large(tmp_path, reader):
    """They take nothing in a file, and eight bytes a row as numbers."""
    table = arrow.table({"n": arrow.nulls(10_000_000)})
    path = write(table, tmp_path / ("t.parquet" if reader is read_parquet else "t.feather"))
    with pytest.raises(DataFileError, match="expected contents of at most"):
        reader(path, max_unpacked="50MB")
