"""The options of `fusedstep train`; recipe.py selects values for those that are None."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from . import options as shared
from .data_options import DATA, DataOptions
from .declared import Panel

NETWORK = Panel("Network (defaults are those of the preset, see above)")
TRAINING = Panel("Training (defaults are those of the preset, see above)")
CHECKPOINTS = Panel("Checkpoints")
RUN = Panel("Backend and output")


@dataclass(frozen=True)
class TrainOptions(DataOptions):
    """The options; None if the default is that of the preset, or if the option is off."""

    stream: Annotated[
        bool,
        DATA,
        Option("--stream", help="Read minibatches from the file (Parquet, NPY, NPZ) instead of loading all features."),
    ] = False
    test_share: Annotated[
        float | None,
        DATA,
        Option(help="Fraction of the rows used only for the final test. Default: the data's own test part, or 0.2."),
    ] = None
    validation_share: Annotated[
        float | None,
        DATA,
        Option(help="Fraction of the rows used for early stopping; 0: none. Default: the data's own validation part, or 0.1."),
    ] = None

    hidden: Annotated[shared.Hidden, NETWORK] = None
    activation: Annotated[shared.Activation, NETWORK] = None
    number_embedding: Annotated[shared.NumberEmbedding, NETWORK] = None
    dropout: Annotated[float | None, NETWORK, Option(help="Fraction of hidden units dropped in training, 0 <= p < 1.")] = None
    ensemble: Annotated[shared.Ensemble, NETWORK] = None

    optimizer: Annotated[shared.Optimizer, TRAINING] = None
    lr: Annotated[float | None, TRAINING, Option(help="Learning rate, > 0.")] = None
    batch_size: Annotated[shared.BatchSize, TRAINING] = None
    micro_batch: Annotated[
        str,
        TRAINING,
        Option(
            metavar="ROWS",
            help="Rows processed at a time, with the same result; auto: fewer if memory runs out; none: always all.",
        ),
    ] = "auto"
    epochs: Annotated[int | None, TRAINING, Option(help="Largest number of epochs.")] = None
    patience: Annotated[
        int | None,
        TRAINING,
        Option(
            "--patience",
            "--early-stopping",
            help="Epochs without a better validation loss before stopping; 0: never stop, and keep the last epoch instead of "
            "the best one. Default: all epochs.",
        ),
    ] = None
    max_steps: Annotated[int | None, TRAINING, Option(help="Largest number of minibatches.")] = None
    schedule: Annotated[
        str | None,
        TRAINING,
        Option(
            metavar="NAME:SETTING=VALUE,…",
            help='How the learning rate changes, such as "step:factor=0.5,every=5", see above.',
        ),
    ] = None
    class_weight: Annotated[shared.ClassWeight, TRAINING] = None
    find_lr: Annotated[
        bool,
        TRAINING,
        Option("--find-lr", help="First search a learning rate, as fusedstep find-lr does, and train with it."),
    ] = False
    label_smoothing: Annotated[float | None, TRAINING, Option(help="Label smoothing of classes, 0 <= epsilon < 1.")] = None
    weight_decay: Annotated[float | None, TRAINING, Option(help="Decoupled weight decay.")] = None
    clip_norm: Annotated[float | None, TRAINING, Option(help="Clip the gradient to this norm.")] = None
    seed: Annotated[shared.Seed, TRAINING] = 0

    checkpoint: Annotated[shared.CheckpointFolder, CHECKPOINTS] = None
    checkpoint_every: Annotated[shared.CheckpointEvery, CHECKPOINTS] = None
    resume: Annotated[shared.Resume, CHECKPOINTS] = False

    backend: Annotated[shared.BackendName, RUN] = None
    precision: Annotated[shared.Precision, RUN] = "float32"
    parallel: Annotated[
        str | None,
        RUN,
        Option(
            metavar="KIND",
            help="Train in all processes that mpiexec or srun has started: mpi, or nccl for GPUs. Each takes its rows of every "
            "minibatch.",
        ),
    ] = None
    out: Annotated[
        Path | None,
        RUN,
        Option(
            "--out",
            "-o",
            help="Model file. Default: name of SOURCE with .safetensors, in the current folder; replaces an older file.",
        ),
    ] = None
    plot: Annotated[
        Path | None,
        RUN,
        Option(
            metavar="DIR",
            help="Folder for figures: learning curves, layer statistics, loss surface, decision regions for two inputs; "
            "confusion matrix and calibration, or predicted against true numbers.",
            show_default=False,
        ),
    ] = None
    plot_format: Annotated[str, RUN, Option(metavar="NAME", help="Format of the figures: png, svg or pdf.")] = "png"
    quiet: Annotated[bool, RUN, Option("--quiet", "-q", help="Print nothing but errors and notes.")] = False
