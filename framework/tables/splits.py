"""Splits row indices into training, validation and test part.

Parts of whole groups or times are in `grouped_splits.py`. Shuffling and minibatches are elsewhere; no features are read here.
"""

from __future__ import annotations

from math import ceil, isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import EmptyDataError, HyperparameterError
from .columns import as_column
from .grouped_splits import TEST, TRAINING, VALIDATION, parts_by_group, parts_by_time
from .split_keys import Numbers, groups_of, ranks_in_time, strata

Indices = NDArray[np.int64]


def split(
    rows: int | ArrayLike,
    fractions: tuple[float, float] = (0.2, 0.1),
    seed: int = 0,
    stratify: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    time: ArrayLike | None = None,
) -> tuple[Indices, Indices, Indices]:
    """Split row indices into a training, a validation and a test part: at random, by group, or by time.

    At random, round(N·test) rows go to the test part, round(N·validation) to the validation part, the others to the training
    part. With labels, the split is stratified: each part draws from every class in proportion to its size by the method of
    largest remainders, and the training part keeps at least one row of every class.

    With groups, no group is in two parts: random groups fill the parts, whose sizes differ from those above by less than the
    rows of one group; with labels, the classes are divided as evenly as the groups permit. With times, the latest rows are the
    test part, and the latest before them the validation part; rows of the same time stay together.

    Args: rows – number of rows N, or [N] class labels, which then also stratify; fractions – (test, validation), fractions of
        all rows, each in [0, 1), sum below 1; 0 omits a part; seed – of the Philox generator, ≥ 0: the same seed gives the same
        parts; stratify – [N] labels; [N] numbers, which are divided into bins; [N, k] several labels, 0 or 1; or None; groups –
        [N] of any type; time – [N] dates, numbers, or text such as 2024-05-31.
    Returns: (training, validation, test), int64 row indices in ascending order, on the host.
    Raises: HyperparameterError for fractions or a seed out of range, and for times together with groups or labels;
        EmptyDataError if a part would be empty; ShapeError if there is not one label, group or time per row; LabelError for a
        missing group or time; DtypeError for text that is no date.
    Differs from: scikit-learn's train_test_split, which rejects classes of one row and rounds the test part up, and its
        GroupShuffleSplit, whose fractions are fractions of the groups.
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
    if time is not None:
        for name, other in (("groups", groups), ("labels to stratify by", labels)):
            if other is not None:
                raise HyperparameterError(
                    f"split: expected times alone, as they decide which rows are in which part; got {name} too; leave out one "
                    "of them" + ("; rows may be their number" if other is rows else "")
                )
        return _rows_of(parts_by_time(ranks_in_time(time, count), (test, validation)))
    classes = strata(labels, count)
    rng = np.random.Generator(np.random.Philox(int(seed)))
    if groups is not None:
        return _rows_of(parts_by_group(groups_of(groups, count), classes, (test, validation), rng))
    return _at_random(classes, (test, validation), rng, labels is not None)


def _at_random(
    classes: Numbers, fractions: tuple[float, float], rng: np.random.Generator, stratified: bool
) -> tuple[Indices, Indices, Indices]:
    """Parts of single rows, in proportion to the sizes of the classes."""
    (test, validation), count = fractions, len(classes)
    sizes = np.bincount(classes)
    shuffled = rng.permutation(count)
    ties = rng.permutation(sizes.size)
    test_counts = _draw(sizes, _part_size(count, test), ties)
    validation_counts = _draw(sizes - test_counts, _part_size(count, validation), ties)
    parts = (count - int(test_counts.sum() + validation_counts.sum()), validation_counts.sum(), test_counts.sum())
    _require_rows(count, parts, (1.0 - test - validation, validation, test), stratified)

    order = shuffled[np.argsort(classes[shuffled], kind="stable")]
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = np.arange(count) - starts
    members = classes[order]
    part_of = np.empty(count, dtype=np.intp)
    held_out = place < (test_counts + validation_counts)[members]
    part_of[order] = np.where(place < test_counts[members], TEST, np.where(held_out, VALIDATION, TRAINING))
    return _rows_of(part_of)


def _rows_of(parts: NDArray[np.intp]) -> tuple[Indices, Indices, Indices]:
    """The rows of each part, in ascending order."""
    training, validation, test = (np.flatnonzero(parts == part).astype(np.int64) for part in (TRAINING, VALIDATION, TEST))
    return training, validation, test


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
