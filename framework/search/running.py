"""The search: Optuna suggests candidates, a Trainer trains them, and poor ones are stopped by their validation loss.

Optuna is imported only when a search is started.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...backends.arrays import on_host
from ...errors import HyperparameterError, NonFiniteLossError, OutputPathError
from ..engine.model import require_seed
from ..losses import MSE, Loss, SoftmaxCrossEntropy
from ..optional import require
from ..settings import whole
from ..training.callbacks import Callback
from ..training.trainer import Trainer
from .candidate import Candidate, SearchSpace
from .result import SearchResult, SearchTrial

STUDY = "fusedstep"
STARTUP_TRIALS = 5
"""Number of initial random trials, which are never stopped early and which sampler and pruner start from."""
WORST = 1e300
"""Replaces losses that are not finite, because the pruner computes medians of them."""
_SETTINGS, _CANDIDATE, _EPOCHS, _VALUE = "settings", "candidate", "epochs", "value"


def search(
    x: Any,
    y: Any,
    validation: tuple[Any, Any],
    loss: Loss | None = None,
    space: SearchSpace | None = None,
    trials: int = 20,
    epochs: int = 20,
    storage: str | Path | None = None,
    seed: int = 0,
    pruning: bool = True,
    outputs: int | None = None,
    report: Callable[[int, SearchTrial], None] | None = None,
    **options: Any,
) -> SearchResult:
    """Searches optimiser, learning rate, schedule, batch size and architecture for a small validation loss.

    Candidates come from Optuna's tree-structured Parzen estimator. A candidate is stopped after an epoch in which it is worse
    than the median of the others (never in the first quarter of its epochs). With a storage, the same call resumes a search
    that was stopped, even if it was killed, and gives the same result as without the interruption: a trial depends only on the
    seed and the finished trials. Only one process at a time may use a storage.

    Args: x [N, d], y, validation – as in Trainer.fit, on the host; loss – default SoftmaxCrossEntropy for y of an integer type,
        else MSE; space – default SearchSpace(); trials – total number, including those in the storage; epochs – per trial;
        storage – path of an SQLite file, created if it does not exist, or None to store nothing; seed – of the search, and of
        the weights and shuffles of every trial; pruning – whether to stop poor candidates early; outputs – of the network,
        default from y; report – called after each trial with its number, counted from 1, and the trial; options – backend,
        precision and others of TrainStep.
    Returns: a SearchResult.
    Raises: MissingDependency without Optuna; HyperparameterError for invalid settings, and for a storage of a search with
        different settings; OutputPathError for a storage that cannot be used.
    Source: Akiba et al. (2019); Bergstra et al. (2011); notes 004, "hyperparameters search".
    """
    trials, epochs = whole(trials, "trials"), whole(epochs, "epochs")
    require_seed(seed)
    space = SearchSpace() if space is None else space
    if not isinstance(space, SearchSpace):
        raise HyperparameterError(f"expected a SearchSpace; got {space!r}; write space=fs.SearchSpace(layers=(1, 2))")
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise HyperparameterError(
            f"expected validation=(x, y), by which candidates are compared; got {validation!r:.60}; keep some rows for it"
        )
    whole_numbers = on_host(y).dtype.kind in "iub"
    loss = loss if loss is not None else SoftmaxCrossEntropy() if whole_numbers else MSE()
    if outputs is None:
        outputs = _outputs(on_host(y), loss)
    optuna = require("optuna", "search", "a hyperparameter search")
    # A candidate that works shows what is wrong with data or options, before a storage is touched.
    probe = Candidate((), "relu", 0.0, "SGD", 0.01, 0.0, 32, "constant")
    step = probe.make_step(_width(x), outputs, loss, seed, **options)
    step.prepare(x, y)
    step.prepare(*validation, "validation x")
    settings = {
        "space": space.as_dict(), "epochs": epochs, "seed": seed, "pruning": bool(pruning), "loss": repr(loss),
        "data": [_checksum(part) for part in (x, y, *validation)],
    }  # fmt: skip
    with _quiet(optuna):
        study = _open(optuna, storage, settings)
        study.pruner = (
            optuna.pruners.MedianPruner(STARTUP_TRIALS, max(1, epochs // 4)) if pruning else optuna.pruners.NopPruner()
        )
        finished = _finished(optuna, study)
        while len(finished) < trials:
            study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=STARTUP_TRIALS, seed=(seed * 1_000_003 + len(finished)) % 2**32, multivariate=False,
                constant_liar=False,
            )  # fmt: skip
            trial = study.ask()
            try:
                candidate = space.draw(trial)
                trial.set_user_attr(_CANDIDATE, candidate.as_dict())
                made = candidate.make_step(_width(x), outputs, loss, seed, **options)
                _train(optuna, study, trial, candidate, Trainer(made, schedule=candidate.schedule), x, y, validation, epochs)
            except BaseException:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                raise
            finished = _finished(optuna, study)
            if report is not None:
                report(len(finished), finished[-1])
    return SearchResult(tuple(finished[:trials]))


class _Pruning(Callback):
    """Reports each epoch to the trial, and ends training when the trial is pruned."""

    def __init__(self, trial: Any) -> None:
        self.trial = trial
        self.pruned = False
        self.values: list[float] = []

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        self.values.append(row["val_loss"])
        self.trial.report(row["val_loss"] if math.isfinite(row["val_loss"]) else WORST, len(self.values) - 1)
        if len(self.values) < trainer.epochs and self.trial.should_prune():
            self.pruned = True
            trainer.stop("given up: worse than the median of the other trials")


def _train(
    optuna: Any, study: Any, trial: Any, candidate: Candidate, trainer: Trainer, x: Any, y: Any, validation: Any, epochs: int
) -> None:
    """One trial, up to its entry in the study."""
    seen = _Pruning(trial)
    trainer.callbacks.append(seen)
    diverged = False
    try:
        trainer.fit(x, y, validation, epochs=epochs, batch_size=candidate.batch_size)
    except NonFiniteLossError:
        diverged = True
    values = [value for value in seen.values if math.isfinite(value)]
    value = math.inf if diverged or not values else min(values)
    trial.set_user_attr(_EPOCHS, len(seen.values))
    trial.set_user_attr(_VALUE, None if math.isinf(value) else value)
    states = optuna.trial.TrialState
    if seen.pruned:
        study.tell(trial, state=states.PRUNED)
    else:
        study.tell(trial, value)


def _finished(optuna: Any, study: Any) -> list[SearchTrial]:
    """Complete and pruned trials, in their order."""
    states = optuna.trial.TrialState
    result = []
    for trial in study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED)):
        attributes = trial.user_attrs
        value = math.inf if attributes[_VALUE] is None else float(attributes[_VALUE])
        state = "diverged" if math.isinf(value) else "pruned" if trial.state is states.PRUNED else "complete"
        candidate = Candidate(**{**attributes[_CANDIDATE], "hidden": tuple(attributes[_CANDIDATE]["hidden"])})
        result.append(SearchTrial(candidate, value, attributes[_EPOCHS], state))
    return result


def _open(optuna: Any, storage: str | Path | None, settings: dict[str, Any]) -> Any:
    """The study in that file, or a new one; refuses one of another search, and closes trials that were cut off."""
    if storage is None:
        study = optuna.create_study(direction="minimize")
    else:
        path = Path(storage).resolve()
        if "?" in str(path) or path.is_dir() or not path.parent.is_dir() or (path.exists() and not _is_sqlite(path)):
            raise OutputPathError(
                f"expected the path of an SQLite file for the search, in a folder that exists; got {str(path)!r}; "
                "give another path, such as search.db"
            )
        try:
            study = optuna.create_study(
                storage=f"sqlite:///{path}", study_name=STUDY, direction="minimize", load_if_exists=True
            )
        except (optuna.exceptions.OptunaError, require("sqlalchemy.exc", "search", "a search").SQLAlchemyError) as error:
            raise OutputPathError(
                f"expected an SQLite file of a search, which can be written; {str(path)!r} cannot be used "
                f"({str(error).partition(chr(10))[0]}); give another path, such as search.db"
            ) from error
    before = study.user_attrs.get(_SETTINGS)
    after = json.loads(json.dumps(settings))
    if before is None:
        study.set_user_attr(_SETTINGS, after)
    elif before != after:
        names = ", ".join(name for name in after if before.get(name) != after[name])
        raise HyperparameterError(
            f"expected the search that {str(storage)!r} was made for; got one with different {names}; "
            "give the settings of then, or another storage"
        )
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(16) in (b"", b"SQLite format 3\x00")


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Optuna speaks in warnings only."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _outputs(y: Any, loss: Loss) -> int:
    """Columns of y, or its number of classes."""
    if y.ndim == 2:
        return int(y.shape[1])
    return int(y.max()) + 1 if loss.head == "classes" and y.size else 1


def _width(x: Any) -> int:
    return int(on_host(x).shape[1]) if len(getattr(x, "shape", ())) != 2 else int(x.shape[1])


def _checksum(array: Any) -> list[Any]:
    host = on_host(array)
    return [list(host.shape), zlib.crc32(host.tobytes())]
