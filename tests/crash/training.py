"""A training with all kinds of state, as a program of its own: `python -P tests/crash/training.py KIND BACKEND FOLDER RESULT`.

It goes on from the checkpoints in FOLDER, and writes parameters, optimiser state and history to RESULT. FOLDER "none" trains
without checkpoints.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import fusedstep as fs

ROWS, VALIDATION = 1200, 200
KINDS = ("dropout", "augmented", "parquet", "wide")
"""What is trained; see `trainer_of`."""
TIMES = ("seconds", "samples_per_second")


class Sums(fs.Callback):
    """A callback with a state of its own."""

    def __init__(self) -> None:
        self.total = 0.0

    def on_epoch_end(self, trainer, row):
        self.total += row["loss"] * row["val_loss"]

    def state(self):
        return {"total": self.total}

    def restore(self, state):
        self.total = state["total"]


def table(folder: Path) -> Path:
    """A Parquet file of ten row groups; written once."""
    path = folder / "rows.parquet"
    if not path.exists():
        import pyarrow
        import pyarrow.parquet

        x, y = arrays()
        columns = {f"x{k}": x[:, k] for k in range(x.shape[1])} | {"y": y}
        pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=len(x) // 10)
    return path


def arrays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS + VALIDATION, 12)).astype(np.float32)
    return x, ((x[:, 0] * x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1))


def data(kind: str, folder: Path):
    """(x, y), (validation x, validation y)."""
    if kind != "parquet":
        x, y = arrays()
        return (x[:ROWS], y[:ROWS]), (x[ROWS:], y[ROWS:])
    path = table(folder)
    columns = [f"x{k}" for k in range(12)]
    both = fs.ParquetRows(path, columns, window=3), fs.ParquetRows(path, "y", window=3)
    parts = np.arange(ROWS), np.arange(ROWS, ROWS + VALIDATION)
    return tuple(source.take(parts[0]) for source in both), tuple(source.take(parts[1]) for source in both)


def trainer_of(kind: str, backend: str):
    """The trainer and its sum."""
    sums = Sums()
    hidden = [64, 64] if kind == "wide" else [24, 16]
    optimizer = fs.Momentum(0.05) if kind == "dropout" else fs.AdamW(0.1 if kind == "parquet" else 0.005, clip_norm=1.0)
    step = fs.TrainStep(
        fs.mlp([12, *hidden, 3], dropout=0.2), fs.SoftmaxCrossEntropy(), optimizer, seed=5, backend=backend,
        micro_batch=20 if kind == "parquet" else None,
    )  # fmt: skip
    augment = [fs.InputNoise(0.05), fs.Mixup()] if kind == "augmented" else []
    schedule = fs.ReduceOnPlateau(patience=1) if kind == "parquet" else fs.OneCycle()
    stopping = fs.EarlyStopping(2, "val_accuracy") if kind == "wide" else fs.EarlyStopping(3, restore_optimizer=True)
    callbacks = [sums, stopping]
    if kind == "augmented":
        callbacks.append(fs.Pruning(0.4, stop=6))
    return fs.Trainer(step, callbacks, schedule=schedule, augment=augment, steps_per_launch=7 if kind == "wide" else None), sums


def main(kind: str, backend: str, folder: str, result: str) -> None:
    path = Path(result)
    training, validation = data(kind, path.parent)
    trainer, sums = trainer_of(kind, backend)
    checkpoint = None if folder == "none" else fs.Checkpoint(folder, every_steps=3, best="val_accuracy")
    print("ready", flush=True)
    resume = None if checkpoint is None else "auto"
    history = trainer.fit(
        *training, validation=validation, epochs=12, batch_size=32, checkpoint=checkpoint, resume=resume
    )
    rows = [{name: value.hex() for name, value in row.items() if name not in TIMES} for row in history.rows]
    state = trainer.step.state
    found = {
        "parameters": np.asarray(trainer.step.model.arena.values).tobytes().hex(),
        "optimizer": {name: np.asarray(values).tobytes().hex() for name, values in state.states.items()},
        "rows": rows,
        "losses": [loss.hex() for loss in history.step_losses],
        "steps": [state.t, trainer.steps_done, trainer.epochs_done, state.lr.hex()],
        "stopped": history.stopped_because,
        "sums": sums.total.hex(),
    }
    path.write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
