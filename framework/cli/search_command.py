"""`fusedstep search SOURCE`: searches optimiser, rate, schedule, batch size and architecture; resumable, by several workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from . import options as shared
from .data_options import DataOptions, data_options
from .declared import command_line
from .train_options import TrainOptions

if TYPE_CHECKING:
    from ..search import SearchTrial


@dataclass(frozen=True)
class SearchOptions(DataOptions):
    """The options; None for the default search space, or if the option is off."""

    trials: Annotated[int, Option(help="Total number of candidates, of all workers and including those in the storage.")] = 20
    epochs: Annotated[int, Option(help="Epochs of each candidate that is not stopped early.")] = 20
    storage: Annotated[
        str | None,
        Option(
            metavar="FILE|URL",
            help="Where trials are stored, so that a stopped search resumes and several workers share one: an SQLite file "
            "(search.db) on one machine; a journal (search.journal) in a folder that machines share; or the URL of a database.",
        ),
    ] = None
    workers: Annotated[
        int, Option(help="Processes of this machine that share the trials; more than 1 need --storage or --checkpoint.")
    ] = 1
    checkpoint: shared.CheckpointFolder = None
    checkpoint_every: shared.CheckpointEvery = None
    resume: shared.Resume = False
    optimizers: Annotated[str | None, Option(metavar="NAMES", help='Optimisers to try, such as "Adam,Nesterov".')] = None
    schedules: Annotated[
        str | None, Option(metavar="NAMES", help='Schedules, separated by spaces, such as "constant step:every=10 cosine".')
    ] = None
    batch_sizes: Annotated[str | None, Option(metavar="ROWS", help='Batch sizes to try, such as "32,128".')] = None
    layers: Annotated[str | None, Option(metavar="FROM-TO", help='Number of hidden layers, such as "1-3".')] = None
    width: Annotated[str | None, Option(metavar="FROM-TO", help='Units per hidden layer, such as "32-256".')] = None
    ensemble: shared.Ensemble = None
    class_weight: shared.ClassWeight = None
    seed: Annotated[int, Option(help="Seed for the search, the split, weights, dropout and shuffles.")] = 0
    backend: shared.BackendName = None
    precision: shared.Precision = "float32"


def search(options: SearchOptions) -> None:
    """Search for the optimiser, learning rate, schedule, batch size and network that suit a data set.

    Each candidate is trained on the training part and rated by its smallest validation loss; candidates worse than the median
    are stopped early. The test part is not used. At the end, the command that trains a model with the best settings is printed.
    Needs Optuna.

    With --storage, a stopped search resumes where it ended, also after a power failure, and the same search with more --trials
    continues after the last trial. With --workers N, N processes share the trials. The same command, started several times, on
    one or several machines, shares them among all these workers; the trial of a worker that was killed is run again by another,
    three times at most unless it gets further.

    With --checkpoint, unfinished trials are saved at intervals as well, and the same command with --resume goes on within them.
    Without --storage, the trials are stored in the same folder. SIGTERM and SIGUSR1 end the search with a checkpoint after the
    current step, with exit status 143. Several workers share the folder if all of them are started with --resume.
    """
    from rich.markup import escape

    from ...backends import backend as find_backend
    from ...errors import HyperparameterError
    from ..optional import require
    from ..search import SearchSpace
    from ..search import search as run
    from ..search.storage import shown
    from ..settings import whole
    from ..training.checkpoint import Checkpoint
    from .checkpoint_notes import checkpoint_notes
    from .console import new_console
    from .recipe import NONE, check_checkpoint, parse_class_weight
    from .report import Reporter
    from .training import few_threads, layer_widths, loss_of, prepare, read

    space = SearchSpace(**_given(options))
    whole(options.trials, "--trials")
    whole(options.epochs, "--epochs")
    members = 1 if options.ensemble is None else whole(options.ensemble, "--ensemble")
    whole(options.workers, "--workers")
    check_checkpoint(options)
    class_weight = parse_class_weight(options.class_weight)
    require("optuna", "search", "a hyperparameter search")
    backend, storage = find_backend(options.backend), options.storage
    report = Reporter(quiet=False)
    dataset = read(options)
    data = prepare(dataset, options.task, (None, None), options.seed)
    if "validation" not in data.parts:
        raise HyperparameterError(
            f"expected a validation part to compare candidates; there is none ({data.remark}); use more rows"
        )
    report.data(data)
    report.backend(backend, options.backend)
    console = new_console()

    checkpoint = None if options.checkpoint is None else Checkpoint(options.checkpoint, options.checkpoint_every)
    place = escape(shown(storage or options.checkpoint))
    ran: list[int] = []
    messages: list[str] = []

    def finished(number: int, trial: SearchTrial) -> None:
        ran.append(number)
        console.print(f"{number:>3}. {escape(described(trial))}", soft_wrap=True)

    def tell(text: str) -> None:
        messages.append(text)
        console.print(escape(text), soft_wrap=True)

    part, validation = data.parts["training"], data.parts["validation"]
    widest = layer_widths(data, [space.width[1]] * space.layers[1])
    threads = few_threads(data, widest, max(space.batch_size), backend)
    with threads, _messages_of_workers(tell), checkpoint_notes(options.checkpoint):
        try:
            found = run(
                part.x, part.y, (validation.x, validation.y, validation.weights), loss_of(data, class_weight), space,
                options.trials, options.epochs, storage, options.seed, outputs=data.preprocessor.outputs, report=finished,
                checkpoint=checkpoint, resume="auto" if options.resume else None, sample_weight=part.weights,
                workers=options.workers, categories=data.preprocessor.categories, n_ensemble=members, backend=backend,
                precision=options.precision,
            )  # fmt: skip
        except KeyboardInterrupt:
            if storage is None and checkpoint is None:
                raise
            again = "run the same command to resume" if checkpoint is None else "run the same command with --resume to go on"
            console.print(f"Stopped. The finished trials are in {place}; {again}.", soft_wrap=True)
            raise typer.Exit(2) from None
    best = found.best_trial
    if not ran and not messages:
        console.print(f"All trials were in {place} already; increase --trials to add more.", soft_wrap=True)
    console.print(f"[bold]Best of {len(found.trials)}:[/bold] {escape(described(best))}", soft_wrap=True)
    c = best.candidate
    found_options = TrainOptions(
        **data_options(options), class_weight=options.class_weight, epochs=options.epochs, seed=options.seed,
        hidden=",".join(map(str, c.hidden)) or "none", activation=c.activation, number_embedding=NONE, dropout=c.dropout,
        ensemble=options.ensemble, label_smoothing=0.0, optimizer=c.optimizer, lr=c.lr, weight_decay=c.weight_decay,
        batch_size=c.batch_size, schedule=c.schedule,
    )  # fmt: skip
    console.print(f"Train it: {escape(command_line('train', found_options))}", soft_wrap=True)


@contextmanager
def _messages_of_workers(tell: Callable[[str], None]) -> Iterator[None]:
    """Passes on what a search says about trials of other workers."""
    logger = logging.getLogger("fusedstep.search")
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: tell(record.getMessage())  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def _given(options: SearchOptions) -> dict[str, Any]:
    """The fields of a SearchSpace that the options set."""
    from ..optimizers import find_optimizer

    given: dict[str, Any] = {}
    if options.optimizers is not None:
        names = options.optimizers.split(",")
        given["optimizer"] = tuple(find_optimizer(name.strip(), "--optimizers") for name in names)
    if options.schedules is not None:
        given["schedule"] = tuple(options.schedules.split())
    if options.batch_sizes is not None:
        given["batch_size"] = numbers(options.batch_sizes, ",", "--batch-sizes", '"32,128"')
    for name, text, example in (("layers", options.layers, '"1-3"'), ("width", options.width, '"32-256"')):
        if text is not None:
            ends = numbers(text, "-", f"--{name}", example)
            given[name] = (ends[0], ends[-1])
    return given


def numbers(text: str, separator: str, option: str, example: str) -> tuple[int, ...]:
    """Whole numbers from a text.

    Raises: HyperparameterError that names the option.
    """
    from ...errors import HyperparameterError

    try:
        return tuple(int(part) for part in text.split(separator))
    except ValueError as error:
        raise HyperparameterError(f"{option}: expected whole numbers such as {example}; got {text!r}; use that form") from error


def described(trial: SearchTrial) -> str:
    """One line that describes a trial."""
    c = trial.candidate
    end = "" if trial.state == "complete" else f", {trial.state} after {trial.epochs} epochs"
    end += f" ({trial.reason})" if trial.reason else ""
    network = "-".join(map(str, c.hidden)) or "linear"
    return (
        f"validation loss {trial.value:.4f}{end}: {c.optimizer} at {c.lr:.2g}, {c.schedule}, minibatches of {c.batch_size}, "
        f"{network} {c.activation}, dropout {c.dropout:.2f}, weight decay {c.weight_decay:.1e}"
    )
