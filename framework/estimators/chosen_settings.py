"""The settings of one fit: those that the user gave, and where they are "auto", those of the preset; checked.

The values of the preset "tabular" are in training/presets.py, those of "scikit-learn" here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any

from ...errors import HyperparameterError
from ..layers.activations import ACTIVATION_LAYERS
from ..optimizers import OPTIMIZERS, Optimizer, find_optimizer
from ..settings import choice, flag, fraction, not_negative, positive, real, whole
from ..tables.column_statistics import Scaling
from ..tables.table import Task
from ..training.presets import VALIDATION, Preset, tabular

AUTO = "auto"
TABULAR, OF_SCIKIT_LEARN = "tabular", "scikit-learn"
PERIODIC = "periodic"
PARTIAL_FIT_ROWS = 5_000
"""The number of rows for which partial_fit takes the preset, since it does not know how many will come."""
SCIKIT_LEARN: Mapping[str, Any] = {
    "hidden_layer_sizes": (100,), "activation": "relu", "number_embedding": None, "dropout": 0.0, "label_smoothing": 0.0,
    "optimizer": "adam", "alpha": 1e-4, "batch_size": 200, "learning_rate_init": 1e-3, "schedule": None, "max_iter": 200,
    "tol": 1e-4, "early_stopping": False, "validation_fraction": 0.1, "n_iter_no_change": 10,
}  # fmt: skip
"""The defaults of scikit-learn's estimators, whose batch_size "auto" is min(200, rows)."""

OF_NO_PRESET = ("n_ensemble", "device_batches")
"""Settings that are never "auto" but those of a fit all the same."""
PLACEMENTS = {None: "auto", True: "device", False: "stream"}
"""The values of device_batches, and of `data` of Trainer.fit."""


@dataclass(frozen=True)
class ChosenSettings:
    """The values of the settings of these names, see fs.MLPClassifier.

    Args: batch_size – of the rows that are trained on; optimizer, alpha, learning_rate_init – see `make_optimizer`.
    Attributes: preset – the preset of the number of rows, None for "scikit-learn".
    """

    hidden_layer_sizes: tuple[int, ...]
    activation: str
    number_embedding: str | None
    dropout: float
    label_smoothing: float
    optimizer: Any
    alpha: float | None
    batch_size: int | None
    learning_rate_init: float | None
    schedule: Any
    max_iter: int
    tol: float
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    n_ensemble: int
    device_batches: bool | None
    preset: Preset | None

    @classmethod
    def of(cls, given: Mapping[str, Any], rows: int, task: Task, in_parts: bool = False) -> ChosenSettings:
        """The settings for a number of rows.

        Args: given – the settings of an estimator; task; in_parts – whether they come in calls of partial_fit.
        Raises: HyperparameterError.
        """
        full_batch = given["batch_size"] is None
        preset, values = None, dict(SCIKIT_LEARN)
        if choice(given["preset"], "preset", (TABULAR, OF_SCIKIT_LEARN)) == TABULAR:
            preset = tabular(rows, task, full_batch)
            values = _values(preset)
        if in_parts:
            values.update(early_stopping=False, schedule=None)
        values.update({name: given[name] for name in values if not _is_auto(given.get(name, AUTO))})
        values.update({name: given[name] for name in OF_NO_PRESET})
        if not _is_auto(given["hidden_layer_sizes"]) and _widths(given["hidden_layer_sizes"]) == ():
            values["number_embedding"] = None if _is_auto(given["number_embedding"]) else given["number_embedding"]
        return cls(**_checked(values), preset=preset)

    @property
    def scaling(self) -> Scaling:
        """Of numbers by encoder="auto"."""
        return "standard" if self.preset is None else self.preset.scaling

    @property
    def placement(self) -> str:
        """`data` of Trainer.fit."""
        return PLACEMENTS[self.device_batches]

    def rows_of_a_batch(self, rows: int) -> int:
        """Of so many rows that are trained on."""
        return rows if self.batch_size is None else min(rows, self.batch_size)

    def make_optimizer(self, counted: float) -> Optimizer:
        """The optimiser of a name with learning rate and penalty, or the given one.

        The penalty is alpha / 2 ||W||^2, divided by `counted` as in scikit-learn; without alpha it is the decoupled weight
        decay of the preset. Without a learning rate it is that of the preset, or of another optimiser than the preset's.

        Args: counted – rows of a minibatch, or the sum of their weights.
        """
        if isinstance(self.optimizer, Optimizer):
            return self.optimizer
        kind = OPTIMIZERS[find_optimizer(self.optimizer, "optimizer")]
        settings: dict[str, Any] = {"l2": (self.alpha or 0.0) / counted}
        if self.preset is not None and kind.__name__ == self.preset.optimizer:
            settings.update(lr=self.preset.lr, beta2=self.preset.beta2)
        if self.preset is not None:
            settings["weight_decay"] = self.preset.weight_decay if self.alpha is None else 0.0
        if self.learning_rate_init is not None:
            settings["lr"] = self.learning_rate_init
        return kind(**settings)

    def shown(self, optimizer: Optimizer) -> dict[str, Any]:
        """The values for the attribute `settings_` of an estimator, with the optimiser that was made."""
        inside = ("alpha", "learning_rate_init", "preset")
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in inside}
        return {**values, "optimizer": optimizer}


