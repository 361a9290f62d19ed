"""The output of `fusedstep train`, and the notes that it writes to the model file; nothing is computed here."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
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
from .recipe import Recipe
from .report_classes import class_names, print_classes
from .training import PreparedData, Trained, judged_part, layer_widths

SHOWN_AS = {"accuracy": "accuracy", "f1": "F1", "auc": "AUC", "r2": "R²", "rmse": "RMSE", "mae": "MAE"}
"""Figures -> their headings."""
MOST_NAMES = 8
"""Largest number of targets that are named in the first line."""
MOST_TARGETS = 40
"""Largest number of targets in a table."""


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
        what = {"classes": f"{len(coded.classes)} classes", "labels": "labels of two values", "numbers": "numbers"}[data.kind]
        columns = len(dataset.feature_names)
        inputs = f"{columns:,} column" + "s" * (columns != 1)
        inputs += f" ({coded.width:,} after coding)" if coded.width != columns else ""
        origin = {name: f" ({one.origin})" for name, one in data.own.items()}
        weighed = "" if dataset.weights is None else f", weighted by {dataset.weights.name!r}"
        parts = ", ".join(f"{len(part):,} {name}{origin.get(name, '')}" for name, part in data.parts.items())
        self.console.print(
            f"[bold]{escape(dataset.name)}[/bold]: {len(dataset):,} rows, {inputs}, "
            f"{escape(targets_of(dataset.target_names))}: {what} ({data.task})"
        )
        self.console.print(f"Rows: {escape(parts + division(data) + weighed)}")
        if self.console.quiet:
            for note in (*quiet_notes(dataset), *data.notes):
                print(f"note: {note}", file=sys.stderr)
        print_columns(self.console, dataset)
        for note in (data.remark, *data.notes):
            if note:
                self.console.print(f"[yellow]Note:[/yellow] {escape(note)}")

    def backend(self, backend: Backend, argument: str | None) -> None:
        """The backend in use, and why."""
        self.console.print(f"Backend: [bold]{escape(backend.name)}[/bold] ({escape(why(argument, backend.name))})")

    def recipe(self, data: PreparedData, recipe: Recipe) -> None:
        """One line that says how the network will be trained."""
        best = ", the best one kept" if recipe.patience and "validation" in data.parts else ""
        size = "all rows" if recipe.batch_size is None else f"minibatches of {recipe.batch_size}"
        units = "a linear model" if not recipe.hidden else f"{' · '.join(map(str, recipe.hidden))} {recipe.activation}"
        self.console.print(
            f"Settings: {units}, {recipe.optimizer}, schedule {recipe.schedule}, {size}, at most {recipe.epochs} epochs{best}"
        )

    def results(self, data: PreparedData, trained: Trained, path: Path) -> None:
        """The table of results, then network and training settings."""
        recipe, history = trained.recipe, trained.history
        table = Table(title="Results", title_justify="left", title_style="bold")
        shown = [name for name in SHOWN_AS if any(name in figures for figures in trained.figures.values())]
        for heading in ("part", "rows", "loss", *(SHOWN_AS[name] for name in shown)):
            table.add_column(heading, justify="left" if heading == "part" else "right")
        for name, figures in trained.figures.items():
            metrics = [figure(metric, figures[metric]) for metric in shown]
            table.add_row(
                name, f"{len(data.parts[name]):,}", f"{figures['loss']:.4f}", *metrics, style="bold" if name == "test" else ""
            )
        self.console.print(table)
        if trained.by_target:
            self._by_target(data, trained)
        if trained.baseline is not None:
            self.console.print(comparison(data, trained))
        if trained.of_classes is not None:
            print_classes(self.console, data, trained.of_classes)
        widths = " → ".join(map(str, layer_widths(data, recipe.hidden, recipe.number_embedding)))
        numbers = len(data.embedded(recipe.number_embedding))
        for count, what in ((numbers, "number"), (len(data.preprocessor.categories), "column")):
            widths = f"{count} {what}{'s' * (count > 1)} embedded, {widths}" if count else widths
        hidden = f", {recipe.activation}, dropout {recipe.dropout:g}" if recipe.hidden else ", a linear model"
        if recipe.ensemble > 1:
            hidden += f", {recipe.ensemble} networks in one"
        size = "all rows" if recipe.batch_size is None else f"minibatches of {recipe.batch_size}"
        self.console.print(f"Network: {widths}{hidden}; {trained.model.arena.count:,} parameters")
        balanced = ", balanced classes" if trained.class_weight is not None else ""
        self.console.print(
            f"Training: {recipe.optimizer} at {rates(trained)}, {size}{balanced}, {history.epochs} epochs"
            + (f" (epoch {trained.best_epoch} kept)" if trained.best_epoch != history.epochs else "")
            + f", {trained.seconds:.1f} s"
            + (f" in {trained.processes} processes" if trained.processes > 1 else "")
        )
        self.console.print(f"Model: [bold]{escape(str(path))}[/bold]", soft_wrap=True)
        self.console.print(f"Use it: fusedstep predict {escape(str(path))} DATA -o predictions.csv", soft_wrap=True)

    def _by_target(self, data: PreparedData, trained: Trained) -> None:
        """A table with one line per target, for the test part, or without one for the training part."""
        part = "test" if "test" in trained.by_target else "training"
        targets = trained.by_target[part]
        table = Table(title=f"Targets ({part} part)", title_justify="left", title_style="bold")
        metrics = list(next(iter(targets.values())))
        positive = {name: str(coding.classes[1]) for name, coding in data.preprocessor.targets.items() if len(coding.classes)}
        table.add_column("target")
        for heading in (*(("positive",) if positive else ()), *(SHOWN_AS[name] for name in metrics)):
            table.add_column(heading, justify="right")
        for name in list(targets)[:MOST_TARGETS]:
            values = [figure(metric, value) for metric, value in targets[name].items()]
            table.add_row(escape(name), *([escape(positive[name])] if positive else []), *values)
        self.console.print(table)
        if len(targets) > MOST_TARGETS:
            self.console.print(f"… and {len(targets) - MOST_TARGETS:,} more targets, whose results are in the model file")

    def figures(self, paths: Sequence[Path]) -> None:
        """The paths of the figures."""
        self.console.print(f"Figures: {', '.join(escape(str(path)) for path in paths)}", soft_wrap=True)


def targets_of(names: Sequence[str]) -> str:
    """The targets in a few words."""
    if len(names) == 1:
        return f"target {names[0]!r}"
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return f"{len(names):,} targets ({', '.join(names[:MOST_NAMES])}{more})"


def division(data: PreparedData) -> str:
    """What the rows are divided by, unless it is chance."""
    by = data.dataset.split_by
    if by is None:
        return ""
    if by.by == "time":
        first = by.values[data.rows["test"]].tolist() if "test" in data.rows else []
        return f", by time in {by.name!r}" + (f", the test part from {min(first)} on" if first else "")
    groups = ", ".join(f"{len(set(by.values[chosen].tolist())):,}" for chosen in data.rows.values())
    return f", by group in {by.name!r} ({groups} groups)"


def figure(metric: str, value: float) -> str:
    """A figure as it is printed."""
    return percent(value) if metric == "accuracy" else f"{value:.4g}" if metric in ("rmse", "mae") else number(value)


def percent(fraction: float) -> str:
    """0.9765 as "97.65 %"."""
    return f"{100.0 * fraction:.2f} %"


def number(value: float) -> str:
    """Four decimals, or "undefined", as R² of a constant target."""
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def comparison(data: PreparedData, trained: Trained) -> str:
    """One sentence that compares the network with the baseline."""
    assert trained.baseline is not None
    test = trained.figures["test"]
    if data.task == "classification":
        most = "most frequent class" if data.kind == "classes" else "more frequent value of each target"
        return (
            f"Always predicting the {most} gives {percent(trained.baseline)} on the test part; "
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
    if trained.recipe.schedule != CONSTANT:
        text += f" (schedule {trained.recipe.schedule}, {trained.history[-1]['lr']:.3g} at the end)"
    return text


def finite_or_none(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON can represent them."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def notes_of(data: PreparedData, trained: Trained, seed: int) -> dict[str, Any]:
    """How the model was trained, for the model file: plain values, None where a result is undefined."""
    recipe = trained.recipe
    return {
        "data": data.dataset.name,
        "target": list(data.dataset.target_names) if data.preprocessor.several else data.dataset.target_name,
        "task": data.task,
        "rows": {name: len(part) for name, part in data.parts.items()},
        "results": {name: finite_or_none(figures) for name, figures in trained.figures.items()},
        **({"results_by_target": {
            name: {target: finite_or_none(figures) for target, figures in targets.items()}
            for name, targets in trained.by_target.items()
        }} if trained.by_target else {}),
        **({"results_by_class": {
            "part": judged_part(data), **trained.of_classes.to_json(class_names(data))
        }} if trained.of_classes is not None else {}),
        **({"weight": data.dataset.weights.name} if data.dataset.weights is not None else {}),
        "training": {
            **asdict(recipe),
            "lr": trained.lr,
            "epochs": trained.history.epochs,
            "best_epoch": trained.best_epoch,
            "seed": seed,
            **({"class_weight": trained.class_weight} if trained.class_weight is not None else {}),
            "backend": trained.model.backend.name,
            "seconds": round(trained.seconds, 3),
        },
    }
