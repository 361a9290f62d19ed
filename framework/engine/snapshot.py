"""A copy of the state of a step, which can be restored bit for bit: parameters, optimiser states, step count.

Copies stay on the device; model files are written by framework/export/persistence.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...backends import Array

Step = Any
"""A TrainStep, which imports this module."""


class Snapshot:
    """The state of a step when it was created, or at the last `take`.

    Args: step; optimizer – whether to include optimiser states, step count, learning rate, momentum and loss scale, default
        True. What the model shows instead of the trained parameters, such as their average, is included in any case.
    """

    def __init__(self, step: Step, optimizer: bool = True) -> None:
        self.step = step
        self.optimizer = optimizer
        backend = step.backend
        self._copies = [backend.empty(tuple(a.shape), backend.dtype_name(a)) for a in self._arrays()]
        self.take()

    def _arrays(self) -> list[Array]:
        values, state = self.step.model.arena.values, self.step.state
        if not self.optimizer:
            return [values, *(state.states[name] for name in state.shown_from)]
        scale = () if state.loss_scale is None else (state.loss_scale.scale, state.loss_scale.good)
        return [values, *state.states.values(), *scale]

    def take(self) -> None:
        """Copies the current state, reusing the memory of the previous copy; StateError if another thread trains the model."""
        state = self.step.state
        with self.step.model.arena.training, self.step.model.arena.trained():
            for array, saved in zip(self._arrays(), self._copies, strict=True):
                self.step.backend.copy(array, saved)
            self._scalars = (state.t, state.lr, state.momentum)

    def put_back(self) -> None:
        """Restores the state; weights that were pruned since then stay 0. StateError if another thread trains the model."""
        state = self.step.state
        with self.step.model.arena.training:
            shows = self.step.model.arena.behind is not None
            self.step.model.arena.show_trained()
            for array, saved in zip(self._arrays(), self._copies, strict=True):
                self.step.backend.copy(saved, array)
            if self.optimizer:
                state.t, state.lr, state.momentum = self._scalars
            self.step.model.arena.hold()
            state.hold()
            state.loads = self.step.model.arena.loads
            if shows:
                state.show_average()

    def state(self) -> dict[str, Any]:
        """The copies as NumPy arrays, and the scalars; for `restore`."""
        return {"arrays": [self.step.backend.to_numpy(a) for a in self._copies], "scalars": list(self._scalars)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replaces the copies by those of another snapshot of such a step, from its `state`."""
        steps, lr, momentum = state["scalars"]
        for saved, copy in zip(state["arrays"], self._copies, strict=True):
            if saved.shape != tuple(copy.shape):
                raise ValueError(f"expected copies of shape {list(copy.shape)}; got {list(saved.shape)}")
            self.step.backend.copy(saved, copy)
        self._scalars = int(steps), float(lr), None if momentum is None else float(momentum)
