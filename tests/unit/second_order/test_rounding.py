"""Where rounding hides which of two points is lower, slopes decide: every method goes on to small gradients, and then ends.

Which bits a BLAS library rounds depends on the processor. For OpenBLAS, OPENBLAS_CORETYPE=Haswell (Zen, Prescott, …) with
FUSEDSTEP_BLAS=numpy runs the kernels of another one, and FUSEDSTEP_TEST_SEEDS=30 tries that many seeds instead of 1.
"""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
from pairs import pairs_of, pairwise

import fusedstep as fs
from fusedstep.framework.second_order.line_search import Probe

SEEDS = range(int(os.environ.get("FUSEDSTEP_TEST_SEEDS", "1")))
EPS = 2.0**-52
TOLERANCES = {"float64": 1e-9, "float32": 1e-4}
STEPS = 20_000
"""More than steepest descent needs here, whose error shrinks by a fixed share in each iteration."""


class Rounded:
    """phi(a) = 1 + 1e-18 (a - 3)^2 with exact slopes, and with values off by up to 3 eps: 1 + noise for steps below 20."""

    def __init__(self, noise, lowest=3.0):
        self.generator, self.lowest, self.asked = np.random.default_rng(noise), lowest, []

    def __call__(self, step, wanted):
        self.asked.append((step, wanted))
        value = 1.0 + 1e-18 * (step - self.lowest) ** 2 + EPS * int(self.generator.integers(-3, 4))
        return Probe(step, value, self.derivative(step) if wanted else float("nan"))

    def derivative(self, step):
        return 2e-18 * (step - self.lowest)

    @property
    def start(self):
        return Probe(0.0, 1.0, self.derivative(0.0), 4.0 * EPS)


@pytest.mark.parametrize("noise", range(10))
def test_c7_backtracking_goes_by_the_slopes_where_values_are_noise(noise):
    """phi'(a) <= (2 c1 - 1) phi'(0) holds up to a = 6 (1 - c1), where phi is as low as at 0."""
    phi = Rounded(noise)
    assert fs.Backtracking().search(phi, phi.start, 16.0).step == 4.0
    assert phi.asked == [(16.0, False), (16.0, True), (8.0, False), (8.0, True), (4.0, False), (4.0, True)]
    assert fs.Backtracking(probes=2).search(phi, phi.start, 16.0) is None  # whatever the values say


@pytest.mark.parametrize("noise", range(3))
@pytest.mark.parametrize("first", [1e-3, 1.0, 5.9, 6.1, 100.0])
@pytest.mark.parametrize("c2", [0.9, 0.1, 1e-3])
def test_c7_strong_wolfe_goes_by_the_slopes_where_values_are_noise(c2, first, noise):
    phi = Rounded(noise)
    found = fs.StrongWolfe(c2=c2).search(phi, phi.start, first)
    assert abs(found.derivative) <= c2 * abs(phi.start.derivative)
    assert len(phi.asked) <= 14


@pytest.mark.parametrize("noise", range(10))
def test_c7_best_of_goes_by_the_slopes_where_values_are_noise(noise):
    phi = Rounded(noise)
    assert fs.BestOf([0.1, 1.0, 2.9, 3.2, 7.0]).search(phi, phi.start, 1.0).step == 2.9
    assert fs.BestOf([7.0, 8.0]).search(phi, phi.start, 1.0) is None


SEARCHES = [fs.Backtracking(), fs.StrongWolfe(), fs.BestOf()]


@pytest.mark.parametrize("search", SEARCHES, ids=repr)
def test_c7_a_rise_beyond_rounding_is_refused_whatever_the_slopes_say(search):
    def phi(step, wanted):
        return Probe(step, 1.0 + 9.0 * EPS if step else 1.0, -1e-18 if wanted else float("nan"))

    assert search.search(phi, phi(0.0, True)._replace(rounding=4.0 * EPS), 1.0) is None


