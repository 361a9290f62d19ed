"""Which files a source names, of which format, and of which part of the data.

Nothing is read here; what names of files say of parts is in `layouts.py`.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeAlias

from ...errors import DataFileError
from ..sources.names import did_you_mean
from ..sources.unpacked import name_in_zip
from .bundled import BUNDLED
from .idx_source import has_labels
from .layouts import PARTS, PartFile, chosen_part, find_part_files, other_parts_beside

Format: TypeAlias = Literal["bundled", "csv", "parquet", "feather", "npy", "npz", "idx", "svmlight"]

EXTENSIONS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".data": "csv",
    ".dat": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
    ".ipc": "feather",
    ".npy": "npy",
    ".npz": "npz",
    ".idx": "idx",
    ".ubyte": "idx",
    ".svm": "svmlight",
    ".svmlight": "svmlight",
    ".libsvm": "svmlight",
}
"""Extension -> format; csv, idx and svmlight may also end in .gz or .zip, and names like `…-idx3-ubyte` are IDX."""

TABLE_FORMATS: tuple[Format, ...] = ("csv", "parquet", "feather")
"""With columns of names and types; the others hold one matrix."""
_IDX_NAME = re.compile(r"[-.]idx\d?(-ubyte)?$")


def find_files(
    source: str | os.PathLike[str],
    validation: str | os.PathLike[str] | None = None,
    test: str | os.PathLike[str] | None = None,
) -> tuple[Format, Path, list[PartFile]]:
    """The format of a source, its path, and its files in the order of their parts.

    Raises: DataFileError as `find_format` and `find_part_files`, and for files of other parts in another format.
    """
    form, path, part_files = _files_of(source)
    given = {"validation": validation, "test": test}
    if form == "idx":
        part_files += [one for one in other_parts_beside(path) if given[one.part] is None and has_labels(one.path)]
    for part, other in given.items():
        if other is None:
            continue
        other_form, _, files = _files_of(other)
        if other_form != form or form == "bundled":
            raise DataFileError(
                f"--{part}: expected a file of the format of {os.fspath(source)!r} ({form}), got {os.fspath(other)!r} "
                f"({other_form}); convert one of them"
            )
        if os.path.samefile(source, other):
            raise DataFileError(f"--{part}: expected another file than {os.fspath(source)!r}, got the same; give other rows")
        named = [one.path for one in files if one.part == part] or [one.path for one in files]
        part_files = [one for one in part_files if one.part != part] + [PartFile(part, one) for one in named]
    part_files.sort(key=lambda one: PARTS.index(one.part))
    return form, path, part_files


def _files_of(source: str | os.PathLike[str]) -> tuple[Format, Path, list[PartFile]]:
    path = Path(source)
    if os.fspath(source) not in BUNDLED and os.path.isdir(path):
        part_files = find_part_files(path, [extension for extension, form in EXTENSIONS.items() if form in TABLE_FORMATS])
        return find_format(part_files[0].path)[0], path, part_files
    form, path = find_format(source)
    return form, path, [PartFile("training", path)]


def files_to_predict(source: str | os.PathLike[str], part: str | None) -> tuple[Format, Path, list[PartFile]]:
    """The format, the path, and the files of one part of a folder."""
    if part is not None and part not in PARTS:
        raise DataFileError(f"--part: expected one of {', '.join(PARTS)}, got {part!r}; give the part to predict")
    form, path, part_files = _files_of(source)
    if os.path.isdir(path):
        parts: dict[str, list[PartFile]] = {}
        for one in part_files:
            parts.setdefault(one.part, []).append(one)
        return form, path, chosen_part(parts, part, str(path))
    if part is not None and form != "npz":
        raise DataFileError(f"--part: expected a folder or an .npz archive of several parts, got {path}; leave it out")
    return form, path, part_files


def find_format(source: str | os.PathLike[str]) -> tuple[Format, Path]:
    """Determine the format of a source from its name; of files, only their existence is checked.

    Raises: DataFileError if the name is neither a bundled set nor ends in a known extension, or there is no such file.
    """
    text = os.fspath(source)
    path = Path(text)
    if text in BUNDLED:
        return "bundled", path
    name = path.name.lower()
    plain = name.removesuffix(".gz").removesuffix(".zip")
    form = EXTENSIONS.get(Path(plain).suffix) or ("idx" if _IDX_NAME.search(plain) or name.endswith(".gz") else None)
    if form is None and name.endswith(".zip"):
        plain = name_in_zip(existing(path)).lower()
        form = EXTENSIONS.get(Path(plain).suffix)
    if form is None and os.path.isdir(path):
        existing(path)
    if form is None:
        raise DataFileError(
            f"expected a bundled set ({', '.join(BUNDLED)}) or a file ending in {', '.join(EXTENSIONS)} "
            f"(.gz and .zip also for text and IDX), got {text!r}{did_you_mean(text, BUNDLED) or '; rename or convert the file'}"
        )
    if plain != name and form in ("parquet", "feather", "npy", "npz"):
        raise DataFileError(f"{path}: expected an uncompressed {form} file, got {path.suffix}; unpack it first")
    return form, existing(path)


def existing(path: Path) -> Path:
    """The path of a file that is there; otherwise raises DataFileError that says what is."""
    if os.path.isfile(path):
        return path
    if os.path.isdir(path):
        raise DataFileError(f"expected a data file, {str(path)!r} is a folder; give the path of one file in it")
    if os.path.exists(path):
        raise DataFileError(
            f"expected a data file, {str(path)!r} is a pipe, socket or device and not a regular file; "
            f"write the data to a file first"
        )
    if os.path.islink(path):
        raise DataFileError(f"expected a data file, {str(path)!r} is a link to a file that does not exist; fix the link")
    there = [entry.name for entry in path.parent.iterdir()] if os.path.isdir(path.parent) else []
    nearest = get_close_matches(path.name, there, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"check the path (current folder: {Path.cwd()})"
    raise DataFileError(f"expected a data file, {str(path)!r} does not exist; {hint}")


def labels_only_where_used(form: Format, labels: str | os.PathLike[str] | None) -> None:
    """Raises DataFileError for a file of labels beside a format that holds them itself."""
    if labels is not None and form not in ("idx", "npy"):
        raise DataFileError(
            f"expected labels= with an IDX images file or an .npy file only, got it with a {form} source; "
            "give target= instead"
        )
