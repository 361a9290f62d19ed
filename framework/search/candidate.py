"""The space of a search, and one point of it: a network, an optimiser, a schedule and a batch size.

A point is drawn through an object with Optuna's suggest_ methods; Optuna itself is not imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ...errors import HyperparameterError
from ..engine.model import mlp
from ..engine.step import TrainStep
from ..layers.activations import ACTIVATION_LAYERS
from ..losses import Loss
from ..optimizers import OPTIMIZERS
from ..settings import fraction, not_negative, positive, whole
from ..sources.names import did_you_mean
from ..suggestions import suggests_arguments
from ..training.schedules import parse_schedule

LR_BELOW, LR_ABOVE = 0.1, 30.0
"""Learning rates that are tried, as multiples of the optimiser's default."""


@suggests_arguments
@dataclass(frozen=True)
class Candidate:
    """One combination of all hyperparameters of a search.

    Attributes: hidden – widths of the hidden layers; activation; dropout; optimizer – class name; lr; weight_decay;
        batch_size; schedule – as text.
    """

    hidden: tuple[int, ...]
    activation: str
    dropout: float
    optimizer: str
    lr: float
    weight_decay: float
    batch_size: int
    schedule: str

    def make_step(
        self,
        inputs: int,
        outputs: int,
        loss: Loss,
        seed: int = 0,
        categories: Mapping[int, int] | None = None,
        n_ensemble: int = 1,
        **options: Any,
    ) -> TrainStep:
        """A step on a new network with these hyperparameters.

        Args: inputs, outputs – widths of the data; loss; seed; categories, n_ensemble – of `mlp`; options – backend, precision
            and others of TrainStep.
        """
        widths = [inputs, *self.hidden, outputs]
        model = mlp(widths, self.activation, self.dropout, categories=categories, n_ensemble=n_ensemble)
        optimizer = OPTIMIZERS[self.optimizer](lr=self.lr, weight_decay=self.weight_decay)
        return TrainStep(model, loss, optimizer, seed, **options)

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Candidate:
        """The candidate of such values.

        Raises: ValueError if names or types are not those of a candidate.
        """
        if set(values) != {field.name for field in fields(cls)}:
            raise ValueError(f"it has a candidate {values!r:.200}")
        candidate = cls(**{**values, "hidden": tuple(values["hidden"])})
        plain = (candidate.activation, candidate.optimizer, candidate.schedule)
        wholes = (*candidate.hidden, candidate.batch_size)
        numbers = (candidate.dropout, candidate.lr, candidate.weight_decay)
        for group, kinds in ((plain, str), (wholes, int), (numbers, int | float)):
            if not all(isinstance(value, kinds) for value in group):
                raise ValueError(f"it has a candidate {values!r:.200}")
        return candidate


@suggests_arguments
@dataclass(frozen=True)
class SearchSpace:
    """The search space: lists of choices, and (low, high) for numbers, both inclusive.

    Args: optimizer – class names; lr – numbers > 0, drawn on a log scale; None (default): a tenth to thirty times the default
        of each optimiser; weight_decay – on a log scale where low > 0; batch_size – choices; schedule – choices, as text;
        layers – number of hidden layers; width – of each, on a log scale; activation – choices; dropout – in [0, 1).
    Raises: HyperparameterError for invalid values, with the nearest known name.
    """

    optimizer: Sequence[str] = ("AdamW", "Adam", "RMSProp", "Nesterov", "SGD")
    lr: tuple[float, float] | None = None
    weight_decay: tuple[float, float] = (1e-6, 0.1)
    batch_size: Sequence[int] = (32, 64, 128, 256)
    schedule: Sequence[str] = ("constant", "step", "cosine", "one-cycle", "halve-on-worse")
    layers: tuple[int, int] = (1, 3)
    width: tuple[int, int] = (32, 256)
    activation: Sequence[str] = ("relu", "gelu", "tanh")
    dropout: tuple[float, float] = (0.0, 0.5)

    def __post_init__(self) -> None:
        for name in ("optimizer", "batch_size", "schedule", "activation"):
            choices = getattr(self, name)
            if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices or len(set(choices)) < len(choices):
                raise HyperparameterError(
                    f"expected {name} of the search space to be a list of different choices; got {choices!r}; "
                    f"write {name}=[{_EXAMPLES[name]}]"
                )
        known = [name for name in OPTIMIZERS if not name.startswith("_")]
        for name, names in (("optimizer", known), ("activation", list(ACTIVATION_LAYERS))):
            for value in getattr(self, name):
                if value not in names:
                    raise HyperparameterError(
                        f"expected {name} of the search space out of {', '.join(names)}; got {value!r}"
                        + did_you_mean(str(value), names)
                    )
        for size in self.batch_size:
            whole(size, "batch_size of the search space")
        for text in self.schedule:
            parse_schedule(text)
        if self.lr is not None:
            _range(self.lr, "lr", positive)
        _range(self.weight_decay, "weight_decay", not_negative)
        _range(self.dropout, "dropout", fraction)
        _range(self.layers, "layers", lambda value, name: whole(value, name, 0))
        _range(self.width, "width", whole)

    def draw(self, trial: Any) -> Candidate:
        """A candidate, by the suggest_ methods of an Optuna trial."""
        optimizer = trial.suggest_categorical("optimizer", list(self.optimizer))
        if self.lr is None:
            usual = OPTIMIZERS[optimizer]().lr  # type: ignore[call-arg]
            low, high = LR_BELOW * usual, LR_ABOVE * usual
        else:
            low, high = self.lr
        layers = trial.suggest_int("layers", *self.layers)
        return Candidate(
            hidden=tuple(trial.suggest_int(f"width_{k}", *self.width, log=True) for k in range(1, layers + 1)),
            activation=trial.suggest_categorical("activation", list(self.activation)),
            dropout=trial.suggest_float("dropout", *self.dropout),
            optimizer=optimizer,
            # Suitable rates of different optimisers are unrelated, so each has a separate parameter.
            lr=trial.suggest_float("lr" if self.lr else f"lr_{optimizer}", low, high, log=True),
            weight_decay=trial.suggest_float("weight_decay", *self.weight_decay, log=self.weight_decay[0] > 0.0),
            batch_size=trial.suggest_categorical("batch_size", list(self.batch_size)),
            schedule=trial.suggest_categorical("schedule", list(self.schedule)),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, as they come back from JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value if value is None else list(value) for name, value in values.items()}


_EXAMPLES = {"optimizer": '"Adam", "SGD"', "batch_size": "32, 128", "schedule": '"constant", "cosine"', "activation": '"relu"'}


def _range(value: Any, name: str, check: Any) -> None:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise HyperparameterError(f"expected {name} of the search space to be (low, high); got {value!r}; give two numbers")
    low, high = (check(end, f"{name} of the search space") for end in value)
    if low > high:
        raise HyperparameterError(f"expected {name} of the search space to be (low, high); got {value!r}; swap them")
