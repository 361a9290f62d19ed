"""`fusedstep train SOURCE`: trains a model on a data set, saves it to one file, and prints a table of results."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .train_options import TrainOptions

if TYPE_CHECKING:
    from .figures import Figures

INTERRUPTED = 130
"""Exit status of programs interrupted from the keyboard: 128 plus the number of the signal."""


def train(options: TrainOptions) -> None:
    """Train a network on a data set and save it.

    The rows are split (stratified by class for classification; by group or time with --group and --time), numbers are
    scaled and missing ones filled in, text is one-hot encoded, or embedded where it has many values, all with statistics of
    the training part; a network is trained, and the parameters of the epoch with the best validation loss are kept. The
    test part is not used for any decision, so its results estimate the performance on new data.

    **Defaults: the preset for the number of rows**, of which each option replaces one setting

    - network: periodic embeddings of numbers (of up to 100 columns), 256, 256 and 256 relu units, dropout 0.15
    - training: AdamW at 0.003 with beta2 0.95 and weight decay 0.02, label smoothing 0.1, schedule coslog, minibatches of a
    twentieth of the rows, as a power of two from 32 to 256 (512 from 100,000 rows on), and 64 epochs (from 65,536 rows on
    fewer, at least 8), of which the one with the smallest validation loss is kept
    - regression below 1,000 rows: 32 tanh units without embeddings, dropout 0.4, AdamW at 0.001 with weight decay 0.1, a
    constant rate, minibatches of 32, at most 300 epochs, patience 30
    - below 50 rows: all rows in one minibatch, no dropout, 256 epochs

    With --stream the data may be larger than memory: a thread reads the next minibatch while a step runs. The target is kept in
    memory. Columns of Parquet files may be of any type, and are taken for the same as without --stream. The row order is the
    same, too, except for Parquet files: their row groups are shuffled, and then the rows within windows of four row groups.

    Ctrl-C ends training after the current step: the model is evaluated and saved (without replacing an older file of the same
    name), and the exit status is 130. A second Ctrl-C quits without saving.

    With --checkpoint the whole state is saved at intervals. The same command with --resume goes on from there, with the same
    result as without the interruption. SIGTERM and SIGUSR1 end training with a checkpoint after the current step, with exit
    status 143 and without a model file.

    With --parallel mpi, processes that mpiexec or srun has started train together, on one host or several: each takes its rows
    of every minibatch, and the result is that of one process up to rounding. Rank 0 prints and writes files:
    `mpiexec -n 4 fusedstep train big.parquet --target y --parallel mpi`

    A validation part of fewer than 10 rows is not used: its rows are added to the training part, and the last epoch is kept.

    **Learning-rate schedules**

    - `step:factor=0.5,every=5` halves it every 5 epochs (these are the defaults, so `step` does the same)
    - `halve-on-worse` halves it after an epoch whose validation loss rose
    - `plateau:factor=0.1,patience=5` divides it by 10 after 5 epochs without a better validation loss
    - `exponential:k=0.001` and `inverse-time:k=0.001`: lr e^(-k t) and lr / (1 + k t) in step t; `per=epoch` counts epochs
    - `cosine:warmup_steps=100`, `one-cycle`, and `coslog:cycles=4`, over all epochs; `constant`
    - `warmup:steps=100` rises to the rate first, and may stand before another: `warmup:steps=100+step:every=10`
    """
    from ...backends import backend as find_backend
    from ..export.output_paths import beside, require_writable
    from ..export.persistence import save
    from .checkpoint_notes import checkpoint_notes
    from .processes import only_first_speaks
    from .recipe import check_options
    from .report import Reporter, notes_of
    from .training import prepare, read, recipe_of, train_model

    check_options(options)
    first = only_first_speaks(options.parallel)
    backend = find_backend(options.backend)
    path = options.out or Path(f"{Path(options.source).name.split('.')[0] or 'model'}.safetensors")
    require_writable(path)
    _require_other_file(path, options)
    figures = _figures(options)

    report = Reporter(options.quiet)
    dataset = read(options)
    data = prepare(dataset, options.task, (options.test_share, options.validation_share), options.seed)
    report.data(data)
    report.backend(backend, options.backend)
    report.recipe(data, recipe_of(data, options))
    watching = [] if figures is None else figures.callbacks(data)
    with checkpoint_notes(options.checkpoint):
        trained = train_model(data, options, backend, report.shows_progress, watching)
    if not first:
        return
    if trained.interrupted and path.exists():
        path = beside(path, "-interrupted")
    replaced = options.out is None and path.exists()
    save(trained.model, path, data.preprocessor.to_json(), notes_of(data, trained, options.seed))
    report.results(data, trained, path)
    if figures is not None:
        report.figures(figures.draw(data, trained))
    if replaced:
        print(f"note: an existing {path} was replaced; use --out to keep an older model", file=sys.stderr)
    if trained.interrupted:
        ended = f"after {trained.history.epochs} of {trained.recipe.epochs} epochs, the last one incomplete"
        on = "" if options.checkpoint is None else "; --resume goes on from the checkpoint"
        print(f"note: stopped from the keyboard {ended}; the model trained so far is in {path}{on}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)


def _figures(options: TrainOptions) -> Figures | None:
    """Draws the figures; imported only if requested."""
    if options.plot is None:
        return None
    from .figures import Figures

    return Figures(options.plot, options.plot_format)


def _require_other_file(path: Path, options: TrainOptions) -> None:
    from ...errors import OutputPathError

    for read in (options.source, options.labels, options.validation, options.test):
        if read is not None and path.exists() and os.path.exists(read) and path.samefile(read):
            raise OutputPathError(
                f"expected an output file other than the data; got {str(path)!r}; give --out another name"
            )
