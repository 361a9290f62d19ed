"""The notation of networks, the grids, and the products that a step consists of."""

from __future__ import annotations

import numpy as np
import pytest

from fusedstep.benchmarks import gemms
from fusedstep.benchmarks.networks import GRIDS, Network, parse, require_grid
from fusedstep.benchmarks.problem import DROPOUT, Problem
from fusedstep.benchmarks.scaling import place, sweeps, thread_counts
from fusedstep.errors import HyperparameterError


def test_parse():
    assert parse("784-512-512-10@256, 64-10@1") == [Network((784, 512, 512, 10), 256), Network((64, 10), 1)]
    assert str(parse("784-512-10@32")[0]) == "784-512-10@32"
    assert parse("784-512-10@32/1504") == [Network((784, 512, 10), 32, 1504)]
    assert str(parse("784-512-10@32/1504")[0]) == "784-512-10@32/1504"
    assert parse("3-4-2@5")[0].parameters == 3 * 4 + 4 + 4 * 2 + 2


@pytest.mark.parametrize(
    "text", ["784-512", "784@5", "784-10@", "784-10@x", "784-10@2.5", "784-10@2/", "784 10@5", "-784-10@5", "relu"]
)
def test_other_forms_are_refused(text):
    with pytest.raises(HyperparameterError, match=r"expected a network .*; got .*; write it as"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("784-10@0", "batch >= 1"), ("784-0-10@5", "widths >= 1"), ("784-1@5", "2 classes"), (",", "got none"),
        ("784-2@5/0", "rows in whole minibatches"), ("784-2@5/12", "a multiple of 5, such as 10"),
    ],
)
def test_impossible_numbers_are_refused(text, words):
    with pytest.raises(HyperparameterError, match=words):
        parse(text)


def test_the_standard_grid():
    assert [str(network) for network in parse(GRIDS["step"]["standard"])] == [
        "64-128-128-10@128", "784-512-512-10@256", "784-1024-1024-10@1024", "784-2048-2048-10@4096",
        "256-256-256-256-10@4096", "1024-4096-4096-1000@2048",
    ]  # fmt: skip


@pytest.mark.parametrize("workload", GRIDS)
def test_all_grids_can_be_read(workload):
    for networks in filter(None, GRIDS[workload].values()):
        assert all(bool(network.rows) == (workload in ("fit", "ranks-fit")) for network in parse(networks))


def test_an_unknown_grid_suggests_the_nearest():
    with pytest.raises(HyperparameterError, match="did you mean 'standard'"):
        require_grid("standart")


def test_products_of_a_step_by_hand():
    """3-4-2, 5 rows: forward [5,3][3,4] and [5,4][4,2]; weights [4,5][5,2] and [3,5][5,4]; input gradient [5,2][2,4]."""
    network = parse("3-4-2@5")[0]
    found = [(p.kind, p.rows, p.inner, p.columns) for p in gemms.products(network)]
    assert found == [
        ("forward", 5, 3, 4), ("forward", 5, 4, 2), ("weights", 4, 5, 2), ("inputs", 5, 2, 4), ("weights", 3, 5, 4),
    ]  # fmt: skip
    assert gemms.flop(network) == 2 * 5 * (12 + 8 + 8 + 8 + 12)


def test_flop_of_a_known_network():
    """2 B (2 · 784 · 512 + 3 · 512 · 512 + 3 · 512 · 10)."""
    assert gemms.flop(parse("784-512-512-10@256")[0]) == 2 * 256 * (2 * 784 * 512 + 3 * 512 * 512 + 3 * 512 * 10)


def test_the_problem_is_the_same_for_all_and_realistic():
    problem = Problem(parse("20-30-5@64")[0], "full")
    again = Problem(parse("20-30-5@64")[0], "full")
    for (w, b), (w2, b2) in zip(problem.start, again.start, strict=True):
        assert w.tobytes() + b.tobytes() == w2.tobytes() + b2.tobytes()
    (x, y), weights = problem.minibatches[0], problem.start[0][0]
    assert (x.dtype, x.shape, y.shape) == (np.float32, (64, 20), (64,))
    assert np.count_nonzero(x) == x.size
    assert abs(weights.std() / np.sqrt(2 / 20) - 1) < 0.1
    assert np.unique(y).size == 5
    assert problem.dropped == DROPOUT
    certain = problem.without_dropout()
    assert certain.dropped == 0.0
    assert certain.start[0][0] is weights
    assert certain.without_dropout() is certain


def test_sweeps():
    found = sweeps("plain", "float32", 6)
    assert thread_counts(6) == [1, 2, 4, 6]
    assert thread_counts(1) == [1]
    for name, axis in (("batch", [32, 128, 512, 2048, 8192]), ("depth", [1, 2, 4, 8, 16]), ("threads", [1, 2, 4, 6])):
        assert [place(s, p.network, p.threads) for s, p in found if s == name] == axis
    assert {p.threads for s, p in found if s != "threads"} == {6}
