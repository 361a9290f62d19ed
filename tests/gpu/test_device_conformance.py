"""The whole conformance suite, and training beside numpy, on a real device."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import Random, conformance

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("check", conformance.checks(), ids=str)
def test_conformance(check, gpu_backend):
    check(gpu_backend)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_fifty_steps_beside_numpy(gpu_backend, precision, tolerance):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((256, 20)), rng.integers(0, 5, 256)
    losses, starts, bits = [], [], []
    for run in ("numpy", gpu_backend):
        model = fs.Sequential(
            fs.Linear(20, 64), fs.LayerNorm(64), fs.GELU(), fs.Dropout(0.2),
            fs.Residual(fs.Linear(64, 64), fs.Tanh()), fs.Maxout(64, 32), fs.Linear(32, 5),
        )  # fmt: skip
        # A large epsilon: with 1e-8 the first steps of Adam magnify the rounding of gradients that are nearly zero.
        optimizer = fs.AdamW(1e-2, epsilon=1e-5, clip_norm=1.0)
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(0.1), optimizer, seed=7, backend=run, precision=precision)
        starts.append(step.backend.to_numpy(model.arena.values))
        source = Random(step.backend.random_state(7, 3), 5)
        bits.append(step.backend.to_numpy(step.backend.random_bits(256, 64, source)))
        losses.append([float(step(x, y)) for _ in range(50)])
    np.testing.assert_array_equal(*starts)
    np.testing.assert_array_equal(*bits)
    np.testing.assert_allclose(losses[1], losses[0], rtol=tolerance)
    assert losses[0][-1] < 0.7 * losses[0][0]


def test_the_same_seed_twice_is_bit_identical(gpu_backend):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((300, 20)), rng.integers(0, 5, 300)
    ends = []
    for _ in range(2):
        step = fs.TrainStep(fs.mlp([20, 64, 5], dropout=0.3), fs.SoftmaxCrossEntropy(), fs.Adam(), seed=1, backend=gpu_backend)
        fs.Trainer(step).fit(x, y, epochs=3, batch_size=64)
        ends.append(gpu_backend.to_numpy(step.model.arena.values))
    np.testing.assert_array_equal(*ends)
