"""What a step of one of several processes says of its memory, and what becomes of that in a pickle."""

import gc
import pickle
from pathlib import Path

import numpy as np

import fusedstep as fs


def mapped():
    return sum("memfd:fusedstep" in line for line in Path("/proc/self/maps").read_text().splitlines())


rng = np.random.default_rng(0)
x, y = rng.standard_normal((64, 20)).astype("float32"), rng.integers(0, 4, 64)
step = fs.TrainStep(fs.mlp([20, 256, 4]), fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), backend="numba", parallel="mpi")
together, nbytes = step.communicator, step.gradient.nbytes
before = step.memory(64)
step(x, y)
further = step.memory(64).shards - before.shards
assert further == nbytes, further
assert before.buffers == fs.TrainStep(step.model, step.loss, fs.SGD(1.0)).memory(64 // together.size).buffers

again = pickle.loads(pickle.dumps(step))
assert again.gradient.tobytes() == step.gradient.tobytes()
losses = [float(one(x, y)) for one in (step, again)]
assert losses[0] == losses[1]
assert again.gradient.tobytes() == step.gradient.tobytes()
assert mapped() == 2
del step, again
gc.collect()
print(f"held, {mapped()} mapped")
