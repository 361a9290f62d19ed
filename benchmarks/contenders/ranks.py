"""Processes that train together: fusedstep over MPI, PyTorch's DistributedDataParallel, and the sum of the gradient alone.

They share the cores, each with its part of the threads. Those of a network run in turn with one process that has all of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from statistics import fmean
from typing import Any, ClassVar

from ...backends.communicators import communicator
from ..agreement import STEPS
from ..problem import Problem
from ..process_group import MEETING, process_group
from ..timing import Prepared
from ..workloads import Fit
from .base import Contender, Missing
from .fits import OursFit, TorchFit, TorchLoop
from .ours import Ours
from .torch_eager import TorchEager, TorchStep

LONGEST = timedelta(seconds=120)
"""That the processes of PyTorch wait for each other."""


class InProcesses(Contender):
    """A contender in a group of processes, each of which prepares it and takes its rows.

    Args: inner – the contender; ranks – number of processes.
    """

    def __init__(self, inner: Contender, ranks: int) -> None:
        self._inner, self.ranks = inner, ranks
        self.name = inner.name + (f", {ranks} ranks" if ranks > 1 else "")  # type: ignore[misc]
        self.kind, self.needs = inner.kind, inner.needs  # type: ignore[misc]
        self.compared = inner.compared  # type: ignore[misc]
        self._group = process_group(inner.kind != "peer", ranks)

    def version(self) -> str:
        """See Contender."""
        return self._inner.version()

    def refuses(self, problem: Problem) -> Missing | None:
        """See Contender; each process must have as many rows, so that the mean of their losses is the loss."""
        if problem.network.batch % self.ranks:
            return Missing(f"{problem.network.batch} rows cannot be divided equally among {self.ranks} processes")
        return self._inner.refuses(problem)

    def prepare(self, problem: Problem) -> Prepared:
        """In all processes; the time of a burst is that of the slowest of them."""
        ask, name = self._group.ask, self.name
        # Without the arrays, which each process makes itself.
        ask("prepare", name, self._inner, replace(problem, threads=max(1, problem.threads // self.ranks)))
        covers = getattr(problem, "epochs", 1)
        steps = 2 if isinstance(problem, Fit) else STEPS
        return Prepared(
            lambda: ask("losses", name, steps), covers=covers, elsewhere=lambda calls: max(ask("burst", name, calls)),
            losses=lambda answers: list(map(fmean, zip(*answers, strict=True))),
        )  # fmt: skip


class GradientSum(Ours):
    """The sum over all processes of an array as long as the gradient, and nothing else."""

    kind: ClassVar[str] = "sum"
    compared: ClassVar[int] = 0

    def __init__(self, backend: Any) -> None:
        super().__init__(backend)
        self.name = "sum"  # type: ignore[misc]

    def prepare(self, problem: Problem) -> Prepared:
        """The array; there are no losses."""
        together = communicator("mpi")
        assert together is not None
        array = self.backend.zeros((problem.network.parameters,), problem.precision)
        return Prepared(lambda: together.sum(array), losses=lambda _: [0.0])


def _parallel(run: TorchStep) -> tuple[int, int]:
    """Wraps the network of a step; the rank, and the number of processes."""
    import torch

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", f"file://{os.environ[MEETING]}", LONGEST, size, rank)
    run.network = torch.nn.parallel.DistributedDataParallel(run.network, gradient_as_bucket_view=True, static_graph=True)
    return rank, size


class TorchRanks(TorchEager):
    """TorchEager in DistributedDataParallel over gloo; a process knows the loss of its rows only."""

    def prepare(self, problem: Problem) -> Prepared:
        """Its rows of the minibatches."""
        run = TorchStep(problem)
        rank, size = _parallel(run)
        run.minibatches = [tuple(array.chunk(size)[rank] for array in minibatch) for minibatch in run.minibatches]
        return self.prepared(run, problem)


class TorchFitRanks(TorchLoop):
    """TorchLoop in DistributedDataParallel over gloo; a process knows the losses of its rows only."""

    def fit(self, problem: Fit) -> TorchFit:
        """Its rows of each minibatch, and of the validation rows."""
        fit = TorchFit(problem)
        rank, size = _parallel(fit.run)
        fit.held_out = [array.chunk(size)[rank] for array in fit.held_out]
        fit.orders = [order.view(problem.steps, size, -1)[:, rank].reshape(-1) for order in fit.orders]
        fit.rows //= size
        return fit


def contenders_by_ranks(backends: Sequence[Any], peers: Sequence[str], ranks: Sequence[int], workload: str) -> list[Contender]:
    """fusedstep and PyTorch in one process, then in each number of them, and the sums of the gradient.

    Args: backends; peers – "torch" or nothing; ranks – numbers of processes; workload – "ranks" or "ranks-fit".
    """
    fits = workload == "ranks-fit"
    found: list[Contender] = []
    for size in sorted({1, *ranks}):
        for backend in backends:
            parallel = "mpi" if size > 1 else None
            found.append(InProcesses((OursFit if fits else Ours)(backend, parallel=parallel), size))
            if size > 1 and not fits:
                found.append(InProcesses(GradientSum(backend), size))
        if "torch" in peers:
            kinds = ((TorchEager, TorchLoop), (TorchRanks, TorchFitRanks))[size > 1]
            found.append(InProcesses(kinds[fits](), size))
    return found
