"""Base class of contenders, which train the common problem or state why they cannot."""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar, NamedTuple

from ..clocks import HOST, Clock
from ..problem import Problem
from ..timing import Prepared


class Missing(NamedTuple):
    """Why a contender is left out, and how to fix it ("" if not possible)."""

    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


class Where(NamedTuple):
    """The device of a library, "cpu" or "cuda", and its clock; a dry run has "cpu" and a fixed clock."""

    device: str = "cpu"
    clock: Clock = HOST

    @property
    def cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device == "cuda"


class Contender:
    """One implementation of a training step.

    Attributes: name – as in tables and options; kind – "ours" or "peer"; device – "cpu" or "cuda"; needs – (module, package) of
        each required library; compared – number of losses from the common start that must agree, at most; several – whether its
        purpose is to run several steps per launch, so that it is omitted for single steps;
        ranks – number of processes; 0 where that is not what is measured.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = "peer"
    needs: ClassVar[tuple[tuple[str, str], ...]] = ()
    compared: ClassVar[int] = 1000
    several: ClassVar[bool] = False
    ranks: int = 0
    device = "cpu"

    def missing(self) -> Missing | None:
        """Why it cannot run on this machine, or None; imports its libraries."""
        for module, package in self.needs:
            try:
                import_module(module)
            except ImportError as error:
                return Missing(f"{module} cannot be imported ({error})", f"pip install {package}")
            except Exception as error:  # incompatible libraries fail in many ways
                return Missing(f"{module} cannot be imported ({type(error).__name__}: {error})", f"reinstall {package}")
        return None

    def refuses(self, problem: Problem) -> Missing | None:
        """Why it cannot solve this problem although it runs, or None."""
        del problem
        return None

    def version(self) -> str:
        """Of the library, for reports."""
        return ", ".join(f"{module} {import_module(module).__version__}" for module, _ in self.needs)

    def prepare(self, problem: Problem) -> Prepared:
        """One-time preparation: memory, copies of the initial state, compilation."""
        raise NotImplementedError
