"""Medians, quartiles, ratios by pairs, and what is made of them, on numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fusedstep.benchmarks import evaluation
from fusedstep.benchmarks.results import Timing
from fusedstep.benchmarks.statistics import geometric_mean, pair_ratio, pair_ratios, quantile, spread


def test_spread():
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]) == (2.0, 3.0, 4.0)
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]).relative == pytest.approx(2 / 3)
    assert spread([7.0]) == (7.0, 7.0, 7.0)


def test_quantiles_are_numpys():
    values = np.random.default_rng(0).random(17).tolist()
    for fraction in (0.0, 0.1, 0.25, 0.5, 0.9, 1.0):
        assert quantile(values, fraction) == pytest.approx(np.quantile(values, fraction))


def test_ratios_are_taken_pair_by_pair():
    ours, theirs = [1.0, 20.0, 3.0], [2.0, 10.0, 3.0]
    assert pair_ratios(ours, theirs) == [0.5, 2.0, 1.0]
    assert pair_ratio(ours, theirs) == 1.0
    # The ratio of the medians would be 3 / 3 here, and 1 / 10 there.
    assert pair_ratio([1.0, 1.0, 100.0], [10.0, 0.5, 50.0]) == 2.0
    with pytest.raises(ValueError, match="zip"):
        pair_ratio([1.0], [1.0, 2.0])


def test_geometric_mean():
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert geometric_mean([2.0, 4.0, 8.0]) == pytest.approx(4.0)
    assert math.isnan(geometric_mean([]))


@pytest.mark.row("F4")
def test_figures_of_a_case(case):
    found = evaluation.figures(case, case.timings[0])
    assert found == {
        "median_ms": pytest.approx(5.0), "low_ms": pytest.approx(4.5), "high_ms": pytest.approx(5.5),
        "samples_per_second": pytest.approx(256 / 5e-3), "gflop_per_second": pytest.approx(200.0),
        "fraction_of_floor": pytest.approx(0.5), "to_best_peer": pytest.approx(1.0),
        "to_one_process": None, "bound": None,
    }  # fmt: skip


def test_the_floor_is_the_smaller_one_of_the_same_device(case):
    assert evaluation.floor(case).name == "GEMMs (BLAS)"
    assert evaluation.floor(case, "cuda") is None
    case.timings.append(Timing("cuda", "ours", 1, [1e-3] * 3, "cuda"))
    assert evaluation.fraction_of_floor(case, case.timings[-1]) is None
    case.timings.append(Timing("GEMMs (cuda)", "floor", 1, [5e-4] * 3, "cuda"))
    assert evaluation.fraction_of_floor(case, case.timings[-2]) == pytest.approx(0.5)


def test_best_of_each_kind(case):
    assert evaluation.best_peer(case).name == "torch"
    assert evaluation.best_ours(case).name == "numba"


def test_summary_leaves_sweeps_out(report):
    found = evaluation.summary(evaluation.grid(report))
    assert found["numba"] == {"networks": 2.0, "to_best_peer": pytest.approx(1.0), "fraction_of_floor": pytest.approx(0.5)}
    assert found["numpy"]["to_best_peer"] == pytest.approx(2.0)
    assert found["best"] == found["numba"]


def test_share_of_the_copy_rate(report):
    (kernel,) = report.kernels
    assert evaluation.fastest_copy(kernel).name == "copy, 2 threads"
    assert evaluation.fastest_copy(kernel, "cuda") is None
    assert evaluation.fraction_of_copy(kernel, kernel.timings[0]) == pytest.approx(14.0 / 20.0)
