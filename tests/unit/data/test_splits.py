"""Division of rows into parts: a partition, of the right sizes, proportional by class, the same for the same seed."""

from __future__ import annotations

import re
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusedstep.errors import DtypeError, EmptyDataError, HyperparameterError, LabelError, ShapeError
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


# Groups

SIZES = st.lists(st.integers(1, 40), min_size=3, max_size=40)


def grouped(sizes, seed):
    """A group for each row, as text, in no order."""
    groups = np.repeat([f"g{k}" for k in range(len(sizes))], sizes)
    return np.random.default_rng(seed).permutation(groups)


@given(SIZES, SHARES, SHARES, st.integers(0, 2**40), st.sampled_from([None, 2, 5]))
def test_no_group_is_in_two_parts_and_sizes_are_within_one_group(sizes, test, validation, seed, classes):
    groups = grouped(sizes, seed)
    labels = None if classes is None else np.random.default_rng(seed).integers(0, classes, len(groups))
    parts = split(len(groups), (test, validation), seed, labels, groups=groups)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(groups)))
    members = [set(groups[part].tolist()) for part in parts]
    assert all(members)
    assert sum(map(len, members)) == len(sizes)
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)
    for part, share in ((parts[2], test), (parts[1], validation)):
        assert abs(len(part) - share * len(groups)) <= max(sizes)


@given(SIZES, SHARES, st.integers(0, 99))
def test_a_part_that_is_not_asked_for_gets_no_group(sizes, test, seed):
    groups = grouped(sizes, seed)
    assert len(split(len(groups), (test, 0.0), seed, groups=groups)[1]) == 0
    assert len(split(len(groups), (0.0, test), seed, groups=groups)[2]) == 0
    assert len(split(len(groups), (0.0, 0.0), seed, groups=groups)[0]) == len(groups)


def test_groups_of_one_row_are_split_as_single_rows():
    parts = split(1000, (0.2, 0.1), 0, groups=np.arange(1000))
    assert [len(part) for part in parts] == [700, 100, 200]
    assert not np.array_equal(parts[2], split(1000, (0.2, 0.1), 1, groups=np.arange(1000))[2])


def test_one_large_group_is_trained_on():
    groups = np.repeat(np.arange(101), [900, *[1] * 100])
    for seed in range(10):
        train, validation, test = split(1000, (0.05, 0.02), seed, groups=groups)
        assert (groups[train] == 0).sum() == 900
        assert (len(test), len(validation)) == (50, 20)


def test_classes_are_divided_as_evenly_as_the_groups_permit():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 10)
    labels = (rng.random(60) < 0.2)[groups].astype(int)  # all rows of a group have one class
    for seed in range(10):
        for part in split(600, (0.2, 0.2), seed, labels, groups):
            assert abs(labels[part].mean() - labels.mean()) < 0.05


def test_the_training_part_has_every_class_if_some_division_gives_it():
    groups = np.repeat(np.arange(10), 10)
    labels = (groups >= 8).astype(int)  # two groups of the rarer class
    for seed in range(10):
        train, _, _ = split(100, (0.3, 0.2), seed, labels, groups)
        assert set(labels[train]) == {0, 1}


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_groups_than_parts(count):
    groups = np.arange(40) % count
    with pytest.raises(EmptyDataError, match=r"at least 3 groups, one for each part \(training, validation, test\)"):
        split(40, (0.2, 0.1), groups=groups)
    if count == 2:
        assert [len(part) for part in split(40, (0.2, 0.0), groups=groups)] == [20, 0, 20]


@pytest.mark.parametrize("groups", [["a", None, "b", "c"], [1.0, np.nan, 2.0, 3.0]])
def test_missing_groups_are_named(groups):
    with pytest.raises(LabelError, match="expected a group in every row, found 1 missing, the first in row 2"):
        split(4, groups=np.array(groups, object if groups[0] == "a" else float))


def test_one_group_or_time_per_row():
    with pytest.raises(ShapeError, match="groups: expected 10"):
        split(10, groups=[0, 1])
    with pytest.raises(ShapeError, match="time: expected 10"):
        split(10, time=[0, 1])


# Time

FORMS = {
    "numbers": lambda days: days.astype(float),
    "whole numbers": lambda days: days,
    "dates": lambda days: np.datetime64("2024-01-01") + days.astype("timedelta64[D]"),
    "text": lambda days: (np.datetime64("2024-01-01") + days.astype("timedelta64[D]")).astype(str),
    "text with times": lambda days: (np.datetime64("2024-01-01T00:30") + days.astype("timedelta64[D]")).astype(str),
    "text of another form": lambda days: [f"{date(2024, 1, 1) + timedelta(day):%d.%m.%Y}" for day in days.tolist()],
    "numbers as text": lambda days: days.astype(str).astype(object),
}


