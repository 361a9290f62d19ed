"""L0 regularisation: the smallest weights are removed for good, the others are trained on, on a schedule by epoch.

What keeps removed weights at exactly 0 is the mask of the arena, which every optimiser's update kernel reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import HyperparameterError
from ..engine.model import Sequential, require_model
from ..engine.step import TrainStep
from ..settings import choice, share, whole
from .callbacks import Callback
from .stopping import EarlyStopping

if TYPE_CHECKING:
    from .trainer import Trainer

Array = Any

INDEX_BYTES = 4
"""Of a column number or a row's start in compressed rows (CSR)."""
SCOPES = ("global", "layer")
SCHEDULES = ("cubic", "linear")


def sparsity(model: Sequential) -> dict[str, float]:
    """How many weights of a model are exactly 0, and what that saves.

    Biases, gains and offsets are not counted as weights; in the sparse size they are stored whole, and every weight
    matrix as compressed rows: nonzero (item + 4) + (rows + 1) 4 bytes.

    Returns: {"sparsity" (the share of zeros among the weights), "weights", "nonzero", "dense_bytes", "sparse_bytes"}.
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
        stored += here * (item + INDEX_BYTES) + (parameter.shape[0] + 1) * INDEX_BYTES
    share_of_zeros = 1.0 - nonzero / weights if weights else 0.0
    figures = {"weights": weights, "nonzero": nonzero, "dense_bytes": dense, "sparse_bytes": stored}
    return {"sparsity": share_of_zeros, **{name: float(value) for name, value in figures.items()}}


def prune(step: TrainStep, target: float, scope: str = "global") -> dict[str, float]:
    """Sets the smallest weights to 0 until `target` of them are, and keeps them there in all further steps.

    What was pruned before stays pruned and counts. The optimiser forgets what it remembers about pruned weights, and
    `clip_norm` does not see their gradients. `save`, `load` and `model.to` keep the mask; `initialize` begins without.

    Args: step – whose model is pruned; target – the share of the weights, 0 <= target < 1 (biases, gains and offsets are
        never pruned); scope – "global" compares |w| over all weights, "layer" prunes the same share of each array.
    Returns: see `sparsity`.
    Raises: HyperparameterError for a target outside [0, 1).
    Source: notes 000 (L0 by decay and pruning); Han et al. (2015).
    """
    if not isinstance(step, TrainStep):
        raise HyperparameterError(f"expected a TrainStep to prune; got {step!r}; write fs.prune(step, 0.8)")
    wanted = share(target, "the share of weights to prune", "pass such as 0.8; a net without weights cannot learn")
    choice(scope, "scope", SCOPES)
    model, arena = step.model, step.model.arena
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
    """1 for each of the values but the smallest share `pruned` of them, 0 for those; among equal ones the first go."""
    rank = xp.argsort(xp.argsort(sizes, stable=True), stable=True)
    return xp.astype(rank >= round(pruned * int(sizes.shape[0])), sizes.dtype)


class Pruning(Callback):
    """L0 by decay, prune, retrain: before some epochs the smallest weights are set to 0 for good, the others train on.

    Pruning number k = 1, …, n raises the share of zeros to target (1 - (1 - k / n)^3), or to target k / n ("linear").
    Give the optimiser `weight_decay` (or l2, l1) for the decay between prunings. An EarlyStopping in the same trainer
    begins anew with each pruning, so that it never brings pruned weights back.

    Args: target – share of the weights that are 0 in the end, 0 <= target < 1; start – first epoch that is preceded by a
        pruning, default 2; stop – the last one, None for two thirds of the epochs of the fit; every – epochs from one
        pruning to the next; schedule – "cubic" (fast at first, default) or "linear"; scope – as in `prune`.
    Attributes: report – one row an epoch: epoch, what `sparsity` gives, and the loss and validation figures of the epoch.
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
        self.target = share(target, "target of Pruning", "pass such as 0.8; a net without weights cannot learn")
        self.start = whole(start, "start of Pruning")
        self.stop = None if stop is None else whole(stop, "stop of Pruning", self.start, advice="begin earlier or stop later")
        self.every = whole(every, "every of Pruning")
        self.schedule = choice(schedule, "schedule", SCHEDULES)
        self.scope = choice(scope, "scope", SCOPES)
        self.report: list[dict[str, float]] = []
        self._last = 0

    def sparsity_at(self, epoch: int, stop: int) -> float:
        """The share of zeros in that epoch of a fit whose last possible pruning precedes epoch `stop`."""
        if epoch < self.start:
            return 0.0
        count = (stop - self.start) // self.every + 1
        progress = min(1.0, ((epoch - self.start) // self.every + 1) / count)
        return self.target * (progress if self.schedule == "linear" else 1.0 - (1.0 - progress) ** 3)

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Refuses a schedule that does not fit into the epochs."""
        self._last = max(self.start, 2 * trainer.epochs // 3) if self.stop is None else self.stop
        if self._last > trainer.epochs:
            raise HyperparameterError(
                f"expected pruning that ends within the {trainer.epochs} epochs of this fit; got start={self.start} and "
                f"stop={self._last}; train longer or prune earlier"
            )
        self.report = []

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        """Prunes where the schedule says so."""
        if not self.start <= epoch <= self._last or (epoch - self.start) % self.every:
            return
        prune(trainer.step, self.sparsity_at(epoch, self._last), self.scope)
        for callback in trainer.callbacks:
            if isinstance(callback, EarlyStopping):
                callback.on_fit_begin(trainer)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """A row of the report."""
        figures = {k: v for k, v in row.items() if k.endswith(("loss", "accuracy", "r2"))}
        self.report.append({"epoch": row["epoch"], **sparsity(trainer.step.model), **figures})
