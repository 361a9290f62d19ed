"""Trains on `cuda`, and writes losses and parameters. Arguments: file, and name of the communicator or "alone"."""

import sys

import numpy as np

import fusedstep as fs

path, name = sys.argv[1:3]
rng = np.random.default_rng(0)
x = rng.standard_normal((1000, 20)).astype("float32")
y = (x @ rng.standard_normal((20, 4))).argmax(1)
step = fs.TrainStep(
    fs.mlp([20, 64, 4], dropout=0.1), fs.SoftmaxCrossEntropy(), fs.Adam(3e-3, clip_norm=1.0), backend="cuda",
    parallel=None if name == "alone" else name,
)
history = fs.Trainer(step).fit(x, y, epochs=2, batch_size=128)
np.savez(path, losses=np.array(history.step_losses), parameters=step.backend.to_numpy(step.model.arena.values))
