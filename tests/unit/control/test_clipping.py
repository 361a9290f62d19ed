"""C14: the gradient is clipped by value and by global norm inside the fused step; against float64 arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs


def _moved(step, x, y):
    """(gradient of the loss, change of the parameters) of one step, in float64."""
    before = np.array(step.model.arena.values, np.float64)
    step(x, y)
    return np.array(step.gradient, np.float64), np.array(step.model.arena.values, np.float64) - before


@pytest.mark.parametrize("share", [0.1, 0.9, 1.5])
def test_c14_clip_norm_scales_the_gradient_to_the_norm_where_it_is_larger(backend, share, new_step, data):
    gradient, _ = _moved(new_step(backend), *data)
    norm = np.linalg.norm(gradient)
    _, change = _moved(new_step(backend, fs.SGD(0.5, clip_norm=share * norm)), *data)
    np.testing.assert_allclose(change, -0.5 * min(1.0, share) * gradient, rtol=1e-5, atol=1e-7)
    assert np.linalg.norm(change) == pytest.approx(0.5 * min(1.0, share) * norm, rel=1e-5)


def test_c14_clip_value_clips_every_element(backend, new_step, data):
    gradient, _ = _moved(new_step(backend), *data)
    largest = float(np.quantile(np.abs(gradient[gradient != 0]), 0.5))
    _, change = _moved(new_step(backend, fs.SGD(0.5, clip_value=largest)), *data)
    np.testing.assert_allclose(change, -0.5 * np.clip(gradient, -largest, largest), rtol=1e-5, atol=1e-7)
    assert np.abs(change).max() == pytest.approx(0.5 * largest, rel=1e-5)


def test_c14_the_norm_is_clipped_before_the_values(backend, new_step, data):
    gradient, _ = _moved(new_step(backend), *data)
    norm = float(np.linalg.norm(gradient))
    largest = 0.25 * float(np.abs(gradient).max())
    _, change = _moved(new_step(backend, fs.SGD(0.5, clip_norm=0.5 * norm, clip_value=largest)), *data)
    np.testing.assert_allclose(change, -0.5 * np.clip(0.5 * gradient, -largest, largest), rtol=1e-5, atol=1e-7)


def test_c14_clipping_keeps_a_rate_from_diverging(backend, data):
    x, y = data

    def train(**clipping):
        step = fs.TrainStep(fs.mlp([5, 16, 1]), fs.MSE(), fs.SGD(5.0, **clipping), backend=backend)
        return fs.Trainer(step).fit(x, y.astype(np.float32), epochs=20, batch_size=50)

    with pytest.raises(fs.NonFiniteLossError):
        train()
    assert np.isfinite(train(clip_norm=0.01)["loss"]).all()
