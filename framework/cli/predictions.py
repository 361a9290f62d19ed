"""The predictions of a model file as lines of CSV, computed and written block by block, and notes on their inputs."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..engine import model
from ..sources.row_source import RowSource
from ..tables.table import Table
from .column_report import missing_counts, missing_values

_ENTRIES = 1 << 20
"""Numbers that are encoded at a time."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that spreadsheets evaluate, also in full width."""


def not_formulas(labels: Sequence[Any]) -> dict[Any, str]:
    """Label -> how it is written, for those that a spreadsheet would take for a formula."""
    texts = (label for label in labels if isinstance(label, str))
    return {text: f"'{text}" for text in texts if text.startswith(_FORMULA) and not _number(text)}


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class Inputs:
    """Features in blocks of rows, of which rows and what is unusual about them are counted while they are encoded.

    Attributes: rows – so far.
    """

    def __init__(self, preprocessor: Any, features: Iterable[Any]) -> None:
        self.rows = 0
        self._preprocessor = preprocessor
        self._features = features
        self._missing, self._unseen = Counter[str](), Counter[str]()
        self._layout_notes: tuple[str, ...] = ()

    def blocks(self) -> Iterator[tuple[int, Any]]:
        """First row and values of encoded rows, of whole passes of the network, so that all rows are computed alike."""
        width = self._preprocessor.width
        size = model.PREDICTION_ROWS * max(1, _ENTRIES // (model.PREDICTION_ROWS * width))
        start, filled = 0, 0
        for source in self._sources():
            done = 0
            while done < len(source):
                if not filled:
                    block = np.empty((size, width), source.dtype)
                count = min(size - filled, len(source) - done)
                source.read(slice(done, done + count), block[filled : filled + count])
                done, filled = done + count, filled + count
                if filled == size:
                    yield start, block
                    start, filled = start + size, 0
        if filled:
            yield start, block[:filled]

    def notes(self) -> list[str]:
        """On all rows."""
        found = [*self._layout_notes]
        unseen = ((name, self._unseen[name]) for name in self._preprocessor.input_names)
        counts = ", ".join(f"{name!r} in {count:,} of {self.rows:,} rows" for name, count in unseen if count)
        if counts:
            found.append(f"text values that did not occur in the training data are treated as unknown: {counts}")
        return [*found, *missing_values(self._missing, self.rows)]

    def _sources(self) -> Iterator[RowSource]:
        for block in self._features:
            if isinstance(block, RowSource):
                source = self._preprocessor.transform(block)
            else:
                source = self._preprocessor.transform_source(block)
                self._unseen.update(self._preprocessor.unseen(block))
                self._missing.update(missing_counts(block))
                if isinstance(block, Table) and block.layout is not None:
                    self._layout_notes = block.layout.notes
            self.rows += len(source)
            yield source


def prediction_rows(
    table: Any, blocks: Iterable[tuple[int, Any]], labels_only: bool, written: dict[Any, str]
) -> Iterator[Sequence[Any]]:
    """The header, then one line per row; `blocks` – of `Inputs`; `written` – labels that are written otherwise."""
    preprocessor = table.preprocessor
    fractions = preprocessor.task == "classification" and not labels_only
    if preprocessor.several:
        second = ((name, coding.classes[1]) for name, coding in preprocessor.targets.items() if fractions)
        names = (f"prediction_{name}" for name in preprocessor.targets)
        yield "row", *names, *(f"probability_{name}={label}" for name, label in second)
    else:
        yield "row", "prediction", *(f"probability_{label}" for label in preprocessor.classes if fractions)
    for start, block in blocks:
        yield from _block(table, block, start + 1, fractions, written)


def _block(table: Any, inputs: Any, first: int, fractions: bool, written: dict[Any, str]) -> Iterator[Sequence[Any]]:
    """One line for each of some rows; `first` – the number of the first one; `fractions` – whether with probabilities."""
    scores = table.scores(inputs)
    decoded = table.decoded(scores)
    columns = decoded.values() if table.preprocessor.several else [decoded]
    answers = zip(*([written.get(one, one) for one in column.tolist()] for column in columns), strict=True)
    shown = scores.tolist() if fractions else [[]] * len(scores)
    for row, (predicted, given) in enumerate(zip(answers, shown, strict=True), first):
        yield row, *predicted, *(f"{fraction:.6g}" for fraction in given)


def write(stream: Any, rows: Iterator[Sequence[Any]]) -> None:
    """Write lines of CSV as they come."""
    csv.writer(stream, lineterminator="\n").writerows(rows)
