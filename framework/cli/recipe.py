"""The recipe: network, optimiser and training length, those of the preset in training/presets.py unless given.

Nothing is trained here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from ...errors import HyperparameterError
from ..layers.activations import ACTIVATION_LAYERS
from ..losses import BALANCED
from ..optimizers import OPTIMIZERS, Optimizer, find_optimizer
from ..settings import whole
from ..sources.names import did_you_mean
from ..tables.table import Task
from ..training.presets import tabular
from ..training.schedules import parse_schedule, schedule_text
from .train_options import TrainOptions

PERIODIC, NONE = NUMBER_EMBEDDINGS = "periodic", "none"
AUTO = "auto"
MOST_UNITS = 65_536
"""Largest width of a hidden layer."""
MOST_WEIGHTS = 1 << 31
"""Largest number of weights; with gradients and the two moments of Adam, 32 GiB in float32."""


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained.

    Args: hidden – widths of the hidden layers; activation; number_embedding – of columns of numbers, "periodic", "none", or
        "auto": periodic unless there are many for the rows; dropout – fraction that is dropped; label_smoothing – of classes;
        optimizer – class name; lr, beta2, weight_decay, clip_norm – its settings, None for its own; batch_size – rows, None
        for all; epochs – at most; patience – epochs without a better validation loss before training ends, 0 for never;
        max_steps – minibatches at most, None for no limit; schedule – of the learning rate, as text; ensemble – networks that
        are trained together.
    """

    hidden: tuple[int, ...]
    activation: str
    number_embedding: str
    dropout: float
    label_smoothing: float
    lr: float | None
    batch_size: int | None
    epochs: int
    patience: int
    weight_decay: float
    optimizer: str
    beta2: float | None
    schedule: str
    clip_norm: float | None = None
    max_steps: int | None = None
    ensemble: int = 1

    def make_optimizer(self) -> Optimizer:
        """The optimiser; raises HyperparameterError for invalid settings."""
        settings: dict[str, Any] = {"weight_decay": self.weight_decay, "clip_norm": self.clip_norm}
        settings.update({name: value for name, value in (("lr", self.lr), ("beta2", self.beta2)) if value is not None})
        return OPTIMIZERS[self.optimizer](**settings)


def recipe_for(rows: int, task: Task, **given: Any) -> Recipe:
    """The recipe for a number of rows; `given` settings that are not None take precedence, each for itself.

    Args: rows – of the training and the validation part; task; given – fields of Recipe.
    """
    preset = tabular(rows, task)
    given = {name: value for name, value in given.items() if value is not None}
    chosen: dict[str, Any] = {
        "hidden": preset.hidden, "activation": preset.activation,
        "number_embedding": AUTO if preset.number_embedding else NONE, "dropout": preset.dropout,
        "label_smoothing": preset.label_smoothing, "optimizer": preset.optimizer, "lr": preset.lr, "beta2": preset.beta2,
        "weight_decay": preset.weight_decay,
        "batch_size": preset.batch_size, "epochs": preset.epochs, "schedule": preset.schedule,
    }  # fmt: skip
    if given.get("optimizer", preset.optimizer) != preset.optimizer:
        chosen.update(lr=None, beta2=None)
    if given.get("hidden") == ():
        chosen["number_embedding"] = NONE  # a linear model is one of the columns
    chosen.update(given)
    chosen.setdefault("patience", preset.patience or chosen["epochs"])
    return Recipe(**chosen)


def choices(options: Any) -> dict[str, Any]:
    """The fields of a Recipe that the options of a command set, parsed and checked; options that are None are left out.

    Raises: HyperparameterError that names the option.
    """
    asked = {field.name: getattr(options, field.name, None) for field in fields(Recipe)}
    given = {name: value for name, value in asked.items() if value is not None}
    given.update({name: parse(given[name]) for name, parse in PARSERS.items() if name in given})
    check(given)
    return given


def check_options(options: TrainOptions) -> None:
    """Rejects invalid options before any data are read.

    Raises: HyperparameterError that names the option.
    """
    given = choices(options)
    parse_micro_batch(options.micro_batch)
    parse_class_weight(options.class_weight)
    if options.find_lr and options.lr is not None:
        raise HyperparameterError(f"--find-lr: expected no --lr; got --lr {options.lr:g}; leave out one of them")
    for part, file, fraction in (
        ("validation", options.validation, options.validation_share), ("test", options.test, options.test_share)
    ):  # fmt: skip
        if file is not None and fraction is not None:
            raise HyperparameterError(f"--{part}-share: expected none beside --{part}; got {fraction:g}; leave out one of them")
    if options.validation_share == 0.0:
        require_validation(given, "--validation-share 0")
    check_checkpoint(options)


def check_checkpoint(options: Any) -> None:
    """Rejects options of checkpoints without a folder, and an invalid interval.

    Raises: HyperparameterError that names the option.
    """
    for option, value in (("--resume", options.resume), ("--checkpoint-every", options.checkpoint_every is not None)):
        if value and options.checkpoint is None:
            raise HyperparameterError(f"{option}: expected a folder for checkpoints; got none; add --checkpoint DIR")
    if options.checkpoint_every is not None:
        whole(options.checkpoint_every, "--checkpoint-every")


