"""New processes: fusedstep to the loss of its first step, its commands to their end, and PyTorch to the end of its import.

Each call starts a process in a temporary folder, which also holds its kernel cache. The files that it reads are in the system's
page cache, because an untimed call has read them before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar
from weakref import finalize

from ..problem import Problem
from ..timing import Prepared
from .base import Contender, Missing
from .ours import Ours

FIRST_LOSS = """
import numpy as np
import fusedstep as fs
rng = np.random.default_rng(0)
x = rng.standard_normal(({rows}, {inputs}), np.float32)
y = rng.integers(0, {classes}, {rows})
model = fs.mlp({widths}, {activation!r}, {dropout}, {layer_norm})
step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), 0, {backend!r}, {precision!r})
print(float(step(x, y)), flush=True)
"""
IMPORT_TORCH = "import torch; print(torch.__version__, flush=True)"
TRAIN = ("-m", "fusedstep", "train", "iris", "--epochs", "3", "--backend")
PREDICT = ("-m", "fusedstep", "predict", "iris.safetensors", "iris", "--backend")

Words = tuple[str, ...]


class Process:
    """A call starts a process and returns after its first line of output, or at its end.

    Args: words – after the name of the interpreter; whole – whether to wait for the end; cold – whether the kernel cache is
        emptied before each call; first – words of a process that runs once before them all.
    """

    def __init__(self, words: Words, whole: bool, cold: bool = False, first: Words | None = None) -> None:
        self._words, self._whole, self._cold, self._first = words, whole, cold, first
        self._folder = Path(mkdtemp(prefix="fusedstep-start-"))
        self._kernels = self._folder / "kernels"
        finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._running: subprocess.Popen[str] | None = None

    def __call__(self) -> None:
        self._start(self._words)
        if self._whole:
            self.end()
        else:
            assert self._running is not None
            assert self._running.stdout is not None
            self._running.stdout.readline()

    def _start(self, words: Words) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        self._running = subprocess.Popen(
            [sys.executable, *words], cwd=self._folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**environment, "FUSEDSTEP_CACHE_DIR": str(self._kernels)},
        )  # fmt: skip

    def end(self) -> None:
        """Waits for the end of the process; raises RuntimeError if it failed."""
        running, self._running = self._running, None
        if running is None:
            return
        _, errors = running.communicate()
        if running.returncode:
            raise RuntimeError(f"a process failed: {errors.strip().rpartition(chr(10))[2]}")

    def before(self) -> None:
        """What has to be done before a call and is not timed."""
        self.end()
        if self._first is not None:
            self._start(self._first)
            self.end()
            self._first = None
        if self._cold:
            shutil.rmtree(self._kernels, ignore_errors=True)

    @contextmanager
    def around(self) -> Iterator[None]:
        """Within it processes may be running."""
        try:
            yield
        finally:
            self.end()

    def prepared(self) -> Prepared:
        """The process with all that its timing needs."""
        return Prepared(self, around=self.around, before=self.before, untimed=0)


class OursStart(Ours):
    """A process of fusedstep on a backend.

    Attributes: text – its name in tables, after that of the backend.
    """

    text: ClassVar[str] = ""

    def __init__(self, backend: Any) -> None:
        super().__init__(backend, label=self.text)


class WarmStart(OursStart):
    """To the first loss, with a full kernel cache."""

    text: ClassVar[str] = ", full cache"
    cold: ClassVar[bool] = False

    def prepare(self, problem: Problem) -> Prepared:
        """The program."""
        widths = problem.network.widths
        program = FIRST_LOSS.format(
            rows=problem.rows, inputs=widths[0], classes=widths[-1], widths=list(widths), dropout=problem.dropped,
            activation="gelu" if problem.full else "relu", layer_norm=problem.full, backend=self.backend.name,
            precision=problem.precision,
        )  # fmt: skip
        return Process(("-c", program), False, self.cold).prepared()


class ColdStart(WarmStart):
    """To the first loss, with an empty kernel cache."""

    text: ClassVar[str] = ", empty cache"
    cold: ClassVar[bool] = True


class TrainCommand(OursStart):
    """`fusedstep train iris --epochs 3`, with a full kernel cache."""

    text: ClassVar[str] = ", train iris"

    def refuses(self, problem: Problem) -> Missing | None:
        """The data set comes with scikit-learn."""
        del problem
        return None if find_spec("sklearn") else Missing("the data set comes with scikit-learn", "pip install scikit-learn")

    def prepare(self, problem: Problem) -> Prepared:
        """The command."""
        del problem
        return Process((*TRAIN, self.backend.name), True).prepared()


class PredictCommand(TrainCommand):
    """`fusedstep predict` of the 150 rows of iris, with a full kernel cache."""

    text: ClassVar[str] = ", predict iris"

    def prepare(self, problem: Problem) -> Prepared:
        """The command, and before it the one that trains its model."""
        del problem
        name = self.backend.name
        return Process((*PREDICT, name), True, first=(*TRAIN, name)).prepared()


class ImportTorch(Contender):
    """`import torch`, to its end."""

    name: ClassVar[str] = "import torch"
    needs: ClassVar[tuple[tuple[str, str], ...]] = (("torch", "torch"),)

    def prepare(self, problem: Problem) -> Prepared:
        """The program."""
        del problem
        return Process(("-c", IMPORT_TORCH), False).prepared()
