"""How the conventions of the texts relate: momentum forms, Nesterov's two forms, where epsilon stands."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

BACKENDS = ["base", "numpy", "numba"]


def last_and_all(history):
    return np.array([np.concatenate([v.reshape(-1) for v in step.values()]) for step in history])


@pytest.mark.row("C3")
@pytest.mark.parametrize("backend", BACKENDS)
def test_momentum_forms_coincide_under_the_stated_rescaling(backend, bench):
    """FEATURES C3: update (002), velocity (003) and sum are the same at a constant rate; average (004) at lr / (1 - gamma)."""
    gamma, lr = 0.85, 0.004

    def run(form, rate):
        return last_and_all(bench.run(fs.Momentum(rate, gamma, form=form), backend, bench.gradients)[0])

    update = run("update", lr)
    assert np.abs(update[-1] - update[0]).max() > 0.1
    for other in (run("velocity", lr), run("sum", lr), run("average", lr / (1.0 - gamma))):
        np.testing.assert_allclose(other, update, rtol=1e-10, atol=1e-10)
    assert np.abs(run("average", lr) - update).max() > 0.01


@pytest.mark.parametrize("backend", BACKENDS)
def test_momentum_forms_differ_where_the_rate_changes(backend, bench):
    """A new rate acts at once on the whole history in form sum, and only on later gradients in form update."""

    def run(form):
        rates = lambda t: 0.004 if t <= 50 else 0.0004  # noqa: E731
        return last_and_all(bench.run(fs.Momentum(0.004, 0.9, form=form), backend, bench.gradients, rates)[0])

    update, total, velocity = run("update"), run("sum"), run("velocity")
    np.testing.assert_allclose(update[:50], total[:50], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(update, velocity, rtol=1e-10, atol=1e-12)
    assert np.abs(update[50] - total[50]).max() > 1e-3


@pytest.mark.row("C4")
@pytest.mark.parametrize("backend", BACKENDS)
def test_look_ahead_points_of_nesterov_are_the_reformulated_parameters(backend):
    """FEATURES C4, on a real run: each form computes its own gradients, and they meet at every step."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(100, 16, 5)), rng.integers(0, 3, (100, 16))
    gamma, lr = 0.9, 0.05
    from fusedstep.backends import Backend

    where = Backend(np) if backend == "base" else backend

    def make(form):
        model = fs.Sequential(fs.Linear(5, 9), fs.Tanh(), fs.Linear(9, 3)).initialize(4, where, "float64")
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Nesterov(lr, gamma, form=form), backend=where)
        return model, step

    ahead_model, ahead = make("look_ahead")
    model, plain = make("reformulated")
    for t in range(100):
        first, second = float(ahead(x[t], y[t])), float(plain(x[t], y[t]))
        # The losses are those at the points where the gradients were taken, so they agree as well.
        assert first == pytest.approx(second, rel=1e-10)
        point = np.asarray(ahead_model.arena.values) - gamma * np.asarray(ahead.state.states["u"])
        np.testing.assert_allclose(point, np.asarray(model.arena.values), rtol=1e-10, atol=1e-11)
    assert np.abs(np.asarray(ahead_model.arena.values) - point).max() > 1e-3


@pytest.mark.row("C5")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_epsilon_placements_as_the_formulas_say(kind, backend, bench):
    """One step from rest on a gradient as large as epsilon, where the two placements differ most."""
    eps = 1e-2
    gradients = [{n: np.full_like(v, eps) for n, v in bench.first.items()}]

    def moved(placement):
        optimizer = getattr(fs, kind)(lr=1.0, epsilon=eps, epsilon_placement=placement)
        after = bench.run(optimizer, backend, gradients)[0][-1]
        steps = np.concatenate([(bench.first[n] - after[n]).reshape(-1) for n in after])
        assert np.ptp(steps) < 1e-12
        return steps[0]

    g = eps
    v = {"AdaGrad": g * g, "RMSProp": 0.1 * g * g, "AdaDelta": 0.1 * g * g, "Adam": g * g}[kind]
    top = {"inside": np.sqrt(eps), "outside": eps} if kind == "AdaDelta" else {"inside": 1.0, "outside": 1.0}
    assert moved("inside") == pytest.approx(top["inside"] * g / np.sqrt(v + eps), rel=1e-12)
    assert moved("outside") == pytest.approx(top["outside"] * g / (np.sqrt(v) + eps), rel=1e-12)
    default = bench.run(getattr(fs, kind)(lr=1.0, epsilon=eps), backend, gradients)[0][-1]
    stated = bench.run(
        getattr(fs, kind)(lr=1.0, epsilon=eps, epsilon_placement="inside" if kind == "AdaDelta" else "outside"),
        backend,
        gradients,
    )[0][-1]
    for name in stated:
        np.testing.assert_array_equal(default[name], stated[name])


def test_l2_and_weight_decay_are_the_same_for_sgd_and_differ_for_adam(bench):
    def run(kind, **penalty):
        return last_and_all(bench.run(kind(0.01, **penalty), "numpy", bench.gradients)[0])

    np.testing.assert_allclose(run(fs.SGD, l2=0.2), run(fs.SGD, weight_decay=0.2), rtol=1e-10, atol=1e-12)
    assert np.abs(run(fs.Adam, l2=0.2) - run(fs.Adam, weight_decay=0.2)).max() > 1e-3
    np.testing.assert_array_equal(run(fs.Adam, weight_decay=0.2), run(fs.AdamW, weight_decay=0.2))


def test_a_group_on_everything_with_lr_scale_is_another_learning_rate(bench):
    for kind, lr in ((fs.SGD, 0.01), (fs.Adam, 0.01), (fs.Adamax, 0.01), (fs.LAMB, 0.01)):
        scaled = kind(lr, groups=[fs.ParameterGroup("*", lr_scale=0.25)])
        one = last_and_all(bench.run(scaled, "numpy", bench.gradients)[0])
        two = last_and_all(bench.run(kind(0.25 * lr), "numpy", bench.gradients)[0])
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-14)
