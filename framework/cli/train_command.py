"""`fusedstep train SOURCE`: from a data set to one model file, with a table of what was reached."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .names import ACTIVATIONS, OPTIMIZERS
from .options import Debug

if TYPE_CHECKING:
    from .figures import Figures

INTERRUPTED = 130
"""The exit status of programs that were ended from the keyboard: 128 and the number of the signal."""

_data = partial(typer.Option, rich_help_panel="Data")
_network = partial(typer.Option, rich_help_panel="Network (defaults suit the size of the data, see above)")
_training = partial(typer.Option, rich_help_panel="Training")
_run = partial(typer.Option, rich_help_panel="Where it runs, what it writes")


def train(
    source: Annotated[
        str,
        typer.Argument(
            help="A bundled set (digits, iris, wine, breast_cancer, diabetes), or a file: CSV, Parquet, NPY, NPZ, IDX, "
            "svmlight.",
            show_default=False,
        ),
    ],
    target: Annotated[str | None, _data(help="Column to learn; needed for CSV and Parquet.")] = None,
    labels: Annotated[Path | None, _data(help="File of labels of an IDX or NPY source.")] = None,
    stream: Annotated[
        bool,
        _data("--stream", help="Leave the features in their file (NPY, NPZ, Parquet) and read minibatches as they are needed."),
    ] = False,
    task: Annotated[
        str | None,
        _data(metavar="TASK", help="classification or regression. Default: text, or few different whole numbers, are classes."),
    ] = None,
    test_share: Annotated[float, _data(help="Share of the rows that only the final test sees.")] = 0.2,
    validation_share: Annotated[float, _data(help="Share of the rows that decides when to stop; 0 for none.")] = 0.1,
    hidden: Annotated[
        str | None, _network(metavar="WIDTHS", help='Hidden widths, such as "256,128"; none: a linear model.')
    ] = None,
    activation: Annotated[str | None, _network(metavar="NAME", help=f"{ACTIVATIONS}.")] = None,
    dropout: Annotated[float | None, _network(help="Share of hidden units dropped in training, 0 <= p < 1.")] = None,
    optimizer: Annotated[str | None, _training(metavar="NAME", help=f"{OPTIMIZERS}, in any case.")] = None,
    lr: Annotated[float | None, _training(help="Learning rate, > 0.")] = None,
    batch_size: Annotated[int | None, _training(help="Rows of a minibatch.")] = None,
    micro_batch: Annotated[
        str,
        _training(
            metavar="ROWS",
            help="Rows worked on at a time, with the same result; auto: fewer where memory runs out; none: always all.",
        ),
    ] = "auto",
    epochs: Annotated[int | None, _training(help="Passes over the data, at most.")] = None,
    patience: Annotated[
        int | None,
        _training(
            "--patience", "--early-stopping", help="Epochs without a better validation loss before stopping; 0: never stop."
        ),
    ] = None,
    max_steps: Annotated[int | None, _training(help="Minibatches, at most.")] = None,
    schedule: Annotated[
        str | None,
        _training(
            metavar="NAME:SETTING=VALUE,…",
            help='How the learning rate changes, such as "step:factor=0.5,every=5", see above. Default: it does not.',
        ),
    ] = None,
    find_lr: Annotated[
        bool, _training("--find-lr", help="First look for the learning rate, as fusedstep find-lr does, and train with it.")
    ] = False,
    weight_decay: Annotated[float | None, _training(help="Decoupled weight decay.")] = None,
    clip_norm: Annotated[float | None, _training(help="Largest norm of the gradient.")] = None,
    seed: Annotated[int, _training(help="Of split, weights, dropout and shuffles.")] = 0,
    backend: Annotated[
        str | None,
        _run(
            metavar="NAME", help="numpy, numba, cupy, cuda or auto. Default: FUSEDSTEP_BACKEND, else the best that works here."
        ),
    ] = None,
    precision: Annotated[
        str, _run(metavar="NAME", help="float32 or float64; tf32, bfloat16 or float16 where the backend has it.")
    ] = "float32",
    out: Annotated[
        Path | None,
        _run(
            "--out",
            "-o",
            help="Model file. Default: SOURCE's name with .safetensors, here; an older one is replaced, and a note says so.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        _run(
            metavar="DIR",
            help="Folder for figures: learning curves, layers, loss surface, and for two inputs the decision regions.",
            show_default=False,
        ),
    ] = None,
    plot_format: Annotated[str, _run(metavar="NAME", help="Of the figures: png, svg or pdf.")] = "png",
    quiet: Annotated[bool, _run("--quiet", "-q", help="Print nothing but errors and notes.")] = False,
    debug: Debug = False,
) -> None:
    """Train a network on a data set, and save it.

    The rows are split (by class, where there are classes), numbers are standardised and texts one-hot coded by what the
    training part shows, a network is trained, and the epoch with the best validation loss is kept. Nothing is chosen by the
    test part, so its figures tell what to expect on new data.

    **Defaults by the number of training rows**

    - below 1,000: 64 relu units and AdamW at 0.003 with patience 20 for classes, 32 tanh units and AdamW at 0.001 with
    patience 30 for numbers; dropout 0.4, minibatches of 32, at most 300 epochs, weight decay 0.1
    - below 10,000: 256 relu units, dropout 0.4 (0.1 for numbers), AdamW at 0.002, minibatches of 32, at most 200 epochs,
    patience 20, weight decay 0.1
    - from 10,000: 512 and 256 relu units, dropout 0.2 (0.1 for numbers), AdamW at 0.001, minibatches of 128 (512 from 100,000
    rows on), at most 60 epochs, patience 6, weight decay 0.01

    With --stream the data may be larger than memory: a thread reads the next minibatch while a step works; columns must be
    numbers, the target is kept in memory. The order of the rows is the same as without it; of a Parquet file, row groups are
    shuffled, and the rows of four of them together.

    Ctrl-C ends training after the step at hand: what was learned until then is evaluated and saved, beside an older file of
    the same name, and the exit status is 130. Another Ctrl-C gives up without a file.

    A validation part of fewer than 10 rows is not split off: its rows are trained on, for a third of the epochs.

    **Schedules of the learning rate**

    - `step:factor=0.5,every=5` halves it every 5 epochs (these are the defaults, so `step` does the same)
    - `halve-on-worse` halves it after an epoch whose validation loss rose
    - `plateau:factor=0.1,patience=5` divides it by 10 after 5 epochs without a better validation loss
    - `exponential:k=0.001` and `inverse-time:k=0.001`: lr e^(-k t) and lr / (1 + k t) in step t; `per=epoch` counts epochs
    - `cosine:warmup_steps=100` and `one-cycle`, over all epochs
    - `warmup:steps=100` rises to the rate first, and may stand before another: `warmup:steps=100+step:every=10`
    """
    del debug
    import sys

    from ...backends import backend as find_backend
    from ...errors import HyperparameterError
    from ..export.persistence import require_writable, save
    from ..tables.reading import load
    from .recipe import check, find_optimizer, find_schedule, parse_hidden, parse_micro_batch, require_validation
    from .report import Reporter, notes_of
    from .training import prepare, train_model

    given = {
        "hidden": parse_hidden(hidden),
        "activation": activation,
        "dropout": dropout,
        "optimizer": find_optimizer(optimizer),
        "lr": lr,
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": patience,
        "max_steps": max_steps,
        "schedule": find_schedule(schedule),
        "weight_decay": weight_decay,
        "clip_norm": clip_norm,
    }
    check(given)
    pieces = parse_micro_batch(micro_batch)
    if find_lr and lr is not None:
        raise HyperparameterError(f"--find-lr: expected no --lr beside it; got --lr {lr:g}; leave one of them out")
    if validation_share == 0.0:
        require_validation(given, "--validation-share 0")
    chosen = find_backend(backend)
    path = out if out is not None else Path(f"{Path(source).name.split('.')[0] or 'model'}.safetensors")
    require_writable(path)
    _require_other_file(path, source, labels)
    figures = _figures(plot, plot_format)

    report = Reporter(quiet)
    data = prepare(load(source, target, labels, stream=stream), task, (test_share, validation_share), seed)
    report.data(data)
    report.backend(chosen, backend)
    watching = [] if figures is None else figures.callbacks(data)
    trained = train_model(data, given, seed, chosen, precision, report.shows_progress, watching, find_lr, pieces)
    if trained.interrupted and path.exists():
        path = path.with_stem(f"{path.stem}-interrupted")
    replaced = out is None and path.exists()
    save(trained.model, path, data.preprocessor.to_json(), notes_of(data, trained, seed))
    report.results(data, trained, path)
    if figures is not None:
        report.figures(figures.draw(data, trained))
    if replaced:
        print(f"note: {path} was there already and was replaced; give --out to keep an older model", file=sys.stderr)
    if trained.interrupted:
        ended = f"after {trained.history.epochs} of {trained.recipe.epochs} epochs, the last of them cut short"
        print(f"note: stopped from the keyboard {ended}; what was learned until then is in {path}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)


def _figures(folder: Path | None, form: str) -> Figures | None:
    """Who draws the figures, loaded only if any are wanted."""
    if folder is None:
        return None
    from .figures import Figures

    return Figures(folder, form)


def _require_other_file(path: Path, source: str, labels: Path | None) -> None:
    from ...errors import OutputPathError

    for read in (source, labels):
        if read is not None and path.exists() and Path(read).exists() and path.samefile(read):
            raise OutputPathError(
                f"expected another file than the data to write to; got {str(path)!r}; give --out another name"
            )
