"""The figures of `fusedstep train --plot DIR`: records the data during training and draws the figures afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import HyperparameterError, OutputPathError
from ..diagnostics.layer_statistics import LayerStatistics
from ..diagnostics.parameter_path import ParameterPath
from ..diagnostics.plots.style import FORMATS, settings
from ..training.callbacks import Callback

if TYPE_CHECKING:
    from ..training.trainer import Trainer
    from .training import PreparedData, Trained

LOOKS = 100
"""Samples of the layers in a training of full length."""
ROWS = 1024
"""Training rows with which layer statistics and loss surface are computed."""
MOST_NUMBERS = 1 << 26
"""Largest size of a recorded path, in numbers (256 MiB in float32); for larger models the surface is drawn without a path."""


class Figures:
    """Draws the figures of a training run into a folder.

    Args: folder – created when training begins; form – "png", "svg" or "pdf".
    Raises: HyperparameterError, OutputPathError and MissingDependency, before training starts.
    """

    def __init__(self, folder: Path, form: str) -> None:
        self.ending = f".{form.lower()}"
        if self.ending not in FORMATS:
            known = ", ".join(ending[1:] for ending in FORMATS)
            raise HyperparameterError(f"--plot-format: expected one of {known}; got {form!r}; use png if in doubt")
        require_folder(folder)
        with settings():
            self.folder = folder
        self.statistics = LayerStatistics()
        self.path = _Path()

    def callbacks(self, data: PreparedData) -> list[Callback]:
        """The callbacks that record the data."""
        made(self.folder)
        part = data.parts["training"]
        self.statistics = _Layers(data=part.first(ROWS))
        return [self.statistics, self.path]

    def draw(self, data: PreparedData, trained: Trained) -> list[Path]:
        """Writes the figures and returns their paths."""
        from ..diagnostics.loss_surface import loss_surface
        from ..diagnostics.plots.regions import plot_decision_regions
        from .training import loss_of

        files = {name: self.folder / f"{name}{self.ending}" for name in ("curves", "layers", "surface", "regions")}
        part = data.parts["training"]
        trained.history.plot(files["curves"])
        self.statistics.plot(files["layers"])
        x, y = part.first(ROWS)
        loss_surface(
            trained.model,
            loss_of(data, trained.class_weight, trained.recipe.label_smoothing),
            x,
            y,
            path=self.path if self.path.points else None,
            sample_weight=None if part.weights is None else part.weights[: len(x)],
        ).plot(files["surface"])
        if data.kind == "classes" and data.preprocessor.width == 2:
            names = [f"{name} (scaled)" for name in data.dataset.feature_names]
            plot_decision_regions(
                trained.model, *part.in_memory(ROWS), files["regions"], classes=[str(c) for c in data.preprocessor.classes],
                features=names if len(names) == 2 else ("column 1", "column 2"),
            )  # fmt: skip
        else:
            del files["regions"]
        files.update(self._of_predictions(data, trained))
        return list(files.values())

    def _of_predictions(self, data: PreparedData, trained: Trained) -> dict[str, Path]:
        """Figures of the predictions of one part: confusions and calibration, or predicted against true numbers."""
        from ..diagnostics.plots.predictions import plot_calibration, plot_confusion, plot_predicted
        from ..metrics.probabilities import calibration
        from .report_classes import class_names
        from .training import judged_part

        p, part = trained.judged, judged_part(data)
        if p is None:
            return {}
        names = ("predicted",) if trained.of_classes is None else ("confusion", "calibration")
        files = {name: self.folder / f"{name}{self.ending}" for name in names}
        if trained.of_classes is None:
            coding = data.preprocessor.targets["target"]
            of_part = coding.inverse(p.targets), coding.inverse(p.answers)
            plot_predicted(*of_part, data.dataset.target_name, files["predicted"], part, trained.figures[part]["r2"])
            return files
        classes, unit = class_names(data), "rows" if p.weights is None else "weight of rows"
        plot_confusion(trained.of_classes.confusion, classes, files["confusion"], part, unit)
        assert p.probabilities is not None
        if len(classes) == 2:
            curve, what = calibration(p.targets == 1, p.probabilities[:, 1], weights=p.weights), f"probability of {classes[1]}"
        else:
            largest = p.probabilities.max(axis=1)
            curve, what = calibration(p.targets == p.answers, largest, weights=p.weights), "probability of the predicted class"
        plot_calibration(curve, what, files["calibration"], part, unit)
        return files


class _Layers(LayerStatistics):
    """Samples at an interval that gives about LOOKS samples."""

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Sets the interval."""
        self.every = max(1, trainer.epochs * trainer.history.steps_per_epoch // LOOKS)
        super().on_fit_begin(trainer)


class _Path(ParameterPath):
    """The points after each epoch, or none if they would need too much memory."""

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Decides whether to record."""
        if (trainer.epochs + 1) * trainer.step.model.arena.size <= MOST_NUMBERS:
            super().on_fit_begin(trainer)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """See ParameterPath."""
        if self.steps:
            super().on_epoch_end(trainer, row)


def require_folder(folder: Path, option: str = "--plot") -> None:
    """Raises OutputPathError unless files can be written to a folder, or it can be created; creates nothing."""
    there = folder
    while not os.path.exists(there) and there != there.parent:
        there = there.parent
    if not os.path.isdir(there) or not os.access(there, os.W_OK):
        reason = "is not a folder" if not os.path.isdir(there) else "is write-protected"
        raise OutputPathError(f"{option}: expected a folder for the figures; {str(there)!r} {reason}; choose another")


def made(folder: Path, option: str = "--plot") -> Path:
    """The folder, created if it does not exist; raises OutputPathError if it cannot be created."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise OutputPathError(
            f"{option}: expected a folder for the figures; {str(folder)!r} cannot be created ({reason}); choose another"
        ) from error
    return folder
