"""ParameterPath: records the parameters during training, for the path on a loss surface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...backends import Array
from ..settings import whole
from ..suggestions import suggests_arguments
from ..training.callbacks import Callback

if TYPE_CHECKING:
    from ..engine.arena import Arena
    from ..training.trainer import Trainer


@suggests_arguments
class ParameterPath(Callback):
    """Records copies of all parameters during training, on their device: before the first step and after each epoch.

    Each copy needs as much memory as the parameters. The last one is the point at which training ended; early stopping may then
    restore an earlier point.

    Args: every – None (default), or an interval >= 1 in steps for additional copies.
    Attributes: points – the copies, flat arrays in the order of the arena; steps – step number of each; arena – the parameters
        from which they were copied.

        path = fs.ParameterPath(every=10)
        fs.Trainer(step, callbacks=[path]).fit(x, y)
        fs.loss_surface(step, None, x, y, path=path).plot("surface.png")
    """

    def __init__(self, every: int | None = None) -> None:
        self.every = None if every is None else whole(every, "every of ParameterPath")
        self.points: list[Array] = []
        self.steps: list[int] = []
        self.arena: Arena | None = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Discards the points of an earlier fit; records the first point."""
        self.points, self.steps = [], []
        self.arena = trainer.step.model.arena
        self._copy(trainer)

    def on_step_end(self, trainer: Trainer, done: int, total: int) -> None:  # noqa: ARG002
        """Records a point after the steps that `every` selects."""
        if self.every is not None and trainer.step.steps % self.every == 0:
            self._copy(trainer)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:  # noqa: ARG002
        """Records a point, unless this was done after the last step."""
        if self.steps[-1] != trainer.step.steps:
            self._copy(trainer)

    def _copy(self, trainer: Trainer) -> None:
        arena = trainer.step.model.arena
        point = arena.new()
        arena.backend.copy(arena.values, point)
        self.points.append(point)
        self.steps.append(trainer.step.steps)

    def state(self) -> dict[str, Any]:
        """The points, as NumPy arrays, and their steps."""
        points = [] if self.arena is None else [self.arena.backend.to_numpy(point) for point in self.points]
        return {"points": points, "steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See Callback."""
        arena = self.arena
        assert arena is not None
        self.points = [arena.backend.asarray(point, arena.dtype) for point in state["points"]]
        self.steps = list(state["steps"])

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        return f"<ParameterPath of {len(self)} points>"
