"""The history of training, one row per epoch."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import HyperparameterError, StateError, UnknownColumn
from ..html import curves, table
from ..metrics.direction import NOTHING_KNOWN, Directions, larger_is_better
from ..sources.names import did_you_mean
from ..suggestions import SuggestsAttributes

if TYPE_CHECKING:
    from ..export.output_paths import PathLike


class History(SuggestsAttributes):
    """Losses and metrics, one row per epoch.

    Each row holds epoch (from 1), loss (mean over the epoch's minibatches, before each update), val_loss and val_accuracy or
    val_r2 and val_mae if there are validation data, val_auc and the like for the metrics of the Trainer, accuracy or r2 (and
    auc) if the Trainer evaluates the training data, lr, momentum if it has a schedule, seconds, samples_per_second.

    Attributes: rows – a dict for each epoch; step_losses – the loss of every minibatch, before its update; steps_per_epoch –
        number of minibatches; stopped_because – text stating why training ended before its last epoch, or ""; directions – name
        of each metric of the Trainer -> whether larger values are better, None if that is not known.

    history["val_loss"]  -> the column, one number per epoch history[-1]          -> the last row history[-3:]         -> the
    last three, a list
    """

    directions: Directions = NOTHING_KNOWN
    """Of the class, for pickles of version 0.2.0 and older, which have none."""

    def __init__(self, steps_per_epoch: int = 0, directions: Directions = NOTHING_KNOWN) -> None:
        self.directions = dict(directions)
        self.rows: list[dict[str, float]] = []
        self.step_losses = array("d")
        self.steps_per_epoch = steps_per_epoch
        self.stopped_because = ""

    @property
    def epochs(self) -> int:
        """Number of trained epochs."""
        return len(self.rows)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.rows[0]) if self.rows else []

    def __getitem__(self, key: str | int | slice) -> Any:
        if not isinstance(key, str):
            return self.rows[key]
        if self.rows and key not in self.rows[0]:
            known = self.columns
            raise UnknownColumn(f"expected one of the columns {', '.join(known)}; got {key!r}{_advice(key, known)}")
        return [row[key] for row in self.rows]

    def __iter__(self) -> Iterator[dict[str, float]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def best(self, column: str = "val_loss", mode: str | None = None) -> dict[str, float]:
        """The row with the best value in a column.

        Args: column; mode – "min" if smaller values are better, "max" if larger ones are; None (default) for metrics whose
            direction is known: those of the Trainer, names of scikit-learn's scorers, losses and errors, R², AUC and the like.
        Raises: StateError before the first epoch; UnknownColumn, for example for "val_loss" without validation data;
            HyperparameterError for a column whose direction is not known, without mode.
        """
        if not self.rows:
            raise StateError("expected at least one trained epoch; got none; call fit first")
        values = self[column]
        sign = -1.0 if larger_is_better(column, mode, self.directions) else 1.0
        figures = [(math.isnan(value), sign * value) for value in values]
        return self.rows[figures.index(min(figures))]

    def plot(self, path: PathLike | None = None) -> Any:
        """Plots loss, and accuracy or R² if available, against epoch and iteration, for training and validation.

        The training loss of an epoch is the mean over its minibatches, before each update; the validation loss is computed
        after the epoch. The loss axis is logarithmic if losses fall by more than a factor of 30.

        Args: path – of a .png, .svg or .pdf file to write; None writes nothing.
        Returns: the matplotlib Figure; it is not shown.
        Raises: StateError before the first epoch, MissingDependency without matplotlib, OutputPathError.

            trainer.fit(x, y, validation=(xv, yv)).plot("curves.png")
        """
        from ..diagnostics.plots.curves import plot_history

        return plot_history(self, path)

    def __repr__(self) -> str:
        last = ", ".join(f"{k}={v:.4g}" for k, v in self.rows[-1].items()) if self.rows else "nothing yet"
        return f"<History of {self.epochs} epochs: {last}>"

    def _repr_html_(self) -> str:
        """The curves of the losses, and a table in which the row of the best epoch is in bold type, for notebooks."""
        column = "val_loss" if "val_loss" in self.columns else "loss"
        best = self.rows.index(self.best(column)) if self.rows else -1
        shown = _shown(len(self), best)
        rows = [["…" if k is None else _number(self.rows[k].get(name, math.nan)) for name in self.columns] for k in shown]
        losses: dict[str, list[float]] = {name: self[name] for name in ("loss", "val_loss") if name in self.columns}
        title = f"{self.epochs} epochs" + (f"; stopped: {self.stopped_because}" if self.stopped_because else "")
        strong = {place for place, k in enumerate(shown) if k == best}
        return curves(losses, "loss by epoch") + table(title, self.columns, rows, strong, texts=0)


def _number(value: float) -> str:
    """Four digits, and all of those before the point."""
    return f"{value:,.0f}" if 1000.0 <= abs(value) < 1e9 else f"{value:.4g}"


def _shown(count: int, best: int) -> list[int | None]:
    """The indices of rows that a notebook shows: all, or the first, the best and the last; None for those left out."""
    if count <= 10:
        return list(range(count))
    chosen = sorted({0, 1, 2, best, *range(count - 5, count)})
    pairs = zip(chosen, [*chosen[1:], count], strict=True)
    return [place for index, following in pairs for place in ((index,) if following == index + 1 else (index, None))]


def require_column(who: str, column: str, columns: Sequence[str]) -> None:
    """Refuses a column that the history of a fit will not have, before anything is trained."""
    if column not in columns:
        raise HyperparameterError(
            f"{who}: expected a column of the history ({', '.join(columns)}); got {column!r}{_advice(column, columns)}"
        )


def _advice(column: str, columns: Sequence[str]) -> str:
    """What to do for a column that a history does not have."""
    if column.startswith("val_") and not any(name.startswith("val_") for name in columns):
        return "; pass validation=(x, y) to fit for those that start with val_"
    return f"; did you mean 'val_{column}'?" if f"val_{column}" in columns else did_you_mean(column, columns)
