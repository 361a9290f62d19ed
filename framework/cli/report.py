"""The output of `fusedstep train`, and the notes that it writes to the model file; nothing is computed here."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from ...backends import Backend
from ..training.schedules.named import CONSTANT
from .backends_command import why
from .column_report import print_columns, quiet_notes
from .console import new_console
from .training import PreparedData, Trained


class Reporter:
    """Prints to stdout, unless quiet.

    Args: quiet – print nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self.console = new_console(quiet)
        self.shows_progress = not quiet and self.console.is_terminal

    def data(self, data: PreparedData) -> None:
        """The data set and how it is split."""
        dataset, coded = data.dataset, data.preprocessor
        what = f"{len(coded.classes)} classes" if data.task == "classification" else "numbers"
        columns = len(dataset.feature_names)
        inputs = f"{columns:,} column" + "s" * (columns != 1)
        inputs += f" ({coded.width:,} after coding)" if coded.width != columns else ""
        parts = ", ".join(f"{len(part):,} {name}" for name, part in data.parts.items())
        self.console.print(
            f"[bold]{escape(dataset.name)}[/bold]: {len(dataset):,} rows, {inputs}, "
            f"target {escape(dataset.target_name)!r}: {what} ({data.task})"
        )
        self.console.print(f"Rows: {parts}")
        if self.console.quiet:
            for note in quiet_notes(dataset):
                print(f"note: {note}", file=sys.stderr)
        print_columns(self.console, dataset)
        if data.remark:
            self.console.print(f"[yellow]Note:[/yellow] {escape(data.remark)}")

    def backend(self, backend: Backend, argument: str | None) -> None:
        """The backend in use, and why."""
        self.console.print(f"Backend: [bold]{escape(backend.name)}[/bold] ({escape(why(argument, backend.name))})")

    def results(self, data: PreparedData, trained: Trained, path: Path) -> None:
        """The table of results, then network and training settings."""
        recipe, history = trained.recipe, trained.history
        table = Table(title="Results", title_justify="left", title_style="bold")
        classes = data.task == "classification"
        for heading in ("part", "rows", "loss", *(("accuracy",) if classes else ("R²", "RMSE"))):
            table.add_column(heading, justify="left" if heading == "part" else "right")
        for name, figures in trained.figures.items():
            metrics = [percent(figures["accuracy"])] if classes else [number(figures["r2"]), f"{figures['rmse']:.4g}"]
            table.add_row(
                name, f"{len(data.parts[name]):,}", f"{figures['loss']:.4f}", *metrics, style="bold" if name == "test" else ""
            )
        self.console.print(table)
        if trained.baseline is not None:
            self.console.print(comparison(data, trained))
        widths = " → ".join(str(w) for w in (data.preprocessor.width, *recipe.hidden, data.preprocessor.outputs))
        hidden = f", {recipe.activation}, dropout {recipe.dropout:g}" if recipe.hidden else ", a linear model"
        size = "all rows" if recipe.batch_size is None else f"minibatches of {recipe.batch_size}"
        self.console.print(f"Network: {widths}{hidden}; {trained.model.arena.count:,} parameters")
        self.console.print(
            f"Training: {recipe.optimizer} at {rates(trained)}, {size}, {history.epochs} epochs"
            + (f" (epoch {trained.best_epoch} kept)" if trained.best_epoch != history.epochs else "")
            + f", {trained.seconds:.1f} s"
        )
        self.console.print(f"Model: [bold]{escape(str(path))}[/bold]", soft_wrap=True)
        self.console.print(f"Use it: fusedstep predict {escape(str(path))} DATA -o predictions.csv", soft_wrap=True)

    def figures(self, paths: Sequence[Path]) -> None:
        """The paths of the figures."""
        self.console.print(f"Figures: {', '.join(escape(str(path)) for path in paths)}", soft_wrap=True)


def percent(fraction: float) -> str:
    """0.9765 as "97.65 %"."""
    return f"{100.0 * fraction:.2f} %"


def number(value: float) -> str:
    """Four decimals, or "undefined" if there is no R² because the target is constant."""
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def comparison(data: PreparedData, trained: Trained) -> str:
    """One sentence that compares the network with the baseline."""
    assert trained.baseline is not None
    test = trained.figures["test"]
    if data.task == "classification":
        return (
            f"Always predicting the most frequent class gives {percent(trained.baseline)} on the test part; "
            f"the network gives {percent(test['accuracy'])}."
        )
    if math.isnan(trained.baseline):
        return "The target is constant in the test part, so there is no R² to compare."
    verdict = "The network is better" if test["r2"] > trained.baseline else "The network is not better"
    return (
        f"Linear regression on the same split: test R² {trained.baseline:.4f}. {verdict} "
        f"({test['r2']:.4f}, {test['r2'] - trained.baseline:+.4f})."
    )


def rates(trained: Trained) -> str:
    """The learning rate; with a schedule also its name and the rate of the last step."""
    text = f"{trained.lr:g}"
    if trained.recipe.schedule not in (None, CONSTANT):
        text += f" (schedule {trained.recipe.schedule}, {trained.history[-1]['lr']:.3g} at the end)"
    return text


def notes_of(data: PreparedData, trained: Trained, seed: int) -> dict[str, Any]:
    """How the model was trained, for the model file: plain values, None where a result is undefined."""
    recipe = trained.recipe
    return {
        "data": data.dataset.name,
        "target": data.dataset.target_name,
        "task": data.task,
        "rows": {name: len(part) for name, part in data.parts.items()},
        "results": {
            name: {key: value if math.isfinite(value) else None for key, value in figures.items()}
            for name, figures in trained.figures.items()
        },
        "training": {
            **asdict(recipe),
            "lr": trained.lr,
            "schedule": recipe.schedule or CONSTANT,
            "epochs": trained.history.epochs,
            "best_epoch": trained.best_epoch,
            "seed": seed,
            "backend": trained.model.backend.name,
            "seconds": round(trained.seconds, 3),
        },
    }
