"""SGD and its momentum variants, in every convention that the notes use."""

from __future__ import annotations

from typing import Any

from ..settings import choice, share
from .base import Optimizer


class SGD(Optimizer):
    """theta -= lr g. Source: all of the notes; Robbins and Monro (1951).

    Args: lr – default 0.01; the rest as in Optimizer.
    Differs from: torch.optim.SGD, whose `weight_decay` is `l2` here and whose momentum is a class of its own here.
    """

    rule_name = "sgd"

    def __init__(self, lr: float = 0.01, **penalties: Any) -> None:
        super().__init__(lr, **penalties)


class Momentum(Optimizer):
    """SGD with momentum, in one of four conventions.

    form "update" (notes 002): u = gamma u + lr g, theta -= u. form "velocity" (003): M = gamma M - lr g, theta += M.
    form "average" (004): m = gamma m + (1 - gamma) g, theta -= lr m. form "sum" (PyTorch): u = gamma u + g, theta -= lr u.
    With a constant learning rate the first, second and fourth are the same, and the third is the same with
    lr' = lr / (1 - gamma).

    Args: lr – default 0.01; momentum – gamma in [0, 1), default 0.9; form – default "update".
    """

    FORMS = ("update", "velocity", "average", "sum")

    def __init__(self, lr: float = 0.01, momentum: float = 0.9, form: str = "update", **penalties: Any) -> None:
        super().__init__(lr, **penalties)
        self.momentum = share(momentum, "momentum")
        self.form = choice(form, "form", self.FORMS)
        self.rule_name = f"momentum_{form}"

    def scalars(self, t: int, lr: float) -> dict[str, float]:
        """lr and the momentum."""
        del t
        return {"lr": lr, **self.momentum_scalars(self.momentum)}

    def momentum_scalars(self, momentum: float) -> dict[str, float]:
        """gamma under the names of all four rules."""
        return {"gamma": momentum, "mu": momentum, "beta": momentum, "rest": 1.0 - momentum}


class Nesterov(Optimizer):
    """Nesterov's accelerated gradient.

    form "reformulated" (default): u = gamma u + g, theta -= lr (g + gamma u), theta being the look-ahead point itself.
    form "look_ahead": u = gamma u + lr g(theta - gamma u), theta -= u, exactly as in the notes; costs one more
        kernel call.
    With a constant lr and momentum the look-ahead points of the second are the parameters of the first.

    Args: lr – default 0.01; momentum – gamma in [0, 1), default 0.9; form.
    Source: Nesterov (1983); Sutskever et al. (2013); notes 000, 002, 004.
    """

    FORMS = ("reformulated", "look_ahead")

    def __init__(self, lr: float = 0.01, momentum: float = 0.9, form: str = "reformulated", **penalties: Any) -> None:
        super().__init__(lr, **penalties)
        self.momentum = share(momentum, "momentum")
        self.form = choice(form, "form", self.FORMS)
        self.rule_name = "nesterov" if form == "reformulated" else "nesterov_look_ahead"

    def scalars(self, t: int, lr: float) -> dict[str, float]:
        """lr and gamma."""
        del t
        return {"lr": lr, **self.momentum_scalars(self.momentum)}

    def momentum_scalars(self, momentum: float) -> dict[str, float]:
        """gamma."""
        return {"gamma": momentum}

    @property
    def looks_ahead(self) -> bool:  # type: ignore[override]
        """In the form of the notes."""
        return self.form == "look_ahead"
