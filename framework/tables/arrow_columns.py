"""Conversion of PyArrow's columns to those of a table, for every type that Arrow has.

Reading of files is in the `*_source.py` modules; the columns of a table are described in `columns.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError
from ..optional import require
from ..sources.names import listed, unknown_column
from ..sources.parquet_rows import PANDAS_INDEX
from .columns import Column
from .table import Table
from .text_column import TextColumn


def chosen_names(names: Sequence[str], only: Collection[str] | None, path: Path) -> list[str]:
    """The columns to read, in the order of the file: all but an index that pandas wrote along, or those of `only`.

    Raises: UnknownColumn if one of `only` does not exist; DataFileError for repeated names.
    """
    names = [name for name in names if not name.startswith(PANDAS_INDEX)]
    there = set(names)
    missing = [name for name in only or () if name not in there]
    if missing:
        raise unknown_column(missing, names, path.name)
    if len(there) < len(names):
        raise DataFileError(f"{path}: expected different column names, found {listed(names)}; rename them")
    chosen = there if only is None else set(only)
    return [name for name in names if name in chosen]


def table_of(table: Any, path: Path, text: Collection[str] = (), names: Sequence[str] | None = None) -> Table:
    """A pyarrow.Table from a file as a table, some columns of it as text; EmptyDataError for no rows.

    Args: names – of the columns of the result, by default those of the table; columns that it lacks are missing in all rows.
    """
    rows = table.num_rows
    if rows == 0:
        raise EmptyDataError(f"{path}: expected data rows, found none; check how the file was made")
    there = set(table.column_names)
    columns = {
        name: column_of(table.column(name), name, str(path), name in text) if name in there else TextColumn.absent(rows)
        for name in (table.column_names if names is None else names)
    }
    return Table(columns, path.name)


def column_of(
    column: Any, name: str, where: str = "", as_text: bool = False, strip: bool = False, out: NDArray[Any] | None = None
) -> Column:
    """A column of an Arrow table as numbers, booleans, dates or text.

    Integers become int64. Those that lack entries, other numbers, and columns of nulls only become float64, NaN where an entry
    is missing; integers that float64 or int64 do not hold exactly become text, so that none changes. Booleans become bool, or
    text of "true" and "false" if entries are missing. Dates and timestamps become datetime64[us], those with a time zone in
    UTC. Durations and times of day become seconds. Text, and bytes that are UTF-8, become text. Dictionaries and run-length
    encodings count as what they encode, extension types as what they store.

    Args: column – pyarrow.ChunkedArray [N]; name – of the column; where – the file, for messages; as_text – whether values of
        all these types become text; strip – whether blanks at both ends of text are removed, and empty text is missing;
        out – [N] of 8 bytes each, where integers and float64 may be put.
    Returns: [N] float64, int64, bool, datetime64[us] or TextColumn, on the host.
    Raises: DataFileError for lists, structs, maps and other types that are no single value, and for values that do not fit.
    """
    arrow = require("pyarrow", "tables", "reading tables")
    label = f"{where}, column {name!r}" if where else f"column {name!r}"
    try:
        return _converted(arrow, column, label, as_text, strip, out)
    except (arrow.ArrowException, ValueError, OverflowError) as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(
            f"{label}: expected values of {column.type} that can be read, found others ({error}); check or drop the column"
        ) from error


def _converted(
    arrow: Any, column: Any, label: str, as_text: bool, strip: bool, out: NDArray[Any] | None = None
) -> Column:
    types, kind = arrow.types, column.type
    if isinstance(kind, arrow.BaseExtensionType):
        return _converted(arrow, column.cast(kind.storage_type), label, as_text, strip)
    if types.is_run_end_encoded(kind):
        decode = require("pyarrow.compute", "tables", "reading tables").run_end_decode
        decoded = arrow.chunked_array([decode(part) for part in column.chunks], kind.value_type)
        return _converted(arrow, decoded, label, as_text, strip)
    if types.is_dictionary(kind):
        if is_text_type(kind.value_type):
            return _text(arrow, column, strip)
        return _converted(arrow, column.cast(kind.value_type), label, as_text, strip)
    if _is_bytes(types, kind) or is_text_type(kind):
        return _text(arrow, _plain_text(arrow, column), strip)
    single = (
        types.is_null(kind) or types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind)
        or types.is_decimal(kind) or types.is_date(kind) or types.is_timestamp(kind) or types.is_time(kind)
        or types.is_duration(kind)
    )  # fmt: skip
    if not single:
        raise DataFileError(
            f"{label}: expected numbers, booleans, dates or text, found {kind}; drop the column or turn it into numbers"
        )
    if as_text or (types.is_boolean(kind) and column.null_count):
        return _text(arrow, column.cast(arrow.large_string()))
    if types.is_boolean(kind):
        return _numpy(column, np.bool_)
    if types.is_integer(kind):
        return _integers(arrow, column, out)
    if types.is_date(kind) or types.is_timestamp(kind):
        finer = types.is_timestamp(kind) and kind.unit == "ns"
        moments = column.cast(arrow.timestamp("us", getattr(kind, "tz", None)), safe=not finer)
        return _numpy(moments.cast(arrow.timestamp("us")), "datetime64[us]")
    if types.is_time(kind) or types.is_duration(kind):
        ticks = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
        whole = arrow.int32() if types.is_time32(kind) else arrow.int64()
        return _numpy(column.cast(whole).cast(arrow.float64(), safe=False), np.float64) / ticks
    return _numpy(column if types.is_floating(kind) else column.cast(arrow.float64(), safe=False), np.float64, out)


def _plain_text(arrow: Any, column: Any) -> Any:
    try:
        return column.cast(arrow.large_string())
    except arrow.ArrowNotImplementedError:  # views, in older versions of PyArrow
        return arrow.chunked_array([arrow.array(column.to_pylist(), arrow.large_string())])


def _integers(arrow: Any, column: Any, out: NDArray[Any] | None) -> Column:
    try:
        if column.null_count == 0:
            return _numpy(column.cast(arrow.int64()), np.int64, out)
        return _numpy(column.cast(arrow.float64()), np.float64, out)
    except arrow.ArrowInvalid:  # one of them would become another number
        return _text(arrow, column.cast(arrow.large_string()))


def _text(arrow: Any, column: Any, strip: bool = False) -> TextColumn:
    """Text, plain or in a dictionary, each different one once."""
    coded = column if arrow.types.is_dictionary(column.type) else column.dictionary_encode()
    if len(coded) == 0:
        return TextColumn.of(())
    coded = coded.unify_dictionaries()
    texts: list[str | None] = coded.chunk(0).dictionary.to_pylist()
    codes = _codes(arrow, [chunk.indices for chunk in coded.chunks])
    if not (codes.min() >= -1 and codes.max() < len(texts)):
        raise ValueError(f"index {codes.min() if codes.min() < -1 else codes.max()} into a dictionary of {len(texts)} texts")
    if strip:
        texts = [None if text is None else text.strip() or None for text in texts]
    if None not in (different := set(texts)) and len(different) == len(texts):
        return TextColumn(codes, _objects(texts))
    values = TextColumn.of(texts)  # a dictionary may hold the same text twice, or none
    return TextColumn(np.append(values.codes, np.int32(-1))[codes], values.values)


def _codes(arrow: Any, indices: list[Any]) -> NDArray[np.int32]:
    """Indices into a dictionary, -1 where one is missing."""
    return _numpy(arrow.chunked_array(indices).cast(arrow.int32()), np.int32)


def _objects(texts: list[Any]) -> NDArray[Any]:
    out = np.empty(len(texts), dtype=object)
    out[:] = texts
    return out


def _numpy(column: Any, dtype: Any, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """As an array of its own, or in `out`: NaN, NaT or -1 where an entry is missing.

    From the buffers: PyArrow's own conversion imports pandas where it is installed.
    """
    out = np.empty(len(column), dtype) if out is None else out.view(dtype)
    kind = out.dtype.kind
    missing = {"f": np.nan, "M": np.datetime64("NaT"), "i": -1}.get(kind)
    stored = out.dtype if kind == "b" else np.dtype(f"{kind if kind == 'f' else 'i'}{column.type.bit_width // 8}")
    start = 0
    for chunk in column.chunks:
        part = out[start : start + len(chunk)]
        start += len(chunk)
        if len(chunk) == 0:
            continue
        valid, values = chunk.buffers()
        if kind == "b":
            part[...] = _bits(values, chunk)
        else:
            entries = np.frombuffer(values, stored, len(chunk), chunk.offset * stored.itemsize)
            part[...] = entries.view(out.dtype) if kind == "M" else entries
        if chunk.null_count:
            part[~_bits(valid, chunk)] = missing
    return out


def _bits(buffer: Any, chunk: Any) -> NDArray[np.bool_]:
    """The bits of an array of Arrow, one for each of its entries."""
    first, count = divmod(chunk.offset, 8)
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8)[first:], bitorder="little")
    return bits[count : count + len(chunk)].astype(np.bool_)


def is_text_type(kind: Any) -> bool:
    """Whether an Arrow type is text, in any of its forms."""
    types = require("pyarrow", "tables", "reading tables").types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_bytes(types: Any, kind: Any) -> bool:
    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind)
    )
