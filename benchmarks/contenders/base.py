"""What a contender is: something that can train the common problem, or can say why it cannot."""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar, NamedTuple

from ..clocks import HOST, Clock
from ..problem import Problem
from ..timing import Prepared


class Missing(NamedTuple):
    """Why a contender is left out, and what would mend it ("" where nothing would)."""

    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


class Where(NamedTuple):
    """Which device a library uses, "cpu" or "cuda", and the clock for it; a dry run has "cpu" and a clock that stands still."""

    device: str = "cpu"
    clock: Clock = HOST

    @property
    def cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device == "cuda"


class Contender:
    """One way to carry out a training step.

    Attributes: name – as in tables and options; kind – "ours" or "peer"; device – "cpu" or "cuda"; needs – (module, package
        that brings it) of each library that has to be there; compared – how many losses from the common start have to agree;
        several – whether it is there to take several steps in a launch, and is nothing new where it takes one.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = "peer"
    needs: ClassVar[tuple[tuple[str, str], ...]] = ()
    compared: ClassVar[int] = 3
    several: ClassVar[bool] = False
    device = "cpu"

    def missing(self) -> Missing | None:
        """Why it cannot run on this machine at all, or None; imports what it needs."""
        for module, package in self.needs:
            try:
                import_module(module)
            except ImportError as error:
                return Missing(f"{module} cannot be imported ({error})", f"pip install {package}")
            except Exception as error:  # libraries that do not fit together fail in many ways
                return Missing(f"{module} cannot be imported ({type(error).__name__}: {error})", f"reinstall {package}")
        return None

    def refuses(self, problem: Problem) -> Missing | None:
        """Why it cannot do this problem although it runs, or None."""
        del problem
        return None

    def version(self) -> str:
        """Of the library, for reports."""
        return ", ".join(f"{module} {import_module(module).__version__}" for module, _ in self.needs)

    def prepare(self, problem: Problem) -> Prepared:
        """Everything that is done once: memory, copies of the start, compilation. Steps then cost what they cost."""
        raise NotImplementedError