@given(st.lists(st.integers(0, 60), min_size=30, max_size=200), SHARES, SHARES, st.sampled_from(sorted(FORMS)))
def test_the_test_part_is_the_latest(days, test, validation, form):
    days = np.array(days)
    if len(np.unique(days)) < 3:
        days[:3] = [0, 1, 2]
    parts = split(len(days), (test, validation), time=FORMS[form](days))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(days)))
    train, held, last = (days[part] for part in parts)
    assert train.max() < held.min() <= held.max() < last.min()  # no time is in two parts
    largest = np.bincount(days).max()
    for part, share in ((last, test), (held, validation)):
        assert abs(len(part) - share * len(days)) <= largest


def test_times_give_parts_of_the_sizes_asked_for_in_any_order_of_rows():
    days = np.random.default_rng(0).permutation(100)
    train, validation, test = split(100, (0.2, 0.1), time=days)
    assert sorted(days[test]) == list(range(80, 100))
    assert sorted(days[validation]) == list(range(70, 80))
    assert sorted(days[train]) == list(range(70))
    assert [len(part) for part in split(100, (0.0, 0.1), time=days)] == [90, 10, 0]
    assert [len(part) for part in split(100, (0.1, 0.0), time=days)] == [90, 0, 10]


def test_fewer_times_than_parts():
    with pytest.raises(EmptyDataError, match=r"at least 2 different times, one for each part \(training, test\), found 1"):
        split(40, (0.2, 0.0), time=np.zeros(40))


def test_times_that_are_no_dates_or_missing():
    for text, first in ((["31.05.2024", "soon", "02.06.2024"], "soon"), (["1", "2", "nan"], "nan"), (["a", "b", "c"], "a")):
        with pytest.raises(DtypeError, match=f"numbers, or dates such as 2024-05-31, found '{first}'"):
            split(3, time=text)
    with pytest.raises(DtypeError, match=r"'03/02/2024' and the like, which may be day/month or month/day"):
        split(3, time=["03/02/2024", "04/02/2024", "05/02/2024"])
    for missing in (np.array([1.0, np.nan, 2.0]), np.array(["2024-01-01", "NaT", "2024-01-02"], "M8[D]"), ["1", "", "2"]):
        with pytest.raises(LabelError, match="a date or number in every row, found 1 missing, the first in row 2"):
            split(3, time=missing)


def test_times_decide_alone():
    with pytest.raises(HyperparameterError, match="got groups too"):
        split(10, time=np.arange(10), groups=np.arange(10))
    with pytest.raises(HyperparameterError, match="got labels to stratify by too"):
        split(10, time=np.arange(10), stratify=np.arange(10) % 2)
    with pytest.raises(HyperparameterError, match="rows may be their number"):
        split(np.arange(10) % 2, time=np.arange(10))


# Other strata


def test_numbers_are_stratified_in_bins():
    y = np.random.default_rng(0).exponential(size=300) ** 3
    for seed in range(5):
        for part, share in zip(split(300, (0.2, 0.1), seed, y), (0.7, 0.1, 0.2), strict=True):
            counts = np.histogram(np.searchsorted(np.sort(y), y[part]), 10, (0, 300))[0]
            np.testing.assert_array_equal(counts, np.full(10, round(30 * share)))


@given(st.integers(2, 6), st.integers(100, 400), st.integers(0, 99))
def test_the_rarest_of_several_labels_is_in_every_part(labels, count, seed):
    rng = np.random.default_rng(seed)
    several = rng.random((count, labels)) < np.linspace(0.5, 0.95, labels)
    several[:, -1] = np.arange(count) < 10
    several = rng.permutation(several)
    train, validation, test = split(count, (0.3, 0.2), seed, several)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation, test])), np.arange(count))
    rare = several.mean(axis=0).argmin()
    if several[:, rare].sum() == 10 and (several.sum(axis=0) != 10).sum() == labels - 1:
        assert abs(several[test, rare].sum() - 3) <= 1
        assert abs(several[validation, rare].sum() - 2) <= 1


def test_several_labels_are_zero_or_one():
    with pytest.raises(LabelError, match="expected 0 and 1 in several columns of labels"):
        split(10, stratify=np.arange(20).reshape(10, 2))
