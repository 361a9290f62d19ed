"""Trains in several processes, of which one behaves otherwise.

Arguments: what it does, with " in launches" behind it where several steps are launched at a time ("stops" does both); its
rank; and the folder for checkpoints.
"""

import os
import signal
import sys
import time

import numpy as np

import fusedstep as fs
from fusedstep.backends.communicators import communicator

FAULT, RANK, LAUNCHES = sys.argv[1].removesuffix(" in launches"), int(sys.argv[2]), sys.argv[1].endswith(" in launches")
together = communicator("mpi")
other = together.rank == RANK

rng = np.random.default_rng(0)
x = rng.standard_normal((400, 6))
y = (x @ rng.standard_normal((6, 3))).argmax(1)


def misbehave(trainer):
    print(f"fault at {time.time()}", flush=True)
    if FAULT == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT == "freezes":
        os.kill(os.getpid(), signal.SIGSTOP)
    if FAULT == "sleeps":
        time.sleep(1000.0)
    if FAULT == "reads":  # as from a slow network, without any CPU to speak of
        for _ in range(250):
            time.sleep(0.02)
    if FAULT == "writes":
        together.at_work = True
        time.sleep(5.0)
        together.at_work = False
    if FAULT == "raises":
        raise RuntimeError("the disk of this host is on fire")
    if FAULT == "leaves":
        sys.exit(0)
    if FAULT == "wanders":
        together.barrier()
    if FAULT == "stops":
        trainer.stop("one process wants to end", at_once=True)
    if FAULT == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)


class AfterStep(fs.Callback):
    """What the process does after step 12."""

    def on_step_end(self, trainer, done, total):
        if trainer.steps_done == 12 and other:
            misbehave(trainer)


class AfterLaunch(fs.Callback):
    """The same after the launch of steps 11 to 13."""

    def on_launch_end(self, trainer, done, total):
        if trainer.steps_done == 13 and other:
            misbehave(trainer)


def step(lr=1e-2, width=8, **settings):
    return fs.TrainStep(
        fs.mlp([6, width, 3]), fs.SoftmaxCrossEntropy(), fs.Adam(lr), parallel="mpi", **{"backend": "numba", **settings}
    )


def fit(x=x, y=y, batch_size=40, epochs=2, **settings):
    fs.Trainer(step(), **settings).fit(x, y, batch_size=batch_size, epochs=epochs)


def with_version(version):
    before, fs.__version__ = fs.__version__, version
    try:
        step()
    finally:
        fs.__version__ = before


def choices():
    """What rank 0 has chosen holds for all."""
    name = "float32 NN 640x640x640"
    fs.set_blas_choices({name: "numpy"} if together.first else None)
    step()
    if fs.blas_choices() != {name: "numpy"}:
        raise fs.StateError(f"expected the choice of rank 0; got {fs.blas_choices()}")


def differences():
    """One setting after the other that one process has otherwise; what rank 0 gets as error, and whether all get the same."""
    moved, relabelled = x.copy(), y.copy()
    moved[17, 3] += 1e-3
    relabelled[17] = (y[17] + 1) % 3
    ways = {
        "version": lambda: with_version("0.0.1" if other else fs.__version__),
        "backend": lambda: step(backend="numpy" if other else "numba"),
        "model": lambda: step(width=9 if other else 8),
        "optimizer": lambda: step(lr=2e-2 if other else 1e-2),
        "seed": lambda: step(seed=int(other)),
        "choices": choices,
        "data": lambda: fit(x=moved if other else x),
        "labels": lambda: fit(y=relabelled if other else y),
        "rows": lambda: fit(x[: 399 if other else 400], y[: 399 if other else 400]),
        "batch size": lambda: fit(batch_size=20 if other else 40),
        "epochs": lambda: fit(epochs=3 if other else 2),
        "schedule": lambda: fit(schedule="step" if other else None),
        "small minibatches": lambda: fit(batch_size=together.size - 1),
        "mixup": lambda: fit(augment=[fs.Mixup(0.2)]),
        "nothing": lambda: fit(epochs=1),
    }
    for name, run in ways.items():
        try:
            run()
            text = ""
        except fs.FusedstepError as error:
            text = f"{type(error).__name__}: {error}"
        same = len(set(together.gather(text))) == 1
        if together.first:
            print(f"{name}|{same}|{text}", flush=True)


def not_finite():
    """Losses that are not finite, in steps that raise and in steps that skip."""
    x[399 if RANK else 0, 4] = np.nan
    for policy in ("raise", "skip"):
        made = step(on_nonfinite=policy)
        for _ in range(2):
            try:
                loss = float(made(x, y))
            except fs.NonFiniteLossError as error:
                print(f"rank {together.rank}: {error}", flush=True)
            else:
                print(f"rank {together.rank}: loss {loss}, {made.steps} steps, {made.skipped} skipped", flush=True)


def training(launches):
    """Two epochs of ten steps, in which the fault happens."""
    epochs = 3 if FAULT == "epochs" and other else 2
    checkpoint = fs.Checkpoint(sys.argv[3], every_steps=5) if len(sys.argv) > 3 else None
    trainer = fs.Trainer(step(), callbacks=[AfterLaunch() if launches else AfterStep()], steps_per_launch=3)
    history = trainer.fit(x, y, epochs=epochs, batch_size=40, checkpoint=checkpoint)
    print(f"rank {together.rank}: {trainer.steps_done} steps, {history.stopped_because}", flush=True)
    if FAULT == "lags" and other:
        time.sleep(5.0)  # the others have nothing left to do


def main():
    if FAULT == "differences":
        differences()
    elif FAULT == "not finite":
        not_finite()
    else:
        for launches in (False, True) if FAULT == "stops" else (LAUNCHES,):
            training(launches)


main()
