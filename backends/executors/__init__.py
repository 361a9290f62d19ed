"""How a step is carried out: in order on one device, or with its rows spread over cores.

An executor runs the chain and the loss that it is given on tapes that it is given; it knows no layer.
"""

from .plain import PlainExecutor
from .rows import RowExecutor

__all__ = ["PlainExecutor", "RowExecutor"]
