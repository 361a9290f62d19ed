"""Splits that keep rows together: those of a group, and those of the same time. Other splits are in `splits.py`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import EmptyDataError
from .split_keys import Numbers

TRAINING, VALIDATION, TEST = range(3)
PARTS = ("training", "validation", "test")
CANDIDATES = 32
"""Random divisions of groups, of which the one nearest to the sizes and classes that were asked for is taken."""


def parts_by_group(
    groups: Numbers, classes: Numbers, wanted: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.intp]:
    """The part of each row; no group is in two parts.

    In random order, each group goes to the test part if that brings its size nearer to the one asked for, then the others in
    the same way to the validation part. So a part differs from its size by less than the rows of one group. Of 32 such
    divisions, the one with the fewest classes that the training part lacks is taken, and among these the one whose parts come
    nearest to their fractions of each class.

    Args: groups, classes – [N] numbers from 0; wanted – fractions of the test and the validation part, 0 for none.
    Raises: EmptyDataError for fewer groups than parts.
    """
    sizes = np.bincount(groups)
    _require_as_many(len(sizes), wanted, "groups")
    kinds = int(classes.max()) + 1
    pairs, counts = np.unique(groups * kinds + classes, return_counts=True)
    owner, kind = pairs // kinds, pairs % kinds
    test, validation = wanted
    expected = np.array([1.0 - test - validation, validation, test])[:, np.newaxis] * np.bincount(classes, minlength=kinds)
    best, chosen = (np.inf, np.inf), np.zeros(len(sizes), dtype=np.intp)
    for _ in range(CANDIDATES):
        parts = _drawn(sizes, wanted, rng.permutation(len(sizes)))
        found = np.bincount(parts[owner] * kinds + kind, counts, 3 * kinds).reshape(3, kinds)
        distance = float((found[TRAINING] == 0.0).sum()), float(np.abs(found - expected).sum())
        if distance < best:
            best, chosen = distance, parts
    return chosen[groups]


def parts_by_time(ranks: Numbers, wanted: tuple[float, float]) -> NDArray[np.intp]:
    """The part of each row: the latest rows are the test part, the latest before them the validation part.

    Rows of the same time stay together; each part ends where its size is nearest to the one asked for.

    Args: ranks – [N] ranks in time from 0; wanted – fractions of the test and the validation part, 0 for none.
    Raises: EmptyDataError for fewer different times than parts.
    """
    times = np.bincount(ranks)
    _require_as_many(len(times), wanted, "different times")
    test, validation = wanted
    before = np.concatenate([[0], np.cumsum(times)])
    start_of_test = len(times)
    if test > 0.0:
        start_of_test = _nearest(before, 1 + (validation > 0.0), len(times) - 1, len(ranks) * (1.0 - test))
    start_of_validation = start_of_test
    if validation > 0.0:
        start_of_validation = _nearest(before, 1, start_of_test - 1, before[start_of_test] - len(ranks) * validation)
    earlier = np.where(ranks >= start_of_validation, VALIDATION, TRAINING)
    parts: NDArray[np.intp] = np.where(ranks >= start_of_test, TEST, earlier)
    return parts


def _drawn(sizes: Numbers, wanted: tuple[float, float], order: Numbers) -> NDArray[np.intp]:
    """The part of each group, tried in this order."""
    parts = np.full(len(sizes), TRAINING, dtype=np.intp)
    rows, left = int(sizes.sum()), order
    for part, fraction, others in ((TEST, wanted[0], 1 + (wanted[1] > 0.0)), (VALIDATION, wanted[1], 1)):
        if fraction > 0.0:
            taken = _filled(sizes[left], rows * fraction, len(left) - others)
            parts[left[taken]] = part
            left = left[~taken]
    return parts


def _filled(sizes: Numbers, need: float, most: int) -> NDArray[np.bool_]:
    """Which groups, in this order, fill a part of `need` rows: each that brings it nearer; one to `most` groups."""
    taken = np.zeros(len(sizes), dtype=np.bool_)
    coming = np.arange(len(sizes))
    while most > 0:
        coming = coming[sizes[coming] <= 2.0 * need]
        if not coming.size:
            break
        own = sizes[coming]
        fits = own <= 2.0 * (need - (np.cumsum(own) - own))
        stop = min(most, coming.size if fits.all() else int(fits.argmin()))
        taken[coming[:stop]] = True
        need, most, coming = need - int(own[:stop].sum()), most - stop, coming[stop:]
    if not taken.any():
        taken[sizes.argmin()] = True
    return taken


def _nearest(before: NDArray[np.intp], low: int, high: int, rows: float) -> int:
    """The place from low to high before which there are about so many rows."""
    return low + int(np.abs(before[low : high + 1] - rows).argmin())


def _require_as_many(found: int, wanted: tuple[float, float], what: str) -> None:
    asked = [name for name, fraction in zip(PARTS, (1.0, *wanted[::-1]), strict=True) if fraction > 0.0]
    if found < len(asked):
        raise EmptyDataError(
            f"split: expected at least {len(asked)} {what}, one for each part ({', '.join(asked)}), found {found}; give more "
            "data, or fraction 0 for a part"
        )
