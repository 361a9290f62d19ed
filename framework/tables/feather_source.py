"""Reading of Feather and Arrow IPC files and streams, through pyarrow.

Parquet files are read by `parquet_source.py`; the types of columns are converted in `arrow_columns.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ...errors import DataFileError, FusedstepError
from ..optional import require
from ..sources.unpacked import allowed_bytes, require_allowed
from .arrow_columns import chosen_names, table_of
from .table import Table

_MAGIC, _FIRST_VERSION = b"ARROW1", b"FEA1"
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
"""Types of messages."""


def read_feather(
    path: Path,
    only: Collection[str] | None = None,
    text: Collection[str] = (),
    max_unpacked: int | str | None = None,
    *_: object,
    drop: Collection[str] = (),
) -> Table:
    """Read a Feather file, version 2, which is an Arrow IPC file, or an Arrow IPC stream; otherwise as `read_parquet`."""
    arrow = require("pyarrow", "tables", "reading Feather")
    ipc = require("pyarrow.ipc", "tables", "reading Feather")
    try:
        content = path.read_bytes()  # of a file, PyArrow would allocate what a message says that it takes
        if content.startswith(_FIRST_VERSION):
            raise DataFileError(f"{path}: expected a Feather file of version 2, found version 1; write it again")
        # A file is a stream between a magic number and a footer.
        stream = arrow.py_buffer(content).slice(8 if content.startswith(_MAGIC) else 0)
        names = list(ipc.open_stream(stream).schema.names)
        chosen = chosen_names(names, only, path)
        wanted = [name for name in chosen if name not in drop]
        require_allowed(path, _decoded_bytes(ipc, stream, len(names)), allowed_bytes(path, max_unpacked))
        fields = [names.index(name) for name in wanted]
        table = ipc.open_stream(stream, options=ipc.IpcReadOptions(included_fields=fields)).read_all()
        table.validate(full=True)
        return table_of(table.select(wanted), path, text, chosen)
    except (arrow.ArrowException, OSError, ValueError, OverflowError, LookupError, struct.error) as error:
        if isinstance(error, FusedstepError):
            raise
        raise DataFileError(f"{path}: expected a Feather or Arrow file, reading failed ({error}); write it again") from error


def _decoded_bytes(ipc: Any, stream: Any, columns: int) -> int:
    """Bytes that the batches of a stream take when they are decompressed, by what they say of themselves."""
    total = 0
    for message in ipc.MessageReader.open_stream(stream):
        head, body = memoryview(message.metadata), memoryview(message.body or b"")
        place = struct.unpack_from("<I", head)[0]
        kind = _field(head, place, 1)
        batch = _table(head, place, 2)
        if kind is None or batch is None or head[kind] not in (_DICTIONARY_BATCH, _RECORD_BATCH):
            continue
        if head[kind] == _DICTIONARY_BATCH:
            batch = _table(head, batch, 1)
        if batch is None:
            continue
        length, buffers, compression = _field(head, batch, 0), _table(head, batch, 2), _field(head, batch, 3)
        rows = struct.unpack_from("<q", head, length)[0] if length is not None else 0
        size = 0
        count = struct.unpack_from("<I", head, buffers)[0] if buffers is not None else 0
        for place in range((buffers or 0) + 4, (buffers or 0) + 4 + 16 * count, 16):
            offset, stored = struct.unpack_from("<qq", head, place)
            unpacked = struct.unpack_from("<q", body, offset)[0] if compression is not None and stored >= 8 else -1
            size += stored if unpacked == -1 else unpacked
        if rows < 0 or size < 0:
            raise ValueError(f"{rows} rows of {size} bytes")
        total += max(size, 8 * rows * columns)
    return total


def _field(head: memoryview, table: int, number: int) -> int | None:
    """The place of a field of a table in a flat buffer, None if it has its default."""
    entries = table - struct.unpack_from("<i", head, table)[0]
    size = struct.unpack_from("<H", head, entries)[0]
    offset = struct.unpack_from("<H", head, entries + 4 + 2 * number)[0] if 4 + 2 * number < size else 0
    return table + offset if offset else None


def _table(head: memoryview, table: int, number: int) -> int | None:
    """The place of the table or vector to which a field refers."""
    place = _field(head, table, number)
    return None if place is None else place + int(struct.unpack_from("<I", head, place)[0])
