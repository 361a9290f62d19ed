"""Trains in several processes, or alone, by a number of settings; rank 0 writes losses and parameters of each to a file.

Arguments: file, "mpi" or "alone", and part of the names of settings where not all are wanted. WITHOUT_MEMORY=1: the last
process cannot map the memory of the others.
"""

import os
import sys

import numpy as np

import fusedstep as fs
from fusedstep.backends.communicators import communicator, shared_memory
from fusedstep.backends.communicators.communicator import OVERLAP
from fusedstep.backends.executors import gradient_sums
from fusedstep.backends.numba.several import StepLoop

ROWS = 203
EPOCHS = 3


def steps(backend, dtype, deterministic, parallel):
    """Single steps on minibatches of other sizes, some with fewer rows than processes."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, 12)), rng.integers(0, 3, ROWS)
    layers = fs.Linear(12, 32), fs.LayerNorm(32), fs.ReLU(), fs.Dropout(0.3), fs.Linear(32, 3)
    step = fs.TrainStep(
        fs.Sequential(*layers), fs.SoftmaxCrossEntropy(), fs.Adam(1e-2, clip_norm=1.0), seed=0, backend=backend,
        precision=dtype, deterministic=deterministic, parallel=parallel,
    )
    losses = [float(step(x[:rows], y[:rows])) for rows in (203, 64, 3, 1, 97) * 4]
    return step, losses


def fits(backend, dtype, deterministic, parallel, **settings):
    """Epochs with a remainder, validation, a metric on all outputs, weights, noise, and a schedule that watches the loss."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((ROWS, 12))
    y = (x @ rng.standard_normal((12, 3))).argmax(1)
    step = fs.TrainStep(
        fs.mlp([12, 24, 3], dropout=0.2), fs.SoftmaxCrossEntropy(0.1), fs.AdamW(1e-2), seed=3, backend=backend,
        precision=dtype, deterministic=deterministic, parallel=parallel, average=fs.EMA(0.9),
        micro_batch=settings.pop("micro", None),
    )
    trainer = fs.Trainer(
        step, callbacks=[fs.EarlyStopping(2)], schedule="plateau:patience=1", augment=[fs.InputNoise(0.1)],
        metrics=["roc_auc_ovr"], evaluate_training=True,
    )
    weights = rng.uniform(0.5, 2.0, ROWS)
    history = trainer.fit(
        x[:150], y[:150], validation=(x[150:], y[150:]), epochs=EPOCHS, batch_size=37, sample_weight=weights[:150], **settings
    )
    figures = ("loss", "val_loss", "val_accuracy", "val_roc_auc_ovr", "accuracy")
    return step, [row[name] for row in history for name in figures]


def launches(backend, dtype, deterministic, parallel):
    """Epochs whose steps are launched several at a time, on `numba`, with a remainder, and masks for each row."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((ROWS, 12))
    y = (x @ rng.standard_normal((12, 3))).argmax(1)
    step = fs.TrainStep(
        fs.mlp([12, 40, 3], dropout=0.2), fs.SoftmaxCrossEntropy(), fs.RMSProp(3e-3, clip_norm=0.5), seed=5, backend=backend,
        precision=dtype, deterministic=deterministic, parallel=parallel,
    )
    sizes, run = [], StepLoop.run

    def counted(self, data, indices, number, scalars, *more):
        sizes.append(len(scalars))
        return run(self, data, indices, number, scalars, *more)

    StepLoop.run = counted
    try:
        history = fs.Trainer(step, steps_per_launch=4).fit(x, y, epochs=EPOCHS, batch_size=21)
    finally:
        StepLoop.run = run
    expected = {1} if backend == "numpy" or (deterministic and parallel) or without_memory() else {1, 4}
    assert {1, *sizes} == expected, f"launches of {sizes} steps"
    return step, list(history.step_losses)


def without_memory():
    return os.environ.get(OVERLAP) == "1" or os.environ.get("WITHOUT_MEMORY") == "1"


SETTINGS = {
    f"{kind.__name__}-{backend}-{dtype}-{'fixed' if fixed else 'free'}{suffix}": (kind, backend, dtype, fixed, more)
    for kind, suffix, more in (
        (steps, "", {}), (launches, "", {}), (fits, "", {}), (fits, "-stream", {"data": "stream"}),
        (fits, "-micro", {"micro": 5}),
    )
    for backend in ("numpy", "numba")
    for dtype in ("float32", "float64")
    for fixed in (False, True)
    if not suffix or dtype == "float64"
}  # fmt: skip


def main():
    if os.environ.get(OVERLAP) == "1":
        gradient_sums.CHUNK = 512  # so that networks of this size have several
    path, parallel, *part = sys.argv[1], None if sys.argv[2] == "alone" else sys.argv[2], *sys.argv[3:]
    together = communicator(parallel)
    if os.environ.get("WITHOUT_MEMORY") == "1" and together.rank == together.size - 1:
        shared_memory._mapped = lambda *_: None
    found = {}
    for name, (kind, backend, dtype, fixed, more) in SETTINGS.items():
        if not all(word in name for word in part):
            continue
        step, losses = kind(backend, dtype, fixed, parallel, **more)
        found[f"{name}/losses"] = np.array(losses)
        found[f"{name}/parameters"] = values = step.backend.to_numpy(step.model.arena.values)
        if kind is steps:
            found[f"{name}/gradient"] = gradient = step.backend.to_numpy(step.gradient).copy()
        if step.communicator is not None:
            same = step.communicator.gather((values.tobytes(), kind is steps and gradient.tobytes()))
            assert len(set(same)) == 1, f"{name}: the processes have other parameters"
            assert (len(gradient_sums.chunks(step)) > 1) == (os.environ.get(OVERLAP) == "1")
    if parallel is None or step.communicator.first:
        np.savez(path, **found)


main()
