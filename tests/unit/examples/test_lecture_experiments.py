"""The experiments of the notes at their full size: each one finds what theory says, on every backend of the CPU."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.examples import EXAMPLES, find_example

both = pytest.mark.parametrize("run", ["numpy", "numba"])
long = pytest.mark.parametrize("run", [pytest.param("numpy", marks=pytest.mark.exhaustive), "numba"])
"""For those that train for seconds."""


def result_of(row, backend):
    """The result, after a look at what holds for every example."""
    result = find_example(row).run(backend)
    assert result.holds, "\n".join(f"{f.what}: {f.shown}, expected {f.expected}" for f in result.findings if not f.holds)
    assert result.verdict.endswith(".")
    return result


@both
def test_e1_sigmoid_neuron_has_the_gradient_of_the_notes(run):
    result = result_of("e1", run)
    dw = [result["dL/dw1"], result["dL/dw2"], result["dL/db"]]
    derivative = 0.19661193324148185
    np.testing.assert_allclose(dw, [-derivative, -2.0 * derivative, derivative], rtol=1e-12)
    assert [round(value, 2) for value in dw] == [-0.2, -0.39, 0.2]


@both
def test_e2_affine_jacobian_is_the_two_by_eight_matrix(run):
    result = result_of("e2", run)
    assert (result["rows"], result["columns"]) == (2, 8)
    assert result["difference from [x 0"] == 0.0


@both
def test_e3_gradients_of_the_chain_equal_central_differences(run):
    result = result_of("e3", run)
    errors = [finding.value for finding in result.findings if "against differences" in finding.what]
    assert len(errors) == 7
    assert 0.0 < max(errors) < 1e-9


@both
def test_e4_both_losses_fall_and_their_gradients_equal_the_matrix_form(run):
    result = result_of("e4", run)
    for loss in ("squared error", "hinge"):
        assert result[f"{loss}: gradients"] < 1e-12
        assert 0.97 < result[f"{loss}: accuracy"] < 1.0


@both
def test_e5_symmetry_never_breaks_from_equal_weights(run):
    result = result_of("e5", run)
    for start in ("zero", "one"):
        assert result[f"{start}: largest difference"] < 1e-9
        assert result[f"{start}: accuracy"] < 0.8
    assert result["random: accuracy"] > 0.98


@both
def test_e6_l2_holds_the_weights_small_at_no_cost(run):
    result = result_of("e6", run)
    assert result["with L2: norm"] < 0.8 * result["without: norm"]
    assert result["with L2: accuracy"] > result["without: accuracy"] - 0.005


@long
def test_e7_decay_prune_and_retrain_keeps_the_accuracy_over_five_seeds(run):
    result = result_of("e7", run)
    assert result["weights in %"] >= 80.0 - 0.01
    assert result["points lost, pruned"] <= 1.0
    assert result["points lost, 80% removed at once"] > 5.0


@both
def test_e8_input_noise_is_an_l2_penalty_within_the_standard_error(run):
    result = result_of("e8", run)
    assert 0.3 < result["typical distance"] < 1.5
    assert result["largest distance"] < 3.0


@both
def test_e9_gradient_descent_and_sgd_reach_the_closed_form(run):
    result = result_of("e9", run)
    assert result["gradient descent"] < 1e-10
    assert result["SGD, decreasing rate"] < 0.1 * result["SGD, constant rate"]


@long
def test_e10_signals_vanish_hold_and_explode_over_50_layers_as_theory_says(run):
    result = result_of("e10", run)
    for name, gain in (("too small", 0.5), ("He", 1.0), ("too large", 2.0)):
        assert result[f"{name}: mean square"] == pytest.approx(gain, rel=0.06)
        assert result[f"{name}: mean / root mean square"] == pytest.approx(1.0 / math.sqrt(math.pi), abs=0.02)
    assert result["too small: activations"] < 1e-6
    assert result["too large: activations"] > 1e6


@long
def test_e11_every_optimizer_learns_with_a_rate_of_its_own_and_sgd_is_last_with_every_seed(run):
    result = result_of("e11", run)
    assert len(result.findings) == 8
    assert result["loss of SGD / loss of"] > 2.0


@long
def test_e12_a_rate_too_low_or_too_high_shows_in_the_loss(run):
    result = result_of("e12", run)
    assert result["right: final validation loss"] < result["too low: final validation loss"]
    assert result["too high: largest"] > math.log(10.0)


def test_the_examples_of_all_rows_are_listed_in_order():
    assert [example.row for example in EXAMPLES] == [f"e{k}" for k in range(1, 13)]
    assert len({example.name for example in EXAMPLES}) == 12


@pytest.mark.parametrize("name", ["Sigmoid-Neuron", "sigmoid_neuron", "E1", "e1"])
def test_an_example_is_found_by_name_and_by_number(name):
    assert find_example(name).name == "sigmoid-neuron"


def test_an_unknown_example_is_refused_with_the_list_and_the_nearest_name():
    with pytest.raises(fs.HyperparameterError, match=r"sigmoid-neuron \(e1\).*\(e12\); got 'simetry'.*'symmetry'"):
        find_example("simetry")


def test_a_finding_that_does_not_hold_makes_the_result_fail():
    from fusedstep.framework.examples.findings import Finding, Result

    result = Result([Finding("a", 1.0, "1", True), Finding("b", 2.0, "1", False)], "No.", lambda path: path)
    assert not result.holds
    assert result["b"] == 2.0
    with pytest.raises(KeyError, match="beginning of one of"):
        result["c"]
