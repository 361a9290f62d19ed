"""Small trainings with much state, and how to stop one at any step: all that a resumed one must repeat."""

from __future__ import annotations

import numpy as np

import fusedstep as fs

TIMES = ("seconds", "samples_per_second")


class Stop(Exception):
    """In place of a kill, for tests in one process."""


class StopAfter(fs.Callback):
    """Raises Stop after the launch that reaches a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_launch_end(self, trainer, done, total):
        if trainer.steps_done >= self.step:
            raise Stop


def data(rows=203, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 5)).astype(np.float32)
    return x, ((x[:, 0] + 0.5 * x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1))


def trainer_of(backend="numpy", optimizer=None, extra=(), seed=3, patience=4, **options):
    """A trainer with dropout, momentum by schedule, early stopping and a log of its own."""
    own = ("precision", "deterministic", "micro_batch", "on_nonfinite", "average")
    step_options = {name: options.pop(name) for name in own if name in options}
    optimizer = optimizer or fs.Momentum(0.05)
    step = fs.TrainStep(
        fs.mlp([5, 16, 3], dropout=0.3), fs.SoftmaxCrossEntropy(), optimizer, seed=seed, backend=backend, **step_options
    )
    options.setdefault("schedule", fs.OneCycle())
    return fs.Trainer(step, [*extra, fs.EarlyStopping(patience, restore_optimizer=True)], **options)


def fit(trainer, folder=None, epochs=6, every_steps=None, resume="auto", rows=None, **options):
    x, y = data() if rows is None else rows
    checkpoint = None if folder is None else fs.Checkpoint(folder, every_steps, **options.pop("checkpoint", {}))
    given = {"epochs": epochs, "batch_size": 16, **options}
    given |= {"validation": (x[150:], y[150:]), "checkpoint": checkpoint, "resume": None if folder is None else resume}
    return trainer.fit(x[:150], y[:150], **given)


def result(trainer, history):
    """All that must be the same, apart from times."""
    step = trainer.step
    rows = [{name: value for name, value in row.items() if name not in TIMES} for row in history.rows]
    states = {name: np.asarray(values).tobytes() for name, values in step.state.states.items()}
    return {
        "parameters": np.asarray(step.model.arena.values).tobytes(),
        "states": states,
        "rows": repr(rows),
        "losses": [loss if loss == loss else "NaN" for loss in history.step_losses],
        "steps": (step.steps, step.skipped, trainer.steps_done, trainer.epochs_done, step.lr, step.momentum),
        "stopped": history.stopped_because,
    }
