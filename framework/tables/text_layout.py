"""How a text table is laid out: encoding, delimiter, decimal mark, quotes and header, given or inferred from its first lines.

The table itself is read by `csv_source.py`.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError, HyperparameterError
from ..sources.names import listed
from ..sources.unpacked import opened

_SAMPLE_BYTES, _MOST_SAMPLE_BYTES = 1 << 16, 1 << 26
_SAMPLE_LINES, _FEWEST_LINES, _SAMPLE_CHARACTERS = 200, 6, 1 << 20
_BLOCK, _PART = 1 << 21, 1 << 17
"""Bytes that are read at a time, and that stay in a cache of the processor while they are looked at."""

DELIMITERS = {
    "comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "space": " ", "colon": ":", "tilde": "~", "caret": "^",
}  # fmt: skip
DECIMAL_COMMAS = "numbers are read with decimal commas, such as 1,5; --decimal . reads points"
_USUAL, _RARE = (",", ";", "\t", "|"), (" ", ":", "~", "^")
"""Rare ones are inferred only if no other fits, and some column then holds numbers."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_NO_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_SINGLE_QUOTED = re.compile(r"(?:^|(?<=[,;\t|]))'[^'\r\n]*'(?=[,;\t|\r\n]|$)", re.MULTILINE)
_BLANKS = re.compile(rb'("(?:[^"]|"")*")|[ \t]+')
_NUMBERS = {
    mark: re.compile(rf"[+-]?(?:(?:\d+[{mark}]?\d*|[{mark}]\d+)(?:e[+-]?\d+)?|inf(?:inity)?)", re.ASCII | re.IGNORECASE)
    for mark in (".", ",")
}
"""By the decimal mark."""
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+", re.ASCII)
"""1,234: a thousand, or little more than one."""
_DATE_OR_BOOLEAN = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?|true|false", re.I | re.ASCII)


@dataclass(frozen=True)
class TextOptions:
    """What the caller states about a text table; None is inferred from the file.

    Args: delimiter – one character, or one of the names of `DELIMITERS`; a blank stands for any number of them; encoding – such
        as "utf-8" or "latin-1"; decimal – "." or ","; header – whether the first row holds the names of the columns.
    Raises: HyperparameterError for other values.
    """

    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    header: bool | None = None

    def __post_init__(self) -> None:
        if self.delimiter is not None:
            delimiter = {**DELIMITERS, "\\t": "\t"}.get(self.delimiter.lower(), self.delimiter)
            if not _is_delimiter(delimiter):
                raise HyperparameterError(
                    f"--delimiter: expected one character such as ',' or one of {', '.join(DELIMITERS)}; got "
                    f"{self.delimiter!r}; give the character between the cells"
                )
            object.__setattr__(self, "delimiter", delimiter)
        if self.decimal not in (None, ".", ","):
            raise HyperparameterError(f"--decimal: expected '.' or ','; got {self.decimal!r}; give the decimal mark")
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except (LookupError, ValueError):
                raise HyperparameterError(
                    f"--encoding: expected a text encoding such as utf-8, utf-16, latin-1 or cp1252; got {self.encoding!r}; "
                    "check the name"
                ) from None


class TextLayout(NamedTuple):
    """The layout of one text table.

    Args: encoding, delimiter, decimal, header – as in `TextOptions`, all known; quote – the character around cells that contain
        the delimiter; names – of the columns; unnamed – those that were made up, as the file has none; texts – numbers of the
        columns that hold text by the first rows; gaps – their cells that are missing; start – bytes in UTF-8 before the first
        row of data, and first_line – its line; breaks – whether quoted cells of the first rows contain line breaks; longest –
        characters of the longest of these lines; trailing – whether each line ends in a delimiter, after which there is
        nothing; notes – what the owner of the file should know, as sentences.
    """

    encoding: str
    delimiter: str
    decimal: str
    header: bool
    quote: str
    names: tuple[str, ...]
    unnamed: frozenset[str]
    texts: frozenset[int]
    gaps: frozenset[str]
    start: int
    first_line: int
    breaks: bool
    longest: int
    trailing: bool
    notes: tuple[str, ...]

    def noted(self, note: str) -> TextLayout:
        """This layout with one more note."""
        return self._replace(notes=(*self.notes, note))


