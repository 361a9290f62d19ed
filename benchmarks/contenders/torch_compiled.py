"""PyTorch with forward and loss compiled by torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..clocks import StandIn
from ..problem import Problem
from ..timing import Prepared
from .base import Missing
from .torch_eager import TorchEager


class TorchCompiled(TorchEager):
    """The eager step, its forward pass and loss (and with them the backward pass) compiled; the optimiser is the fused one.

    Compiling the step of the optimiser too, foreach or one tensor after the other, was tried and is not faster than the
    fused one: 1.28 and 1.31 ms against 1.14 for 64-128-128-10@128 on two cores (torch 2.13).
    In a dry run everything but the last stage is walked through: the compiler for machine code is left out.
    """

    name: ClassVar[str] = "torch-compile"
    mode: ClassVar[str] = "default"

    def missing(self) -> Missing | None:
        """Besides torch, its compiler needs one for C++; on a GPU Triton brings its own."""
        import shutil

        absent = super().missing()
        if absent is None and not self.where.cuda and not any(map(shutil.which, ("g++", "clang++", "cl"))):
            return Missing("torch.compile needs a C++ compiler, and none is on the path", "apt-get install g++")
        return absent

    def prepare(self, problem: Problem) -> Prepared:
        """Compiles by a first step.

        The backward pass is compiled when it is needed first, on a GPU in a thread of its own, where nothing ends what takes
        too long. So the first one runs here.
        """
        import torch

        prepared = super().prepare(problem)
        with prepared.around(), torch.autograd.set_multithreading_enabled(False):
            prepared.reset()
            prepared.finish(prepared.step())
        return prepared

    def wrap(self) -> Callable[[Any], Any]:
        """torch.compile, which compiles at the first call."""
        import torch

        if not self.where.cuda:
            # Few recompilations are allowed of one function. On a GPU this is done between the parts of a run, because two
            # contenders are compiled there, and the second would throw away the first.
            torch._dynamo.reset()
        chosen: dict[str, Any] = {"backend": "aot_eager"} if isinstance(self.where.clock, StandIn) else {"mode": self.mode}
        return lambda function: torch.compile(function, dynamic=False, **chosen)


class TorchMaxAutotune(TorchCompiled):
    """The same with mode="max-autotune": products timed and chosen, forward and backward pass replayed as CUDA graphs."""

    name: ClassVar[str] = "torch-max-autotune"
    mode: ClassVar[str] = "max-autotune"
