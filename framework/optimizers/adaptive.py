"""Optimisers with one step size per parameter: AdaGrad, RMSProp, AdaDelta, Adam and its variants.

`epsilon_placement` selects epsilon inside the square root, as in the notes, or outside, as in PyTorch.
"""

from __future__ import annotations

import math
from typing import Any

from ..settings import choice, epsilon_above_zero, fraction
from .base import Optimizer


def _placed(placement: str) -> str:
    return choice(placement, "epsilon_placement", ("inside", "outside"))


class AdaGrad(Optimizer):
    """v += g^2; theta -= lr g / (sqrt(v) + epsilon), or lr g / sqrt(v + epsilon) with epsilon inside.

    Args: lr – default 0.01; epsilon – default 1e-10; epsilon_placement – default "outside".
    Source: Duchi, Hazan and Singer (2011); notes 002 (inside).
    """

    def __init__(
        self, lr: float = 0.01, epsilon: float = 1e-10, epsilon_placement: str = "outside", **penalties: Any
    ) -> None:
        super().__init__(lr, **penalties)
        self.epsilon = epsilon_above_zero(epsilon)
        self.rule_name = f"adagrad_{_placed(epsilon_placement)}"

    def scalars(self, t: int, lr: float) -> dict[str, float]:  # noqa: ARG002
        """lr and epsilon."""
        return {"lr": lr, "eps": self.epsilon}


class RMSProp(Optimizer):
    """v = beta v + (1 - beta) g^2; theta -= lr g / (sqrt(v) + epsilon), or lr g / sqrt(v + epsilon).

    Args: lr – default 1e-3; beta – default 0.9; epsilon – default 1e-8; epsilon_placement – default "outside".
    Differs from: PyTorch, whose default for beta ("alpha") is 0.99.
    Source: Tieleman and Hinton (2012); notes 002, 003 (inside).
    """

    def __init__(
        self, lr: float = 1e-3, beta: float = 0.9, epsilon: float = 1e-8, epsilon_placement: str = "outside",
        **penalties: Any,
    ) -> None:  # fmt: skip
        super().__init__(lr, **penalties)
        self.beta = fraction(beta, "beta")
        self.epsilon = epsilon_above_zero(epsilon)
        self.rule_name = f"rmsprop_{_placed(epsilon_placement)}"

    def scalars(self, t: int, lr: float) -> dict[str, float]:  # noqa: ARG002
        """lr, 1 - beta, epsilon."""
        return {"lr": lr, "rest": 1.0 - self.beta, "eps": self.epsilon}


class AdaDelta(Optimizer):
    """v = rho v + (1 - rho) g^2; s = sqrt(d + eps) / sqrt(v + eps) g; d = rho d + (1 - rho) s^2; theta -= lr s.

    Args: lr – default 1; rho – default 0.9; epsilon – default 1e-6; epsilon_placement – default "inside", as in the
        paper and in PyTorch.
    Source: Zeiler (2012); notes 000.
    """

    def __init__(
        self, lr: float = 1.0, rho: float = 0.9, epsilon: float = 1e-6, epsilon_placement: str = "inside",
        **penalties: Any,
    ) -> None:  # fmt: skip
        super().__init__(lr, **penalties)
        self.rho = fraction(rho, "rho")
        self.epsilon = epsilon_above_zero(epsilon)
        self.rule_name = f"adadelta_{_placed(epsilon_placement)}"

    def scalars(self, t: int, lr: float) -> dict[str, float]:  # noqa: ARG002
        """lr, 1 - rho, epsilon."""
        return {"lr": lr, "rest": 1.0 - self.rho, "eps": self.epsilon}


