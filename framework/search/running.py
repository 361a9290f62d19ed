"""The search: Optuna suggests candidates, a Trainer trains them, and poor ones are stopped by their validation loss.

Optuna is imported only when a search is started.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ...backends import backend as find_backend
from ...backends.arrays import on_host
from ...errors import HyperparameterError, NonFiniteLossError, ShapeError
from ..engine.model import require_seed
from ..engine.step import StepSettings
from ..losses import MSE, Loss, SoftmaxCrossEntropy
from ..optional import require
from ..settings import whole
from ..suggestions import suggests_arguments
from ..training.callbacks import Callback
from ..training.checkpoint import Checkpoint
from ..training.trainer import Trainer, of_validation
from .candidate import Candidate, SearchSpace
from .checkpoints import TrialCheckpoints
from .processes import WorkerProcesses
from .result import SearchResult, SearchTrial
from .storage import require_shareable
from .workers import Claim, SharedTrials

STARTUP_TRIALS = 5
"""Number of initial random trials, which are never stopped early and which sampler and pruner start from."""
WORST = 1e300
"""Replaces losses that are not finite, because the pruner computes medians of them."""


@suggests_arguments(further=("categories", "n_ensemble", *StepSettings.__annotations__))
def search(
    x: Any,
    y: Any,
    validation: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
    loss: Loss | None = None,
    space: SearchSpace | None = None,
    trials: int = 20,
    epochs: int = 20,
    storage: str | Path | None = None,
    seed: int = 0,
    pruning: bool = True,
    outputs: int | None = None,
    report: Callable[[int, SearchTrial], None] | None = None,
    checkpoint: Checkpoint | None = None,
    resume: str | None = None,
    sample_weight: Any = None,
    workers: int = 1,
    **options: Any,
) -> SearchResult:
    """Searches optimiser, learning rate, schedule, batch size and architecture for a small validation loss.

    Candidates come from Optuna's tree-structured Parzen estimator. A candidate is stopped after an epoch in which it is worse
    than the median of the others (never in the first quarter of its epochs). With a storage, the same call resumes a search
    that was stopped, even if it was killed, and gives the same result as without the interruption: a trial depends only on the
    seed, its number and the finished trials.

    With `workers` > 1, the call starts so many processes on this machine. They share the trials through the storage, and each
    uses its part of the threads; one that ends, because it was killed, is replaced.

    Several processes, on one or several machines, may make the same call with one storage at the same time. They share the
    trials: each trial is run by one of them, and the trial of a process that ended is run again by another, with the same
    hyperparameters. All of them return the same result, when the last trial has finished. A process is known to have ended by
    its number on the same machine, and after a minute without heartbeats on another one. A trial whose process ended three
    times in a row, never further in it than before, has failed, as has one that runs out of memory; the search goes on.

    With a checkpoint, each trial saves the whole state of its training at intervals, in a folder of its own within that of the
    checkpoint, and a trial that is run again goes on from there, to the same result. Without a storage, the trials are stored
    there too, so one folder holds the search. SIGTERM and SIGUSR1 end the search with a checkpoint of the trial at hand.
    Checkpoints of finished trials are removed.

    Args: x [N, d], y, validation, sample_weight – as in Trainer.fit, on the host; loss – default SoftmaxCrossEntropy for y of
        an integer type, else MSE; space – default SearchSpace(); trials – total number, of all processes and including those in
        the storage; epochs – per trial; storage – path of a file, created if it does not exist: a journal if it ends with
        .journal, for several machines that share a folder, else an SQLite file, for processes of one machine; or the URL of a
        database, such as "postgresql://user@host/name"; None to store nothing; seed – of the search, and of the weights and
        shuffles of every trial; pruning – whether to stop poor candidates early; outputs – of the network, default from y;
        report – called after each trial of this process, or its workers, with its number, counted from 1, and the trial;
        checkpoint – when and where trials are saved; its folder may be shared by workers as a storage is; resume – "auto": goes
        on with the search in the folder of `checkpoint`, or starts if there is none, as every worker of several should; None
        (default): starts; workers – processes to start, which need a storage or a checkpoint; 1 (default): the trials run in
        this one; options – categories and n_ensemble of `mlp`, backend, precision and others of TrainStep.
    Returns: a SearchResult.
    Raises: MissingDependency without Optuna or the driver of a database; HyperparameterError for invalid settings, and for a
        storage of a search with different settings; OutputPathError for a storage that cannot be used or is damaged;
        CheckpointError for a folder that holds a search, without `resume`, and for checkpoints of another training; SystemExit
        with status 143 after SIGTERM or SIGUSR1, with `checkpoint`.
    Source: Akiba et al. (2019); Bergstra et al. (2011); notes 004, "hyperparameters search".
    """
    trials, epochs, workers = whole(trials, "trials"), whole(epochs, "epochs"), whole(workers, "workers")
    require_seed(seed)
    if options.get("parallel") is not None:
        raise HyperparameterError(
            f"expected parallel=None in a search, whose trials run side by side; got {options['parallel']!r}; pass workers=2, "
            "or start the same search in each process, with one storage"
        )
    if workers > 1 and checkpoint is None:
        require_shareable(storage, workers)
    space = SearchSpace() if space is None else space
    if not isinstance(space, SearchSpace):
        raise HyperparameterError(f"expected a SearchSpace; got {space!r}; write space=fs.SearchSpace(layers=(1, 2))")
    if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
        raise HyperparameterError(
            f"expected validation=(x, y), by which candidates are compared; got {validation!r:.60}; keep some rows, as in "
            "fs.search(x[:80], y[:80], validation=(x[80:], y[80:]))"
        )
    saved = TrialCheckpoints(checkpoint, resume)
    host = find_backend("numpy")
    width, targets = _width(host.with_rows(x, "x")), host.with_rows(y, "y")
    whole_numbers = targets.dtype.kind in "iub"
    loss = loss if loss is not None else SoftmaxCrossEntropy() if whole_numbers else MSE()
    if outputs is None:
        outputs = _outputs(targets, loss)
    optuna = require("optuna", "search", "a hyperparameter search")
    # A candidate that works shows what is wrong with data or options, before a storage is touched.
    probe = Candidate((), "relu", 0.0, "SGD", 0.01, 0.0, 32, "constant")
    step = probe.make_step(width, outputs, loss, seed, **options)
    step.prepare(x, y)
    step.prepare(*validation[:2], "validation x")
    held_weight = validation[2] if len(validation) == 3 else None
    weights = [] if sample_weight is None and held_weight is None else [sample_weight, held_weight]
    if sample_weight is not None:
        step.prepare_weights(sample_weight, len(targets))
    if held_weight is not None:
        with of_validation():
            step.prepare_weights(held_weight, len(host.with_rows(validation[1], "validation y")))
    settings = {
        "space": space.as_dict(), "epochs": epochs, "seed": seed, "pruning": bool(pruning), "loss": repr(loss),
        "data": [_checksum(part) for part in (x, y, *validation[:2], *weights)],
    }  # fmt: skip
    if options.get("n_ensemble", 1) != 1:  # storages of older versions have no such setting
        settings["n_ensemble"] = int(options["n_ensemble"])
    pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, max(1, epochs // 4)) if pruning else optuna.pruners.NopPruner()
    started = None
    if workers > 1:
        same = {
            "loss": loss, "space": space, "trials": trials, "epochs": epochs, "storage": storage, "seed": seed,
            "pruning": pruning, "outputs": outputs, "checkpoint": checkpoint,
            "resume": None if checkpoint is None else "auto", "options": {**options, "backend": step.backend.name},
        }  # fmt: skip
        arrays = {"x": x, "y": y, "sample_weight": sample_weight}
        started = WorkerProcesses(workers, same, arrays | {f"validation{k}": part for k, part in enumerate(validation)})
    storage = saved.open(storage)
    with _quiet(optuna), saved:
        shared = SharedTrials(optuna, storage, settings)
        if started is not None:
            return SearchResult(_by_workers(started, shared, saved, trials, report))
        while len(finished := saved.between(shared.finished(trials))) < trials:
            claim = shared.claim(trials)
            if claim is None:
                shared.wait()
                continue
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=STARTUP_TRIALS, seed=(seed * 1_000_003 + claim.slot) % 2**32, multivariate=False,
                constant_liar=False,
            )  # fmt: skip
            with claim:
                candidate = claim.draw(space, sampler, pruner)
                given = {
                    "epochs": epochs, "batch_size": candidate.batch_size, "sample_weight": sample_weight,
                    **saved.of(claim.slot, claim.number),
                }  # fmt: skip
                try:
                    made = candidate.make_step(width, outputs, loss, seed, **options)
                    seen = _Pruning(claim, saved.act)
                    trainer = Trainer(made, [seen], schedule=candidate.schedule)
                    _train(claim, seen, partial(trainer.fit, x, y, validation, **given))
                except Exception as error:
                    if not step.backend.out_of_memory(error):
                        raise
                    claim.fail(f"{type(error).__name__}: {error}".partition("\n")[0])
            if claim.finished and report is not None:
                report(claim.slot + 1, shared.finished(trials)[claim.slot])
    return SearchResult(tuple(finished.values()))


def _by_workers(
    started: WorkerProcesses, shared: SharedTrials, saved: TrialCheckpoints, trials: int,
    report: Callable[[int, SearchTrial], None] | None,
) -> tuple[SearchTrial, ...]:  # fmt: skip
    """The trials, run by processes that are started here."""
    finished = saved.between(shared.finished(trials))
    if len(finished) < trials:
        shared.log_resumed(len(finished))
        with started:
            while len(finished) < trials or started.running:
                numbers = started.finished(shared.attempts)
                finished = saved.between(shared.finished(trials))
                for number in numbers:
                    if report is not None:
                        report(number, finished[number - 1])
    return tuple(finished.values())


class _Pruning(Callback):
    """Reports each epoch to the storage, and ends training when the trial is pruned.

    Args: claim; begun – called when the fit has begun.
    """

    def __init__(self, claim: Claim, begun: Callable[[], None]) -> None:
        self.claim, self.begun = claim, begun
        self.pruned = False
        self.values: list[float] = []

    def on_fit_begin(self, trainer: Trainer) -> None:
        self.begun()
        if trainer.steps_done:
            self.claim.resume(trainer.steps_done)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        self._report(row["val_loss"])
        if self.claim.is_poor() and len(self.values) < trainer.epochs:
            self.pruned = True
            trainer.stop("given up: worse than the median of the other trials")

    def state(self) -> dict[str, Any]:
        return {"values": self.values, "pruned": self.pruned}

    def restore(self, state: dict[str, Any]) -> None:
        """Reports the epochs up to the checkpoint again: an attempt is a new trial in the storage."""
        for value in state["values"]:
            self._report(float(value))
        self.pruned = bool(state["pruned"])

    def _report(self, value: float) -> None:
        self.values.append(value)
        self.claim.report(value if math.isfinite(value) else WORST)


def _train(claim: Claim, seen: _Pruning, fit: Callable[[], object]) -> None:
    """One trial, up to its result in the storage."""
    diverged = False
    try:
        fit()
    except NonFiniteLossError:
        diverged = True
    diverged = diverged or not seen.values or not all(map(math.isfinite, seen.values))
    claim.finish(math.inf if diverged else min(seen.values), seen.pruned)


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Optuna speaks in warnings only."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _width(x: Any) -> int:
    if x.ndim != 2:
        raise ShapeError(f"expected a matrix x [rows, columns]; got shape {x.shape}; one sample is a row")
    return int(x.shape[1])


def _outputs(y: Any, loss: Loss) -> int:
    """Outputs for the columns of y, or its number of classes."""
    labels = loss.head == "classes" and y.size and (y.ndim == 1 or y.shape[1:] == (1,))
    return int(y.max()) + 1 if labels else (int(y.shape[1]) if y.ndim == 2 else 1) * loss.outputs_per_target


def _checksum(array: Any) -> list[Any] | None:
    if array is None:
        return None
    host = on_host(array)
    return [list(host.shape), zlib.crc32(host.tobytes())]
