"""Checkpoints on a real device: the bits of a training that was not interrupted, within and between launches and epochs."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

pytestmark = pytest.mark.gpu


class Stop(Exception):
    pass


class StopAfter(fs.Callback):
    def __init__(self, step):
        self.step = step

    def on_launch_end(self, trainer, done, total):
        if trainer.steps_done >= self.step:
            raise Stop


def fitted(backend, folder=None, stop=None, **options):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1200, 20)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(np.int64)
    model = fs.mlp([20, 64, 64, 2], dropout=0.2)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.AdamW(1e-3), seed=1, backend=backend, deterministic=True, **options)
    callbacks = [fs.EarlyStopping(3, restore_optimizer=True), *([] if stop is None else [StopAfter(stop)])]
    trainer = fs.Trainer(step, callbacks, schedule=fs.OneCycle())
    given = {} if folder is None else {"checkpoint": fs.Checkpoint(folder, every_steps=5), "resume": "auto"}
    history = trainer.fit(x[:1000], y[:1000], (x[1000:], y[1000:]), epochs=6, batch_size=16, **given)
    arrays = [step.backend.to_numpy(a).tobytes() for a in (step.model.arena.values, *step.state.states.values())]
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in history.rows]
    return arrays, list(history.step_losses), rows, step.steps, step.loss_scale


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_resumed_at_any_step(gpu_backend, precision, tmp_path):
    if precision not in gpu_backend.precisions:
        pytest.skip(f"{gpu_backend.name} has no {precision}")
    expected = fitted(gpu_backend, precision=precision)
    for stop in (17, 70, 131, 250):
        with pytest.raises(Stop):
            fitted(gpu_backend, tmp_path, stop, precision=precision)
    assert fitted(gpu_backend, tmp_path, precision=precision) == expected
