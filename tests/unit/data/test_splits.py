"""Division of rows into parts: a partition, of the right sizes, proportional by class, the same for the same seed."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusedstep.errors import EmptyDataError, HyperparameterError, ShapeError
from fusedstep.framework.tables.splits import split

SHARES = st.floats(0.02, 0.45)


@given(st.integers(60, 400), SHARES, SHARES, st.integers(0, 2**40))
def test_plain_split_is_a_partition_of_the_stated_sizes(count, test, validation, seed):
    parts = split(count, (test, validation), seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(count))
    assert len(parts[2]) == int(count * test + 0.5)
    assert len(parts[1]) == int(count * validation + 0.5)
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)


@given(st.lists(st.integers(0, 5), min_size=120, max_size=300), SHARES, SHARES, st.integers(0, 99))
def test_stratified_parts_are_proportional(labels, test, validation, seed):
    labels = np.array(labels)
    parts = split(len(labels), (test, validation), seed, stratify=labels)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    sizes = np.bincount(labels, minlength=6)
    counts = [np.bincount(labels[part], minlength=6) for part in parts]
    assert (counts[0][sizes > 0] >= 1).all()
    ample = sizes >= 20  # in smaller classes the row that stays for training may outweigh the quota
    for count, share in zip(counts, (1 - test - validation, validation, test), strict=True):
        if ample[sizes > 0].all():
            assert (np.abs(count - sizes * share) < 2.0 + 1e-9).all()
    if ample[sizes > 0].all():
        assert sum(counts[2]) == int(len(labels) * test + 0.5)
        assert sum(counts[1]) == int(len(labels) * validation + 0.5)


def test_exact_proportions_where_they_exist():
    labels = np.repeat(["a", "b", "c"], [100, 60, 40])
    for part, share in zip(split(labels, (0.2, 0.1), 3), (0.7, 0.1, 0.2), strict=True):
        names, counts = np.unique(labels[part], return_counts=True)
        assert names.tolist() == ["a", "b", "c"]
        assert counts.tolist() == [round(100 * share), round(60 * share), round(40 * share)]


def test_class_of_one_row_goes_to_training():
    labels = np.array([0] * 40 + [1] + [2] * 40)
    for seed in range(20):
        train, _, _ = split(len(labels), (0.3, 0.3), seed, stratify=labels)
        assert 40 in train


def test_many_classes_of_two_do_not_favour_the_first():
    labels = np.repeat(np.arange(50), 2)
    held = [set(labels[split(labels, (0.2, 0.0), seed)[2]].tolist()) for seed in range(5)]
    assert all(len(classes) == 20 for classes in held)
    assert len({frozenset(classes) for classes in held}) == 5


def test_labels_in_place_of_the_count_stratify():
    labels = np.array(["x", "y"] * 30)
    for mine, same in zip(split(labels, (0.2, 0.2), 1), split(60, (0.2, 0.2), 1, labels), strict=True):
        np.testing.assert_array_equal(mine, same)


def test_deterministic_and_different_by_seed():
    first, again, other = (split(100, (0.2, 0.1), seed) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    # written down once: the split of a seed must stay the same from version to version
    assert split(10, (0.3, 0.2), 0)[2].tolist() == [0, 3, 8]


def test_shares_of_zero_leave_parts_out():
    train, validation, test = split(5, (0.0, 0.0))
    assert (train.tolist(), validation.size, test.size) == ([0, 1, 2, 3, 4], 0, 0)
    assert split(1, (0.0, 0.0))[0].tolist() == [0]


@pytest.mark.parametrize("fractions", [(-0.1, 0.1), (0.1, 1.0), (np.nan, 0.0), (0.5, 0.5), (0.0, np.inf)])
def test_fractions_out_of_range(fractions):
    with pytest.raises(HyperparameterError, match="expected"):
        split(100, fractions)


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_seed_out_of_range(seed):
    with pytest.raises(HyperparameterError, match="seed"):
        split(100, (0.1, 0.1), seed)


@pytest.mark.parametrize("count", [0, -3])
def test_no_rows(count):
    with pytest.raises(EmptyDataError):
        split(count)


@given(st.integers(1, 60), st.floats(0.01, 0.6), st.floats(0.01, 0.35))
def test_number_of_rows_asked_for_is_enough(count, test, validation):
    try:
        parts = split(count, (test, validation))
    except EmptyDataError as error:
        needed = int(re.search(r"give (\d+) rows", str(error))[1])
        assert needed > count
        parts = split(needed, (test, validation))
    assert all(part.size for part in parts)


def test_only_single_members_cannot_be_held_out():
    with pytest.raises(EmptyDataError, match=r"10 rows leave it empty; give 11 rows or more, two or more of each class, or"):
        split(10, (0.2, 0.0), stratify=np.arange(10))


def test_one_row_is_told_in_the_singular():
    with pytest.raises(EmptyDataError, match=r"1 row leaves it empty; give 5 rows or more, or other fractions$"):
        split(1, (0.2, 0.0))


def test_one_label_per_row():
    with pytest.raises(ShapeError, match="expected 10 labels"):
        split(10, stratify=[0, 1])