def _values(preset: Preset) -> dict[str, Any]:
    """The settings of an estimator by the preset "tabular"."""
    return {
        "hidden_layer_sizes": preset.hidden, "activation": preset.activation,
        "number_embedding": PERIODIC if preset.number_embedding else None, "dropout": preset.dropout,
        "label_smoothing": preset.label_smoothing, "optimizer": preset.optimizer, "alpha": None,
        "batch_size": preset.batch_size, "learning_rate_init": None, "schedule": preset.schedule, "max_iter": preset.epochs,
        "tol": 0.0, "early_stopping": preset.validation > 0.0, "validation_fraction": preset.validation or VALIDATION,
        "n_iter_no_change": preset.patience,
    }  # fmt: skip


def _is_auto(given: Any) -> bool:
    return isinstance(given, str) and given == AUTO


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """The settings as plain values of their types.

    Raises: HyperparameterError that names the setting.
    """
    activation = {"logistic": "sigmoid"}.get(values["activation"], values["activation"])
    embedding, size, epochs = values["number_embedding"], values["batch_size"], whole(values["max_iter"], "max_iter")
    if embedding is not None:
        choice(embedding, "number_embedding", (PERIODIC,))
    if not isinstance(values["optimizer"], str | Optimizer):
        raise HyperparameterError(
            f"expected optimizer to be a name or an optimiser; got {values['optimizer']!r}; write fs.AdamW(1e-3), for instance"
        )
    of_a_batch = 'pass a number of rows, "auto", or None for all'
    of_validation = "pass a fraction of the rows such as 0.1"
    of_dropout = "pass the fraction of the units to drop, such as 0.1"
    patience, on_device = values["n_iter_no_change"], values["device_batches"]
    of_batches = "pass one of them, or None to decide by the size of the data"
    return {
        **values,
        "hidden_layer_sizes": _widths(values["hidden_layer_sizes"]),
        "activation": choice(activation, "activation", ACTIVATION_LAYERS),
        "dropout": real(values["dropout"], "dropout", 0.0, 1.0, "[)", of_dropout),
        "label_smoothing": fraction(values["label_smoothing"], "label_smoothing"),
        "alpha": None if values["alpha"] is None else not_negative(values["alpha"], "alpha"),
        "batch_size": None if size is None else whole(size, "batch_size", advice=of_a_batch),
        "learning_rate_init": (
            None if values["learning_rate_init"] is None else positive(values["learning_rate_init"], "learning_rate_init")
        ),
        "max_iter": epochs,
        "tol": not_negative(values["tol"], "tol"),
        "early_stopping": flag(values["early_stopping"], "early_stopping"),
        "validation_fraction": real(values["validation_fraction"], "validation_fraction", 0.0, 1.0, "()", of_validation),
        "n_iter_no_change": epochs if patience is None else whole(patience, "n_iter_no_change"),
        "n_ensemble": whole(values["n_ensemble"], "n_ensemble"),
        "device_batches": None if on_device is None else flag(on_device, "device_batches", of_batches),
    }


def _widths(given: Any) -> tuple[int, ...]:
    """Widths of hidden layers."""
    if isinstance(given, str) or not (isinstance(given, Integral) or hasattr(given, "__iter__")):
        raise HyperparameterError(
            f"expected hidden_layer_sizes to be widths, one for each hidden layer; got {given!r}; write (256, 128), say"
        )
    widths: Any = [given] if isinstance(given, Integral) else given
    return tuple(whole(width, "hidden_layer_sizes") for width in widths)
