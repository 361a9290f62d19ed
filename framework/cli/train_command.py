"""`fusedstep train SOURCE`: from a data set to one model file, with a table of what was reached."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .train_options import TrainOptions

if TYPE_CHECKING:
    from .figures import Figures

INTERRUPTED = 130
"""The exit status of programs that were ended from the keyboard: 128 and the number of the signal."""


def train(options: TrainOptions) -> None:
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
    import sys

    from ...backends import backend as find_backend
    from ..export.persistence import require_writable, save
    from ..tables.reading import load
    from .recipe import check_options
    from .report import Reporter, notes_of
    from .training import prepare, train_model

    check_options(options)
    backend = find_backend(options.backend)
    path = options.out or Path(f"{Path(options.source).name.split('.')[0] or 'model'}.safetensors")
    require_writable(path)
    _require_other_file(path, options)
    figures = _figures(options)

    report = Reporter(options.quiet)
    dataset = load(options.source, options.target, options.labels, stream=options.stream)
    data = prepare(dataset, options.task, (options.test_share, options.validation_share), options.seed)
    report.data(data)
    report.backend(backend, options.backend)
    watching = [] if figures is None else figures.callbacks(data)
    trained = train_model(data, options, backend, report.shows_progress, watching)
    if trained.interrupted and path.exists():
        path = path.with_stem(f"{path.stem}-interrupted")
    replaced = options.out is None and path.exists()
    save(trained.model, path, data.preprocessor.to_json(), notes_of(data, trained, options.seed))
    report.results(data, trained, path)
    if figures is not None:
        report.figures(figures.draw(data, trained))
    if replaced:
        print(f"note: {path} was there already and was replaced; give --out to keep an older model", file=sys.stderr)
    if trained.interrupted:
        ended = f"after {trained.history.epochs} of {trained.recipe.epochs} epochs, the last of them cut short"
        print(f"note: stopped from the keyboard {ended}; what was learned until then is in {path}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)


def _figures(options: TrainOptions) -> Figures | None:
    """Who draws the figures, loaded only if any are wanted."""
    if options.plot is None:
        return None
    from .figures import Figures

    return Figures(options.plot, options.plot_format)


def _require_other_file(path: Path, options: TrainOptions) -> None:
    from ...errors import OutputPathError

    for read in (options.source, options.labels):
        if read is not None and path.exists() and Path(read).exists() and path.samefile(read):
            raise OutputPathError(
                f"expected another file than the data to write to; got {str(path)!r}; give --out another name"
            )
