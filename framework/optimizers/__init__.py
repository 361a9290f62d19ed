"""First-order optimisers: hyperparameters and step-dependent scalars; the rules are in kernels/formulas/updates.py.

One step is one kernel call over the arena, with clipping, penalties and decay inside. A class enters OPTIMIZERS when its file
is imported, which is here; `fs.Name` and the pages that list optimisers follow by tools/generate.py.
"""

from . import adaptive, layerwise, momentum, signs
from .base import OPTIMIZERS, Optimizer, OptimizerState, ParameterGroup
from .full_batch import FULL_BATCH, FullBatchMethod, refuse_full_batch

__all__ = [
    "FULL_BATCH",
    "OPTIMIZERS",
    "FullBatchMethod",
    "Optimizer",
    "OptimizerState",
    "ParameterGroup",
    "adaptive",
    "layerwise",
    "momentum",
    "refuse_full_batch",
    "signs",
]
