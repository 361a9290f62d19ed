"""Models: a Sequential of layers with its parameters and predictions, and the shorthand `mlp`."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Widths
from itertools import pairwise
from typing import Any

import numpy as np

from ...backends import Backend
from ...backends import backend as find_backend
from ...backends.defaults.evaluator import Evaluator
from ...backends.entries import column_names, with_columns
from ...errors import DtypeError, EmptyDataError, HyperparameterError, MixedBackends, NonFiniteDataError, ShapeError, StateError
from ..codes import require_codes
from ..html import table
from ..layers import Layer
from ..layers.activations import ACTIVATION_LAYERS
from ..layers.dense import Linear
from ..layers.embedding import ColumnEmbeddings
from ..layers.ensemble import EnsembleLinear, EnsembleMean, RepeatColumns, SeparateLinear
from ..layers.noise import Dropout
from ..layers.normalization import LayerNorm
from ..layers.sequence import Sequence
from ..layers.softmax import Softmax
from ..settings import whole
from ..sources.row_source import RowSource, as_source
from ..suggestions import PREDICTION, SuggestsAttributes, suggests_arguments
from .arena import Arena
from .evaluation import Ending, Evaluation, labels, outputs, rates, sigmoid, softmax
from .initializers import Initializer

Array = Any
Scalar = Any
"""A number that may still be on the device."""
HostArray = np.ndarray[Any, Any]

HEADS = ("classes", "binary", "signs", "values", "log_rates")
"""Meaning of the outputs: logits or probabilities of classes, one logit, one signed score, plain numbers, or logarithms of
rates."""

PREDICTION_ROWS = 4096
"""Rows per pass in evaluation mode; limits the memory of a prediction."""


class Sequential(Sequence, SuggestsAttributes, public=False):
    """A network: a sequence of layers and the parameters that they declare.

    Args: layers; head – how `predict` interprets the outputs, one of HEADS; None until a TrainStep sets it for its loss.
    Attributes: feature_names – of the columns of the first data frame that it was trained on, None without one: later frames
        may have them in any order, and others beside them, which are ignored; target_ndim – dimensions of the y that it was
        last trained on, 1 for [N] and 2 for [N, e], which `predict` returns for one output; None before training, and for
        models of files and pickles of version 0.2.0 and older. Both may be set.

    Widths that do not match raise ShapeError here if the first layer states its number of input columns.
    """

    _may_change = frozenset({"head", "head_is_given", "feature_names", "target_ndim", "_arena"})
    feature_names: tuple[str, ...] | None = None
    target_ndim: int | None = None

    def __init__(self, *layers: Layer, head: str | None = None) -> None:
        super().__init__(*layers)
        if head is not None and head not in HEADS:
            raise HyperparameterError(f"expected head to be one of {', '.join(HEADS)}; got {head!r}")
        self.head = head
        self.head_is_given = head is not None
        self._require_codes_first()
        self.inputs = next((w for w in map(_input_width, self.layers) if w is not None), None)
        self._arena: Arena | None = None
        if self.inputs is not None:
            self.outputs: int | None = self._check_widths(self.inputs)
        else:
            self.outputs = None

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "head" and value is not None:
            averages = [layer for layer in self.layers if not isinstance(layer, Softmax)][-1:]
            if averages and isinstance(averages[0], EnsembleMean):
                averages[0].head = value

    def _require_codes_first(self) -> None:
        leaves = [layer for layer in self.walk() if not isinstance(layer, Sequence)]
        for index, layer in enumerate(leaves):
            if index and layer.coded_columns:
                raise HyperparameterError(
                    f"expected {layer!r} to be the first layer, because the columns of x hold its codes; got it after "
                    f"{leaves[index - 1]!r}; put it first"
                )

    def _check_widths(self, width: int) -> int:
        for index, layer in enumerate(self.layers):
            try:
                width = layer.output_width(width)
            except ShapeError as error:
                raise ShapeError(f"layer {index}: {error}") from None
        return width

    # Parameters

    @suggests_arguments
    def initialize(
        self, seed: int = 0, backend: str | Backend | None = None, dtype: str = "float32"
    ) -> Sequential:
        """Draws the initial parameters. TrainStep calls it if necessary.

        Args: seed – the same seed gives the same bits on every backend; backend – name, or None for the one in use; dtype –
            "float32", or "float64" for checks.
        Returns: the model itself. An existing TrainStep does not use the new parameters: create a new one.
        Raises: HyperparameterError for the seed, DtypeError; UnknownBackend, BackendUnavailable.
        """
        _require_dtype(dtype)
        require_seed(seed)
        self.place(find_backend(backend), dtype)
        self.arena.initialize(int(seed))
        return self

    def place(self, backend: Backend, dtype: str) -> None:
        """Allocates the parameters on a backend; they are 0 until `initialize` or `load_parameters` sets them."""
        self._arena = Arena(self.declared(), backend, dtype)

    @property
    def initialized(self) -> bool:
        """Whether the parameters have values."""
        return self._arena is not None

    @property
    def arena(self) -> Arena:
        """The array that holds all parameters; raises StateError before `initialize`."""
        if self._arena is None:
            raise StateError(
                "expected an initialised model; got one without parameters; train it first (a TrainStep creates them), or call "
                "model.initialize()"
            )
        return self._arena

    @property
    def backend(self) -> Backend:
        """The backend of the parameters."""
        return self.arena.backend

    @property
    def dtype(self) -> str:
        """"float32" or "float64"."""
        return self.arena.dtype

    def parameters(self) -> dict[str, Array]:
        """Name -> array view on the backend, in the order of the layers; writing to a view changes the model.

        Views follow the training: while another thread trains, they can show a step that is half done. Call it again before you
        write: a step checks what is written after a call, but not what is written to views of earlier calls, where numbers near
        the limit of the type can become infinite in the update.
        """
        arena = self.arena
        arena.edition += 1  # because of what the caller may write to the views
        return {name: arena.views[parameter] for name, parameter in self.declared()}

    def host_copies(self) -> tuple[dict[str, HostArray], dict[str, HostArray]]:
        """(parameters, masks): copies in host memory, by name, all after the same step, which is waited for.

        Raises: StateError before `initialize`, and when called from inside a step.
        """
        backend = self.backend
        with self.arena.between_steps():
            found = self.parameters(), self.masks()
            parameters, masks = ({name: backend.to_numpy(array) for name, array in arrays.items()} for arrays in found)
        return parameters, masks

    def load_parameters(self, values: dict[str, Any]) -> None:
        """Overwrites all parameters in place, so that an existing TrainStep continues with them.

        Args: values – name -> array or list; names and shapes must be exactly those of the model.
        Raises: ShapeError before anything is overwritten; DtypeError; StateError before `initialize`.
        """
        arena = self.arena
        declared = dict(self.declared())
        if set(values) != set(declared):
            missing, extra = sorted(set(declared) - set(values)), sorted(set(values) - set(declared))
            raise ShapeError(f"expected exactly this model's parameters; missing: {missing}; unknown: {extra}")
        backend = arena.backend
        arrays = {k: v if hasattr(v, "shape") else backend.asarray(v, arena.dtype) for k, v in values.items()}
        for name, parameter in declared.items():
            shape = tuple(arrays[name].shape)
            if shape != parameter.shape:
                raise ShapeError(f"parameter {name}: expected shape {parameter.shape}; got {shape}")
        with arena.between_steps():
            arena.show_trained()
            arena.loads += 1
            for name, parameter in declared.items():
                backend.copy(backend.asarray(arrays[name], arena.dtype), arena.views[parameter])
            arena.hold()

    def masks(self) -> dict[str, Array]:
        """Name -> array of 0 (pruned) and 1 on the backend, for weights with pruned elements; see `fs.prune`."""
        arena = self.arena
        if arena.mask is None:
            return {}
        views = arena.views_of(arena.mask)
        found = {name: views[parameter] for name, parameter in self.declared()}
        return {name: mask for name, mask in found.items() if not bool(arena.backend.xp.all(mask > 0.0))}

    def load_masks(self, values: dict[str, Any]) -> None:
        """Prunes weights where the array of that name is 0; they stay 0 in all further training."""
        declared = dict(self.declared())
        for name, mask in values.items():
            if name not in declared or tuple(mask.shape) != declared[name].shape:
                raise ShapeError(f"expected a mask for each pruned parameter, in its shape; got {name} {tuple(mask.shape)}")
        if values:
            self.arena.prune({declared[name]: mask for name, mask in values.items()})

    @suggests_arguments
    def to(self, backend: str | Backend, dtype: str | None = None) -> Sequential:
        """Moves the parameters to another backend or dtype; returns the model itself."""
        old = self.arena
        target = find_backend(backend)
        _require_dtype(dtype or old.dtype)
        values, masks = self.host_copies()
        self.place(target, dtype or old.dtype)
        self.load_parameters(values)
        self.load_masks(masks)
        return self

    @suggests_arguments
    def save(
        self,
        path: str | os.PathLike[str],
        preprocessing: Mapping[str, Any] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes the model to a file; short for `fs.save(model, path)`, which tells about arguments and errors."""
        from ... import save

        save(self, path, preprocessing, notes)

    @suggests_arguments(use=PREDICTION)
    def summary(self) -> str:
        """A table with one line per layer: index, layer, output columns, parameters."""
        *lines, total = (f"{index:>3}  {layer:<48} {width:>8} {count:>12}" for index, layer, width, count in self._summarized())
        return "\n".join([*lines, total])

    def _summarized(self) -> list[tuple[str, str, str, str]]:
        """The rows of the summary; the last one is the total."""
        width, rows = self.inputs, []
        for index, layer in enumerate(self.layers):
            width = None if width is None else layer.output_width(width)
            count = sum(p.size for _, p in layer.declared())
            rows.append((str(index), repr(layer), "" if width is None else str(width), f"{count:,}"))
        return [*rows, ("", "parameters", "", f"{sum(p.size for _, p in self.declared()):,}")]

    def _repr_html_(self) -> str:
        """The summary, for notebooks."""
        where = f", {self.dtype} on {self.backend.name}" if self.initialized else ", not initialised"
        rows = self._summarized()
        return table(f"{type(self).__name__}{where}", ("", "layer", "outputs", "parameters"), rows, {len(rows) - 1}, texts=2)

    # Evaluation

    def convert_input(self, x: Any) -> Array:
        """`x` as a matrix [B, inputs] of this model's backend and dtype; raises an error if it does not fit."""
        arena = self.arena
        if self.feature_names is not None:
            x = self.in_order(x)
        try:
            array = arena.backend.asarray(x, arena.dtype)
        except (DtypeError, MixedBackends) as error:
            raise type(error)(f"x: {error}") from error
        self.check_input_shape(array.shape)
        return array

    def in_order(self, x: Any) -> Any:
        """`x`, or if it is a data frame, its columns by `feature_names`; UnknownColumn if it lacks one of them."""
        return x if self.feature_names is None or type(x) is np.ndarray else with_columns(x, self.feature_names)

    def check_input_shape(self, shape: Widths[int]) -> int:
        """The number of columns of an input; raises ShapeError unless it is a matrix that fits the first layer."""
        if len(shape) != 2 or (self.inputs is not None and shape[1] != self.inputs):
            if len(shape) == 2:
                hint = "choose the columns as in training, or change the width of that layer"
            elif len(shape) > 2:
                hint = "one sample is a row: x.reshape(len(x), -1) puts all of each in its row"
            elif self.inputs == 1:
                hint = "one sample is a row: x.reshape(-1, 1) makes a matrix with one column"
            else:
                hint = "one sample is a row: reshape it to [1, columns] with x.reshape(1, -1)"
            raise ShapeError(
                f"{self.layers[0]!r} (layer 0) expected a matrix [rows, {self.inputs or 'columns'}]; got shape "
                f"{tuple(shape)}; {hint}"
            )
        return int(shape[1])

    def __call__(self, x: Any) -> Array:
        """The outputs [B, e] in evaluation mode (no dropout, no noise), on the model's backend.

        Args: x – [B, d]: NumPy, CuPy, any DLPack array; or a RowSource, which is read PREDICTION_ROWS rows at a time.
        Raises: ShapeError, DtypeError, EmptyDataError for x; StateError before `initialize`.
        """
        return self._evaluated(x, outputs)[0]

    def _evaluated(self, x: Any, ending: Ending) -> tuple[Array, Scalar]:
        """The result of the ending for each row, and the sum of all outputs."""
        arena = self.arena
        evaluator = arena.evaluators.get(ending)
        if evaluator is None:
            # Proxies, so that a model is freed as soon as nobody uses it.
            work = Evaluation(weakref.proxy(self), weakref.proxy(arena), ending, PREDICTION_ROWS)
            evaluator = arena.evaluators[ending] = arena.backend.evaluator(work)
        source = as_source(x)
        if source is not None:
            return self._streamed(source, evaluator)
        array = self.convert_input(x)
        if array.shape[0] == 0:
            raise EmptyDataError("expected at least one row to predict; got none")
        return evaluator.run((array,))

    def _streamed(self, source: RowSource, evaluator: Evaluator) -> tuple[Array, Scalar]:
        """As `_evaluated` for a source, block by block."""
        self.check_input_shape(source.shape)
        out: Array = None
        total: Scalar = 0.0
        for block, part in _blocks_of(source, self.dtype):
            results, summed = evaluator.run((self.convert_input(part),), None if out is None else out[block, ...])
            total = total + summed
            if out is None:
                out = self.backend.empty((len(source), *results.shape[1:]), self.backend.dtype_name(results))
                self.backend.copy(results, out[block, ...])
        return out, total

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the parameters and masks as host arrays, and the name of the backend."""
        state = {k: v for k, v in super().__getstate__().items() if k != "_arena"}
        if self._arena is not None:
            state["placed"] = (self.backend.name, self.dtype, *self.host_copies())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        placed = state.pop("placed", None)
        super().__setstate__({**state, "_arena": None})
        if placed is not None:
            backend, dtype, values, masks = placed
            self.place(find_backend(backend), dtype)
            self.load_parameters(values)
            self.load_masks(masks)

    @suggests_arguments(use=PREDICTION)
    def predict(self, x: Any) -> Array:
        """The predictions: labels or numbers.

        Returns: for head "classes" the label with the largest output; for "binary" and "signs" 0 or 1 for each output; for
            "log_rates" e^y for each output y; for "values", or without a head, the outputs: [B, e]. A single column has the
            shape of the y that the model was trained on, [B] or [B, 1]; see `target_ndim`, without which labels, 0 and 1 are
            [B] and numbers [B, 1].
        Raises: NonFiniteDataError for NaN or infinity in x; CategoryError for codes out of range; waits for the device.
        Differs from: a call of the model, which always returns the outputs [B, e].
        """
        if self.head == "classes":
            found = self._finite(x, labels)
            return found if self.target_ndim != 2 else self.backend.xp.reshape(found, (-1, 1))
        y = self._finite(x, rates if self.head == "log_rates" else outputs)
        if self.head in ("binary", "signs"):
            y = self.backend.xp.astype(y > 0.0, self.backend.dtype("int32"))
        return self.in_shape_of_targets(y)

    def in_shape_of_targets(self, answers: Array) -> Array:
        """Answers [B, e] as `predict` returns them: a single column as a vector where the targets were one."""
        ndim = self.target_ndim or (1 if self.head in ("classes", "binary", "signs") else 2)
        return answers[:, 0] if ndim == 1 and answers.shape[1] == 1 else answers

    def remember_columns(self, x: Any) -> None:
        """Sets `feature_names`, if they are not set yet, by a data frame that the model is trained on."""
        if self.feature_names is None and type(x) is not np.ndarray:
            names = column_names(x)
            if names is not None:
                self.feature_names = names

    def remember_targets(self, y: Any) -> None:
        """Sets `target_ndim` by the targets [N] or [N, e] that the model is trained on, of any kind that a step takes.

        Rows of distributions count as labels [N], which are what `predict` returns for them.
        """
        shape = getattr(y, "shape", None)
        if shape is None:
            first = y[0]
            shape = (len(y), *(first.shape if hasattr(first, "shape") else np.shape(first)))
        ndim = 2 if len(shape) == 2 and (self.head != "classes" or shape[1] == 1) else 1
        if ndim != self.target_ndim:
            self.target_ndim = ndim

    def _finite(self, x: Any, ending: Ending) -> Array:
        """As `_evaluated`; raises an error that states whether data or model is the cause where outputs are not finite."""
        result, total = self._evaluated(x, ending)
        if math.isfinite(total if type(total) is float else self.backend.item(total)):
            return result
        from ..tables.validation import require_finite

        source = as_source(x)
        parts = [(slice(0), x)] if source is None else _blocks_of(source, self.dtype)
        for block, part in parts:
            name = "x" if not block.start else f"x from row {block.start + 1} on"
            inputs = self.convert_input(part)
            require_finite(self.backend.to_numpy(inputs), name)
            require_codes(self.coded_columns, inputs, self.backend, name)
        raise NonFiniteDataError(
            "expected finite outputs; the data are finite, but the model returns NaN or infinity; "
            "check model.parameters(), or scale the data as in training"
        )

    @suggests_arguments(use=PREDICTION)
    def predict_proba(self, x: Any) -> Array:
        """Probabilities of the classes [B, K]; each row sums to 1.

        For head "binary" with one output the columns are class 0 and class 1; with several outputs, which are independent
        binary targets, [B, e] probabilities of 1. The scores of a model trained with MultiClassHinge are also treated as
        logits; they rank the classes, but are not calibrated probabilities.
        Raises: StateError for a model whose outputs are not logits; NonFiniteDataError and CategoryError as in `predict`.
        """
        if self.head == "binary":
            one = self._finite(x, sigmoid)
            if one.shape[1] > 1:
                return one
            both = self.backend.empty((one.shape[0], 2), self.dtype)
            both[:, 1:] = one
            both[:, :1] = 1.0 - one
            return both
        if self.head not in (None, "classes"):
            raise StateError(
                f"expected a model whose outputs are logits of classes; got head {self.head!r}; use predict instead"
            )
        return self._finite(x, outputs if isinstance(self.layers[-1], Softmax) else softmax)

    def require_arena(self, arena: Arena, holder: str) -> None:
        """Raises StateError if the parameters are no longer in `arena`; holder – the class that uses it."""
        if self.arena is not arena:
            raise StateError(
                f"expected the parameters of this {holder}; the model was initialised again or moved since; "
                f"create a new {holder} after model.initialize() and model.to()"
            )

    def require_backend(self, backend: Backend) -> None:
        """Raises MixedBackends unless the parameters are on `backend`."""
        if self.backend is not backend:
            raise MixedBackends(
                f"expected a model on backend {backend.name!r}; got one on {self.backend.name!r}; "
                f'move it with model.to("{backend.name}")'
            )


def require_model(model: Any) -> None:
    """Raises HyperparameterError for anything but a model, such as a step, a trainer or an estimator."""
    if not isinstance(model, Sequential):
        holders = {"model": "step.model", "step": "trainer.step.model", "model_": "estimator.model_"}
        hint = next((f"; pass {path}" for name, path in holders.items() if getattr(model, name, None) is not None), "")
        raise HyperparameterError(f"expected a model; got {model!r:.80}{hint}")


def require_seed(seed: Any) -> None:
    """Raises HyperparameterError unless `seed` is an unsigned 64-bit integer."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= int(seed) < 2**64:
        raise HyperparameterError(f"expected a seed between 0 and 2^64 - 1; got {seed!r}; use any integer in this range")


