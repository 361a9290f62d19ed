"""The model of communication: it finds the costs that made the numbers, and the committed measurements agree with it."""

import json
from itertools import product
from pathlib import Path

import pytest
from launching import launch

from fusedstep.benchmarks import scale_model
from fusedstep.benchmarks.networks import parse
from fusedstep.benchmarks.scale_model import Costs, Link, Measured, alone_seconds, exchanges, fitted, step_seconds, sum_seconds
from fusedstep.errors import HyperparameterError

RESULTS = Path(scale_model.__file__).parent / "results" / "two-hosts"
FIT, CHECK = ("0.25-0", "2-0", "0.5-2"), ("1-0", "1-1", "0.3-3")
LARGE, SMALL = parse("784-1024-1024-10@4096, 64-256-10@512")
COSTS = Costs(call=2e-4, byte=5e-10, wire=1.05, trips=1.0, trips_of_long=3.0, hidden=0.25)


@pytest.mark.parametrize("ranks", [1, 2, 8, 512])
def test_each_process_sends_its_parts_once_in_each_direction(ranks):
    sizes = exchanges(1 << 20, ranks)
    assert len(sizes) == 2 * (ranks.bit_length() - 1)
    assert sum(sizes) == pytest.approx(2 * (ranks - 1) / ranks * (1 << 20))
    assert max(sizes, default=0) <= 1 << 19


def test_other_numbers_of_processes_are_refused():
    with pytest.raises(HyperparameterError, match="expected a power of two for the processes of the model; got 3; choose"):
        exchanges(1024, 3)


def test_a_sum_by_hand():
    """Two exchanges of 500,000 bytes at 1 Gbit/s, which take 4 ms each, and their delays, calls and processors."""
    link, byte = Link(1.0, 2.0), 5e-10 + 1.05 * 8e-9
    assert sum_seconds(COSTS, 1_000_000, 2, link) == pytest.approx(2 * (2e-4 + 3 * 2e-3 + 0.5e6 * byte))
    assert sum_seconds(COSTS, 1000, 2, link) == pytest.approx(2 * (2e-4 + 2e-3 + 500 * byte))
    assert sum_seconds(COSTS, 1000, 1, link) == 0.0


def made_up(link, ranks=2):
    """What would be measured if the model were right."""
    alone = {network: {network.batch // ranks: 1e-3 + 3e-5 * network.batch / ranks} for network in (LARGE, SMALL)}
    steps = {n: step_seconds(COSTS, *alone[n].values(), scale_model.gradient_bytes(n), ranks, link) for n in alone}
    return Measured(link, ranks, {4 * 10**k: sum_seconds(COSTS, 4 * 10**k, ranks, link) for k in range(1, 7)}, steps, alone)


def test_the_costs_that_made_the_numbers_are_found():
    found = fitted([made_up(Link(gbit, delay)) for gbit, delay in product((0.5, 2.0), (0.0, 2.0))])
    assert found == pytest.approx(COSTS, rel=1e-6)


@pytest.mark.parametrize("links", [[(1, 0), (1, 2)], [(1, 1), (2, 1)]])
def test_one_bandwidth_or_one_delay_is_too_little(links):
    with pytest.raises(HyperparameterError, match="expected at least two bandwidths and two delays to fit to; got 1 Gbit/s"):
        fitted([made_up(Link(*link)) for link in links])


def test_the_committed_model_predicts_networks_that_it_was_not_fitted_to():
    known, new = ([scale_model.load(RESULTS / f"{name}.json") for name in names] for names in (FIT, CHECK))
    assert not {m.link for m in known} & {m.link for m in new}
    costs, alone = fitted(known), alone_seconds(known)
    text = (RESULTS / "model.md").read_text(encoding="utf-8")
    assert text.startswith(scale_model.described(costs))
    rows = scale_model.checks(costs, alone, new)
    assert len(rows) == 3 * (8 + 3)
    for link, what, seconds, predicted in rows:
        if what.startswith("step 784"):
            assert predicted == pytest.approx(seconds, rel=0.2), (link, what)


def test_the_figure_shows_all_networks_and_marks_what_is_extrapolated(tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib: the extra plot")
    known = [scale_model.load(RESULTS / f"{name}.json") for name in FIT]
    path = tmp_path / "scale.svg"
    links = [m.link for m in known]
    scale_model.draw(path, fitted(known), alone_seconds(known), list(known[0].steps), links, known)
    text = path.read_text(encoding="utf-8")
    assert text.count("<!-- extrapolation -->") == 3
    assert all(f"<!-- {words} -->" in text for words in (*map(str, links), *map(str, known[0].steps), "processes R"))


def test_two_processes_measure_what_the_model_reads(tmp_path):
    path = tmp_path / "two.json"
    given = ("--networks", "8-4-2@16", "--divisors", "1,8", "--rounds", "2", "--gbit", "1", "--delay-ms", "0", "--out", path)
    ended = launch(2, "-m", "fusedstep.benchmarks.communication", *given)
    assert ended.status == 0, ended.error
    found = scale_model.load(path)
    (network,) = parse("8-4-2@16")
    assert (found.link, found.ranks, len(found.sums)) == (Link(1.0, 0.0), 2, 8)
    assert found.steps[network] > 0.0
    assert set(found.alone[network]) == {16, 8, 2}
    assert ended.out.count("\n") == 8 + 1 + 3


def test_a_file_without_its_network_is_refused(tmp_path):
    path = tmp_path / "two.json"
    path.write_text(json.dumps({"gbit": None, "delay_ms": None, "ranks": 2, "seconds": {}}))
    with pytest.raises(HyperparameterError, match="with its bandwidth and delay; got none"):
        scale_model.load(path)
