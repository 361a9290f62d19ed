"""How a step is carried out: in order on one device, or with its rows spread over cores.

An executor runs the chain and the loss that it is given on tapes that it is given; it knows no layer.
"""

from .base import Executor, NotRecordable, Piece, Work
from .graph import GraphExecutor
from .plain import PlainExecutor
from .rows import RowExecutor
from .script import ScriptExecutor

__all__ = ["Executor", "GraphExecutor", "NotRecordable", "Piece", "PlainExecutor", "RowExecutor", "ScriptExecutor", "Work"]
