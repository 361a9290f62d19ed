"""scikit-learn's MLPClassifier, one `partial_fit` a step."""

from __future__ import annotations

from itertools import cycle
from typing import Any, ClassVar

import numpy as np

from ..problem import BETA1, BETA2, EPSILON, Problem
from ..team import blas_threads
from ..timing import Prepared
from .base import Contender, Missing


class Sklearn(Contender):
    """`MLPClassifier(solver="adam", alpha=0, batch_size=B, shuffle=False).partial_fit` on exactly one minibatch.

    The start is set from outside after a first call, and the optimiser's memory is emptied. It differs from the others in two
    things: each call checks its data and codes the labels anew (as users of it pay for, so it is timed), and epsilon is added
    to sqrt(v), not to sqrt(v / (1 - beta2^t)): the same work, but other steps where gradients are tiny, so that only the loss
    before the first one is compared. With two classes it has one output instead of two, so such networks are left out.
    """

    name: ClassVar[str] = "sklearn"
    needs: ClassVar[tuple[tuple[str, str], ...]] = (("sklearn", "scikit-learn"),)
    compared: ClassVar[int] = 1

    def version(self) -> str:
        """scikit-learn's."""
        import sklearn

        return f"scikit-learn {sklearn.__version__}"

    def refuses(self, problem: Problem) -> Missing | None:
        """It has no LayerNorm, GELU, dropout or clipping."""
        if problem.full:
            return Missing("MLPClassifier has neither LayerNorm, GELU, dropout nor gradient clipping")
        if problem.network.widths[-1] == 2:
            return Missing("for two classes MLPClassifier trains one output, not two")
        return None

    def prepare(self, problem: Problem) -> Prepared:
        """The classifier after a first call, back at the common start."""
        run = SklearnStep(problem)
        return Prepared(run, reset=run.reset, around=lambda: blas_threads(problem.threads))


class SklearnStep:
    """A classifier and its minibatches.

    Args: problem.
    """

    def __init__(self, problem: Problem) -> None:
        from sklearn.neural_network import MLPClassifier

        self.problem = problem
        self.network = MLPClassifier(
            problem.network.widths[1:-1], activation="relu", solver="adam", alpha=0.0, batch_size=problem.network.batch,
            learning_rate_init=problem.learning_rate, beta_1=BETA1, beta_2=BETA2, epsilon=EPSILON, shuffle=False,
            random_state=0,
        )  # fmt: skip
        classes = np.arange(problem.network.widths[-1])
        self.network.partial_fit(*problem.minibatches[0], classes=classes)
        self.reset()

    def reset(self) -> None:
        """The common start; the optimiser of the classifier is made anew by its next call."""
        start = self.problem.start
        for mine, theirs in zip(start, zip(self.network.coefs_, self.network.intercepts_, strict=True), strict=True):
            for value, array in zip(mine, theirs, strict=True):
                array[...] = value
        optimizer = self.network._optimizer
        optimizer.t = 0
        for moments in (optimizer.ms, optimizer.vs):
            for array in moments:
                array[...] = 0.0
        self.turn = cycle(self.problem.minibatches)

    def __call__(self) -> Any:
        x, y = next(self.turn)
        self.network.partial_fit(x, y)
        return self.network.loss_
