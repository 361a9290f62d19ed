"""The loss on a plane in parameter space, and the path of training on it.

The plane is spanned by two random directions, or by the principal components of the path. plots/surface.py draws the figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...backends import Array, Backend, Random
from ...backends import backend as find_backend
from ...errors import HyperparameterError, NonFiniteDataError, ShapeError, StateError
from ...kernels.formulas.elementwise import plane
from ...kernels.formulas.random import normal
from ..engine.arena import Arena
from ..engine.minibatches import require_targets
from ..engine.model import Sequential, require_seed
from ..engine.step import TrainStep
from ..engine.tape import Tape
from ..engine.training_chain import training_chain, training_loss
from ..losses import Loss
from ..sample_weights import RowWeights, checked_weights
from ..settings import choice, positive, whole
from ..streams import DIRECTION
from ..suggestions import suggests_arguments
from .parameter_path import ParameterPath
from .plots.surface import Slice, plot_surfaces

if TYPE_CHECKING:
    from ..export.output_paths import PathLike

KINDS = ("random", "pca")
MARGIN = 0.2
"""Margin of the grid around the path, as a fraction of its extent."""
FLAT = 1e-6
"""Fraction of a path's variance below which its second principal component is only rounding error."""


@dataclass(frozen=True, eq=False)
class LossSurface(Slice):
    """loss(origin + a first + b second) on a grid of (a, b).

    Attributes: a [n], b [m] – coordinates of the grid; values [m, n] – the losses there, infinite or NaN where they overflow;
        origin_loss – the loss at (0, 0), the parameters of the model; path [k, 2] – coordinates of the path's points, projected
        orthogonally onto the plane, or None; steps [k] – step numbers of those points; labels – of the two axes.
    """

    steps: list[int] = field(default_factory=list)
    _arena: Any = field(default=None, repr=False)
    _base: Any = field(default=None, repr=False)

    def point(self, a: float, b: float) -> dict[str, NDArray[Any]]:
        """The parameters at (a, b), by name, on the host, as `model.load_parameters` expects them."""
        arena, (origin, first, second) = self._arena, self._base
        flat = arena.new()
        arena.backend.map(plane, flat, origin, first, second, float(a), float(b))
        views = arena.views_of(flat)
        return {name: arena.backend.to_numpy(views[parameter]) for parameter, name in arena.names.items()}

    def plot(self, path: PathLike | None = None) -> Any:
        """Plots contours of the loss, the position of the model, and the path.

        Args: path – of a .png, .svg or .pdf file to write; None writes nothing.
        Returns: the matplotlib Figure; it is not shown.
        Raises: MissingDependency without matplotlib, OutputPathError.
        """
        return plot_surfaces({"Loss surface": self}, path)


@suggests_arguments
def loss_surface(
    model: Sequential | TrainStep,
    loss: Loss | None,
    x: Any,
    y: Any,
    *,
    path: ParameterPath | None = None,
    directions: str | None = None,
    points: int = 25,
    span: float | None = None,
    seed: int = 0,
    batch_rows: int = 4096,
    sample_weight: Any = None,
) -> LossSurface:
    """The loss over x, y in evaluation mode on a two-dimensional slice through the model's parameters.

    Random directions are filter-normalised: d_j = z_j |w_j| / |z_j| for the weights w_j into each unit j, z standard normal,
    and 0 for biases, gains and pruned weights. The result is therefore independent of the scale of a layer, which is arbitrary
    with ReLU. PCA directions are the first two principal components of the path's points, of length 1, over all parameters. The
    model is not changed: losses are computed with a copy of its parameters. Penalties of the optimiser are not included.

    Args: model – an initialised model, or a TrainStep for its model; loss – None for that of the TrainStep; x, y – data; path –
        a ParameterPath that was a callback during training; directions – "random", or "pca", which needs a path that spans a
        plane and is the default if there is one (along random directions a path hardly moves, as the paper shows); points – of
        the grid per axis, >= 2, an odd number includes the model itself; span – the grid ranges from -span to span; default 1
        for random directions, or the range of the path if there is one; seed – of the random directions, which are the same on
        every backend; batch_rows – rows per pass; sample_weight – [N], numbers w >= 0, as in TrainStep. Balanced class weights
        are those of the last fit of the TrainStep, or those of y.
    Returns: a LossSurface, on the host.
    Raises: HyperparameterError, StateError for a path of another model, the errors of model and loss for x and y.
    Differs from: the authors' program, which also projects the path by the cosine with each direction separately.
    Source: Li, Xu, Taylor, Studer and Goldstein (2018), Visualizing the loss landscape of neural nets.

        surface = fs.loss_surface(step, None, x, y, path=path)
        surface.plot("surface.png")
    """
    network, cost = _network_and_loss(model, loss)
    chosen = "" if directions is None else choice(directions, "directions", KINDS)
    count, size = whole(points, "points", 2), whole(batch_rows, "batch_rows")
    require_seed(seed)
    if span is not None:
        positive(span, "span")
    _require_path(network, path, chosen)
    backend, own = network.backend, network.arena
    losses = _losses(network, cost, x, y, size, sample_weight)
    travelled = _travelled(own, path) if path is not None else None
    principal = None if travelled is None or chosen == "random" else _principal(own, travelled)
    if principal is not None:
        first, second, labels = principal
    elif chosen == "pca":
        raise HyperparameterError(
            f"expected a path that spans a plane; got {len(path or ())} points on a straight line; record more points "
            '(fs.ParameterPath(every=...)), or use directions="random"'
        )
    else:
        first, second = (_random_direction(own, seed, number) for number in (0, 1))
        labels = ("random direction 1, filter-normalised", "random direction 2, filter-normalised")
    projected = _projected(backend, travelled, first, second) if travelled is not None else None
    extents = _extents(projected, span)
    a, b = (np.linspace(low, high, count) for low, high in extents)
    origin = own.new()
    backend.copy(own.values, origin)
    base = (origin, first, second)
    trial = Arena(network.declared(), backend, network.dtype)

    def at(u: float, v: float) -> Array:
        backend.map(plane, trial.values, *base, u, v)
        return losses(trial)

    origin_loss = backend.item(at(0.0, 0.0))
    if not math.isfinite(origin_loss):
        raise NonFiniteDataError(
            f"expected data on which the model's loss is finite; got a loss of {origin_loss}; check x and y for NaN and scale"
        )
    # All losses are submitted before the first one is read, so that the device does not wait for the host.
    scalars = [[at(float(u), float(v)) for u in a] for v in b]
    values = np.array([[backend.item(scalar) for scalar in row] for row in scalars])
    steps = list(path.steps) if path is not None else []
    return LossSurface(a, b, values, origin_loss, labels, projected, steps, own, base)


