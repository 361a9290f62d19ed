"""`fusedstep find-lr SOURCE`: suggests a learning rate for a data set and a network, with a table and a figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from . import options as shared
from .data_options import DataOptions


@dataclass(frozen=True)
class FindLrOptions(DataOptions):
    """The options; None if the default is that of the preset of `fusedstep train`, or if the option is off."""

    hidden: shared.Hidden = None
    activation: shared.Activation = None
    number_embedding: shared.NumberEmbedding = None
    ensemble: shared.Ensemble = None
    optimizer: shared.Optimizer = None
    batch_size: shared.BatchSize = None
    class_weight: shared.ClassWeight = None
    sweep: Annotated[
        bool, Option("--sweep", help="One short training run with increasing rate, instead of one run per rate.")
    ] = False
    rate_epochs: Annotated[int, Option("--epochs", help="Epochs for each rate; a sweep takes 100 minibatches in total.")] = 3
    seed: shared.Seed = 0
    plot: Annotated[Path | None, Option(help="File for a figure: PNG, SVG or PDF.")] = None
    backend: shared.BackendName = None
    precision: shared.Precision = "float32"


def find_lr(options: FindLrOptions) -> None:
    """Suggest a learning rate for a data set and a network.

    Trains a few epochs with each of 0.0001, 0.001, 0.01, 0.1 and 1 (and further powers of ten while the best rate is the
    smallest or largest one), then with half, twice and three times the best rate; suggests the rate with the smallest
    validation loss. With --sweep, the rate grows from 0.000001 to 10 within 100 minibatches; the suggestion is a tenth of the
    rate with the smallest smoothed loss, or the rate at which the loss fell most steeply, whichever is smaller.

    Data are split, and networks are selected, as in `fusedstep train`.
    """
    from rich.markup import escape

    from ...backends import backend as find_backend
    from ..diagnostics.plots.style import require_format, settings
    from ..export.output_paths import require_writable
    from ..settings import whole
    from .console import new_console
    from .recipe import choices, parse_class_weight
    from .report import Reporter
    from .training import few_threads, layer_widths, new_step, prepare, read, recipe_of, search_rate

    choices(options)
    plot, class_weight = options.plot, parse_class_weight(options.class_weight)
    whole(options.rate_epochs, "--epochs")
    backend = find_backend(options.backend)
    if plot is not None:
        require_format(plot)
        require_writable(plot)
        with settings():
            pass  # If matplotlib is missing, fail here and not after the search.
    report = Reporter(quiet=False)
    dataset = read(options)
    data = prepare(dataset, options.task, (None, None), options.seed)
    report.data(data)
    report.backend(backend, options.backend)
    recipe = recipe_of(data, options)
    step = new_step(data, recipe, options.seed, backend, options.precision, class_weight=class_weight)
    with few_threads(data, layer_widths(data, recipe.hidden, recipe.number_embedding), recipe.batch_size, backend):
        found = search_rate(step, data, recipe, options.rate_epochs, options.sweep)
    console = new_console()
    if options.sweep:
        console.print(f"Minibatches: {len(found.trials)}, rates {found.trials[0].rate:g} to {found.trials[-1].rate:.3g}")
    else:
        console.print(escape(str(found).rpartition("\n")[0]))
    console.print(f"Learning rate for {recipe.optimizer}: [bold]{found.suggestion:g}[/bold] ({found.rule})")
    if plot is not None:
        found.plot(plot)
        console.print(f"Figure: [bold]{escape(str(plot))}[/bold]", soft_wrap=True)
    console.print(f"Use it: fusedstep train {escape(options.source)} … --lr {found.suggestion:g}", soft_wrap=True)
