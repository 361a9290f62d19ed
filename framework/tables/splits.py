"""Splits row indices into training, validation and test part.

Shuffling and minibatches are elsewhere; no data are accessed here.
"""

from __future__ import annotations

from math import ceil, isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import EmptyDataError, HyperparameterError, ShapeError
from .columns import as_column, is_text

Indices = NDArray[np.int64]


def split(
    rows: int | ArrayLike,
    fractions: tuple[float, float] = (0.2, 0.1),
    seed: int = 0,
    stratify: ArrayLike | None = None,
) -> tuple[Indices, Indices, Indices]:
    """Split row indices randomly into a training, a validation and a test part.

    round(N·test) rows go to the test part, round(N·validation) to the validation part, the others to the training part. With
    labels, the split is stratified: each part draws from every class in proportion to its size by the method of largest
    remainders, and the training part keeps at least one row of every class.

    Args: rows – number of rows N, or [N] class labels, which then also stratify; fractions – (test, validation), fractions of
        all rows, each in [0, 1), sum below 1; 0 omits a part; seed – of the Philox generator, ≥ 0: the same seed gives the same
        parts; stratify – [N] labels or None.
    Returns: (training, validation, test), int64 row indices in ascending order, on the host.
    Raises: HyperparameterError for fractions or a seed out of range; EmptyDataError if a part would be empty; ShapeError if
        there is not one label per row.
    Differs from: scikit-learn's train_test_split, which rejects classes of one row and rounds the test part up.
    Source: largest remainders: Hare (1859) / Hamilton (1792).
    """
    test, validation = _checked_fractions(fractions)
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise HyperparameterError(f"seed: expected a whole number from 0, got {seed!r}; choose one such as 0")
    labels = stratify
    if isinstance(rows, (int, np.integer)):
        count = int(rows)
    else:
        count = len(as_column(rows, "labels"))
        labels = rows if stratify is None else stratify
    if count <= 0:
        raise EmptyDataError(f"split: expected at least 1 row, got {count}; check the source of the data")
    classes = _class_numbers(labels, count)
    sizes = np.bincount(classes)

    rng = np.random.Generator(np.random.Philox(int(seed)))
    shuffled = rng.permutation(count)
    ties = rng.permutation(sizes.size)
    test_counts = _draw(sizes, _part_size(count, test), ties)
    validation_counts = _draw(sizes - test_counts, _part_size(count, validation), ties)
    parts = (count - int(test_counts.sum() + validation_counts.sum()), validation_counts.sum(), test_counts.sum())
    _require_rows(count, parts, (1.0 - test - validation, validation, test), labels is not None)

    order = shuffled[np.argsort(classes[shuffled], kind="stable")]
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = np.arange(count) - starts
    members = classes[order]
    is_test = place < test_counts[members]
    is_validation = ~is_test & (place < (test_counts + validation_counts)[members])
    chosen = (order[~is_test & ~is_validation], order[is_validation], order[is_test])
    train_part, validation_part, test_part = (np.sort(part).astype(np.int64) for part in chosen)
    return train_part, validation_part, test_part


def _checked_fractions(fractions: tuple[float, float]) -> tuple[float, float]:
    test, validation = (float(fraction) for fraction in fractions)
    for name, fraction in (("test", test), ("validation", validation)):
        if not (isfinite(fraction) and 0.0 <= fraction < 1.0):
            raise HyperparameterError(
                f"{name} fraction: expected a fraction in [0, 1), got {fraction}; 0.2 holds out a fifth of the rows"
            )
    if test + validation >= 1.0:
        raise HyperparameterError(
            f"fractions: expected test + validation below 1, got {test} + {validation}; leave rows for training"
        )
    return test, validation


def _class_numbers(labels: ArrayLike | None, count: int) -> NDArray[np.intp]:
    if labels is None:
        return np.zeros(count, dtype=np.intp)
    column = as_column(labels, "stratify")
    if len(column) != count:
        raise ShapeError(f"stratify: expected {count} labels, one per row, got {len(column)}; give one for each row")
    if is_text(column):
        rank = np.full(len(column.values) + 1, -1)  # the last entry: of missing text
        rank[np.argsort(column.values)] = np.arange(len(column.values))
        column = rank[column.codes]
    numbers: NDArray[np.intp] = np.unique(column, return_inverse=True)[1].reshape(-1)
    return numbers


def _part_size(count: int, fraction: float) -> int:
    return int(count * fraction + 0.5)


def _draw(sizes: NDArray[np.intp], total: int, ties: NDArray[np.intp]) -> NDArray[np.intp]:
    """Number of rows of each class for a total of `total`: proportional to size, leaving at least one row of each class."""
    capacity = np.maximum(sizes - 1, 0)
    total = min(total, int(capacity.sum()))
    counts = np.zeros_like(sizes)
    if total == 0:
        return counts
    eligible = np.where(capacity > 0, sizes, 0)
    quotas = total * (eligible / eligible.sum())
    counts[:] = np.minimum(np.floor(quotas + 1e-9), capacity)
    while (short := total - int(counts.sum())) > 0:
        by_remainder = np.lexsort((ties, -(quotas - counts)))
        open_classes = by_remainder[counts[by_remainder] < capacity[by_remainder]]
        counts[open_classes[:short]] += 1
    return counts


def _require_rows(count: int, parts: tuple[int, ...], fractions: tuple[float, ...], stratified: bool) -> None:
    for name, size, fraction in zip(("training", "validation", "test"), parts, fractions, strict=True):
        if fraction > 0.0 and size < 1:
            needed = ceil(1.0 / min(positive for positive in fractions if positive > 0.0))
            rows = "1 row leaves" if count == 1 else f"{count} rows leave"
            of_each = ", two or more of each class," if stratified else ""
            raise EmptyDataError(
                f"split: expected at least one row in the {name} part (fraction {fraction:.3g}), {rows} it empty; "
                f"give {max(needed, count + 1)} rows or more{of_each or ','} or other fractions"
            )
