"""Line searches: their conditions hold for the step they return, on functions with known minima and on hostile ones."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.errors import HyperparameterError
from fusedstep.framework.second_order.line_search import Probe


class Line:
    """phi with its derivative, and a record of the steps that were tried."""

    def __init__(self, value, derivative):
        self.value, self.derivative, self.steps = value, derivative, []

    def __call__(self, step, wanted=True):
        self.steps.append(step)
        value = self.value(step)
        return Probe(step, value if math.isfinite(value) else math.inf, self.derivative(step) if wanted else math.nan)

    @property
    def start(self):
        return Probe(0.0, self.value(0.0), self.derivative(0.0))


# The test functions of More and Thuente (1994), table 5: a narrow valley, a long flat one, one of many wiggles.
BETA = 2.0
FUNCTIONS = {
    "quadratic": (lambda a: (a - 3.0) ** 2, lambda a: 2.0 * (a - 3.0)),
    "More-Thuente 1": (lambda a: -a / (a * a + BETA), lambda a: (a * a - BETA) / (a * a + BETA) ** 2),
    "More-Thuente 2": (
        lambda a: (a + 0.004) ** 5 - 2.0 * (a + 0.004) ** 4, lambda a: 5.0 * (a + 0.004) ** 4 - 8.0 * (a + 0.004) ** 3,
    ),
    "exponential": (lambda a: math.exp(min(a, 700.0)) - 4.0 * a, lambda a: math.exp(min(a, 700.0)) - 4.0),
    "wiggles": (lambda a: 0.1 * (a - 5.0) ** 2 + 0.2 * math.cos(6.0 * a), lambda a: 0.2 * (a - 5.0) - 1.2 * math.sin(6.0 * a)),
    "barrier": (
        lambda a: -math.log(2.0 - a) - 3.0 * a if a < 2.0 else math.nan,
        lambda a: 1.0 / (2.0 - a) - 3.0 if a < 2.0 else math.nan,
    ),
}  # fmt: skip


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize("c2", [0.9, 0.1, 1e-3])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_c7_strong_wolfe_conditions_hold(name, c2, first):
    phi = Line(*FUNCTIONS[name])
    found = fs.StrongWolfe(c1=1e-4, c2=c2).search(phi, phi.start, first)
    assert found is not None
    assert found.value <= phi.start.value + 1e-4 * found.step * phi.start.derivative
    # The slope at 0 of the second function is 5e-7: a thousandth of it means differences of phi far below rounding.
    rounding = 1e-7 if name == "More-Thuente 2" and c2 < 0.1 else 0.0
    assert abs(found.derivative) <= max(c2 * abs(phi.start.derivative), rounding)
    assert found.value == phi.value(found.step)
    assert len(phi.steps) <= 30


@pytest.mark.parametrize("shrink", [0.5, 0.8])
@pytest.mark.parametrize("c1", [1e-4, 0.3])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_c7_backtracking_takes_the_first_step_that_satisfies_armijo(name, c1, shrink):
    phi = Line(*FUNCTIONS[name])
    found = fs.Backtracking(c1=c1, shrink=shrink).search(phi, phi.start, 10.0)

    def low_enough(step):
        value = phi.value(step)
        return value <= phi.start.value + c1 * step * phi.start.derivative

    assert low_enough(found.step)
    assert not any(low_enough(step) for step in phi.steps[:-1])
    np.testing.assert_allclose(phi.steps, 10.0 * shrink ** np.arange(len(phi.steps)))
    assert found.step == phi.steps[-1]


def test_c7_best_of_keeps_the_rate_with_the_lowest_loss():
    phi = Line(*FUNCTIONS["quadratic"])
    rates = [0.1, 1.0, 2.9, 3.2, 7.0]
    assert fs.BestOf(rates).search(phi, phi.start, 123.0).step == 2.9
    assert phi.steps == rates
    assert fs.BestOf([7.0, 8.0]).search(phi, phi.start, 1.0) is None


def test_c7_best_of_passes_over_rates_at_which_the_loss_is_nan():
    phi = Line(*FUNCTIONS["barrier"])
    assert fs.BestOf([5.0, 1.9, 1.0, 1e-3]).search(phi, phi.start, 1.0).step == 1.9


@pytest.mark.parametrize("search", [fs.Backtracking(), fs.StrongWolfe(), fs.BestOf()])
def test_c7_nothing_is_found_where_nothing_is_lower(search):
    flat = Line(lambda a: 1.0, lambda a: -1.0)
    assert search.search(flat, flat.start, 1.0) is None
    broken = Line(lambda a: 1.0 if a == 0.0 else math.nan, lambda a: -1.0)
    assert search.search(broken, broken.start, 1.0) is None


def test_c7_a_function_without_a_lower_bound_ends_at_the_longest_step():
    line = Line(lambda a: -a, lambda a: -1.0)
    found = fs.StrongWolfe(probes=100, longest=64.0).search(line, line.start, 1.0)
    assert found.step == 64.0


def test_c7_the_cubic_finds_the_minimum_of_a_quadratic_at_once():
    phi = Line(*FUNCTIONS["quadratic"])
    found = fs.StrongWolfe(c1=1e-8, c2=1e-6).search(phi, phi.start, 10.0)
    assert found.step == pytest.approx(3.0, abs=1e-12)
    assert phi.steps[0] == 10.0
    assert len(phi.steps) == 2


@pytest.mark.parametrize(
    "search", [None, fs.BestOf(), fs.BestOf([0.03, 0.3]), fs.StrongWolfe(), fs.FixedStep(0.02)], ids=repr
)
def test_c7_steepest_descent_goes_down_with_each_of_them(search, backend, lab):
    q = lab.least_squares(backend)
    result = fs.minimize(q.model, q.loss, q.x, q.y, fs.SteepestDescent(search), iterations=40)
    losses = result.history["loss"]
    assert all(b < a for a, b in pairwise(losses))
    assert losses[-1] - q.minimum < 0.05 * (losses[0] - q.minimum)
    if isinstance(search, fs.BestOf):
        assert set(result.history["step"][1:]) <= set(search.rates)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fs.Backtracking(c1=0.0), "c1 in"),
        (lambda: fs.Backtracking(shrink=1.0), "shrink in"),
        (lambda: fs.Backtracking(probes=0), "probes"),
        (lambda: fs.StrongWolfe(c1=0.5, c2=0.4), "c1 < c2 < 1"),
        (lambda: fs.StrongWolfe(c2=1.0), "c2 in"),
        (lambda: fs.BestOf([]), "several learning rates"),
        (lambda: fs.BestOf(0.1), "several learning rates"),
        (lambda: fs.BestOf([0.1, -1.0]), "rates in"),
        (lambda: fs.FixedStep(0.0), "rate in"),
        (lambda: fs.SteepestDescent(fs.Backtracking), "did you forget"),
        (lambda: fs.SteepestDescent(first_step=0.0), "first_step in"),
    ],
)
def test_c7_impossible_settings_are_refused(make, message):
    with pytest.raises(HyperparameterError, match=message):
        make()