@pytest.mark.parametrize("search", SEARCHES, ids=repr)
def test_c7_slopes_that_foretell_a_visible_fall_are_refused_where_none_is_seen(search):
    def phi(step, wanted):
        return Probe(step, 1.0, -1.0 if wanted else float("nan"))

    found = search.search(phi, phi(0.0, True)._replace(rounding=4.0 * EPS), 1.0)
    assert found is None or found.step < 16.0 * EPS


def test_c7_backtracking_computes_no_slope_where_values_tell(lab):
    asked = []

    def phi(step, wanted):
        asked.append((step, wanted))
        return Probe(step, 1.0 + step * (step - 3.0))

    assert fs.Backtracking().search(phi, Probe(0.0, 1.0, -3.0, 4.0 * EPS), 4.0).step == 2.0
    assert asked == [(4.0, False), (2.0, False)]


def problem(lab, kind, backend, dtype, seed):
    """(problem, l2): a quadratic, one convex but for what l2 adds, and a network."""
    if kind == "least squares":
        found = lab.least_squares(backend, seed=seed)
        found.model.to(backend, dtype)
        return found, 0.0
    if kind == "softmax regression":
        return lab.classes(backend, widths=(4, 3), dtype=dtype, seed=seed), 0.1
    return lab.classes(backend, dtype=dtype, seed=seed), 0.05


def run(lab, kind, backend, dtype, seed, method, **options):
    given, l2 = problem(lab, kind, backend, dtype, seed)
    return fs.minimize(given.model, given.loss, given.x, given.y, method, l2=l2, **options)


METHODS = [
    fs.Newton(), fs.BFGS(), fs.LBFGS(), fs.ConjugateGradient(), fs.ConjugateGradient("fletcher_reeves"), fs.HessianFree(),
    fs.SteepestDescent(),
]  # fmt: skip
KINDS = ["least squares", "softmax regression", "network"]
CASES = {
    f"{method!r}-{kind}": (method, kind)
    for method in METHODS
    for kind in KINDS
    # Its Gauss-Newton model of the network misses so much of H that it takes hundreds of iterations, a second a run.
    if len(SEEDS) > 1 or not (isinstance(method, fs.HessianFree) and kind == "network")
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("case", "dtype", "backend"), pairs_of(CASES, TOLERANCES, ["numpy", "numba"]))
def test_c9_every_method_reaches_a_small_gradient(case, dtype, backend, seed, lab):
    method, kind = CASES[case]
    result = run(lab, kind, backend, dtype, seed, method, iterations=STEPS, gradient_tolerance=TOLERANCES[dtype])
    assert result.converged, (result.gradient_norm, result.iterations, result.reason)


WITH_A_SEARCH = [fs.Newton, fs.BFGS, fs.LBFGS, fs.ConjugateGradient, fs.SteepestDescent]


def named(value):
    """How a case of PAIRS is called."""
    return value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("method", "search", "kind", "dtype"), pairwise(WITH_A_SEARCH, SEARCHES, KINDS[:2], list(TOLERANCES)), ids=named
)
def test_c7_every_method_reaches_a_small_gradient_with_every_search(method, search, kind, dtype, seed, backend, lab):
    method = method(line_search=search)
    result = run(lab, kind, backend, dtype, seed, method, iterations=STEPS, gradient_tolerance=TOLERANCES[dtype])
    assert result.converged, (result.gradient_norm, result.iterations, result.reason)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("method", [fs.Newton(line_search=fs.FixedStep()), fs.SteepestDescent(fs.FixedStep(0.04))], ids=repr)
