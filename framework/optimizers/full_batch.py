"""Base class of the optimisers that need the whole batch, which `fs.minimize` runs; a TrainStep refuses them.

The methods themselves are in framework/second_order.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ...errors import HyperparameterError

FULL_BATCH: dict[str, type[FullBatchMethod]] = {}
"""Name -> full-batch method."""


class FullBatchMethod:
    """An optimiser that uses f(theta), its gradient and its curvature over all of the data.

    A subclass defines `iterations`; its instance attributes are its settings.
    """

    needs_curvature = False
    """Whether the method needs a loss with a second derivative."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        FULL_BATCH[cls.__name__] = cls

    def iterations(self, walk: Any) -> Generator[dict[str, float], None, str]:
        """A generator that moves the accepted point of the walk once per iteration.

        Args: walk – see framework/second_order/walk.py.
        Yields: a row of the history: "step", the length of the step (0 if the point was not moved), and columns of the method.
        Returns: the reason why the method cannot continue.
        """
        raise NotImplementedError(f"{type(self).__name__} must define iterations")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


def refuse_full_batch(optimizer: Any) -> None:
    """Raises HyperparameterError for a full-batch method, with the call that works instead."""
    if isinstance(optimizer, FullBatchMethod):
        name = type(optimizer).__name__
        raise HyperparameterError(
            f"expected an optimiser that takes one minibatch at a time; got {name}, which needs the whole batch at every "
            f"iteration; call fs.minimize(model, loss, x, y, fs.{name}(), iterations=100)"
        )
