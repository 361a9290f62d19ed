"""Optimisers that move every parameter by the same amount: sign descent and Lion."""

from __future__ import annotations

from typing import Any

from ..settings import fraction
from .base import Optimizer


class SignDescent(Optimizer):
    """theta -= lr sign(g): the normalised step of notes 004, which moves a fixed distance along each axis.

    Args: lr – default 1e-3.
    Source: Bernstein et al. (2018), signSGD.
    """

    rule_name = "sign_descent"

    def __init__(self, lr: float = 1e-3, **penalties: Any) -> None:
        super().__init__(lr, **penalties)


class Lion(Optimizer):
    """theta -= lr sign(b1 m + (1 - b1) g); m = b2 m + (1 - b2) g.

    Args: lr – default 1e-4 (three to ten times smaller than for Adam); beta1, beta2 – default 0.9 and 0.99.
    Source: Chen et al. (2023).
    """

    rule_name = "lion"

    def __init__(self, lr: float = 1e-4, beta1: float = 0.9, beta2: float = 0.99, **penalties: Any) -> None:
        super().__init__(lr, **penalties)
        self.beta1, self.beta2 = fraction(beta1, "beta1"), fraction(beta2, "beta2")

    def scalars(self, t: int, lr: float) -> dict[str, float]:  # noqa: ARG002
        """lr, 1 - b1, 1 - b2."""
        return {"lr": lr, "rest1": 1.0 - self.beta1, "rest2": 1.0 - self.beta2}