class Adam(Optimizer):
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; theta -= lr m^ / (sqrt(v^) + epsilon).

    m^ = m / (1 - b1^t) and v^ = v / (1 - b2^t) correct the bias of m and v towards their initial value 0.

    Args: lr – default 1e-3; beta1, beta2 – default 0.9 and 0.999; epsilon – default 1e-8; epsilon_placement – default
        "outside" (Kingma and Ba, PyTorch, optax.adam); "inside" is lr m^ / sqrt(v^ + epsilon) (eps_root of optax).
    Source: Kingma and Ba (2015); notes 000, 002, 004.
    """

    def __init__(
        self, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
        epsilon_placement: str = "outside", **penalties: Any,
    ) -> None:  # fmt: skip
        super().__init__(lr, **penalties)
        self.beta1, self.beta2 = fraction(beta1, "beta1"), fraction(beta2, "beta2")
        self.epsilon = epsilon_above_zero(epsilon)
        self.rule_name = f"adam_{_placed(epsilon_placement)}"

    def scalars(self, t: int, lr: float) -> dict[str, float]:
        """lr / (1 - b1^t), 1 - b1, 1 - b2, 1 / sqrt(1 - b2^t), epsilon."""
        return {
            "lr": lr / (1.0 - self.beta1**t),
            "rest1": 1.0 - self.beta1,
            "rest2": 1.0 - self.beta2,
            "root": (1.0 - self.beta2**t) ** -0.5,
            "eps": self.epsilon,
        }


class AdamW(Adam):
    """Adam with decoupled weight decay: theta -= lr weight_decay theta in addition to the step of Adam.

    Args: as in Adam; weight_decay – default 0.01.
    Source: Loshchilov and Hutter (2019); biases and gains are exempt, unlike in torch.optim.AdamW.
    """

    def __init__(
        self, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
        weight_decay: float = 0.01, **rest: Any,
    ) -> None:  # fmt: skip
        super().__init__(lr, beta1, beta2, epsilon, weight_decay=weight_decay, **rest)


class NAdam(Adam):
    """Adam with Nesterov momentum: m^ is replaced by b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t).

    Differs from: torch.optim.NAdam, which also increases b1 with t. Equal to optax.nadam.
    Source: Dozat (2016).
    """

    def __init__(
        self, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, **penalties: Any
    ) -> None:
        super().__init__(lr, beta1, beta2, epsilon, **penalties)
        self.rule_name = "nadam"

    def scalars(self, t: int, lr: float) -> dict[str, float]:
        """The scalars of Adam, with the bias correction moved from lr to the two weights."""
        ahead = self.beta1 / (1.0 - self.beta1 ** (t + 1))
        now = (1.0 - self.beta1) / (1.0 - self.beta1**t)
        return {**super().scalars(t, lr), "lr": lr, "ahead": ahead, "now": now}


class RAdam(Adam):
    """theta -= lr r m^ / (sqrt(v^) + epsilon), m^ and v^ as in Adam; theta -= lr m^ in the first steps, rho_t <= 5.

    rho_t = rho - 2 t b2^t / (1 - b2^t), with rho = 2 / (1 - b2) - 1, is the effective number of gradients in v^. While it is
    small, 1 / sqrt(v^) has a large variance, and r = sqrt((rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t))
    compensates for that. With b2 = 0.999 the first five steps are momentum steps; with b2 <= 2/3 all are.

    Args: as in Adam.
    Differs from: the paper, whose threshold is 4 (its code has 5); torch.optim.RAdam, which adds epsilon to sqrt(v), not to
        sqrt(v^). Equal to optax.radam.
    Source: Liu et al. (2020), "On the Variance of the Adaptive Learning Rate and Beyond", algorithm 2.
    """

    def scalars(self, t: int, lr: float) -> dict[str, float]:
        """The scalars of Adam with lr times r; in the first steps, root 0 and epsilon 1 make the divisor 1."""
        adam = super().scalars(t, lr)
        rho = 2.0 / (1.0 - self.beta2) - 1.0
        rho_t = rho - 2.0 * t * self.beta2**t / (1.0 - self.beta2**t)
        if rho_t <= 5.0:
            return {**adam, "root": 0.0, "eps": 1.0}
        r = math.sqrt((rho_t - 4.0) * (rho_t - 2.0) * rho / ((rho - 4.0) * (rho - 2.0) * rho_t))
        return {**adam, "lr": adam["lr"] * r}


class Adamax(Optimizer):
    """m = b1 m + (1 - b1) g; u = max(b2 u, |g| + epsilon); theta -= lr m / ((1 - b1^t) u).

    Args: lr – default 2e-3; beta1, beta2 – default 0.9 and 0.999; epsilon – default 1e-8, not in the paper.
    Source: Kingma and Ba (2015), section 7.1.
    """

    def __init__(
        self, lr: float = 2e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, **penalties: Any
    ) -> None:
        super().__init__(lr, **penalties)
        self.beta1, self.beta2 = fraction(beta1, "beta1"), fraction(beta2, "beta2")
        self.epsilon = epsilon_above_zero(epsilon)
        self.rule_name = "adamax"

    def scalars(self, t: int, lr: float) -> dict[str, float]:
        """lr / (1 - b1^t), 1 - b1, b2, epsilon."""
        return {
            "lr": lr / (1.0 - self.beta1**t), "rest1": 1.0 - self.beta1, "beta2": self.beta2, "eps": self.epsilon,
        }  # fmt: skip
