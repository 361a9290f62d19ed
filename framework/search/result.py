"""The result of a search: its trials in order, and the best candidate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import NonFiniteLossError, StateError
from ..html import table
from .candidate import Candidate


@dataclass(frozen=True)
class SearchTrial:
    """One candidate and its result.

    Attributes: candidate; value – the smallest validation loss of its epochs, infinite where it diverged or failed; epochs –
        number trained; state – "complete", "pruned" (stopped early, because it was worse than the median of the others),
        "diverged" (the loss, or the validation loss of an epoch, was not finite) or "failed" (it ran out of memory, or its
        workers ended several times); reason – why it failed.
    """

    candidate: Candidate
    value: float
    epochs: int
    state: str
    reason: str = ""


@dataclass(frozen=True)
class SearchResult:
    """The finished trials of a search, in order.

        best = fs.search(x, y, (xv, yv), trials=20).best
        step = best.make_step(64, 10, fs.SoftmaxCrossEntropy())
        fs.Trainer(step, schedule=best.schedule).fit(x, y, (xv, yv), batch_size=best.batch_size)

    Attributes: trials – SearchTrials.
    """

    trials: tuple[SearchTrial, ...]

    @property
    def best_trial(self) -> SearchTrial:
        """The trial with the smallest value among the complete ones, or among the pruned ones if none is complete.

        Raises: NonFiniteLossError if every trial diverged; StateError if all failed, or the rest.
        """
        sound = [trial for trial in self.trials if trial.state not in ("diverged", "failed")]
        failed = [trial for trial in self.trials if trial.state == "failed"]
        if failed and not sound:
            raise StateError(
                f"expected a trial that can be run; of {len(self.trials)}, {len(failed)} failed and all others diverged; the "
                f"first failure: {failed[0].reason}; search smaller networks, such as space=fs.SearchSpace(width=(32, 128))"
            )
        if not sound:
            raise NonFiniteLossError(
                f"expected a trial with finite losses; all {len(self.trials)} diverged; search smaller learning rates, such as "
                "space=fs.SearchSpace(lr=(1e-5, 1e-3)), or scale the data"
            )
        return min(sound, key=lambda trial: (trial.state != "complete", trial.value))

    @property
    def best(self) -> Candidate:
        """The candidate of the best trial."""
        return self.best_trial.candidate

    @property
    def best_value(self) -> float:
        """The validation loss of the best trial."""
        return self.best_trial.value

    def _listed(self) -> list[tuple[str, ...]]:
        """Headings, and a row for each trial."""
        rows: list[tuple[str, ...]] = [
            ("trial", "val_loss", "epochs", "state", "optimizer", "lr", "batch", "schedule", "network")
        ]
        for number, trial in enumerate(self.trials, 1):
            c = trial.candidate
            network = f"{'-'.join(map(str, c.hidden)) or 'linear'} {c.activation} dropout {c.dropout:.2f}"
            value = "inf" if math.isinf(trial.value) else f"{trial.value:.4f}"
            figures = (str(number), value, str(trial.epochs), trial.state)
            rows.append((*figures, c.optimizer, f"{c.lr:.2g}", str(c.batch_size), c.schedule, network))
        return rows

    def __str__(self) -> str:
        rows = self._listed()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)

    def _repr_html_(self) -> str:
        """The trials, with the best one in bold type, for notebooks."""
        headings, *rows = self._listed()
        sound = any(trial.state not in ("diverged", "failed") for trial in self.trials)
        best = {self.trials.index(self.best_trial)} if sound else set()
        return table(f"{len(rows)} trials", headings, rows, best, texts=0)