def parse_hidden(text: str) -> tuple[int, ...]:
    """Widths from "256,128"; "none" means no hidden layer, a linear model."""
    if text.strip().lower() == "none":
        return ()
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise HyperparameterError(
            f'--hidden: expected widths >= 1 separated by commas, such as "256,128", or none for a linear model; got {text!r}'
        )
    if max(widths) > MOST_UNITS:
        raise HyperparameterError(
            f"--hidden: expected widths of at most {MOST_UNITS:,}; got {max(widths):,}; use several narrower layers"
        )
    return widths


def require_size(widths: Sequence[int], embedded: int = 0) -> None:
    """Rejects a network that is too large, before memory is allocated.

    Args: widths – columns of the input, of each hidden layer, and of the output; embedded – weights of embeddings.
    Raises: HyperparameterError with the number of weights.
    """
    weights = sum(a * b for a, b in pairwise(widths)) + embedded
    if weights > MOST_WEIGHTS:
        raise HyperparameterError(
            f"--hidden: expected a network of at most {MOST_WEIGHTS:,} weights; got {weights:,} "
            f"({' → '.join(map(str, widths))}); give smaller widths, or data of fewer columns"
        )


def parse_micro_batch(text: str) -> int | str | None:
    """Rows from "4096"; "auto": as many as fit into memory; "none": minibatches are never split."""
    word = text.strip().lower()
    if word in ("auto", "none"):
        return None if word == "none" else word
    rows = int(word) if word.isdecimal() else 0
    if rows < 1:
        raise HyperparameterError(f"--micro-batch: expected a number of rows >= 1, auto or none; got {text!r}")
    return rows


def parse_class_weight(text: str | None) -> str | None:
    """The text "balanced", or None."""
    if text not in (None, BALANCED):
        raise HyperparameterError(f"--class-weight: expected {BALANCED}; got {text!r}; leave it out if all rows count alike")
    return text


def find_schedule(text: str) -> str:
    """The text of a schedule in its shortest form; may be "constant"."""
    try:
        return schedule_text(parse_schedule(text))
    except HyperparameterError as error:
        raise HyperparameterError(f"--schedule: {error}") from error


PARSERS: dict[str, Callable[[str], Any]] = {
    "hidden": parse_hidden, "optimizer": find_optimizer, "schedule": find_schedule
}  # fmt: skip
"""Parsers of the fields of a Recipe that have another form on the command line."""


def require_validation(given: dict[str, Any], because: str) -> None:
    """Rejects settings that need a validation part if there is none.

    Args: given – fields of Recipe that the user chose; because – why there is none, for the message.
    Raises: HyperparameterError that names the option.
    """
    schedule = parse_schedule(given.get("schedule") or "constant")
    watches = schedule is not None and (schedule.monitor or "").startswith("val_")
    for name, used, shown in (
        ("patience", bool(given.get("patience")), given.get("patience")),
        ("schedule", watches, given.get("schedule")),
    ):
        if used:
            raise HyperparameterError(
                f"--{name}: expected a validation part, which {shown!r} needs; there is none ({because}); give "
                f"--validation-share 0.1 and enough rows, or leave out --{name}"
            )


def check(given: dict[str, Any]) -> None:
    """Rejects invalid settings.

    Raises: HyperparameterError that names the option.
    """
    activation, dropout, smoothing = (given.get(name) for name in ("activation", "dropout", "label_smoothing"))
    if activation is not None and activation not in ACTIVATION_LAYERS:
        raise HyperparameterError(
            f"--activation: expected one of {', '.join(ACTIVATION_LAYERS)}; got {activation!r}"
            f"{did_you_mean(activation, ACTIVATION_LAYERS)}"
        )
    embedding = given.get("number_embedding")
    if embedding is not None and embedding not in NUMBER_EMBEDDINGS:
        raise HyperparameterError(f"--number-embedding: expected {' or '.join(NUMBER_EMBEDDINGS)}; got {embedding!r}")
    if dropout is not None and not 0.0 <= dropout < 1.0:
        raise HyperparameterError(f"--dropout: expected a fraction in [0, 1); got {dropout}; 0.5 drops half of the units")
    if smoothing is not None and not 0.0 <= smoothing < 1.0:
        raise HyperparameterError(f"--label-smoothing: expected a fraction in [0, 1); got {smoothing}; 0.1 is usual")
    for name, smallest in (("epochs", 1), ("batch_size", 1), ("patience", 0), ("max_steps", 1), ("ensemble", 1)):
        value = given.get(name)
        if value is not None and value < smallest:
            raise HyperparameterError(f"--{name.replace('_', '-')}: expected a whole number >= {smallest}; got {value}")
    recipe_for(1, "classification", **given).make_optimizer()
