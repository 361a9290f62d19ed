"""The CPU backend: the operations of operations.py, and steps whose rows are divided among cores."""

from __future__ import annotations

from ..executors.base import Executor, Work
from .operations import NumbaOperations
from .rows import RowExecutor


class NumbaBackend(NumbaOperations):
    """NumPy arrays with kernels compiled for this CPU."""

    def executor(self, work: Work) -> Executor:
        """Rows over cores; a subclass may do things its own way, so its methods are called, and its steps not captured."""
        return RowExecutor(self, work, captures=type(self) is NumbaBackend)
