"""A small hyperparameter search, for tests of searches and the processes that they start."""

from __future__ import annotations

import os
import time

import numpy as np

import fusedstep as fs

SMALL = fs.SearchSpace(width=(4, 16), layers=(0, 2), batch_size=(20, 50))


def search_data():
    """x, y and validation of 3 classes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5)).astype(np.float32)
    y = (x[:, 0] + 0.5 * x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1)
    return {"x": x[:200], "y": y[:200], "validation": (x[200:], y[200:])}


def small_search(**options):
    """The search; options replace its arguments."""
    return fs.search(**{**search_data(), "space": SMALL, "epochs": 6, "trials": 9, "backend": "numpy", **options})


class Elsewhere(fs.SoftmaxCrossEntropy):
    """A loss that acts in other processes than the one that made it.

    Args: folder – of a file for each process, with its number of threads; pause – seconds that targets take; error – to raise;
        calls – after so many the process ends: the first two are those of a search, before its trials.
    """

    CALLS = 0

    def __init__(self, folder=None, pause=0.0, error=None, calls=None):
        super().__init__()
        self.home, self.folder, self.pause, self.error, self.calls = os.getpid(), folder, pause, error, calls

    def prepare(self, *arguments):
        if os.getpid() != self.home:
            Elsewhere.CALLS += 1
            if self.calls is not None and self.calls < Elsewhere.CALLS:
                os._exit(0)
            if self.folder is not None:
                (self.folder / str(os.getpid())).write_text(str(fs.num_threads()))
            if self.error is not None:
                raise self.error
            time.sleep(self.pause)
        return super().prepare(*arguments)


class EndsElsewhere(fs.SoftmaxCrossEntropy):
    """A loss that ends every process that it is sent to."""

    def __setstate__(self, state):
        os._exit(3)
