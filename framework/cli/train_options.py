"""The options of `fusedstep train`, declared once; what becomes of the open ones is in recipe.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from . import options as shared
from .declared import Panel

DATA = Panel("Data")
NETWORK = Panel("Network (defaults suit the size of the data, see above)")
TRAINING = Panel("Training")
RUN = Panel("Where it runs, what it writes")


@dataclass(frozen=True)
class TrainOptions:
    """What a user asks for; None where the number of training rows decides, or where nothing is wanted."""

    source: shared.Source
    target: Annotated[shared.Target, DATA] = None
    labels: Annotated[shared.Labels, DATA] = None
    stream: Annotated[
        bool,
        DATA,
        Option(
            "--stream", help="Leave the features in their file (NPY, NPZ, Parquet) and read minibatches as they are needed."
        ),
    ] = False
    task: Annotated[shared.TaskName, DATA] = None
    test_share: Annotated[float, DATA, Option(help="Share of the rows that only the final test sees.")] = 0.2
    validation_share: Annotated[
        float, DATA, Option(help="Share of the rows that decides when to stop; 0 for none.")
    ] = 0.1

    hidden: Annotated[shared.Hidden, NETWORK] = None
    activation: Annotated[shared.Activation, NETWORK] = None
    dropout: Annotated[float | None, NETWORK, Option(help="Share of hidden units dropped in training, 0 <= p < 1.")] = None

    optimizer: Annotated[shared.Optimizer, TRAINING] = None
    lr: Annotated[float | None, TRAINING, Option(help="Learning rate, > 0.")] = None
    batch_size: Annotated[shared.BatchSize, TRAINING] = None
    micro_batch: Annotated[
        str,
        TRAINING,
        Option(
            metavar="ROWS",
            help="Rows worked on at a time, with the same result; auto: fewer where memory runs out; none: always all.",
        ),
    ] = "auto"
    epochs: Annotated[int | None, TRAINING, Option(help="Passes over the data, at most.")] = None
    patience: Annotated[
        int | None,
        TRAINING,
        Option(
            "--patience", "--early-stopping", help="Epochs without a better validation loss before stopping; 0: never stop."
        ),
    ] = None
    max_steps: Annotated[int | None, TRAINING, Option(help="Minibatches, at most.")] = None
    schedule: Annotated[
        str | None,
        TRAINING,
        Option(
            metavar="NAME:SETTING=VALUE,…",
            help='How the learning rate changes, such as "step:factor=0.5,every=5", see above. Default: it does not.',
        ),
    ] = None
    find_lr: Annotated[
        bool,
        TRAINING,
        Option("--find-lr", help="First look for the learning rate, as fusedstep find-lr does, and train with it."),
    ] = False
    weight_decay: Annotated[float | None, TRAINING, Option(help="Decoupled weight decay.")] = None
    clip_norm: Annotated[float | None, TRAINING, Option(help="Largest norm of the gradient.")] = None
    seed: Annotated[shared.Seed, TRAINING] = 0

    backend: Annotated[shared.BackendName, RUN] = None
    precision: Annotated[shared.Precision, RUN] = "float32"
    out: Annotated[
        Path | None,
        RUN,
        Option(
            "--out",
            "-o",
            help="Model file. Default: SOURCE's name with .safetensors, here; an older one is replaced, and a note says so.",
        ),
    ] = None
    plot: Annotated[
        Path | None,
        RUN,
        Option(
            metavar="DIR",
            help="Folder for figures: learning curves, layers, loss surface, and for two inputs the decision regions.",
            show_default=False,
        ),
    ] = None
    plot_format: Annotated[str, RUN, Option(metavar="NAME", help="Of the figures: png, svg or pdf.")] = "png"
    quiet: Annotated[bool, RUN, Option("--quiet", "-q", help="Print nothing but errors and notes.")] = False
