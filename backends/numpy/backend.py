"""The reference backend: the operations of operations.py, and steps whose calls are written down once."""

from __future__ import annotations

from ..executors.base import Executor, Work
from ..executors.plain import PlainExecutor
from .operations import NumpyOperations
from .plan import ReplayExecutor


class NumpyBackend(NumpyOperations):
    """NumPy on the host."""

    def executor(self, work: Work) -> Executor:
        """In order, without going through the layers again; a subclass may do things its own way, so its methods are called."""
        return ReplayExecutor(self, work) if type(self) is NumpyBackend else PlainExecutor(self, work)
