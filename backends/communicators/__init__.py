"""Processes that train one model together: what they exchange, and what ends all of them when one cannot go on.

communicator.py is the interface, mpi.py and nccl.py are what it runs on, division.py divides minibatches, and supervisor.py
notices processes that die or hang. No framework code and no formulas are here.
"""

from .communicator import Communicator
from .division import Division, division_of
from .selection import KINDS, communicator, made

__all__ = ["KINDS", "Communicator", "Division", "communicator", "made", "division_of"]
