"""What the optimisers share that need the whole batch: `fs.minimize` runs them; a TrainStep points there.

The methods themselves live in framework/second_order.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ...errors import HyperparameterError

FULL_BATCH: dict[str, type[FullBatchMethod]] = {}
"""All of them by name."""


class FullBatchMethod:
    """An optimiser that looks at f(theta), its gradient and its curvature over all of the data.

    A subclass defines `iterations`. Settings are what `vars` shows.
    """

    needs_curvature = False
    """Whether it makes no sense for a loss without second derivative."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        FULL_BATCH[cls.__name__] = cls

    def iterations(self, walk: Any) -> Generator[dict[str, float], None, str]:
        """Moves the walk's accepted point, once for each row that it yields; returns why it cannot go on.

        Args: walk – framework/second_order/walk.py.
        Returns: rows with "step", the length of the step (0 where the point stayed), and what the method has to tell.
        """
        raise NotImplementedError(f"{type(self).__name__} must define iterations")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


def refuse_full_batch(optimizer: Any) -> None:
    """Raises HyperparameterError, with the call that works, for a method that cannot take single minibatches."""
    if isinstance(optimizer, FullBatchMethod):
        name = type(optimizer).__name__
        raise HyperparameterError(
            f"expected an optimiser that takes one minibatch at a time; got {name}, which needs the whole batch at every "
            f"iteration; call fs.minimize(model, loss, x, y, fs.{name}(), iterations=100)"
        )
