"""Bagging: several models, each trained on a bootstrap sample of the data, whose predictions are combined.

The file format is in bagging_file.py, the sampling in tables/bootstrap.py.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends import Backend
from ...backends import backend as find_backend
from ...backends.entries import column_names, with_columns
from ...backends.threads import single_threaded_blas, using_threads
from ...errors import (
    DtypeError,
    ExportError,
    FusedstepError,
    HyperparameterError,
    MixedBackends,
    SampleWeightError,
    ShapeError,
    StateError,
)  # fmt: skip
from ..engine.minibatches import require_targets
from ..engine.model import Sequential, require_seed
from ..engine.precision import precision_of
from ..engine.step import TrainStep
from ..export.coded_network import Answer, Classes, CodedNetwork, Ensemble, Exportable, Flags, MatrixInput, Numbers, TwoClasses
from ..losses import Loss
from ..optimizers import Optimizer
from ..optimizers.adaptive import Adam
from ..optional import require
from ..sample_weights import checked_weights
from ..settings import choice, real, whole
from ..suggestions import PREDICTION, suggests_arguments
from ..tables.bootstrap import bootstrap, feature_subset, left_out
from ..training.trainer import Trainer
from .member import Member

Array = Any
MakeModel = Callable[[int], Sequential]

COMBINE = ("average", "vote")


@suggests_arguments
class Bagging(Exportable):
    """k models, each trained on rows drawn with replacement; predictions are averaged or decided by vote.

    Args: models – a function that returns an uninitialised model for a number of input columns, or such a model, or a list of
        them, assigned to members in turn; loss – a Loss; members – k >= 1, default 10; optimizer – one, or a list of them,
        assigned in turn, default Adam(1e-3); combine – "average" of probabilities (of outputs for regression and signed scores,
        default) or majority "vote" (ties: the smallest class); samples – rows of a sample as a fraction of all, in (0, 1],
        default 1; features – fraction of the columns for each member, chosen at random, in (0, 1], default 1; seed – of
        samples, columns and initial weights; backend – name, or None for the one in use; precision – as in TrainStep; n_jobs –
        members that are trained at the same time, by the workers of joblib's back end: processes of this machine (loky), or
        those of joblib.parallel_config(backend="dask") or others; -1 for all CPUs or workers; None (default): as
        parallel_config says, otherwise -1 if joblib is installed, and 1 within a worker of joblib. Each member uses one thread
        of a CPU, so the result is the same, bit for bit, for any number of jobs and any back end; on a GPU the members are
        trained sequentially. jobs – deprecated name of n_jobs.
    Attributes: members – list of Member, after `fit`; out_of_bag – metrics over rows, each predicted by the members that were
        not trained on it: for classification accuracy, error and standard_error = sqrt(error (1 - error) / rows), for
        regression mse, its standard_error, and r2; rows – number of rows that at least one member was not trained on; empty
        before `fit` and after `load`; weighted means with sample_weight.

        bagging = fs.Bagging(lambda d: fs.mlp([d, 32, 10]), fs.SoftmaxCrossEntropy(), members=8)
        bagging.fit(x, y, epochs=20); bagging.predict(x); bagging.out_of_bag["error"]
    Source: Breiman (1996); notes 002.
    """

    def __init__(
        self,
        models: MakeModel | Sequential | Sequence[MakeModel | Sequential],
        loss: Loss,
        members: int = 10,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        combine: str = "average",
        samples: float = 1.0,
        features: float = 1.0,
        seed: int = 0,
        backend: str | Backend | None = None,
        precision: str | None = None,
        n_jobs: int | None = None,
        jobs: int | None = None,
    ) -> None:
        self.models = _as_list(models, lambda m: callable(m) or isinstance(m, Sequential), "functions that make a model")
        chosen = Adam(1e-3) if optimizer is None else optimizer
        self.optimizers = _as_list(chosen, lambda o: isinstance(o, Optimizer), "optimisers")
        if not isinstance(loss, Loss):
            raise HyperparameterError(f"expected a Loss; got {loss!r}; did you forget ()?")
        require_seed(seed)
        self.loss = loss
        self.count = whole(members, "members of Bagging")
        self.combine = choice(combine, "combine", COMBINE)
        if loss.predicts_numbers and combine == "vote":
            raise HyperparameterError(f'expected combine="average" for numbers, as {loss!r} has; got "vote"')
        self.samples = real(samples, "samples of Bagging", 0.0, 1.0, "(]", "pass the share of the rows, such as 1.0")
        self.features = real(features, "features of Bagging", 0.0, 1.0, "(]", "pass the share of the columns, such as 0.5")
        self.seed = int(seed)
        self.backend = find_backend(backend)
        chosen_precision = precision_of(precision or "float32", self.backend)
        self.precision, self._dtype = chosen_precision.name, chosen_precision.master
        if jobs is not None:
            warnings.warn("jobs of Bagging is deprecated since 0.3.0; write n_jobs", DeprecationWarning, stacklevel=3)
            n_jobs = jobs if n_jobs is None else n_jobs
        self.n_jobs = None if n_jobs is None else _checked_jobs(n_jobs)
        if not self.backend.on_host and self.n_jobs not in (None, 1):
            raise HyperparameterError(f"expected n_jobs=1 on backend {self.backend.name!r}, which has one device; got {n_jobs}")
        self.members: list[Member] = []
        self.feature_names: tuple[str, ...] | None = None
        self.head = loss.head
        self.out_of_bag: dict[str, float] = {}

    # Training

    @suggests_arguments
    def fit(
        self, x: Any, y: Any, epochs: int = 10, batch_size: int | None = 128, sample_weight: Any = None
    ) -> Bagging:
        """Trains all members from scratch, and computes the out-of-bag metrics.

        Args: x [N, d], y [N] or [N, e]; epochs, batch_size – as in Trainer.fit; sample_weight – [N], numbers w >= 0, which
            count in the loss of each member and in the out-of-bag metrics; rows are drawn without regard to them.
        Returns: itself.
        Raises: the errors of Trainer.fit; MissingDependency for n_jobs > 1 without joblib.
        """
        whole(epochs, "epochs")
        self.feature_names = column_names(x)
        inputs = self._matrix(x)
        rows, width = (int(extent) for extent in inputs.shape)
        jobs = [self._job(k, rows, width, epochs, batch_size) for k in range(self.count)]
        first = jobs[0].member.model
        wanted = self._targets(y, rows, first.output_width(int(first.inputs or width)))
        weights = None if sample_weight is None else checked_weights(sample_weight, rows, self.backend)
        count = self._jobs()
        if count == 1 or self.count == 1:
            trained = [_train(job, x, y, weights) for job in jobs]
        else:
            joblib = require("joblib", "ensemble", f"training members with n_jobs={count}")
            data = self.backend.with_rows(x, "x"), self.backend.with_rows(y, "y"), weights  # which all workers can read
            with using_threads(1):  # here, because workers that are threads would restore it for each other
                parallel = joblib.Parallel(n_jobs=min(self.count, count), prefer="processes")
                trained = parallel(joblib.delayed(_train)(job, *data) for job in jobs)
        self.members = [job.member for job in jobs]
        for member, (model, loss) in zip(self.members, trained, strict=True):
            member.model, member.loss = model, loss
        self.out_of_bag = self._out_of_bag(inputs, wanted, weights)
        return self

    def _jobs(self) -> int:
        """n_jobs for joblib; 1: one after the other in this process."""
        if not self.backend.on_host:
            return 1
        if self.n_jobs is not None:
            return self.n_jobs
        try:
            from joblib.parallel import get_active_backend
        except ImportError:
            return 1
        active, configured = get_active_backend()
        return int(configured) if configured is not None else 1 if active.nesting_level else -1

    def _job(self, k: int, rows: int, width: int, epochs: int, batch_size: int | None) -> _Job:
        size = max(1, round(self.features * width))
        columns = None if size == width else feature_subset(width, size, self.seed, k)
        make = self.models[k % len(self.models)]
        model = copy.deepcopy(make) if isinstance(make, Sequential) else make(size)
        if not isinstance(model, Sequential):
            raise HyperparameterError(f"expected a function that returns a model for {size} columns; it returned {model!r}")
        if model.inputs is not None and model.inputs != size:
            raise ShapeError(
                f"expected member {k} to take the {size} columns that it sees; got {model.layers[0]!r}; pass a function of "
                "the number of columns"
            )
        sample = bootstrap(rows, max(1, round(self.samples * rows)), self.seed, k)
        seed = (1_000_003 * self.seed + k) % 2**64
        optimizer = self.optimizers[k % len(self.optimizers)]
        member = Member(model, columns, sample)
        return _Job(k, member, self.loss, optimizer, seed, self.backend.name, self.precision, self._dtype, epochs, batch_size)

    # Answers

    @suggests_arguments(use=PREDICTION)
    def predict(self, x: Any) -> Array:
        """The combined prediction, in the shape of the y of `fit`, [N] or [N, e]: labels for classes, 0 or 1 for binary
        targets, outputs for regression.
        """
        answers = self._answers(self._joint(self._matrix(x)))
        columns = self.backend.xp.reshape(answers, (int(answers.shape[0]), -1))
        return self.members[0].model.in_shape_of_targets(columns)

    @suggests_arguments(use=PREDICTION)
    def predict_proba(self, x: Any) -> Array:
        """Probabilities of the classes [N, K]: the mean over the members, or the fractions of their votes.

        Raises: StateError if the members give no probabilities.
        """
        if self.head == "signs" or self.loss.predicts_numbers:
            raise StateError(f"expected members that give probabilities; got head {self.head!r}; use predict")
        return self._joint(self._matrix(x))

    @suggests_arguments(use=PREDICTION)
    def evaluate(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, float]:
        """Metrics on other data: accuracy and error (mse and r2 for regression), and their mean over single members.

        Args: x, y, sample_weight – as in `fit`; the metrics are weighted means.
        Returns: such as {"accuracy", "error", "member_accuracy", "member_error"}.
        """
        inputs = self._matrix(x)
        scores = [self._scores(member, inputs) for member in self._trained()]
        wanted = self._targets(y, int(inputs.shape[0]), self._outputs())
        weights = None
        if sample_weight is not None:
            weights = self._column(checked_weights(sample_weight, int(inputs.shape[0]), self.backend))
        joint = self._figures(self._mean(scores), wanted, weights)
        if not joint:
            raise SampleWeightError("sample_weight: expected a weight above 0 for at least one row; got only 0; drop them")
        alone = [self._figures(score, wanted, weights) for score in scores]
        names = [name for name in joint if name not in ("standard_error", "rows")]
        return {**{name: joint[name] for name in names},
                **{f"member_{name}": sum(one[name] for one in alone) / len(alone) for name in names}}  # fmt: skip

    def _trained(self) -> list[Member]:
        if not self.members:
            raise StateError("expected a trained ensemble; got one without members; call fit first")
        return self.members

    def _matrix(self, x: Any) -> Array:
        if self.feature_names is not None:
            x = with_columns(x, self.feature_names)
        try:
            array = self.backend.asarray(x, self._dtype)
        except (DtypeError, MixedBackends) as error:
            raise type(error)(f"x: {error}") from error
        if len(array.shape) != 2:
            raise ShapeError(f"expected a matrix [rows, columns]; got shape {tuple(array.shape)}; one sample is a row")
        return array

    def _scores(self, member: Member, inputs: Array) -> Array:
        """What is averaged: probabilities, votes as one-hot rows, or outputs."""
        backend, model = self.backend, member.model
        own = inputs if member.features is None else _columns(backend, inputs, member.features)
        xp = backend.xp
        if self.loss.predicts_numbers:
            return xp.reshape(model.predict(own), (int(own.shape[0]), -1))
        if self.combine == "average":
            return model(own) if self.head == "signs" else model.predict_proba(own)
        votes = model.predict(own)
        if self.head == "classes":
            numbers = backend.asarray(list(range(model.output_width(int(own.shape[1])))), "int32")
            votes = xp.reshape(votes, (-1, 1)) == xp.reshape(numbers, (1, -1))
        votes = backend.asarray(xp.astype(xp.reshape(votes, (int(own.shape[0]), -1)), backend.dtype(self._dtype)))
        if self.head == "signs":
            return 2.0 * votes - 1.0
        return xp.concat([1.0 - votes, votes], axis=1) if self.head == "binary" and votes.shape[1] == 1 else votes

    def _mean(self, scores: Sequence[Array]) -> Array:
        total = scores[0] + 0.0
        for score in scores[1:]:
            total = total + score
        return total / float(len(scores))

    def _joint(self, inputs: Array) -> Array:
        return self._mean([self._scores(member, inputs) for member in self._trained()])

    def _answers(self, scores: Array) -> Array:
        """What averaged scores stand for."""
        backend = self.backend
        if self.head == "classes":
            return backend.argmax(scores)
        if self.loss.predicts_numbers:
            return scores
        if self.head == "binary" and int(scores.shape[1]) == 2 and self._outputs() == 1:
            return backend.argmax(scores)
        answers = backend.xp.astype(scores > (0.5 if self.head == "binary" else 0.0), backend.dtype("int32"))
        return answers[:, 0] if answers.shape[1] == 1 else answers

    def _outputs(self) -> int:
        first = self.members[0].model
        return first.output_width(int(first.inputs or 0))

    # Figures

    def _targets(self, y: Any, rows: int, outputs: int) -> Array:
        """Targets as the loss takes them; their classes where they are distributions, 0 and 1 for yes-or-no questions."""
        require_targets(y, rows)
        targets = self.loss.prepare(y, outputs, self.backend, self._dtype)
        if self.head == "classes" and len(targets.shape) == 2:
            return self.backend.argmax(targets)
        if self.head in ("binary", "signs"):
            answers = targets > (0.5 if self.head == "binary" else 0.0)
            return answers[:, 0] if answers.shape[1] == 1 else answers
        return targets

    def _column(self, weights: NDArray[np.float64]) -> Array:
        """Weights [N] of the host as [N, 1] on the backend."""
        return self.backend.asarray(weights[:, None], "float64")

    def _figures(self, scores: Array, wanted: Array, weights: Array | None = None) -> dict[str, float]:
        """Accuracy and error, or mse and r2, as means with weights [N, 1]; none if all of them are 0.

        Their standard error is that of (sum w)^2 / sum w^2 rows, which Kish calls the effective sample size.
        """
        backend, xp = self.backend, self.backend.xp
        rows = int(scores.shape[0])
        weights = xp.ones((rows, 1), dtype=xp.float64) if weights is None else weights
        total = backend.item(xp.sum(weights))
        if total == 0.0:
            return {}
        effective = total**2 / backend.item(xp.sum(weights**2))
        count = backend.item(xp.sum(xp.astype(weights > 0.0, xp.float64)))

        def mean(values: Array) -> float:
            each = xp.reshape(xp.astype(values, xp.float64), (rows, -1))
            return backend.item(xp.sum(xp.mean(each, axis=1, keepdims=True) * weights)) / total

        if not self.loss.predicts_numbers:
            accuracy = mean(self._answers(scores) == wanted)
            spread = math.sqrt(max(0.0, accuracy * (1.0 - accuracy)) / effective)
            return {"accuracy": accuracy, "error": 1.0 - accuracy, "standard_error": spread, "rows": count}
        squares = (xp.astype(scores, xp.float64) - wanted) ** 2
        mse = mean(squares)
        spread = math.sqrt(max(0.0, mean(xp.mean(squares, axis=1) ** 2) - mse**2) / effective)
        centre = xp.sum(wanted * weights, axis=0) / total
        variance = mean((wanted - centre) ** 2)
        r2 = 1.0 - mse / variance if variance > 0.0 else math.nan
        return {"mse": mse, "r2": r2, "standard_error": spread, "rows": count}

    def _out_of_bag(self, inputs: Array, wanted: Array, weights: NDArray[np.float64] | None) -> dict[str, float]:
        backend, xp, rows = self.backend, self.backend.xp, int(inputs.shape[0])
        total: Array = 0.0
        answers = backend.zeros((rows, 1), "float64")
        for member in self.members:
            mask = backend.asarray(left_out(rows, member.rows))
            total = total + mask * self._scores(member, inputs)
            answers = answers + mask
        covered = xp.astype(answers > 0.0, xp.float64)
        counting = covered if weights is None else covered * self._column(weights)
        return self._figures(total / xp.maximum(answers, covered * 0.0 + 1.0), wanted, counting)

    # Files

    def save(self, path: Any, notes: Any = None) -> None:
        """Writes all members to one safetensors file; see `Bagging.load`.

        Raises: StateError before `fit`; OutputPathError for a path that cannot be written.
        """
        from .bagging_file import save_bagging

        save_bagging(self, self._trained(), path, dict(notes or {}))

    @classmethod
    def load(cls, path: Any, backend: str | Backend | None = None) -> Bagging:
        """Reads an ensemble that `save` wrote, ready for predict, predict_proba and evaluate, on any backend.

        Raises: ModelFileError for a file that is missing, truncated, of another version, or not written by `save`.
        """
        from .bagging_file import load_bagging

        loaded: Bagging = load_bagging(cls, path, find_backend(backend))
        return loaded

    def coded_network(self) -> CodedNetwork:
        """See Exportable."""
        members, outputs = self._trained(), self._outputs()
        names = self.feature_names
        whole = [member.model.inputs for member in members if member.features is None]
        columns = len(names) if names is not None else whole[0] if whole else None
        seen = [(member.model, None if member.features is None else np.asarray(member.features)) for member in members]
        return CodedNetwork(
            Ensemble(seen, self.combine == "vote", names), MatrixInput(columns), {"": self._answer(members[0].model, outputs)}
        )

    def _answer(self, first: Sequential, outputs: int) -> Answer:
        """What averaged scores stand for, for exporters; first – the model of a member."""
        if self.head == "signs":
            raise ExportError(
                f"expected an ensemble whose members give probabilities or numbers; got signed scores of {self.loss!r}; train "
                "with BinaryCrossEntropy, or export each member: fs.export_onnx(bagging.members[0].model, path)"
            )
        if self.head == "classes":
            return Classes(np.arange(outputs))
        if self.head == "binary":
            return TwoClasses(np.arange(2), 0) if outputs == 1 else Flags("int32")
        if first.target_ndim == 1 and outputs == 1:
            return Numbers(0.0, 1.0, 0, "float32")
        return Numbers(np.zeros(outputs), np.ones(outputs), None, "float32")

    def __repr__(self) -> str:
        return f"Bagging(members={self.count}, loss={self.loss!r}, combine={self.combine!r})"


@dataclass
class _Job:
    """What a worker needs to train one member, besides the data."""

    number: int
    member: Member
    loss: Loss
    optimizer: Optimizer
    seed: int
    backend: str
    precision: str
    dtype: str
    epochs: int
    batch_size: int | None


def _train(job: _Job, x: Any, y: Any, weights: NDArray[np.float64] | None = None) -> tuple[Sequential, float]:
    """The model of one member, trained on one thread of a CPU, and the loss of its last epoch."""
    with _of_member(job.number), using_threads(1), single_threaded_blas:
        member, chosen = job.member, find_backend(job.backend)
        rows = chosen.asarray(member.rows)
        inputs = chosen.take_rows(chosen.asarray(x, job.dtype), rows)
        targets = chosen.take_rows(chosen.asarray(y), rows)
        if member.features is not None:
            inputs = _columns(chosen, inputs, member.features)
        step = TrainStep(member.model, job.loss, job.optimizer, job.seed, chosen, job.precision)
        drawn = None if weights is None else weights[member.rows]
        history = Trainer(step).fit(inputs, targets, None, job.epochs, job.batch_size, sample_weight=drawn)
    return member.model, history[-1]["loss"]


@contextmanager
def _of_member(number: int) -> Iterator[None]:
    """Says in errors which member has them: in the message of those of this package, otherwise in a note."""
    try:
        yield
    except FusedstepError as error:
        error.args = f"member {number}: {error}", *error.args[1:]
        raise
    except Exception as error:
        error.add_note(f"in member {number} of an ensemble")
        raise


def _checked_jobs(n_jobs: Any) -> int:
    if isinstance(n_jobs, Integral) and not isinstance(n_jobs, bool) and n_jobs < 0:
        return int(n_jobs)
    return whole(n_jobs, "n_jobs of Bagging", advice="pass an int such as 2, or -1 for all CPUs or workers")


def _columns(backend: Backend, inputs: Array, features: Any) -> Array:
    """The chosen columns, as a separate matrix; ShapeError if there are not so many."""
    needed = int(features[-1]) + 1  # they are in ascending order
    if inputs.shape[1] < needed:
        raise ShapeError(
            f"expected at least {needed} columns, the last that a member sees; got {inputs.shape[1]}; choose the columns as in "
            "training"
        )
    return backend.asarray(backend.xp.take(inputs, backend.asarray(features), axis=1))


def _as_list(given: Any, fits: Callable[[Any], bool], what: str) -> list[Any]:
    """A list of settings from one or several."""
    items = [given] if fits(given) else list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
    if not items or not all(map(fits, items)):
        raise HyperparameterError(f"expected one or several {what}; got {given!r}")
    return items
