"""Combinations for parametrised tests: every pair of values of two axes, in far fewer cases than the whole product."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Any

import pytest


def pairwise(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Cases, one value of each axis, in which each pair of values of any two axes occurs; the same ones every time.

    Greedy: the next case is the one of the whole product with the most pairs that have not occurred.
    """
    places = list(itertools.product(*(range(len(axis)) for axis in axes)))
    both = list(itertools.combinations(range(len(axes)), 2))

    def pairs(case: tuple[int, ...]) -> set[tuple[int, int, int, int]]:
        return {(a, case[a], b, case[b]) for a, b in both}

    left = set().union(*map(pairs, places))
    chosen = []
    while left:
        best = max(places, key=lambda case: len(pairs(case) & left))
        left -= pairs(best)
        chosen.append(tuple(axis[k] for axis, k in zip(axes, best, strict=True)))
    return chosen


def pairs_of(*axes: Collection[Any]) -> list[Any]:
    """Cases for `pytest.mark.parametrize`: those of `pairwise`; the others of the whole product are marked exhaustive."""
    values = [list(axis) for axis in axes]
    chosen = pairwise(*(range(len(axis)) for axis in values))
    rest = set(itertools.product(*(range(len(axis)) for axis in values))).difference(chosen)
    cases = [(case, ()) for case in chosen] + [(case, pytest.mark.exhaustive) for case in sorted(rest)]
    return [pytest.param(*(axis[k] for axis, k in zip(values, case, strict=True)), marks=marks) for case, marks in cases]