def _network_and_loss(model: Any, loss: Any) -> tuple[Sequential, Loss]:
    network = model.model if isinstance(model, TrainStep) else model
    if not isinstance(network, Sequential):
        raise HyperparameterError(f"expected a model or a TrainStep; got {model!r}")
    cost = model.loss if loss is None and isinstance(model, TrainStep) else loss
    if not isinstance(cost, Loss):
        raise HyperparameterError(
            f"expected a Loss, or None with a TrainStep, whose own is then taken; got {loss!r}; did you forget ()?"
        )
    trained_by = model.class_weights if loss is None else None
    return network, cost if trained_by is None else cost.balanced_with(trained_by)


def _require_path(network: Sequential, path: Any, directions: str) -> None:
    if path is None:
        if directions == "pca":
            raise HyperparameterError(
                'directions "pca" are those of a path, so path=fs.ParameterPath() was expected; got None; record one as a '
                'callback of the Trainer, or use "random"'
            )
        return
    if not isinstance(path, ParameterPath):
        raise HyperparameterError(f"expected path to be a ParameterPath; got {path!r}")
    if not path.points:
        raise StateError("expected a path with points; got an empty one; train with it among the Trainer's callbacks first")
    if path.arena is not network.arena:
        raise StateError(
            "expected a path of this model; got one of other parameters; record it with this model, and do not move or "
            "initialise the model in between"
        )


def _losses(network: Sequential, cost: Loss, x: Any, y: Any, size: int, sample_weight: Any) -> Callable[[Arena], Array]:
    """A function of an arena: the loss over all rows with its parameters, as a scalar on the device."""
    backend = network.backend
    inputs = network.convert_input(x)
    rows = int(inputs.shape[0])
    if rows == 0:
        raise ShapeError("expected at least one row of x; got 0 rows")
    require_targets(y, rows)
    width = int(inputs.shape[1])
    chain, loss = training_chain(network, cost), training_loss(network, cost)
    targets = loss.prepare(y, chain.output_width(width), backend, network.dtype)
    if cost.balances:
        loss = training_loss(network, cost.balanced_by(backend.to_numpy(targets), network.output_width(width)))
    weights = None
    if sample_weight is not None:
        of_rows = RowWeights(checked_weights(sample_weight, rows, backend), loss.reduction == "mean")
        weights = backend.asarray(of_rows.of_all, network.dtype)
    tapes: dict[Arena, Tape] = {}

    def evaluate(arena: Arena) -> Array:
        tape = tapes.setdefault(arena, Tape(arena))
        total: Any = 0.0
        for start in range(0, rows, size):
            stop = min(rows, start + size)
            tape.begin(stop - start, rows)
            tape.row_weights = None if weights is None else weights[start:stop]
            with backend.quiet():
                outputs = chain.forward(inputs[start:stop, ...], tape)
                row_losses, _ = loss.weighted_loss(outputs, targets[start:stop, ...], tape)
                total = total + backend.total(row_losses)
        return total * loss.factor(rows)

    return evaluate


