"""One model of an ensemble."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..engine.model import Sequential


@dataclass
class Member:
    """One model of the ensemble.

    Attributes: features – numbers of the columns that it sees, or None for all; rows – those that it was trained on, with
        repetitions; None after loading from a file; loss – of its last epoch.
    """

    model: Sequential
    features: Any = None
    rows: Any = None
    loss: float = math.nan
