"""What is unusual about a target and the parts of its rows: classes with few rows or without any, constants, sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LabelError
from .columns import Column
from .target_coding import classes_of

Rows = Mapping[str, NDArray[np.int64]]

FEW_ROWS = 10
LARGE_DIFFERENCE = 0.25
"""Between the sizes of a part that was asked for and that was made, relative to the former, from which on it is noted."""
SHOWN = 5
"""Largest number of classes that a note names."""


def require_classes(name: str, target: Column) -> None:
    """Raises LabelError for a single class, and if every class has a single row although there are several rows."""
    rows, classes = len(target), classes_of(target)
    if len(classes) == 1 < rows:
        raise LabelError(
            f"target {name!r}: expected at least 2 classes, found only {_label(classes, 0)} in all {rows:,} rows; check it"
        )
    if len(classes) == rows > FEW_ROWS:
        raise LabelError(
            f"target {name!r}: expected several rows of each class, found {rows:,} different values in as many rows, such as "
            f"{target[:1].tolist()[0]!r}; give another column, as this one identifies rows, or --task regression for numbers"
        )


def notes_on_classes(name: str, classes: NDArray[Any], indices: NDArray[Any], rows: Rows) -> tuple[str, ...]:
    """A sentence for each thing that a user should know about the classes.

    Args: name – of the target; classes – [C] labels; indices – [N] class indices; rows – of each part, by name.
    Raises: LabelError if the training part has a single class.
    """
    counts = {part: np.bincount(indices[chosen], minlength=len(classes)) for part, chosen in rows.items()}
    trained, notes = counts["training"], []
    if np.count_nonzero(trained) < 2:
        only, others = _label(classes, trained.argmax()), _listed(classes, indices, trained == 0)
        raise LabelError(
            f"target {name!r}: expected at least 2 classes in the training part, found only {only} ({trained.sum():,} rows), "
            f"as only other parts have {others}; divide the rows in another way"
        )
    if not trained.all():
        notes.append(
            f"the training part has no row of {_listed(classes, indices, trained == 0)}; the network cannot learn what it has "
            "not seen, and these rows count as errors"
        )
    untested = (counts["test"] == 0) & (trained > 0) if "test" in rows else np.zeros(len(classes), np.bool_)
    if untested.any():
        notes.append(f"the test part has no row of {_listed(classes, indices, untested)}; its results do not cover them")
    return tuple(notes)


def notes_on_constants(names: Sequence[str], encoded: NDArray[Any], rows: Rows, what: str) -> tuple[str, ...]:
    """A sentence for each target that has one value in the training part.

    Args: names – of the targets; encoded – [N, k] numbers or labels; rows – of each part; what – cannot be done then.
    """
    training = encoded[rows["training"]]
    constant = np.flatnonzero(training.min(axis=0) == training.max(axis=0))
    return tuple(
        f"target {names[k]!r} has the same value in all {len(training):,} training rows, so {what}" for k in constant.tolist()
    )


def notes_on_sizes(by: str, rows: Rows, asked: Mapping[str, float]) -> tuple[str, ...]:
    """A sentence for each part that is much larger or smaller than asked for.

    Args: by – "group" or "time"; rows – of each part; asked – fractions of the rows for the validation and the test part, 0 for
        a part that was not divided from the others.
    """
    divided = {part: len(chosen) for part, chosen in rows.items() if asked.get(part, 1.0) > 0.0}
    count = sum(divided.values())
    found = {part: size / count for part, size in divided.items()}
    same = "of the same time" if by == "time" else "of a group"
    return tuple(
        f"the {part} part has {100.0 * found[part]:.3g} % of the rows instead of {100.0 * fraction:.3g} %, as rows {same} stay "
        "together"
        for part, fraction in asked.items()
        if part in found and abs(found[part] - fraction) > max(LARGE_DIFFERENCE * fraction, 1.0 / count)
    )


def _label(classes: NDArray[Any], index: Any) -> str:
    """A class as a Python value: 3, and not np.int64(3)."""
    return repr(classes[index : index + 1].tolist()[0])


def _listed(classes: NDArray[Any], indices: NDArray[Any], chosen: NDArray[np.bool_]) -> str:
    """Some classes with their numbers of rows in all parts."""
    total, which = np.bincount(indices, minlength=len(classes)), np.flatnonzero(chosen)
    shown = [f"{_label(classes, k)} ({total[k]:,} {'row' if total[k] == 1 else 'rows'})" for k in which[:SHOWN]]
    more = f" and {len(which) - SHOWN:,} more" if len(which) > SHOWN else ""
    return ("class " if len(which) == 1 else f"{len(which):,} classes: ") + ", ".join(shown) + more
