"""Every type of Arrow becomes a column of a table, or is refused by name."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusedstep.errors import DataFileError
from fusedstep.framework.tables.arrow_columns import column_of
from fusedstep.framework.tables.text_column import TextColumn

arrow = pytest.importorskip("pyarrow", reason="converts columns of pyarrow")

INTEGERS = [arrow.int8(), arrow.int16(), arrow.int32(), arrow.int64(),
            arrow.uint8(), arrow.uint16(), arrow.uint32(), arrow.uint64()]  # fmt: skip
TEXTS = [arrow.string(), arrow.large_string(), arrow.string_view(), arrow.binary(), arrow.large_binary(), arrow.binary_view(),
         arrow.binary(1), arrow.dictionary(arrow.int16(), arrow.binary()),
         arrow.dictionary(arrow.int8(), arrow.string()), arrow.dictionary(arrow.uint32(), arrow.large_string())]  # fmt: skip
DECIMALS = [getattr(arrow, f"decimal{bits}")(5, 2) for bits in (32, 64, 128, 256) if hasattr(arrow, f"decimal{bits}")]
DAY = date(2024, 2, 29)
NOON = datetime(2024, 2, 29, 12, 30, 15, 250000)
"""A moment that milliseconds hold."""


def column(entries, kind, chunks=1):
    """The entries as they are in a file, in several chunks."""
    whole = arrow.array(entries, kind)
    cut = [len(entries) * k // chunks for k in range(chunks + 1)]
    return arrow.chunked_array([whole[a:b] for a, b in pairwise(cut)], kind)


def same(found, expected):
    """Equal entries, where NaN, NaT and None are missing ones."""
    return [None if e is None or (isinstance(e, float) and math.isnan(e)) else e for e in found.tolist()] == expected


@pytest.mark.parametrize("kind", INTEGERS, ids=str)
def test_integers(kind):
    found = column_of(column([1, 0, 100], kind, 2), "a")
    assert (found.dtype, found.tolist()) == (np.int64, [1, 0, 100])
    missing = column_of(column([1, None, 100], kind, 2), "a")
    assert missing.dtype == np.float64
    assert same(missing, [1.0, None, 100.0])


@pytest.mark.parametrize(
    ("entries", "kind"),
    [([2**64 - 1, 2**64 - 2], arrow.uint64()), ([2**53 + 1, None, 1], arrow.int64()), ([None, 2**63 + 1], arrow.uint64())],
    ids=str,
)
def test_integers_that_no_number_holds_are_text(entries, kind):
    found = column_of(column(entries, kind), "a")
    assert isinstance(found, TextColumn)
    assert found.tolist() == [None if entry is None else str(entry) for entry in entries]


@pytest.mark.parametrize("kind", [arrow.float16(), arrow.float32(), arrow.float64()], ids=str)
def test_floats(kind):
    entries = [None if e is None else np.dtype(kind.to_pandas_dtype()).type(e) for e in (1.5, None, np.inf, np.nan)]
    found = column_of(column(entries, kind, 3), "a")
    assert found.dtype == np.float64
    assert same(found, [1.5, None, np.inf, None])
    assert found.flags.writeable


@pytest.mark.parametrize("kind", DECIMALS, ids=str)
def test_decimals(kind):
    found = column_of(column([Decimal("1.25"), None], kind), "a")
    assert found.dtype == np.float64
    assert same(found, [1.25, None])


def test_booleans_are_spelled_one_way():
    assert column_of(column([True, False], arrow.bool_()), "a").dtype == np.bool_
    assert column_of(column([True, None, False], arrow.bool_(), 2), "a").tolist() == ["true", None, "false"]
    assert column_of(column([True, False], arrow.bool_()), "a", as_text=True).tolist() == ["true", "false"]


@pytest.mark.parametrize("kind", TEXTS, ids=str)
@pytest.mark.parametrize("chunks", [1, 3])
def test_texts(kind, chunks):
    binary = "binary" in str(kind)
    cells = ["a", None, "b", "a", "", "c"] if str(kind) != "fixed_size_binary[1]" else ["a", None, "b", "a", "d", "c"]
    plain = arrow.array([c.encode() if binary and c is not None else c for c in cells],
                        kind.value_type if arrow.types.is_dictionary(kind) else kind)  # fmt: skip
    parts = [plain[2 * k : 2 * k + 6 // chunks] if chunks > 1 else plain for k in range(chunks)]
    if arrow.types.is_dictionary(kind):
        parts = [part.dictionary_encode().cast(kind) for part in parts]
    found = column_of(arrow.chunked_array(parts, kind), "a")
    assert isinstance(found, TextColumn)
    assert found.codes.dtype == np.int32
    assert found.tolist() == cells
    assert len(set(found.values.tolist())) == len(found.values)


def test_dictionaries_that_repeat_a_text_or_hold_a_missing_one():
    coded = arrow.DictionaryArray.from_arrays(arrow.array([0, 1, 2, None, 3]), arrow.array(["a", "b", "a", None]))
    found = column_of(arrow.chunked_array([coded]), "a")
    assert found.tolist() == ["a", "b", "a", None, None]
    assert found.values.tolist() == ["a", "b"]


@pytest.mark.parametrize("kind", [*INTEGERS, arrow.float64(), arrow.bool_(), arrow.date32()], ids=str)
def test_dictionaries_of_other_types_are_what_they_encode(kind):
    plain = column([1, 0, 1], kind) if kind != arrow.bool_() else column([True, False, True], kind)
    found, expected = column_of(plain.dictionary_encode(), "a"), column_of(plain, "a")
    assert found.dtype == expected.dtype
    assert found.tolist() == expected.tolist()


def test_run_lengths_and_extension_types_are_what_they_store():
    runs = arrow.RunEndEncodedArray.from_arrays([2, 5], arrow.array(["a", None]))
    assert column_of(arrow.chunked_array([runs]), "a").tolist() == ["a", "a", None, None, None]
    if not hasattr(arrow, "bool8"):
        pytest.skip("this version of PyArrow has no bool8")
    stored = arrow.ExtensionArray.from_storage(arrow.bool8(), arrow.array([1, 0], arrow.int8()))
    assert column_of(arrow.chunked_array([stored]), "a").tolist() == [1, 0]


@pytest.mark.parametrize("kind", [arrow.date32(), arrow.date64()], ids=str)
def test_dates(kind):
    found = column_of(column([DAY, None], kind), "a")
    assert found.dtype == "datetime64[us]"
    assert found.tolist() == [datetime(2024, 2, 29), None]
    assert column_of(column([DAY, None], kind), "a", as_text=True).tolist() == ["2024-02-29", None]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+02:00"])
def test_timestamps_are_in_utc(unit, zone):
    moment = NOON if zone is None else NOON.replace(tzinfo=timezone(timedelta(hours=1)))
    found = column_of(column([moment, None], arrow.timestamp(unit, zone)), "a")
    assert found.dtype == "datetime64[us]"
    assert found.tolist() == [NOON if zone is None else NOON - timedelta(hours=1), None]


def test_nanoseconds_are_cut_to_microseconds_and_years_beyond_them_are_refused():
    found = column_of(arrow.chunked_array([arrow.array([1_999], arrow.timestamp("ns"))]), "a")
    assert found.astype(np.int64).tolist() == [1]
    with pytest.raises(DataFileError, match=r"column 'when': expected values of timestamp\[s\] that can be read"):
        column_of(arrow.chunked_array([arrow.array([2**62], arrow.timestamp("s"))]), "when")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_durations_and_times_are_seconds(unit):
    lasting = column_of(column([timedelta(seconds=90), None], arrow.duration(unit)), "a")
    assert same(lasting, [90.0, None])
    kind = arrow.time32(unit) if unit in ("s", "ms") else arrow.time64(unit)
    assert same(column_of(column([time(1, 1, 1), None], kind), "a"), [3661.0, None])


def test_columns_of_nulls_and_of_no_rows():
    assert same(column_of(column([None, None], arrow.null()), "a"), [None, None])
    assert column_of(column([None, None], arrow.null()), "a", as_text=True).tolist() == [None, None]
    for kind in (*INTEGERS, *TEXTS, arrow.float32(), arrow.bool_(), arrow.date32()):
        assert len(column_of(arrow.chunked_array([], kind), "a")) == 0


@pytest.mark.parametrize(
    "kind",
    [
        arrow.list_(arrow.int8()), arrow.large_list(arrow.string()), arrow.list_(arrow.float32(), 2),
        arrow.list_view(arrow.int8()), arrow.struct({"x": arrow.int8()}), arrow.map_(arrow.string(), arrow.int8()),
        arrow.month_day_nano_interval(), arrow.dense_union([arrow.field("x", arrow.int8())]),
        arrow.fixed_shape_tensor(arrow.int8(), [2]),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("as_text", [False, True])
def test_types_of_no_single_value_are_refused_by_name(kind, as_text):
    message = r"t\.parquet, column 'x': expected numbers, booleans, dates or text, found "
    with pytest.raises(DataFileError, match=message):
        column_of(arrow.chunked_array([], kind), "x", "t.parquet", as_text)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(DataFileError, match="column 'x': expected values of binary that can be read"):
        column_of(column([b"\xff\xfe\x00"], arrow.binary()), "x")


@given(st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"])))), st.integers(1, 4))
def test_text_comes_back(cells, chunks):
    assert column_of(column(cells, arrow.string(), chunks), "a").tolist() == cells
    assert column_of(column(cells, arrow.string(), chunks).dictionary_encode(), "a").tolist() == cells


@pytest.mark.parametrize("code", [3, 100, -2])
def test_indices_outside_of_a_dictionary_are_damage(code):
    indices = arrow.array([0, 1, code], arrow.int32())
    made = arrow.DictionaryArray.from_arrays(indices, arrow.array(["a", "b", "c"]), safe=False)
    with pytest.raises(DataFileError, match=f"t.parquet, column 'a': .*index {code} into a dictionary of 3 texts"):
        column_of(arrow.chunked_array([made]), "a", "t.parquet")
