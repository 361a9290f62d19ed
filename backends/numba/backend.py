"""The CPU backend: the operations of operations.py, and steps whose rows are divided among cores."""

from __future__ import annotations

from ..defaults.evaluator import EvaluationWork, Evaluator
from ..executors.base import Executor, Work
from .evaluator import CapturedEvaluator
from .operations import NumbaOperations
from .rows import RowExecutor


class NumbaBackend(NumbaOperations):
    """NumPy arrays with kernels compiled for this CPU."""

    def executor(self, work: Work) -> Executor:
        """Rows over cores; a subclass may do things its own way, so its methods are called, and its steps not captured."""
        return RowExecutor(self, work, captures=type(self) is NumbaBackend)

    def evaluator(self, work: EvaluationWork) -> Evaluator:
        """Captured passes, with rows over cores; a subclass runs the layers' own code, as in `executor`."""
        return CapturedEvaluator(self, work) if type(self) is NumbaBackend else super().evaluator(work)
