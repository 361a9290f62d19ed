"""The options that describe a data set, which all commands that train take: a new one is declared here, and nowhere else.

Each is an argument of `load`, of the same name. Options of text files, which `predict` takes too, are in options.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from . import options as shared
from .declared import Panel

DATA = Panel("Data")


@dataclass(frozen=True)
class DataOptions:
    """The options; None if inferred from the data, or if the option is off."""

    source: Annotated[
        str,
        Argument(
            help="A bundled set (digits, iris, wine, breast_cancer, diabetes), a file (CSV, Parquet, Feather, NPY, NPZ, IDX, "
            "svmlight), or a folder of files such as train-….parquet and test-….parquet.",
            show_default=False,
        ),
    ]
    target: Annotated[
        list[str] | None,
        DATA,
        Option(
            metavar="COLUMN",
            help="Name of the target column; required for CSV, Parquet, Feather. Repeatable: numbers, or labels of two values.",
            show_default=False,
        ),
    ] = None
    labels: Annotated[Path | None, DATA, Option(help="File with the labels of an IDX or NPY source.")] = None
    text: Annotated[
        list[str] | None,
        DATA,
        Option("--text", metavar="COLUMN", help="Take a column as text, such as postcodes. Repeatable.", show_default=False),
    ] = None
    number: Annotated[
        list[str] | None,
        DATA,
        Option(
            "--number",
            metavar="COLUMN",
            help="Take a column as numbers; other cells are missing. Repeatable.",
            show_default=False,
        ),
    ] = None
    drop: Annotated[
        list[str] | None,
        DATA,
        Option("--drop", metavar="COLUMN", help="Leave out a column. Repeatable.", show_default=False),
    ] = None
    missing: Annotated[
        str | None,
        DATA,
        Option(
            "--missing",
            metavar="CELLS",
            help='Cells that mean "no value" instead of the usual ones (NA, N/A, null, ?, - and others), such as "-999,none"; '
            'with + before the first, in addition to them: "+-999".',
            show_default=False,
        ),
    ] = None
    delimiter: Annotated[shared.Delimiter, DATA] = None
    encoding: Annotated[shared.Encoding, DATA] = None
    decimal: Annotated[shared.Decimal, DATA] = None
    header: Annotated[shared.Header, DATA] = None
    max_unpacked: Annotated[shared.MaxUnpacked, DATA] = None
    task: Annotated[
        str | None,
        DATA,
        Option(
            "--task",
            metavar="TASK",
            help="classification or regression. Default: classification for text or a few distinct integers, otherwise "
            "regression.",
        ),
    ] = None
    group: Annotated[
        str | None,
        DATA,
        Option(
            metavar="COLUMN",
            help="Column whose groups, such as patients, stay together: no group is in two parts. It is no input.",
            show_default=False,
        ),
    ] = None
    time: Annotated[
        str | None,
        DATA,
        Option(
            metavar="COLUMN",
            help="Column of dates or numbers: the test part is the latest, the validation part the latest before. It is no "
            "input.",
            show_default=False,
        ),
    ] = None
    weight: Annotated[
        str | None,
        DATA,
        Option(
            metavar="COLUMN",
            help="Column of numbers >= 0: how much each row counts, in training and in all results. It is no input.",
            show_default=False,
        ),
    ] = None
    validation: Annotated[
        str | None,
        DATA,
        Option(
            "--validation", metavar="FILE", help="File of the format of SOURCE used for early stopping.", show_default=False
        ),
    ] = None
    test: Annotated[
        str | None,
        DATA,
        Option(
            "--test", metavar="FILE", help="File of the format of SOURCE used only for the final test.", show_default=False
        ),
    ] = None


def data_options(options: DataOptions) -> dict[str, Any]:
    """Those of the options of a command that describe its data, name -> value."""
    return {field.name: getattr(options, field.name) for field in fields(DataOptions)}