def test_c7_fixed_steps_reach_a_small_gradient_on_a_quadratic(method, dtype, seed, backend, lab):
    result = run(lab, KINDS[0], backend, dtype, seed, method, iterations=STEPS, gradient_tolerance=TOLERANCES[dtype])
    assert result.converged, (result.gradient_norm, result.iterations, result.reason)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_c9_a_run_to_the_end_of_precision_ends_and_never_climbs(method, dtype, seed, backend, lab):
    """Of the points as low as the lowest, to rounding, the one with the smallest gradient is kept."""
    # With the first seed Newton's method takes thousands of steps within rounding before it ends.
    given, l2 = problem(lab, KINDS[1], backend, dtype, seed + 2)
    result = fs.minimize(
        given.model, given.loss, given.x, given.y, method, iterations=STEPS, l2=l2, gradient_tolerance=0.0
    )
    assert result.iterations < STEPS
    objective = fs.Objective(given.model, given.loss, given.x, given.y, l2)
    objective.gradient()
    within = 2.01 * objective.rounding
    losses, norms = np.array(result.history["loss"]), np.array(result.history["gradient_norm"])
    assert (losses <= np.minimum.accumulate(losses) + within * losses / losses[-1]).all()
    assert result.gradient_norm == norms[losses <= losses.min() + within].min()
    assert result.loss <= losses.min() + within
    assert result.gradient_norm <= TOLERANCES[dtype]


@pytest.mark.parametrize("shift", [0.0, 100.0])
@pytest.mark.parametrize("kind", KINDS)
def test_c9_the_rounding_of_the_loss_is_estimated_from_above(kind, shift, backend, lab):
    """float32 against float64 at the same parameters and data; large outputs with small errors are rounded the most."""
    values = {}
    for dtype in ("float64", "float32"):
        for seed in range(20):
            given, l2 = problem(lab, kind, backend, "float32", seed)
            x, y = np.asarray(given.x, "float32"), given.y
            if kind == KINDS[0]:
                y = np.asarray(given.y + shift, "float32")
                list(given.model.parameters().values())[1][...] += shift
            given.model.to(backend, dtype)
            objective = fs.Objective(given.model, given.loss, x, y, l2)
            values.setdefault(seed, []).append((objective.gradient()[0], objective.rounding))
    errors = np.array([abs(single[0] - double[0]) / single[1] for double, single in values.values()])
    assert errors.max() < 1.0
    assert errors.max() > 1e-3
    ratios = [single[1] / double[1] for double, single in values.values()]
    np.testing.assert_allclose(ratios, 2.0**29, rtol=1e-2)


def test_c9_steps_that_rounding_hides_count_as_progress_unless_the_tolerance_is_above_it(lab):
    """With 1e-12 of |f| as the least fall, steepest descent stops on the way; the default goes on."""
    options = {"iterations": STEPS, "gradient_tolerance": 1e-9}
    early = run(lab, KINDS[1], "numpy", "float64", 0, fs.SteepestDescent(), progress_tolerance=1e-12, **options)
    assert not early.converged
    assert "less than 1e-12 of itself in 5 iterations" in early.reason
    assert run(lab, KINDS[1], "numpy", "float64", 0, fs.SteepestDescent(), **options).converged


class Sideways(fs.LineSearch):
    """Accepts any step that changes f by less than its rounding."""

    def search(self, phi, start, first):
        for step in (first * 0.5**k for k in itertools.count()):
            found = phi(step, True)
            if abs(found.value - start.value) < 2.0 * start.rounding:
                return found
        return None


def test_c9_steps_in_vain_come_to_an_end(backend, lab):
    """A search that always finds a step is given up once neither f nor its gradient gets lower."""
    given, l2 = problem(lab, KINDS[1], backend, "float64", 0)
    arguments = (given.model, given.loss, given.x, given.y)
    fs.minimize(*arguments, fs.Newton(), l2=l2, gradient_tolerance=1e-9)
    result = fs.minimize(
        *arguments, fs.Newton(line_search=Sideways()), iterations=500, l2=l2, gradient_tolerance=0.0
    )
    assert result.iterations < 500
    assert max(result.history["loss"]) <= result.history["loss"][0] * (1.0 + 100.0 * EPS)
