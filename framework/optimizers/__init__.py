"""First-order optimisers: hyperparameters and step-dependent scalars; the rules are in kernels/formulas/updates.py.

One step is one kernel call over the arena, with clipping, penalties and decay inside.
"""

from .adaptive import AdaDelta, AdaGrad, Adam, Adamax, AdamW, NAdam, RMSProp
from .base import OPTIMIZERS, Optimizer, OptimizerState, ParameterGroup
from .full_batch import FULL_BATCH, FullBatchMethod, refuse_full_batch
from .layerwise import LAMB
from .momentum import SGD, Momentum, Nesterov
from .signs import Lion, SignDescent

__all__ = [
    "FULL_BATCH",
    "LAMB",
    "OPTIMIZERS",
    "SGD",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Adamax",
    "FullBatchMethod",
    "Lion",
    "Momentum",
    "NAdam",
    "Nesterov",
    "Optimizer",
    "OptimizerState",
    "ParameterGroup",
    "RMSProp",
    "SignDescent",
    "refuse_full_batch",
]
