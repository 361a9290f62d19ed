"""A training with checkpoints that goes on from the newest one. Arguments: folder, "fixed" or "free", file for the result.

Rank 0 prints the process numbers of all ranks when training is about to begin.
"""

import json
import os
import sys
import time

import numpy as np

import fusedstep as fs

folder, order, result = sys.argv[1:4]
rng = np.random.default_rng(0)
x = rng.standard_normal((600, 16))
y = (x @ rng.standard_normal((16, 4))).argmax(1)
step = fs.TrainStep(
    fs.mlp([16, 48, 4], dropout=0.2), fs.SoftmaxCrossEntropy(), fs.Adam(3e-3), seed=1, backend="numba", precision="float64",
    deterministic=order == "fixed", parallel="mpi", average=fs.EMA(0.99),
)
together = step.communicator


class Slow(fs.Callback):
    """A training that lasts a second or two, so that it can be killed at any place."""

    def on_launch_end(self, trainer, done, total):
        time.sleep(0.004 if order == "fixed" else 0.01)


pids = together.gather(os.getpid())
if together.first:
    print(json.dumps(pids), flush=True)
trainer = fs.Trainer(step, callbacks=[Slow(), fs.EarlyStopping(5)], schedule="cosine", steps_per_launch=3)
history = trainer.fit(
    x[:500], y[:500], validation=(x[500:], y[500:]), epochs=20, batch_size=33, checkpoint=fs.Checkpoint(folder, every_steps=7),
    resume="auto",
)
if together.first:
    np.savez(result, parameters=step.model.arena.values, losses=np.array(history.step_losses), val=history["val_loss"])
