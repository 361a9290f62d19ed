"""Row operations, declared and computed in plain array operations of any NumPy-like library: the oracle of the compiled ones.

Each takes the array library `xp` first and writes its results into arrays that the caller gives; a backend runs its own table
of them by name, `backend.rows("softmax", x, out)`. Random bits, which are no row operation, have their layout here.
"""

from __future__ import annotations

from typing import Any

from ..formulas.losses import SMALLEST
from ..formulas.random import philox4x32
from ..vocabulary import maximum
from .operation import ROWS as ROWS
from .operation import (
    Flag,
    Labels,
    Matrix,
    Number,
    Table,
    Vector,
    Winners,
    WrittenLabels,
    WrittenMatrix,
    WrittenVector,
    WrittenWinners,
    row_operation,
    scaled,
)

Array = Any


def random_bits(xp: Any, rows: int, width: int, state: Array, stream: int) -> Array:
    """uint32 [rows, width] random words; the layout is explained in kernels/targets/numpy.py."""
    quarter = -(-width // 4)
    column = xp.reshape(xp.arange(quarter, dtype=xp.uint32), (1, quarter))
    row = xp.reshape(xp.arange(rows, dtype=xp.uint32), (rows, 1))
    zero = xp.zeros((rows, quarter), dtype=xp.uint32)
    words = philox4x32(
        column + zero, row + zero + state[3], zero + xp.asarray(stream, dtype=xp.uint32), zero + state[2],
        zero + state[0], zero + state[1],
    )  # fmt: skip
    return xp.concat(words, axis=1)[:, :width]


@row_operation
def softmax(xp: Any, x: Matrix, out: WrittenMatrix) -> None:
    """Each row of `out` is exp(x - max x) / sum exp(x - max x)."""
    shifted = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    out[...] = shifted / xp.sum(shifted, axis=1, keepdims=True)


def _log_sum_exp(xp: Any, x: Array) -> tuple[Array, Array, Array]:
    """(x - max, exp of it, log of the sum of that), all by row."""
    shifted = x - xp.max(x, axis=1, keepdims=True)
    raised = xp.exp(shifted)
    return shifted, raised, xp.sum(raised, axis=1, keepdims=True)


def _as(xp: Any, values: Array, like: Array) -> Array:
    return xp.astype(values, like.dtype) if hasattr(xp, "astype") else values.astype(like.dtype)


def _is_label(xp: Any, logits: Array, labels: Array) -> Array:
    """True where the column is the label of the row."""
    return xp.reshape(xp.arange(logits.shape[1], dtype=labels.dtype), (1, -1)) == xp.reshape(labels, (-1, 1))


@row_operation
def softmax_cross_entropy(
    xp: Any, logits: Matrix, labels: Labels, weights: Vector, on: Number, off: Number, factor: Number,
    losses: WrittenVector, gradient: WrittenMatrix, sums: WrittenVector = None, accumulate: Flag = False,
    scale: Vector = None, row_weights: Vector = None,
) -> bool:  # fmt: skip
    """losses = -w sum_k q_k ln p_k and gradient = factor scale w (p sum_k q_k - q), with p = softmax(logits).

    q is `on` at the label and `off` elsewhere; w = weights[label] row_weights[row], each of them 1 where there are none.

    Args: logits [B, K]; labels – integers [B]; weights [K] or None; losses – out [B]; gradient – out [B, K]; sums – [K], where
        a target may leave the sum of the rows of the gradient, None where it is not wanted; accumulate – whether it is then
        added to what is there; scale – [1], in the type of the losses, or None for 1; row_weights – [B] or None, and leave it
        out for None: a target has a kernel of its own for them.
    Returns: whether `sums` was written.
    """
    del sums, accumulate
    hit = _as(xp, _is_label(xp, logits, labels), logits)
    q = hit * (on - off) + off
    if weights is not None:
        by_class = xp.sum(hit * weights, axis=1)
        row_weights = by_class if row_weights is None else by_class * row_weights
    _cross_entropy(xp, logits, q, row_weights, scaled(factor, scale), losses, gradient)
    return False


@row_operation
def softmax_cross_entropy_soft(
    xp: Any, logits: Matrix, targets: Matrix, factor: Number, losses: WrittenVector, gradient: WrittenMatrix,
    sums: WrittenVector = None, accumulate: Flag = False, scale: Vector = None, row_weights: Vector = None,
) -> bool:  # fmt: skip
    """As `softmax_cross_entropy`, for distributions q = targets [B, K]."""
    del sums, accumulate
    _cross_entropy(xp, logits, targets, row_weights, scaled(factor, scale), losses, gradient)
    return False


def _cross_entropy(
    xp: Any, logits: Array, q: Array, weights: Array | None, factor: float, losses: Array, gradient: Array
) -> None:
    shifted, raised, total = _log_sum_exp(xp, logits)
    mass = xp.sum(q, axis=1, keepdims=True)
    row = xp.sum(q * (xp.log(total) - shifted), axis=1)
    derivative = raised / total * mass - q
    if weights is not None:
        row = row * weights
        derivative = derivative * xp.reshape(weights, (-1, 1))
    losses[...] = row
    gradient[...] = derivative * factor


@row_operation
def focal_loss(
    xp: Any, logits: Matrix, labels: Labels, weights: Vector, gamma: Number, factor: Number, losses: WrittenVector,
    gradient: WrittenMatrix, sums: WrittenVector = None, accumulate: Flag = False, scale: Vector = None,
    row_weights: Vector = None,
) -> bool:  # fmt: skip
    """losses = -w (1 - p_t)^gamma ln p_t, with p = softmax(logits), t the label and w = weights[t] row_weights[row].

    With l = -ln p_t and m = 1 - p_t, gradient = factor scale w m^gamma (1 + gamma l p_t / m) (p - one-hot row of t). m is at
    least SMALLEST. The other arguments are those of `softmax_cross_entropy`. Source: Lin et al. (2017).
    """
    del sums, accumulate
    hit = _as(xp, _is_label(xp, logits, labels), logits)
    shifted, raised, total = _log_sum_exp(xp, logits)
    entropy = xp.sum(hit * (xp.log(total) - shifted), axis=1)
    miss = maximum(-xp.expm1(-entropy), SMALLEST)
    weight = xp.exp(gamma * xp.log(miss))
    if weights is not None:
        weight = weight * xp.sum(hit * weights, axis=1)
    if row_weights is not None:
        weight = weight * row_weights
    losses[...] = weight * entropy
    size = scaled(factor, scale) * weight * (1.0 + gamma * entropy * xp.exp(-entropy) / miss)
    gradient[...] = (raised / total - hit) * xp.reshape(size, (-1, 1))
    return False


@row_operation
def multi_class_hinge(
    xp: Any, scores: Matrix, labels: Labels, factor: Number, losses: WrittenVector, gradient: WrittenMatrix,
    row_weights: Vector = None,
) -> None:  # fmt: skip
    """losses = max(0, 1 + max over k != label of s_k - s_label) (Crammer and Singer, 2001), gradient = factor times slope.

    Among equal rivals the first one takes the subgradient. Both are multiplied by the weight of the row, if there are weights.
    """
    hit = _is_label(xp, scores, labels)
    own = xp.sum(xp.where(hit, scores, xp.zeros_like(scores)), axis=1)
    rivals = xp.where(hit, xp.full_like(scores, -float("inf")), scores)
    rival = xp.argmax(rivals, axis=1)
    margin = 1.0 + xp.max(rivals, axis=1) - own
    active = xp.logical_not(margin <= 0.0)
    size = _as(xp, active, scores) if row_weights is None else xp.where(active, row_weights, xp.zeros_like(row_weights))
    losses[...] = xp.where(active, margin, xp.zeros_like(margin)) * size
    derivative = _as(xp, _is_label(xp, scores, rival), scores) - _as(xp, hit, scores)
    gradient[...] = derivative * xp.reshape(size, (-1, 1)) * factor


@row_operation
def layer_norm(
    xp: Any, x: Matrix, gain: Vector, offset: Vector, epsilon: Number, out: WrittenMatrix, mean: WrittenVector,
    scale: WrittenVector,
) -> None:  # fmt: skip
    """out = (x - mean) scale gain + offset, with scale = 1 / sqrt(variance + epsilon), mean and variance by row."""
    average = xp.mean(x, axis=1, keepdims=True)
    centred = x - average
    inverse = 1.0 / xp.sqrt(xp.mean(centred * centred, axis=1, keepdims=True) + epsilon)
    mean[...] = average[:, 0]
    scale[...] = inverse[:, 0]
    out[...] = centred * inverse * gain + offset


@row_operation
def layer_norm_backward(
    xp: Any, dy: Matrix, x: Matrix, gain: Vector, mean: Vector, scale: Vector, dx: WrittenMatrix, dgain: WrittenVector,
    doffset: WrittenVector, accumulate: Flag = True,
) -> None:  # fmt: skip
    """dx = scale (g - mean(g) - n mean(g n)) with n = (x - mean) scale and g = dy gain; dgain += sum dy n, doffset += sum dy.

    Args: accumulate – whether the two sums over rows are added to what their arrays hold, or take its place.
    """
    inverse = xp.reshape(scale, (-1, 1))
    n = (x - xp.reshape(mean, (-1, 1))) * inverse
    _put(dgain, xp.sum(dy * n, axis=0), accumulate)
    _put(doffset, xp.sum(dy, axis=0), accumulate)
    g = dy * gain
    dx[...] = inverse * (g - xp.mean(g, axis=1, keepdims=True) - n * xp.mean(g * n, axis=1, keepdims=True))


@row_operation
def scale_columns_backward(
    xp: Any, dy: Matrix, x: Matrix, factor: Vector, dx: WrittenMatrix, dfactor: WrittenVector, doffset: WrittenVector,
    accumulate: Flag = True,
) -> None:  # fmt: skip
    """dx = dy factor, dfactor += sum dy x, doffset += sum dy: the gradients of y = x factor + offset, one of both per column.

    Args: accumulate – whether the two sums over rows are added to what their arrays hold, or take its place.
    """
    _put(dfactor, xp.sum(dy * x, axis=0), accumulate)
    _put(doffset, xp.sum(dy, axis=0), accumulate)
    dx[...] = dy * factor


@row_operation
def column_sum(xp: Any, x: Matrix, out: WrittenVector, accumulate: Flag = True) -> None:
    """out += the sum of x [B, d] over its rows; without `accumulate` it takes the place of what is there."""
    _put(out, xp.sum(x, axis=0), accumulate)


def _put(out: Array, values: Array, accumulate: bool) -> None:
    out[...] = out + values if accumulate else values


@row_operation
def maxout(xp: Any, z: Matrix, out: WrittenMatrix, winner: WrittenWinners) -> None:
    """out = the largest of the k pieces of each unit, z being [B, k e] with the pieces side by side; winner = which."""
    rows, units = out.shape
    pieces = xp.reshape(z, (rows, z.shape[1] // units, units))
    out[...] = xp.max(pieces, axis=1)
    winner[...] = _as(xp, xp.argmax(pieces, axis=1), winner)


@row_operation
def maxout_spread(xp: Any, dy: Matrix, winner: Winners, dz: WrittenMatrix) -> None:
    """dz = dy at the winning piece of each unit and 0 at the others: the transpose of `maxout_pick`."""
    pieces = dz.shape[1] // dy.shape[1]
    parts = [dy * _as(xp, winner == piece, dy) for piece in range(pieces)]
    dz[...] = xp.concat(parts, axis=1)


@row_operation
def maxout_pick(xp: Any, z: Matrix, winner: Winners, out: WrittenMatrix) -> None:
    """out = the piece that `winner` names of each unit: the derivative of maxout along z."""
    rows, units = out.shape
    pieces = xp.reshape(z, (rows, z.shape[1] // units, units))
    total = xp.zeros_like(pieces[:, 0, :])
    for piece in range(pieces.shape[1]):
        total = total + pieces[:, piece, :] * _as(xp, winner == piece, total)
    out[...] = total


def _known(xp: Any, x: Array, columns: Array) -> Array:
    """The named columns of x, and 0 where a number is negative."""
    taken = xp.take(x, xp.where(columns < 0, xp.zeros_like(columns), columns), axis=1)
    return xp.where(xp.reshape(columns >= 0, (1, -1)), taken, xp.zeros_like(taken))


@row_operation
def take_columns(xp: Any, x: Matrix, table: Labels, out: WrittenMatrix) -> None:
    """out[i, j] = x[i, table[j]], and 0 where table[j] < 0: patches of images, with their padding.

    Args: x [B, d]; table – int32 [n]; out [B, n].
    """
    out[...] = _known(xp, x, table)


@row_operation
def sum_columns(xp: Any, x: Matrix, table: Table, out: WrittenMatrix) -> None:
    """out[i, j] = sum over k of x[i, table[j, k]], without the negative numbers: the transpose of `take_columns`.

    Args: x [B, n]; table – int32 [d, m], in each row the columns that add up; out [B, d].
    """
    total = xp.zeros(out.shape, dtype=x.dtype)
    for k in range(table.shape[1]):
        total = total + _known(xp, x, table[:, k])
    out[...] = total


@row_operation
def largest_columns(xp: Any, x: Matrix, table: Table, out: WrittenMatrix, winner: WrittenWinners) -> None:
    """out[i, j] = the largest of x[i, table[j, k]] over k, winner[i, j] = the first k that gives it.

    Args: x [B, d]; table – int32 [e, m] with m <= 256, no number negative; out [B, e]; winner – uint8 [B, e].
    """
    windows = xp.reshape(xp.take(x, xp.reshape(table, (-1,)), axis=1), (x.shape[0], *table.shape))
    out[...] = xp.max(windows, axis=2)
    winner[...] = _as(xp, xp.argmax(windows, axis=2), winner)


@row_operation
def largest_columns_spread(xp: Any, dy: Matrix, winner: Winners, table: Table, dx: WrittenMatrix) -> None:
    """dx[i, j] = sum over k of dy[i, u] where winner[i, u] = p, with table[j, k] = 256 u + p: the gradient of the above.

    Args: dy, winner [B, e]; table – int32 [d, m], negative where nothing is; dx [B, d].
    """
    total = xp.zeros(dx.shape, dtype=dy.dtype)
    for k in range(table.shape[1]):
        code = table[:, k]
        unit = xp.where(code < 0, code, code // 256)
        place = _as(xp, xp.reshape(code % 256, (1, -1)), winner)
        known = xp.take(winner, xp.where(code < 0, xp.zeros_like(code), unit), axis=1)
        fraction = _known(xp, dy, unit)
        total = total + xp.where(known == place, fraction, xp.zeros_like(fraction))
    dx[...] = total


@row_operation
def largest_columns_pick(xp: Any, x: Matrix, table: Table, winner: Winners, out: WrittenMatrix) -> None:
    """out[i, j] = x[i, table[j, winner[i, j]]]: the derivative of `largest_columns` along x."""
    total = xp.zeros(out.shape, dtype=x.dtype)
    for k in range(table.shape[1]):
        total = total + xp.take(x, table[:, k], axis=1) * _as(xp, winner == k, x)
    out[...] = total


def places(xp: Any, x: Array, table: Array) -> tuple[Array, Array]:
    """(element of the weights that `embed` reads for each element of its output, whether it reads one), both [B, e]."""
    values = xp.take(x, table[:, 0], axis=1)
    first, size, count = (xp.reshape(table[:, k], (1, -1)) for k in (1, 2, 3))
    zero = xp.zeros_like(values)
    code = _as(xp, xp.where(values >= 0.0, xp.where(values < _as(xp, count, x), values, zero), zero), table)
    known = _as(xp, code, x) == values
    return first + code * size, xp.where(count > 0, known, xp.zeros_like(known))


@row_operation
def embed(xp: Any, x: Matrix, dense: Matrix, weight: Vector, table: Table, out: WrittenMatrix) -> None:
    """out[i, j] = weight[first + code size] with code = x[i, column], and dense[i, column] where count is 0.

    NaN where the code is not a whole number from 0 to count - 1.

    Args: x [B, d] – never in a 16-bit type, which would round codes; dense [B, d], of the same type; weight [n]; table – int32
        [e, 4], (column, first, size, count) for each column of the output: see kernels/rows/lookup.py; out [B, e].
    """
    index, known = places(xp, x, table)
    taken = xp.take(weight, xp.reshape(xp.where(known, index, xp.zeros_like(index)), (-1,)), axis=0)
    taken = xp.reshape(taken, index.shape)
    rows = xp.where(known, taken, xp.full_like(taken, float("nan")))
    out[...] = xp.where(xp.reshape(table[:, 3] > 0, (1, -1)), rows, xp.take(dense, table[:, 0], axis=1))


@row_operation
def embed_backward(
    xp: Any, dy: Matrix, x: Matrix, table: Table, out: WrittenVector, accumulate: Flag = True
) -> None:  # fmt: skip
    """out[k] += the sum of dy[i, j] over all (i, j) for which `embed` reads weight[k]; see `column_sum` for `accumulate`.

    In a fixed order: the elements are sorted by k, then neighbours of the same k at distances 1, 2, 4, … are added.
    """
    size, count = out.shape[0], dy.shape[0] * dy.shape[1]
    if count == 0:
        _put(out, xp.zeros(size, dtype=dy.dtype), accumulate)
        return
    index, known = places(xp, x, table)
    number = xp.arange(count, dtype=xp.int64)
    index = _as(xp, xp.reshape(xp.where(known, index, xp.full_like(index, size)), (-1,)), number)
    keys = xp.sort(index * count + number)
    owner, values = keys // count, xp.take(xp.reshape(dy, (-1,)), keys % count, axis=0)
    distance = 1
    while distance < count:
        same = owner[distance:] == owner[: count - distance]
        following = xp.where(same, values[distance:], xp.zeros_like(values[distance:]))
        values = xp.concat([values[: count - distance] + following, values[count - distance :]])
        distance *= 2
    own = xp.arange(size, dtype=xp.int64)
    first = xp.searchsorted(owner, own)
    first = xp.where(first < count, first, xp.full_like(first, count - 1))
    sums = xp.take(values, first, axis=0)
    _put(out, xp.where(xp.take(owner, first, axis=0) == own, sums, xp.zeros_like(sums)), accumulate)


def groups(out: Array, weight: Array) -> list[tuple[slice, slice]]:
    """(columns of the input, which are rows of the weight, and columns of the output) of each group."""
    wide = weight.shape[1]
    count = out.shape[1] // wide
    size = weight.shape[0] // count
    return [(slice(g * size, (g + 1) * size), slice(g * wide, (g + 1) * wide)) for g in range(count)]


@row_operation
def grouped_matmul(xp: Any, x: Matrix, weight: Matrix, out: WrittenMatrix, accumulate: Flag = False) -> None:
    """out_g = x_g weight_g for each group of columns; with `accumulate` it is added to what is there.

    Args: x [B, g m], the columns of a group side by side; weight [g m, w], its groups below each other; out [B, g w].
    """
    for rows, columns in groups(out, weight):
        _put_at(out, columns, xp.matmul(x[:, rows], weight[rows, :]), accumulate)


@row_operation
def grouped_matmul_input(xp: Any, dy: Matrix, weight: Matrix, dx: WrittenMatrix) -> None:
    """dx_g = dy_g weight_g^T: the gradient of `grouped_matmul` with respect to x."""
    for rows, columns in groups(dy, weight):
        _put_at(dx, rows, xp.matmul(dy[:, columns], weight[rows, :].T), accumulate=False)


@row_operation
def grouped_matmul_weight(xp: Any, x: Matrix, dy: Matrix, dweight: WrittenMatrix, accumulate: Flag = True) -> None:
    """dweight_g += x_g^T dy_g: the gradient with respect to the weight; see `column_sum` for `accumulate`."""
    for rows, columns in groups(dy, dweight):
        product = xp.matmul(x[:, rows].T, dy[:, columns])
        dweight[rows, :] = dweight[rows, :] + product if accumulate else product


def _put_at(out: Array, columns: slice, values: Array, accumulate: bool) -> None:
    out[:, columns] = out[:, columns] + values if accumulate else values


@row_operation
def beside(xp: Any, x: Matrix, table: Labels, z: Matrix, out: WrittenMatrix) -> None:
    """out = (the columns of x that the table names, z).

    Args: x [B, d]; table – int32 [n]; z [B, e]; out [B, n + e].
    """
    out[...] = xp.concat([xp.take(x, table, axis=1), z], axis=1)


@row_operation
def repeat_labels(xp: Any, labels: Labels, out: WrittenLabels) -> None:
    """out[i m + k] = labels[i] for k < m: each label so many times as `out` is longer."""
    times = out.shape[0] // max(1, labels.shape[0])
    out[...] = xp.reshape(xp.reshape(labels, (-1, 1)) + xp.zeros((1, times), dtype=labels.dtype), (-1,))
