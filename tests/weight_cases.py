"""Every loss with targets for tests of sample weights, and steps on few rows to compare with repeated rows."""

from __future__ import annotations

import numpy as np

import fusedstep as fs
from fusedstep.framework.losses import LOSSES

ROWS, COLUMNS, OUTPUTS = 37, 5, 3
rng = np.random.default_rng(7)
X = rng.standard_normal((ROWS, COLUMNS))
LABELS = rng.integers(0, OUTPUTS, ROWS)
NUMBERS = rng.standard_normal((ROWS, OUTPUTS))
SHARES = rng.dirichlet(np.ones(OUTPUTS), ROWS)
BITS = rng.integers(0, 2, (ROWS, OUTPUTS)).astype(float)
COUNTS = rng.integers(0, 4, ROWS)
"""Weights that are whole numbers, some of them 0: as many times is each row of REPEATED."""
REPEATED = np.repeat(np.arange(ROWS), COUNTS)
FRACTIONS = rng.uniform(0.0, 3.0, ROWS)

EVENTS = rng.poisson(2.0, (ROWS, OUTPUTS)).astype(float)

TARGETS = {
    "SoftmaxCrossEntropy": LABELS, "Focal": LABELS, "MultiClassHinge": LABELS, "BinaryCrossEntropy": BITS,
    "BinaryFocal": BITS, "Hinge": BITS, "Poisson": EVENTS,
}  # fmt: skip
CASES = {name: (cls, TARGETS.get(name, SHARES if cls.needs_simplex else NUMBERS)) for name, cls in LOSSES.items()}
CASES |= {
    "three quantiles": (lambda reduction: fs.Quantile([0.1, 0.5, 0.9], reduction=reduction), NUMBERS[:, :1]),
    "focal, class weights": (lambda reduction: fs.Focal(1.5, {0: 2.0}, reduction), LABELS),
    "distributions": (fs.SoftmaxCrossEntropy, SHARES),
    "smoothing, class weights": (
        lambda reduction: fs.SoftmaxCrossEntropy(0.1, "uniform", [1.0, 0.5, 2.0], reduction), LABELS,
    ),
}  # fmt: skip
"""Name -> (loss of a reduction, targets)."""


def new_step(name, reduction="mean", backend="numpy", dtype="float64", optimizer=None, kind=fs.TrainStep, **options):
    """A step of a network without random numbers, which would depend on where a row is."""
    loss = CASES[name][0](reduction=reduction)
    layers = [fs.Linear(COLUMNS, 16), fs.Tanh(), fs.Linear(16, OUTPUTS), *([fs.Softmax()] if loss.needs_simplex else [])]
    model = fs.Sequential(*layers).initialize(3, backend, dtype)
    return kind(model, loss, optimizer or fs.Momentum(0.01), seed=1, backend=backend, **options)


def gradient(step):
    """The last gradient, on the host."""
    return np.array(step.backend.to_numpy(step.gradient))


def parameters(step):
    """All parameters, on the host."""
    return np.array(step.backend.to_numpy(step.model.arena.values))
