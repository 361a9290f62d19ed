"""First-order optimisers: hyperparameters and step-dependent scalars; the rules are in kernels/formulas/updates.py.

A step is one kernel call over the arena that includes clipping, penalties and decay. Importing its file here registers a class
in OPTIMIZERS; tools/generate.py then adds `fs.Name` and updates the pages that list optimisers.
"""

from . import adaptive, layerwise, momentum, muon, schedule_free, signs
from .base import OPTIMIZERS, Optimizer, OptimizerState, ParameterGroup, find_optimizer
from .full_batch import FULL_BATCH, FullBatchMethod, refuse_full_batch

__all__ = [
    "FULL_BATCH", "OPTIMIZERS", "FullBatchMethod", "Optimizer", "OptimizerState", "ParameterGroup", "adaptive",
    "find_optimizer", "layerwise", "momentum", "muon", "refuse_full_batch", "schedule_free", "signs",
]  # fmt: skip