def _random_direction(arena: Arena, seed: int, number: int) -> Array:
    """A random direction as a flat array: filter-normalised for weights, 0 for biases, gains and offsets.

    A flat parameter, such as the matrices of ColumnEmbeddings, counts as the weights into one unit.
    """
    backend, host = arena.backend, find_backend("numpy")
    xp = backend.xp
    flat = arena.new()
    views = arena.views_of(flat)
    masks = {} if arena.mask is None else arena.views_of(arena.mask)
    for position, parameter in enumerate(arena.parameters):
        if not parameter.decays:
            continue
        units = parameter.shape[-1] if len(parameter.shape) > 1 else 1
        drawn = host.empty((parameter.size // units, units), "float64")
        host.map(normal, drawn, 0.0, 1.0, random=Random(host.random_state(seed, number), DIRECTION + position))
        direction = backend.asarray(drawn)
        if masks:
            direction = direction * xp.reshape(masks[parameter], tuple(drawn.shape))
        weights = xp.astype(xp.reshape(arena.views[parameter], tuple(drawn.shape)), xp.float64)
        norms = [xp.sqrt(xp.sum(v * v, axis=0)) for v in (weights, direction)]
        lengths = norms[0] / xp.where(norms[1] > 0.0, norms[1], xp.ones_like(norms[1]))
        scaled = direction * xp.reshape(lengths, (1, -1))
        backend.copy(xp.reshape(xp.astype(scaled, backend.dtype(arena.dtype)), parameter.shape), views[parameter])
    return flat


def _travelled(arena: Arena, path: ParameterPath) -> Array:
    """[k, size]: the points of a path minus the parameters of the model."""
    rows = arena.backend.empty((len(path), arena.size), arena.dtype)
    for k, point in enumerate(path.points):
        arena.backend.map(plane, rows[k, ...], point, arena.values, arena.values, -1.0, 0.0)
    return rows


def _principal(arena: Arena, travelled: Array) -> tuple[Array, Array, tuple[str, str]] | None:
    """(first, second, labels): the first two principal components of the points, of length 1; None if the points form a line.

    Computed from the k x k matrix of scalar products of the centred points, which is small even for many parameters.
    """
    backend = arena.backend
    xp, count = backend.xp, int(travelled.shape[0])
    products = _products(backend, travelled, travelled)
    means = xp.mean(products, axis=0)
    centred = products - xp.reshape(means, (1, -1)) - xp.reshape(means, (-1, 1)) + xp.mean(means)
    variances, vectors = xp.linalg.eigh(centred)
    total = backend.item(xp.sum(xp.astype(variances > 0.0, xp.float64) * variances))
    fractions = [backend.item(variances[count - k]) / total if total > 0.0 and count >= k else 0.0 for k in (1, 2)]
    if count < 3 or fractions[1] < FLAT:
        return None
    found = []
    for k in (1, 2):
        weights = backend.asarray(xp.reshape(vectors[:, count - k], (1, -1)), arena.dtype)
        row = backend.empty((1, arena.size), arena.dtype)
        backend.matmul(weights, travelled, row)
        flat = row[0, ...]
        length = math.sqrt(backend.item(backend.sum_of_squares(flat)))
        start = backend.item(xp.sum(travelled[0, ...] * flat))
        found.append(flat * (-1.0 / length if start > 0.0 else 1.0 / length))
    labels = [f"PCA direction {k} ({fraction:.1%} of the path's variance)" for k, fraction in enumerate(fractions, 1)]
    return found[0], found[1], (labels[0], labels[1])


def _products(backend: Backend, rows: Array, others: Array) -> Array:
    """The scalar products of the rows of two matrices, in float64."""
    out = backend.empty((int(rows.shape[0]), int(others.shape[0])), backend.dtype_name(rows))
    backend.matmul(rows, others, out, transpose_b=True)
    return backend.xp.astype(out, backend.xp.float64)


def _projected(backend: Backend, travelled: Array, first: Array, second: Array) -> NDArray[np.float64]:
    """[k, 2]: the coordinates (a, b) of each point, projected orthogonally onto the plane."""
    spanning = backend.xp.stack([first, second])
    overlaps = backend.to_numpy(_products(backend, travelled, spanning))
    return np.linalg.solve(backend.to_numpy(_products(backend, spanning, spanning)), overlaps.T).T


def _extents(path: NDArray[np.float64] | None, span: float | None) -> list[tuple[float, float]]:
    """The range of the grid on each axis."""
    if span is not None or path is None:
        reach = span or 1.0
        return [(-reach, reach)] * 2
    ends = []
    for column in path.T:
        low, high = min(0.0, float(column.min())), max(0.0, float(column.max()))
        margin = MARGIN * (high - low) or 1.0
        ends.append((low - margin, high + margin))
    return ends
