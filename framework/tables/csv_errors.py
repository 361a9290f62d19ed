"""What is wrong with a text table that pyarrow cannot read: a slower pass that finds the line and the cause."""

from __future__ import annotations

import io
from collections.abc import Iterator

from ...errors import DataFileError
from .text_layout import TextFile, TextLayout, split_rows


def cause(file: TextFile, layout: TextLayout, error: Exception) -> DataFileError:
    """The error for a file that pyarrow refused: rows of unequal length, open quotes, or what pyarrow says.

    Raises: UnicodeDecodeError for bytes that are no text.
    """
    width = len(layout.names)
    for first, _, row in _rows(file, layout):
        if len(row) > width == 1:
            return DataFileError(
                f"{file.path}, line {first}: expected one cell as in the lines before, found {len(row)}; remove the lines "
                "before the table, or begin them with #"
            )
        if len(row) != width and not row[0].startswith("#"):
            more = (
                f"cells that contain {layout.delimiter!r} need quotes" if not any("\n" in cell for cell in row)
                else "check the quotes, since a cell contains line breaks"
            )
            return DataFileError(f"{file.path}, line {first}: expected {width} cells, found {len(row)}; fix the line ({more})")
    return DataFileError(f"{file.path}: expected a readable text table, reading failed ({error}); check the file")


def require_closed_quotes(file: TextFile, layout: TextLayout) -> None:
    """Raises DataFileError if the last cell goes over several lines to the end of the file, without a quote after it."""
    first, last = 0, 0
    for first, last, _ in _rows(file, layout):  # noqa: B007
        pass
    if first < last:
        raise DataFileError(
            f"{file.path}, line {first}: expected a quote at the end of a cell, found none up to the end of the file; close it"
        )


def _rows(file: TextFile, layout: TextLayout) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line, and cells of each row of data."""
    before = layout.first_line - 1
    with file.utf8(layout.encoding, layout.start) as stream, io.BufferedReader(stream) as buffered:
        lines = io.TextIOWrapper(buffered, "utf-8", newline="")
        for first, end, row in split_rows(lines, layout.delimiter, layout.quote):
            yield before + first, before + end, row
