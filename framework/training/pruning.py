"""L0 regularisation: removes the smallest weights permanently, on a schedule by epoch, and continues to train the others.

The mask of the arena, which every update kernel reads, keeps removed weights at exactly 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import HyperparameterError
from ..engine.model import Sequential, require_model
from ..engine.step import TrainStep
from ..settings import choice, fraction, whole
from ..suggestions import suggests_arguments
from .callbacks import Callback
from .stopping import EarlyStopping

if TYPE_CHECKING:
    from .trainer import Trainer

Array = Any

INDEX_BYTES = 4
"""Bytes of a column index or row start in compressed sparse rows (CSR)."""
SCOPES = ("global", "layer")
SCHEDULES = ("cubic", "linear")


@suggests_arguments
def sparsity(model: Sequential) -> dict[str, float]:
    """The number of weights of a model that are exactly 0, and the memory that a sparse format would need.

    Biases, gains and offsets are not counted as weights. The sparse size assumes that they are stored densely, and every weight
    matrix as compressed sparse rows: nonzero (item + 4) + (rows + 1) 4 bytes.

    Returns: {"sparsity" (the fraction of zeros among the weights), "weights", "nonzero", "dense_bytes", "sparse_bytes"}.
    """
    require_model(model)
    arena, xp = model.arena, model.backend.xp
    item = 8 if arena.dtype == "float64" else 4
    weights = nonzero = dense = stored = 0
    for parameter, values in arena.views.items():
        dense += parameter.size * item
        if not parameter.decays:
            stored += parameter.size * item
            continue
        here = int(model.backend.item(xp.sum(xp.astype(values != 0.0, xp.float64))))
        weights += parameter.size
        nonzero += here
        rows = parameter.shape[0] if len(parameter.shape) > 1 else 1
        stored += here * (item + INDEX_BYTES) + (rows + 1) * INDEX_BYTES
    fraction_of_zeros = 1.0 - nonzero / weights if weights else 0.0
    figures = {"weights": weights, "nonzero": nonzero, "dense_bytes": dense, "sparse_bytes": stored}
    return {"sparsity": fraction_of_zeros, **{name: float(value) for name, value in figures.items()}}


@suggests_arguments
def prune(step: TrainStep, target: float, scope: str = "global") -> dict[str, float]:
    """Sets the smallest weights to 0 until the fraction `target` is 0, and keeps them at 0 in all further steps.

    Weights that were pruned before stay pruned and count towards the target. The optimiser state of pruned weights is set to 0,
    and `clip_norm` ignores their gradients. `save`, `load` and `model.to` keep the mask; `initialize` removes it.

    Args: step – its model is pruned; target – the fraction of the weights, 0 <= target < 1 (biases, gains and offsets are never
        pruned); scope – "global" compares |w| over all weights, "layer" prunes the same fraction of each array.
    Returns: see `sparsity`.
    Raises: HyperparameterError for a target outside [0, 1).
    Source: notes 000 (L0 by decay and pruning); Han et al. (2015).
    """
    if not isinstance(step, TrainStep):
        raise HyperparameterError(f"expected a TrainStep to prune; got {step!r}; write fs.prune(step, 0.8)")
    wanted = fraction(target, "the fraction of weights to prune", "pass such as 0.8; a net without weights cannot learn")
    choice(scope, "scope", SCOPES)
    model, arena = step.model, step.model.arena
    with arena.between_steps():
        arena.show_trained()
    xp, known = model.backend.xp, {} if arena.mask is None else arena.views_of(arena.mask)
    weights = {p: xp.reshape(values, (-1,)) for p, values in arena.views.items() if p.decays}
    if wanted == 0.0 or not weights:
        return sparsity(model)
    sizes = {
        p: xp.where(xp.reshape(known[p], (-1,)) > 0.0, xp.abs(values), -1.0) if p in known else xp.abs(values)
        for p, values in weights.items()
    }  # -1 for pruned ones, which so come first
    sets = [sizes] if scope == "global" else [{p: size} for p, size in sizes.items()]
    masks = {}
    for chosen in sets:
        mask = _largest(xp, xp.concat(list(chosen.values())), wanted)
        position = 0
        for parameter in chosen:
            part = xp.reshape(mask[position : position + parameter.size], parameter.shape)
            masks[parameter] = part * known[parameter] if parameter in known else part
            position += parameter.size
    arena.prune({p: xp.astype(mask, model.backend.dtype(arena.dtype)) for p, mask in masks.items()})
    step.state.hold()
    return sparsity(model)


def _largest(xp: Any, sizes: Array, pruned: float) -> Array:
    """1 for each of the values but the smallest fraction `pruned` of them, 0 for those; among equal ones the first go."""
    rank = xp.argsort(xp.argsort(sizes, stable=True), stable=True)
    return xp.astype(rank >= round(pruned * int(sizes.shape[0])), sizes.dtype)


@suggests_arguments
class Pruning(Callback):
    """L0 regularisation by decay, pruning and retraining: before some epochs, the smallest weights are set to 0 permanently.

    Pruning number k = 1, …, n raises the fraction of zeros to target (1 - (1 - k / n)^3), or to target k / n ("linear"). Give
    the optimiser `weight_decay` (or l2, l1) for the decay between prunings. EarlyStopping in the same trainer restarts with
    each pruning, so that it never restores pruned weights.

    Args: target – final fraction of zero weights, 0 <= target < 1; start – first epoch that is preceded by a pruning, default
        2; stop – the last one, None for two thirds of the epochs of the fit; every – epochs between prunings; schedule –
        "cubic" (fast at first, default) or "linear"; scope – as in `prune`.
    Attributes: report – one row per epoch: epoch, the values of `sparsity`, and the loss and validation metrics of the epoch.
    Differs from: Zhu and Gupta (2017), who count steps and whose first pruning removes nothing.
    Source: notes 000; Zhu and Gupta (2017) for the cubic schedule.
    """

    def __init__(
        self,
        target: float,
        start: int = 2,
        stop: int | None = None,
        every: int = 1,
        schedule: str = "cubic",
        scope: str = "global",
    ) -> None:
        self.target = fraction(target, "target of Pruning", "pass such as 0.8; a net without weights cannot learn")
        self.start = whole(start, "start of Pruning")
        self.stop = None if stop is None else whole(stop, "stop of Pruning", self.start, advice="begin earlier or stop later")
        self.every = whole(every, "every of Pruning")
        self.schedule = choice(schedule, "schedule", SCHEDULES)
        self.scope = choice(scope, "scope", SCOPES)
        self.report: list[dict[str, float]] = []
        self._last = 0

    def sparsity_at(self, epoch: int, stop: int) -> float:
        """The fraction of zeros in that epoch of a fit whose last possible pruning precedes epoch `stop`."""
        if epoch < self.start:
            return 0.0
        count = (stop - self.start) // self.every + 1
        progress = min(1.0, ((epoch - self.start) // self.every + 1) / count)
        return self.target * (progress if self.schedule == "linear" else 1.0 - (1.0 - progress) ** 3)

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Raises HyperparameterError for a schedule that does not fit into the epochs."""
        self._last = max(self.start, 2 * trainer.epochs // 3) if self.stop is None else self.stop
        if self._last > trainer.epochs:
            raise HyperparameterError(
                f"expected pruning that ends within the {trainer.epochs} epochs of this fit; got start={self.start} and "
                f"stop={self._last}; train longer or prune earlier"
            )
        self.report = []

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        """Prunes if the schedule requires it."""
        if not self.start <= epoch <= self._last or (epoch - self.start) % self.every:
            return
        prune(trainer.step, self.sparsity_at(epoch, self._last), self.scope)
        for callback in trainer.callbacks:
            if isinstance(callback, EarlyStopping):
                callback.on_fit_begin(trainer)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """Adds a row to the report."""
        figures = {k: v for k, v in row.items() if k.endswith(("loss", "accuracy", "r2"))}
        self.report.append({"epoch": row["epoch"], **sparsity(trainer.step.model), **figures})

    def state(self) -> list[dict[str, float]]:
        """The report so far."""
        return self.report

    def restore(self, state: list[dict[str, float]]) -> None:
        """See Callback."""
        self.report = list(state)
