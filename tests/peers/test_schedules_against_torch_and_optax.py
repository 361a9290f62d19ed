"""C10: schedules beside those of PyTorch and optax, where these define the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fusedstep as fs

torch = pytest.importorskip("torch")
optax = pytest.importorskip("optax")

pytestmark = pytest.mark.peers

N = 60
LR = 0.3


def _torch_rates(make, epochs=N, momentum=0.0):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR, momentum=momentum)
    scheduler = make(optimizer)
    rates, momenta = [], []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    return rates, momenta


T = torch.optim.lr_scheduler
TORCH = {
    "step": (fs.StepDecay(0.3, 7), lambda o: T.StepLR(o, 7, 0.3)),
    "exponential": (fs.ExponentialDecay(0.05), lambda o: T.ExponentialLR(o, math.exp(-0.05))),
    "inverse": (fs.InverseTimeDecay(0.2), lambda o: T.LambdaLR(o, lambda t: 1 / (1 + 0.2 * t))),
    "cosine": (fs.CosineDecay(steps=N, final=0.1), lambda o: T.CosineAnnealingLR(o, N, 0.1 * LR)),
    "warm-up": (fs.LinearWarmup(steps=20, start=0.25), lambda o: T.LinearLR(o, 0.25, 1.0, 20)),
    "one cycle": (fs.OneCycle(steps=N), lambda o: T.OneCycleLR(o, LR, total_steps=N)),
    "one cycle, other settings": (
        fs.OneCycle(steps=N, rise=0.45, divisor=10, final_divisor=50),
        lambda o: T.OneCycleLR(o, LR, total_steps=N, pct_start=0.45, div_factor=10, final_div_factor=50),
    ),
}


def _ours(schedule, epochs=N):
    """Each step is an epoch as well, so that schedules of either kind can be asked."""
    schedule.lr = LR
    return [schedule(t, t) for t in range(epochs)]


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
@pytest.mark.parametrize("name", TORCH)
def test_c10_formulas_equal_those_of_torch(name):
    schedule, make = TORCH[name]
    last = N - 1 if "cycle" in name else N
    rates, _ = _torch_rates(make, last)
    np.testing.assert_allclose(_ours(schedule, last), rates, rtol=1e-10, atol=1e-12)
    assert len(set(rates)) > 2


def test_c10_one_cycle_moves_the_momentum_like_torch():
    schedule = fs.OneCycle(steps=N)
    _, momenta = _torch_rates(lambda o: T.OneCycleLR(o, LR, total_steps=N), N - 1, momentum=0.9)
    np.testing.assert_allclose([schedule.momentum_at(0, t) for t in range(N - 1)], momenta, rtol=1e-10)


OPTAX = {
    "step": (fs.StepDecay(0.3, 7), optax.exponential_decay(LR, 7, 0.3, staircase=True)),
    "exponential": (fs.ExponentialDecay(0.05), optax.exponential_decay(LR, 1, math.exp(-0.05))),
    "cosine": (fs.CosineDecay(steps=40, final=0.1), optax.cosine_decay_schedule(LR, 40, 0.1)),
    "cosine after a warm-up": (
        fs.CosineDecay(steps=50, warmup_steps=10, final=0.2), optax.warmup_cosine_decay_schedule(0.0, LR, 10, 50, 0.2 * LR),
    ),
    "warm-up": (fs.LinearWarmup(steps=20, start=0.25), optax.linear_schedule(0.25 * LR, LR, 20)),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTAX)
def test_c10_formulas_equal_those_of_optax(name):
    schedule, theirs = OPTAX[name]
    # optax computes in float32.
    np.testing.assert_allclose(_ours(schedule), [float(theirs(t)) for t in range(N)], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("monitor", "mode"), [("val_loss", "min"), ("val_accuracy", "max")])
@pytest.mark.parametrize(("patience", "cooldown", "smallest"), [(1, 0, 0.0), (3, 0, 0.01), (2, 4, 0.0)])
def test_c10_plateau_equals_torch_with_a_patience_less_by_one(seed, monitor, mode, patience, cooldown, smallest):
    rng = np.random.default_rng(seed)
    falling = np.exp(-np.arange(40) / 10)
    figures = (falling if mode == "min" else 1 - falling) + 0.05 * rng.standard_normal(40) + 0.2
    ours = fs.ReduceOnPlateau(0.1, patience, 0.01, cooldown, monitor, smallest, lr=LR)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    theirs = T.ReduceLROnPlateau(
        optimizer, mode, 0.1, patience - 1, threshold=0.01, cooldown=cooldown, min_lr=smallest, eps=0.0
    )
    rates = []
    for epoch, figure in enumerate(figures.tolist()):
        ours.observe({monitor: figure})
        theirs.step(figure)
        rates.append(optimizer.param_groups[0]["lr"])
        assert ours(epoch + 1, 0) == pytest.approx(rates[-1], rel=1e-10)
    assert len(set(rates)) > 1


@pytest.mark.parametrize("seed", range(3))
def test_c10_plateau_equals_optax(seed):
    from optax import contrib

    rng = np.random.default_rng(seed)
    figures = np.exp(-np.arange(40) / 10) + 0.05 * rng.standard_normal(40) + 0.2
    ours = fs.ReduceOnPlateau(0.5, 3, 0.01, 2, lr=1.0)
    theirs = contrib.reduce_on_plateau(0.5, 3, rtol=0.01, cooldown=2)
    parameters = {"w": np.zeros(1, np.float32)}
    state = theirs.init(parameters)
    for epoch, figure in enumerate(figures.tolist()):
        ours.observe({"val_loss": figure})
        _, state = theirs.update(parameters, state, value=figure)
        assert ours(epoch + 1, 0) == pytest.approx(float(state.scale), rel=1e-6)
    assert float(state.scale) < 1


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_c10_momentum_and_rate_that_change_give_the_parameters_of_torch(backend, nesterov, problem):
    optimizer = fs.Nesterov(0.05) if nesterov else fs.Momentum(0.05, form="sum")
    rate, gamma = fs.OneCycle(steps=problem.steps, lr=0.05), fs.OneCycle(steps=problem.steps).momentum_at
    model = fs.Sequential(fs.Linear(6, 8), fs.Tanh(), fs.Linear(8, 5), fs.ReLU(), fs.Linear(5, 3))
    model.initialize(seed=11, backend=backend, dtype="float64")
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer, backend=backend, precision="float64")
    theirs = {n: torch.tensor(v, requires_grad=True) for n, v in problem.first.items()}
    peer = torch.optim.SGD(list(theirs.values()), lr=0.05, momentum=0.9, nesterov=nesterov)
    rows, expected = [], []
    for t in range(problem.steps):
        step.lr = peer.param_groups[0]["lr"] = rate(0, t)
        step.momentum = peer.param_groups[0]["momentum"] = gamma(0, t)
        step(problem.x[t], problem.y[t])
        w = list(theirs.values())
        hidden = torch.relu(torch.tanh(torch.tensor(problem.x[t]) @ w[0] + w[1]) @ w[2] + w[3])
        peer.zero_grad()
        torch.nn.functional.cross_entropy(hidden @ w[4] + w[5], torch.tensor(problem.y[t])).backward()
        peer.step()
        rows.append(problem.flat(model.parameters().values()))
        expected.append(problem.flat([v.detach().numpy() for v in w]))
    problem.require_same(np.array(rows), np.array(expected), f"{optimizer!r} under OneCycle on {backend}")