class Seen:
    """What passed in a stream: how many quotes, its end, and whether a cell begins with 0 and a digit.

    Args: quote, delimiter – the characters.
    """

    def __init__(self, quote: bytes, delimiter: bytes) -> None:
        self.quotes, self.end, self.zeros, self._quote = 0, b"\n", False, quote
        self._before_cells = np.zeros(256, np.bool_)
        self._before_cells[list(quote + delimiter + b"\r\n")] = True

    def watched(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The blocks, while they are looked at."""
        for block in blocks:
            quoted, starts = self._quote in block, range(0, len(block), _PART)
            if not self.zeros:
                self.zeros = self._begins_with_zero(np.frombuffer(self.end[-3:] + block[:3], np.uint8))
            for at in starts if quoted or not self.zeros else ():
                part = np.frombuffer(block, np.uint8, min(len(block) - at, _PART), at)  # short enough for the cache
                if quoted:
                    self.quotes += int(np.count_nonzero(part == ord(self._quote)))
                if not self.zeros:
                    first = max(0, at - 3)
                    self.zeros = self._begins_with_zero(np.frombuffer(block, np.uint8, at + len(part) - first, first))
            self.end = (self.end + block[-100:])[-100:]
            yield block

    def _begins_with_zero(self, text: NDArray[np.uint8]) -> bool:
        """Whether a cell in this text, after one blank or none, begins with 0 and a digit."""
        outside = text - ord(".") >= 12  # no digit, point or slash; smaller characters wrap around to 255
        zeros = text[1:-1] == ord("0")
        zeros &= outside[:-2] > outside[2:]
        zeros &= text[2:] >= ord("0")
        places = np.flatnonzero(zeros)
        blank = (text[places] == ord(" ")) & (places > 0)
        return bool(self._before_cells[text[places - blank]].any())


class TextFile:
    """A file of text, plain, gzipped or zipped.

    Args: path; allowed – bytes that it may become if it is compressed.
    """

    def __init__(self, path: Path, allowed: int) -> None:
        self.path, self.allowed = path, allowed

    def first(self, size: int) -> bytes:
        """The first bytes, fewer only if the file has no more."""
        with opened(self.path, self.allowed) as stream:
            return b"".join(_blocks(stream, size))

    @contextmanager
    def utf8(
        self, encoding: str, skipped: int = 0, single_blanks: bool = False, seen: Seen | None = None
    ) -> Iterator[_Joined]:
        """The text in UTF-8 without a byte order mark and without the first bytes.

        Args: encoding – of the file; skipped – bytes; single_blanks – whether several blanks become one; seen –
            is told what passes.
        Raises: UnicodeDecodeError if it is not text in this encoding, other than UTF-8, which is not checked.
        """
        with opened(self.path, self.allowed) as stream:
            if _is_utf8(encoding):
                mark = len(codecs.BOM_UTF8) if stream.peek(3)[:3] == codecs.BOM_UTF8 else 0  # type: ignore[attr-defined]
                stream.read(mark + skipped)
                blocks: Iterable[bytes] = _blocks(stream)
            else:
                blocks = _without_first((text.encode() for text in codecs.iterdecode(_blocks(stream), encoding)), skipped)
            blocks = _with_single_blanks(blocks) if single_blanks else blocks
            with _Joined(seen.watched(blocks) if seen else blocks) as joined:
                yield joined


def find_layout(
    file: TextFile, options: TextOptions, missing: Collection[str], expected: Collection[str] = ()
) -> TextLayout:
    """Infer the layout from the first lines.

    encoding: by the byte order mark, or by the zeros of UTF-16; else UTF-8, and Windows-1252 or Latin-1 for what is not UTF-8
    delimiter: comma, semicolon, tab or bar, whichever splits the lines into equally many cells; a first line `sep=;` states it.
        Blanks, colons and others only if none of these does
    header: a first row with the names that are expected, or with text above a column of numbers. There is none if cells of
        the first row are numbers, unless these count on (0, 1, 2 or 2019, 2020, 2021), or if its texts occur again below
    decimal comma: if a column of numbers is written with it, and none with a point

    Lines before the table that begin with `#` are comments, of which the last may be the header. A header that is one cell
    shorter than the rows lacks the name of the first column, unless the rows end in a delimiter.

    Args: file; options – what is known; missing – texts of missing cells, in lower case; expected – names of some columns.
    Raises: EmptyDataError for an empty file; DataFileError for bytes that are no text, and for repeated names;
        UnicodeDecodeError for text in another encoding than is stated.
    """
    encoding, text, notes = _first_text(file, options)
    lines = list(io.StringIO(text, newline=""))
    skipped, comment, delimiter = _preamble(lines, options.delimiter)
    body = lines[skipped : skipped + _SAMPLE_LINES]
    while len(body) > _FEWEST_LINES and sum(map(len, body)) > _SAMPLE_CHARACTERS:
        del body[len(body) // 2 :]
    quote = "'" if '"' not in text and 2 * len(_SINGLE_QUOTED.findall("".join(body))) > len(body) else '"'
    if delimiter is None:
        tabs = file.path.name.lower().removesuffix(".gz").removesuffix(".zip").endswith(".tsv")
        delimiter = "\t" if tabs else _find_delimiter(body, quote, missing)
    rows, first_lines, breaks = _split(body, delimiter, quote)
    if not rows:
        raise EmptyDataError(f"{file.path}: expected a header row and data rows, the file is empty; check how it was made")
    first, below = rows[0], _without_comments(rows[1:])
    rows = [first, *below]
    width = _width(below or rows)
    header = options.header
    if header is None:
        named = bool(expected) and {cell.strip() for cell in first}.issuperset(expected)
        header = named or _has_header(first, below, missing)
    names = [cell.strip() for cell in first] if header else [""] * len(first)
    if not header and options.header is not False:
        titles = _split([comment.lstrip("# \t")], delimiter, quote)[0] if comment else []
        if titles and len(titles[0]) == width > 1:
            names, header, first_lines = [cell.strip() for cell in titles[0]], True, 0
        else:
            notes.append("the first row holds no names, so the columns are called c0, c1, …; --header takes names from it")
    if not header:
        below, first_lines = rows, 0
    empty_ends = bool(below) and all(row[-1].strip() == "" for row in below if len(row) == width)
    if len(names) == width - 1 > 1 and len(below) > 1 and not empty_ends:
        notes.append("there is one name less than columns, so the first column has none")
    names = _of_width(names, width, len(below) > 1, empty_ends)
    gaps = frozenset(cell for row in below for cell in row if cell.strip().lower() in missing)
    columns = [[row[j].strip() for row in below if j < len(row)] for j in range(len(names))]
    present = [[cell for cell in column if cell.lower() not in missing] for column in columns]
    decimal = options.decimal or find_decimal(present)
    if decimal == "," and options.decimal is None:
        notes.append(DECIMAL_COMMAS)
    texts = frozenset(j for j, cells in enumerate(present) if not all(is_typed(cell, decimal) for cell in cells))
    before = "".join(lines[: skipped + first_lines])
    different = _different(file.path, names)
    unnamed = frozenset(made for made, name in zip(different, names, strict=True) if not name)
    return TextLayout(
        encoding, delimiter, decimal, header, quote, different, unnamed, texts, gaps, len(before.encode()),
        skipped + first_lines + 1, breaks, max(map(len, body)), len(names) > 1 and not names[-1] and empty_ends, tuple(notes),
    )  # fmt: skip


def _of_width(names: list[str], width: int, several_rows: bool, empty_ends: bool) -> list[str]:
    """The names of so many columns, where there is one too few or too many; `empty_ends` – whether rows end in nothing."""
    if len(names) == width - 1 > 0 and empty_ends:
        return [*names, ""]
    if len(names) == width - 1 > 1 and several_rows:
        return ["", *names]
    return names[:-1] if len(names) == width + 1 > 2 and not names[-1] else names


def other_encoding(file: TextFile) -> str:
    """The encoding of a file that is not UTF-8: Windows-1252 or, with bytes that it lacks, Latin-1.

    Raises: DataFileError with the line if most lines with other characters than ASCII are UTF-8.
    """
    right, wrong, first_wrong, odd = 0, 0, 0, False
    with opened(file.path, file.allowed) as stream:
        for number, line in enumerate(stream, 1):
            if line.isascii():
                continue
            try:
                line.decode()
                right += 1
            except UnicodeDecodeError:
                wrong += 1
                first_wrong = first_wrong or number
            odd = odd or _NO_CP1252.search(line) is not None
    if right > wrong:
        raise DataFileError(
            f"{file.path}, line {first_wrong}: expected UTF-8 text as in other lines, found other bytes; correct the line, or "
            "state the encoding with --encoding (in Python encoding=)"
        )
    return "latin-1" if odd else "cp1252"


def not_utf8(encoding: str) -> str:
    """The note on an encoding that was inferred because the file is not UTF-8."""
    return f"the file is read as {encoding}, since it is not UTF-8; --encoding states another encoding"


def split_rows(lines: Iterable[str], delimiter: str, quote: str) -> Iterator[tuple[int, int, list[str]]]:
    """The rows of some lines that are not blank, each with the numbers of its first and last line, counted from 1."""
    if delimiter == " ":
        lines = (_with_single_blanks_in(line.encode()).decode() for line in lines)
    reader = csv.reader(lines, delimiter=delimiter, quotechar=quote)
    while True:
        first = reader.line_num + 1
        with _long_cells:
            row = next(reader, None)
        if row is None:
            return
        if row and (len(row) > 1 or row[0].strip()):
            yield first, reader.line_num, row


def _first_text(file: TextFile, options: TextOptions) -> tuple[str, str, list[str]]:
    """The encoding, whole lines from the start of the file, and what is to be said of it."""
    size, notes = _SAMPLE_BYTES, list[str]()
    while True:
        raw = file.first(size)
        whole = len(raw) < size
        encoding = options.encoding or _find_encoding(file.path, raw)
        if encoding is None:
            encoding = other_encoding(file)
            notes = [not_utf8(encoding)]
        text = codecs.getincrementaldecoder("utf-8-sig" if _is_utf8(encoding) else encoding)().decode(raw, whole)
        lines = text.count("\n") or text.count("\r")
        if whole or size >= _MOST_SAMPLE_BYTES or lines > _FEWEST_LINES:
            break
        size *= 8
    ends = text.rfind("\n") + 1 or text.rfind("\r") + 1
    return "utf-8-sig" if _is_utf8(encoding) else encoding, text if whole or not ends else text[:ends], notes


def _find_encoding(path: Path, raw: bytes) -> str | None:
    """The encoding of a file that begins like this; None if it is not UTF-8."""
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return name
    even, odd = raw[::2].count(0), raw[1::2].count(0)
    if 5 * max(even, odd) > len(raw):
        return "utf-16-be" if even > odd else "utf-16-le"
    if even or odd:
        raise DataFileError(f"{path}: expected a text table, found binary data; check the format, or give --encoding")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw)
    except UnicodeDecodeError:
        return None
    return "utf-8-sig"


def _preamble(lines: Sequence[str], delimiter: str | None) -> tuple[int, str, str | None]:
    """How many lines there are before the table, the last comment among them, and the delimiter, if it is known."""
    comment = ""
    for number, line in enumerate(lines):
        stated = _SEPARATOR_LINE.fullmatch(line) if number == 0 else None
        if stated and _is_delimiter(stated[1]):
            delimiter = delimiter or stated[1]
        elif line.startswith("#"):
            comment = line
        elif line.strip():
            return number, comment, delimiter
    return len(lines), comment, delimiter


def _find_delimiter(lines: Sequence[str], quote: str, missing: Collection[str]) -> str:
    splits = {one: _split(lines, one, quote)[0] for one in _USUAL}
    even = [one for one in _USUAL if _is_even(splits[one])]
    if len(even) > 1:  # of several, the one whose cells do not look like several others
        return max(even, key=lambda one: (-_cells_with(set(_USUAL) - {one}, splits[one]), len(splits[one][0])))
    if even:
        return even[0]
    for one in _RARE:
        rows = _split(lines, one, quote)[0]
        if len(rows) > 2 and _is_even(rows):
            below = _without_comments(rows[1:])
            if any(_numbers(cells, missing) for cells in zip(*below, strict=True)):
                return one
    return max(_USUAL, key=lambda one: len(splits[one][0]) if splits[one] else 0)


def _is_even(rows: Sequence[list[str]]) -> bool:
    """Whether all rows have equally many cells, and more than one; the first may lack one, or have an empty one too many."""
    if not rows:
        return False
    below, first = _without_comments(rows[1:]), len(rows[0])
    width = _width(below or rows)
    if width == 1 or any(len(row) != width for row in below):
        return False
    return first == width or first == width - 1 > 1 or (first == width + 1 and not rows[0][-1].strip())


def _cells_with(delimiters: Collection[str], rows: Sequence[Sequence[str]]) -> float:
    """The fraction of cells that contain one of these characters, other than as decimal commas."""
    cells = [cell for row in rows for cell in row]
    return sum(any(one in cell for one in delimiters) and not _is_number(cell.strip()) for cell in cells) / len(cells)


def _split(lines: Sequence[str], delimiter: str, quote: str) -> tuple[list[list[str]], int, bool]:
    """The rows, the number of lines of the first of them, and whether cells contain line breaks."""
    found = list(split_rows(lines, delimiter, quote))
    if len(found) > 1 and len(lines) >= _FEWEST_LINES and found[-1][0] < found[-1][1]:
        found.pop()  # the lines may end inside a quoted cell
    breaks = any(first < last for first, last, _ in found)
    return [row for _, _, row in found], found[0][1] if found else 0, breaks


def _width(rows: Sequence[Sequence[str]]) -> int:
    """The number of cells of most rows."""
    return Counter(map(len, rows)).most_common(1)[0][0]


def _without_comments(rows: Sequence[list[str]]) -> list[list[str]]:
    usual = _width(rows) if rows else 0
    return [row for row in rows if len(row) == usual or not row[0].startswith("#")]


def _has_header(first: Sequence[str], below: Sequence[Sequence[str]], missing: Collection[str]) -> bool:
    cells = [cell.strip() for cell in first]
    values = [cell for cell in cells if _is_value(cell)]
    offset = int(bool(below) and _width(below) == len(cells) + 1)
    for j, cell in enumerate(cells):
        column = [row[j + offset] for row in below if j + offset < len(row)]
        if cell.lower() not in missing and not _is_value(cell) and _numbers(column, missing):
            return True
    texts = {j: cell for j, cell in enumerate(cells) if cell and not _is_value(cell)}
    again = any(cell == row[j].strip() for row in below for j, cell in texts.items() if j < len(row))
    if below and (again or len(set(texts.values())) < len(texts)):
        return False
    return not values or (_count_on(values) and not (below and _count_on([one for one in below[0] if _is_value(one.strip())])))


def _count_on(cells: Sequence[str]) -> bool:
    """Whether numbers are names that count on, such as 0, 1, 2 or years."""
    if not all(cell.strip().isdecimal() for cell in cells):
        return False
    numbers = [int(cell[:18]) for cell in cells]
    steps = {after - before for before, after in pairwise(numbers)}
    years = all(1900 <= number <= 2100 for number in numbers)
    return bool(numbers) and len(steps) <= 1 and 0 not in steps and (years or (len(numbers) > 2 and steps == {1}))


def _numbers(cells: Iterable[str], missing: Collection[str]) -> bool:
    """Whether all cells that are not missing are numbers or dates, and there are some."""
    present = [cell.strip() for cell in cells if cell.strip().lower() not in missing]
    return bool(present) and all(map(_is_value, present))


def _is_number(cell: str) -> bool:
    return (_NUMBERS["."].fullmatch(cell) or _NUMBERS[","].fullmatch(cell)) is not None


def _is_value(cell: str) -> bool:
    return _is_number(cell) or (cell[:1].isdigit() and _DATE_OR_BOOLEAN.fullmatch(cell) is not None)


def is_typed(cell: str, decimal: str) -> bool:
    """Whether a cell is a number, a date or a boolean."""
    return (_NUMBERS[decimal].fullmatch(cell) or _DATE_OR_BOOLEAN.fullmatch(cell)) is not None


def find_decimal(columns: Iterable[Sequence[str]]) -> str:
    """A comma if columns of numbers are written with it, so that it cannot separate thousands, and none with a point."""
    comma = False
    for cells in columns:
        if cells and all(map(_is_number, cells)):
            if any("." in cell for cell in cells):
                return "."
            comma = comma or any("," in cell and not _THOUSANDS.fullmatch(cell) for cell in cells)
    return "," if comma else "."


def _different(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    made = tuple(name or f"c{index}" for index, name in enumerate(names))
    repeated = sorted(name for name, count in Counter(made).items() if count > 1)
    if repeated:
        raise DataFileError(f"{path}: expected different column names, found {listed(repeated)} repeated; rename them")
    return made


def _is_delimiter(text: str) -> bool:
    return len(text) == 1 and text.isascii() and not text.isalnum() and text not in "\"'.\r\n\0"


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


class _LongCells:
    """While it is entered, `csv` reads cells of any length."""

    def __init__(self) -> None:
        self._lock, self._usual = threading.RLock(), 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._usual = csv.field_size_limit(2**31 - 1)

    def __exit__(self, *_: object) -> None:
        csv.field_size_limit(self._usual)
        self._lock.release()


_long_cells = _LongCells()


class _Joined(io.RawIOBase):
    """Blocks of bytes as one stream."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._block = iter(blocks), b""
        self.empty = not self._fill()

    def _fill(self) -> bool:
        while not self._block:
            block = next(self._blocks, None)
            if block is None:
                return False
            self._block = block
        return True

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or what there is; a block of this size is not copied."""
        parts = []
        while size and self._fill():
            taken = self._block if size < 0 else self._block[:size]
            self._block = self._block[len(taken) :]
            parts.append(taken)
            size -= max(0, min(size, len(taken)))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, into: Any) -> int:
        """See io.RawIOBase."""
        taken = self.read(len(into))
        into[: len(taken)] = taken
        return len(taken)


def _blocks(stream: IO[bytes], most: int | None = None) -> Iterator[bytes]:
    left = most
    while block := stream.read(_BLOCK if left is None else min(left, _BLOCK)):
        yield block
        left = None if left is None else left - len(block)


def _without_first(blocks: Iterable[bytes], skipped: int) -> Iterator[bytes]:
    for block in blocks:
        if skipped < len(block):
            yield block[skipped:] if skipped else block
        skipped = max(0, skipped - len(block))


def _with_single_blanks(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield b"".join(_with_single_blanks_in(line) + b"\n" for line in lines)
    yield _with_single_blanks_in(rest)


def _with_single_blanks_in(line: bytes) -> bytes:
    return _BLANKS.sub(lambda found: found[1] or b" ", line).strip(b" \r\n")