def _blocks_of(source: RowSource, dtype: str) -> Iterator[tuple[slice, Any]]:
    """The rows of a source, PREDICTION_ROWS at a time, in an array that is used again."""
    buffer = np.empty((min(PREDICTION_ROWS, len(source)), *source.row_shape), dtype)
    for start in range(0, len(source), PREDICTION_ROWS):
        rows = slice(start, min(len(source), start + PREDICTION_ROWS))
        source.read(rows, buffer[: rows.stop - start])
        yield rows, buffer[: rows.stop - start]


def _require_dtype(dtype: str) -> None:
    if dtype not in ("float32", "float64"):
        raise DtypeError(f"expected dtype 'float32' or 'float64'; got {dtype!r}")


def _input_width(layer: Layer) -> int | None:
    """How many columns a layer takes, if it says so."""
    for name in ("inputs", "features"):
        width = getattr(layer, name, None)
        if isinstance(width, int):
            return width
    if isinstance(layer, Sequence):
        return next((w for w in map(_input_width, layer.layers) if w is not None), None)
    affine = getattr(layer, "affine", None)
    return _input_width(affine) if isinstance(affine, Layer) else None


@suggests_arguments
def mlp(
    widths: Widths[int],
    activation: str = "relu",
    dropout: float = 0.0,
    layer_norm: bool = False,
    weight_init: str | float | Initializer | None = None,
    bias_init: str | float | Initializer = 0.0,
    categories: Mapping[int, int] | None = None,
    embedding_widths: int | Widths[int] | None = None,
    n_ensemble: int = 1,
) -> Sequential:
    """A multi-layer perceptron: Linear, [LayerNorm], activation, [Dropout] for each hidden width, then Linear.

    With categories, ColumnEmbeddings comes first: columns of codes are replaced by rows of learned matrices.

    With n_ensemble = k, k such networks are trained together, each with a loss of its own. They share the weights of the
    hidden layers (EnsembleLinear); each has a last layer of its own. The model predicts the mean of their probabilities or
    numbers.

    Args: widths – columns of the input, of each hidden layer, and of the output; activation – name of one of
        ACTIVATION_LAYERS, default "relu"; dropout – fraction of the hidden units to drop, default 0; layer_norm – whether
        a LayerNorm stands before each activation, default False; weight_init – an initializer, its name or a constant; None
        (default) takes "glorot_uniform" for sigmoid and tanh and "he_normal" for the others; bias_init – of the hidden
        layers, default 0; categories – {input column: number of codes} of the columns that hold codes, such as `categories_` of
        a TableEncoder, default none; embedding_widths – see ColumnEmbeddings, default by the number of codes; n_ensemble – k,
        default 1: a single network.
    Returns: a Sequential without parameters; `initialize` or a TrainStep makes them.
    Raises: HyperparameterError.
    Source: for n_ensemble Gorishniy, Kotelnikov and Babenko (2025), "TabM".
    """
    if not hasattr(widths, "__len__") or len(widths) < 2:
        raise HyperparameterError(
            f"expected a list of widths, of at least input and output; got {widths!r}; write them as in fs.mlp([8, 32, 2])"
        )
    if activation not in ACTIVATION_LAYERS:
        raise HyperparameterError(f"expected an activation out of {', '.join(ACTIVATION_LAYERS)}; got {activation!r}")
    kind = ACTIVATION_LAYERS[activation]
    init = kind.weight_init if weight_init is None else weight_init
    layers: list[Layer] = []
    inputs, *others = widths
    if categories:
        layers.append(ColumnEmbeddings(inputs, categories, embedding_widths))
        inputs = layers[0].output_width(inputs)
    widths = [inputs, *others]
    members = whole(n_ensemble, "n_ensemble", advice="pass the number of networks that are trained together, such as 16")
    if members > 1:
        layers.append(RepeatColumns(inputs, members))
    for number, (width, following) in enumerate(pairwise(widths[:-1])):
        if members > 1:
            signs = 1.0 if number else "random_signs"
            layers.append(EnsembleLinear(width, following, members, init, bias_init, signs))
        else:
            layers.append(Linear(width, following, weight_init=init, bias_init=bias_init))
        if layer_norm:
            layers.append(LayerNorm(following, groups=members))
        layers.append(kind.of_width(members * following))
        if dropout:
            layers.append(Dropout(dropout))
    if members > 1:
        layers += [SeparateLinear(widths[-2], widths[-1], members, init), EnsembleMean(members)]
    else:
        layers.append(Linear(widths[-2], widths[-1], weight_init=init))
    return Sequential(*layers)
