"""Checks of row operations: softmax and its losses, layer normalisation, column sums, maxout, columns by index."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np

from ...kernels.rows.lookup import Lookup, lookup_table
from ...kernels.rows.patches import MOST_IN_WINDOW, inverse
from ...kernels.rows.reference import ROWS
from ..contract import Backend
from .comparison import Host, between, close, exactly, generator, host, labels, normal
from .suite import REALS, Sizes, check


def _wide(values: Host) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(values, np.float64)


def plain_softmax(x: Host) -> Host:
    """Softmax of each row."""
    raised = np.exp(_wide(x) - _wide(x).max(axis=1, keepdims=True))
    result: Host = raised / raised.sum(axis=1, keepdims=True)
    return result


def plain_log_softmax(x: Host) -> Host:
    """Logarithm of the softmax of each row."""
    shifted = _wide(x) - _wide(x).max(axis=1, keepdims=True)
    result: Host = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _logits(dtype: str, shape: tuple[int, int], size: float) -> Host:
    if size == 1.0:
        return normal(dtype, shape, "logits")
    far: Host = np.sign(normal(dtype, shape, "logits")) * np.asarray(size, dtype)
    return far


SIZES_OF_LOGITS = (1.0, 1e4)


def _blank(dtype: str, *shape: int) -> Host:
    """An output array with values that the operation must overwrite completely."""
    return np.full(shape, 77 if dtype == "uint8" else np.nan, dtype)


def _gives(backend: Backend, name: str, arguments: tuple[Any, ...], kind: str, **wanted: Host) -> dict[str, Host]:
    """Runs an operation twice: it must write the expected values, give the same bits, and not change its inputs.

    Args: arguments – numbers and host arrays, including the initial values of outputs; kind – of the tolerance, or "bits" for
        bit-identical results; wanted – expected outputs, by the argument names of the reference.
    Returns: all arrays after the operation, by those names.
    """
    names = list(signature(ROWS[name].reference).parameters)[1:]
    arrays = {n: (k, a) for k, (n, a) in enumerate(zip(names, arguments, strict=False)) if isinstance(a, np.ndarray)}
    what = f"{name} of {arguments[0].shape}"
    runs = []
    for _ in range(2):
        own = [backend.asarray(a.copy()) if isinstance(a, np.ndarray) else a for a in arguments]
        backend.rows(name, *own)
        runs.append({n: host(backend, own[k], a.shape, str(a.dtype), f"{what}: {n}") for n, (k, a) in arrays.items()})
    first, second = runs
    for n, (k, a) in arrays.items():
        if n in wanted and kind != "bits":
            close(first[n], wanted[n], str(a.dtype), kind, f"{what}: {n}")
        elif n in wanted or not ROWS[name].kinds[k].startswith("written"):
            exactly(first[n], wanted.get(n, a).astype(a.dtype), f"{what}: {n}")
        exactly(second[n], first[n], f"{what}: {n}, a second time")
    return first


@check("rows", dtype=REALS, size=SIZES_OF_LOGITS)
def softmax(backend: Backend, sizes: Sizes, dtype: str, size: float) -> None:
    """Softmax, also for logits of 1e4 and in place."""
    for shape in sizes.matrices:
        x = _logits(dtype, shape, size)
        found = _gives(backend, "softmax", (x, _blank(dtype, *shape)), "row", out=plain_softmax(x))
        replaced = backend.asarray(x.copy())
        backend.rows("softmax", replaced, replaced)
        exactly(backend.to_numpy(replaced), found["out"], f"{shape}, in place")


@check("rows", dtype=REALS, size=SIZES_OF_LOGITS, weighted=(False, True), smoothing=(0.0, 0.125))
def softmax_cross_entropy(backend: Backend, sizes: Sizes, dtype: str, size: float, weighted: bool, smoothing: float) -> None:
    """Losses and gradient for labels, with class weights and label smoothing."""
    for shape in sizes.matrices:
        rows, classes = shape
        x, y = _logits(dtype, shape, size), labels(rows, classes)
        weights = between(dtype, (classes,), 0.0, 2.0, "weights") if weighted else None
        on, off = 1.0 - smoothing, smoothing / 2.0
        q = np.full(shape, off)
        q[np.arange(rows), y] = on
        w = np.ones(rows) if weights is None else _wide(weights)[y]
        _gives(
            backend, "softmax_cross_entropy", (x, y, weights, on, off, 0.25, _blank(dtype, rows), _blank(dtype, *shape)), "row",
            losses=-w * (q * plain_log_softmax(x)).sum(axis=1),
            gradient=0.25 * w[:, None] * (plain_softmax(x) * q.sum(axis=1, keepdims=True) - q),
        )  # fmt: skip


@check("rows", dtype=REALS, size=SIZES_OF_LOGITS)
def softmax_cross_entropy_soft(backend: Backend, sizes: Sizes, dtype: str, size: float) -> None:
    """Losses and gradient for target distributions, including probabilities of 0."""
    for shape in sizes.matrices:
        x, q = _logits(dtype, shape, size), between(dtype, shape, 0.0, 1.0, "targets")
        q = np.where(q < 0.2, np.asarray(0.0, dtype), q)
        wide = _wide(q)
        _gives(
            backend, "softmax_cross_entropy_soft", (x, q, 0.5, _blank(dtype, shape[0]), _blank(dtype, *shape)), "row",
            losses=-(wide * plain_log_softmax(x)).sum(axis=1),
            gradient=0.5 * (plain_softmax(x) * wide.sum(axis=1, keepdims=True) - wide),
        )  # fmt: skip


@check("rows", dtype=REALS, soft=(False, True), weighted=(False, True))
def cross_entropy_with_sums(backend: Backend, sizes: Sizes, dtype: str, soft: bool, weighted: bool) -> None:
    """The gradient times a scale, and its column sums if the backend reports them as written, else unchanged `sums`.

    All of these with and without weights of rows.
    """
    for shape in sizes.matrices:
        rows, classes = shape
        x, before = normal(dtype, shape, "logits"), normal(dtype, shape[1:], "before")
        q = between(dtype, shape, 0.0, 1.0, "targets") if soft else np.eye(classes, dtype=dtype)[labels(rows, classes)]
        wanted = 0.5 * 8.0 * (plain_softmax(x) * _wide(q).sum(axis=1, keepdims=True) - _wide(q))
        row_losses = -(_wide(q) * plain_log_softmax(x)).sum(axis=1)
        weights: tuple[Any, ...] = ()
        if weighted:
            by_row = between(dtype, (rows,), 0.0, 2.0, "weights of rows")
            wanted, row_losses = wanted * _wide(by_row)[:, None], row_losses * _wide(by_row)
            weights = (backend.asarray(by_row),)
        for accumulate in (False, True):
            losses, gradient, sums = backend.empty((rows,), dtype), backend.empty(shape, dtype), backend.asarray(before.copy())
            further = (0.5, losses, gradient, sums, accumulate, backend.asarray(np.array([8.0], dtype)), *weights)
            if soft:
                written = backend.rows("softmax_cross_entropy_soft", backend.asarray(x), backend.asarray(q), *further)
            else:
                y = backend.asarray(labels(rows, classes))
                written = backend.rows("softmax_cross_entropy", backend.asarray(x), y, None, 1.0, 0.0, *further)
            close(host(backend, gradient, shape, dtype, "gradient"), wanted, dtype, "sum", f"gradient {shape}")
            close(host(backend, losses, (rows,), dtype, "losses"), row_losses, dtype, "row", f"losses {shape}")
            added = before if accumulate or not written else np.zeros_like(before)
            total = added + (wanted.sum(axis=0) if written else 0.0)
            close(host(backend, sums, shape[1:], dtype, "sums"), total, dtype, "sum", f"sums {shape}")


@check("rows", dtype=REALS, size=SIZES_OF_LOGITS, weighted=(False, True), gamma=(0.0, 0.5, 2.0))
def focal_loss(backend: Backend, sizes: Sizes, dtype: str, size: float, weighted: bool, gamma: float) -> None:
    """Losses and gradient for labels, with class weights, also where the probability of the label is 0 or 1."""
    for shape in sizes.matrices:
        rows, classes = shape
        x, y = _logits(dtype, shape, size), labels(rows, classes)
        weights = between(dtype, (classes,), 0.0, 2.0, "weights") if weighted else None
        w = np.ones(rows) if weights is None else _wide(weights)[y]
        entropy = -plain_log_softmax(x)[np.arange(rows), y]
        miss = np.maximum(-np.expm1(-entropy), 1e-30)
        slope = w * (miss**gamma + gamma * miss ** (gamma - 1.0) * np.exp(-entropy) * entropy)
        losses, gradient = w * miss**gamma * entropy, 0.25 * slope[:, None] * (plain_softmax(x) - np.eye(classes)[y])
        given = (x, y, weights, gamma, 0.25, _blank(dtype, rows), _blank(dtype, *shape))
        _gives(backend, "focal_loss", given, "row", losses=losses, gradient=gradient)
        by_row = between(dtype, (rows,), 0.0, 2.0, "weights of rows")
        losses, gradient = losses * _wide(by_row), gradient * _wide(by_row)[:, None]
        _gives(backend, "focal_loss", (*given, None, False, None, by_row), "row", losses=losses, gradient=gradient)


def plain_hinge(x: Host, y: Host, factor: float) -> tuple[Host, Host]:
    """The loss of Crammer and Singer and its subgradient, computed row by row."""
    losses, gradient = np.zeros(len(x)), np.zeros(x.shape)
    for i, label in enumerate(y):
        others = [k for k in range(x.shape[1]) if k != label]
        rival = max(others, key=lambda k: (x[i, k], -k))
        margin = 1.0 + float(x[i, rival]) - float(x[i, label])
        if margin > 0.0:
            losses[i] = margin
            gradient[i, rival], gradient[i, label] = factor, -factor
    return losses, gradient


@check("rows", dtype=REALS)
def multi_class_hinge(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """Losses and subgradient; of several classes with the largest score the first one counts."""
    for shape in sizes.matrices:
        if shape[1] < 2:
            continue
        for x in (normal(dtype, shape, "scores"), np.round(normal(dtype, shape, "equal scores")) + 0):
            y = labels(*shape)
            losses, gradient = plain_hinge(x, y, 0.5)
            given = (x, y, 0.5, _blank(dtype, shape[0]), _blank(dtype, *shape))
            _gives(backend, "multi_class_hinge", given, "row", losses=losses, gradient=gradient)
            by_row = between(dtype, shape[:1], 0.0, 2.0, "weights of rows")
            losses, gradient = losses * _wide(by_row), gradient * _wide(by_row)[:, None]
            _gives(backend, "multi_class_hinge", (*given, by_row), "row", losses=losses, gradient=gradient)


@check("rows", dtype=REALS)
def layer_norm(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """Normalised rows, means and 1 / deviations; also for rows far from 0, and for constant rows."""
    for shape in sizes.matrices:
        for shift in (0.0, 30.0):
            x = normal(dtype, shape, "x") + np.asarray(shift, dtype)
            if shape[0] > 2:
                x[1] = 2.0
            gain, offset = normal(dtype, shape[1:], "gain"), normal(dtype, shape[1:], "offset")
            wide = _wide(x)
            mean = wide.mean(axis=1)
            scale = 1.0 / np.sqrt(wide.var(axis=1) + 1e-3)
            blank = (_blank(dtype, *shape), _blank(dtype, shape[0]), _blank(dtype, shape[0]))
            _gives(
                backend, "layer_norm", (x, gain, offset, 1e-3, *blank), "row" if shift == 0.0 else "sum",
                mean=mean, scale=scale, out=(wide - mean[:, None]) * scale[:, None] * gain + offset,
            )  # fmt: skip


@check("rows", dtype=REALS, accumulate=(True, False))
def layer_norm_backward(backend: Backend, sizes: Sizes, dtype: str, accumulate: bool) -> None:
    """dx, and the gradients of gain and offset, accumulated or overwritten."""
    for shape in sizes.matrices:
        if shape[1] < 2:
            continue  # A single column is always 0 after centring; its gradient is rounding.
        x, dy = normal(dtype, shape, "x"), normal(dtype, shape, "dy")
        gain, before = normal(dtype, shape[1:], "gain"), normal(dtype, (2, shape[1]), "before")
        blank = (_blank(dtype, *shape), _blank(dtype, shape[0]), _blank(dtype, shape[0]))
        forward = _gives(backend, "layer_norm", (x, gain, gain, 1e-3, *blank), "row")
        mean, scale = forward["mean"], forward["scale"]
        inverse = _wide(scale)[:, None]
        n = (_wide(x) - _wide(mean)[:, None]) * inverse
        g = _wide(dy) * gain
        saved = before if accumulate else np.zeros_like(before)
        _gives(
            backend, "layer_norm_backward", (dy, x, gain, mean, scale, _blank(dtype, *shape), *before, accumulate), "sum",
            dx=inverse * (g - g.mean(axis=1, keepdims=True) - n * (g * n).mean(axis=1, keepdims=True)),
            dgain=saved[0] + (_wide(dy) * n).sum(axis=0), doffset=saved[1] + _wide(dy).sum(axis=0),
        )  # fmt: skip


@check("rows", dtype=REALS, accumulate=(True, False))
def scale_columns_backward(backend: Backend, sizes: Sizes, dtype: str, accumulate: bool) -> None:
    """dx, and the gradients of factor and offset of each column, accumulated or overwritten."""
    for shape in sizes.matrices:
        x, dy, factor = normal(dtype, shape, "x"), normal(dtype, shape, "dy"), normal(dtype, shape[1:], "factor")
        before = normal(dtype, (2, shape[1]), "before")
        saved = before if accumulate else np.zeros_like(before)
        _gives(
            backend, "scale_columns_backward", (dy, x, factor, _blank(dtype, *shape), *before, accumulate), "sum",
            dx=_wide(dy) * factor, dfactor=saved[0] + (_wide(dy) * x).sum(axis=0), doffset=saved[1] + _wide(dy).sum(axis=0),
        )  # fmt: skip


@check("rows", dtype=REALS, accumulate=(True, False))
def column_sum(backend: Backend, sizes: Sizes, dtype: str, accumulate: bool) -> None:
    """Column sums, accumulated or overwritten."""
    for shape in sizes.matrices:
        x, before = normal(dtype, shape, "x"), normal(dtype, shape[1:], "before")
        wanted = (before if accumulate else 0.0) + _wide(x).sum(axis=0)
        _gives(backend, "column_sum", (x, before, accumulate), "sum", out=wanted)


@check("rows", dtype=REALS, pieces=(2, 3))
def maxout(backend: Backend, sizes: Sizes, dtype: str, pieces: int) -> None:
    """The largest piece, the first one if several are equal; its gradient; and the same pieces of another matrix."""
    for rows, units in sizes.matrices:
        for z in (normal(dtype, (rows, pieces * units), "z"), np.round(normal(dtype, (rows, pieces * units), "equal")) + 0):
            split, blank = z.reshape(rows, pieces, units), _blank(dtype, rows, units)
            wanted = split.argmax(axis=1)
            given = (z, blank, _blank("uint8", rows, units))
            winner = _gives(backend, "maxout", given, "bits", out=split.max(axis=1), winner=wanted)["winner"]

            dy, other = normal(dtype, (rows, units), "dy"), normal(dtype, z.shape, "other")
            spread = np.where(wanted[:, None, :] == np.arange(pieces)[None, :, None], dy[:, None, :], 0.0)
            given = (dy, winner, _blank(dtype, *z.shape))
            _gives(backend, "maxout_spread", given, "exact", dz=spread.reshape(z.shape))
            chosen = np.take_along_axis(other.reshape(split.shape), wanted[:, None, :], axis=1)[:, 0, :]
            _gives(backend, "maxout_pick", (other, winner, blank), "exact", out=chosen)


@check("rows", dtype=REALS)
def columns(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """Columns by index, with 0 for negative indices, and the transposed operation, including columns without an index."""
    for rows, width in sizes.matrices:
        x = normal(dtype, (rows, width), "x")
        table = generator((rows, width)).integers(-1, width, 2 * width + 1).astype(np.int32)
        chosen = np.where(table >= 0, x[:, table], 0.0)
        _gives(backend, "take_columns", (x, table, _blank(dtype, rows, table.size)), "bits", out=chosen)

        dy, places = normal(dtype, chosen.shape, "dy"), [np.flatnonzero(table == j) for j in range(width)]
        transposed = inverse(table, np.arange(table.size), width)
        wanted = np.stack([_wide(dy)[:, found].sum(axis=1) for found in places], axis=1)
        _gives(backend, "sum_columns", (dy, transposed, _blank(dtype, rows, width)), "sum", out=wanted)


@check("rows", times=(1, 3))
def repeated_labels(backend: Backend, sizes: Sizes, times: int) -> None:
    """Each label several times, next to each other."""
    for rows, classes in sizes.matrices:
        y, out = labels(rows, classes), np.full(rows * times, -1, np.int32)
        _gives(backend, "repeat_labels", (y, out), "bits", out=np.repeat(y, times))


@check("rows", dtype=REALS)
def embeddings(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """Rows by code, equal to one-hot rows times the matrix, beside copied columns; NaN where a code is none; the gradient."""
    for rows, width in sizes.matrices:
        drawn = generator((rows, width))
        x = normal(dtype, (rows, width), "x")
        chosen, first = [], 0
        for column in range(0, min(width, 9), 2):
            codes = int(drawn.integers(1, 2 * rows + 2))
            chosen.append(Lookup(column, codes, 1 + column % 5, first))
            first += codes * (1 + column % 5)
            x[:, column] = drawn.integers(0, codes, rows)
        table, weight = lookup_table(width, tuple(chosen)), normal(dtype, (first,), "weight")
        parts: list[Host] = [x[:, [c for c in range(width) if c % 2 or c > 8]]]
        hot = [np.eye(codes)[x[:, column].astype(int)] for column, codes, _, _ in chosen]
        for one, (_, codes, wide, at) in zip(hot, chosen, strict=True):
            parts.append(one @ _wide(weight[at : at + codes * wide]).reshape(codes, wide))
        wanted = np.concatenate(parts, axis=1).astype(dtype)
        _gives(backend, "embed", (x, x, weight, table, _blank(dtype, *wanted.shape)), "bits", out=wanted)

        dy, before = normal(dtype, wanted.shape, "dy"), normal(dtype, (first,), "before")
        edges = np.cumsum([parts[0].shape[1], *(wide for _, _, wide, _ in chosen)])
        sums = [one.T @ _wide(dy[:, a:b]) for one, a, b in zip(hot, edges, edges[1:], strict=False)]
        summed = np.concatenate([part.reshape(-1) for part in sums])
        for accumulate in (True, False):
            out = before + summed if accumulate else summed
            _gives(backend, "embed_backward", (dy, x, table, before, accumulate), "sum", out=out)

        column, codes, _, _ = chosen[0]
        for wrong in (-1.0, codes, 0.5, np.nan, np.inf, -np.inf, 3e9) if rows else ():
            x[-1, column] = wrong
            wanted[-1, edges[0] : edges[1]] = np.nan
            _gives(backend, "embed", (x, x, weight, table, _blank(dtype, *wanted.shape)), "bits", out=wanted)
            sums[0] = hot[0][:-1].T @ _wide(dy[:-1, edges[0] : edges[1]])
            summed = np.concatenate([part.reshape(-1) for part in sums])
            _gives(backend, "embed_backward", (dy, x, table, before, False), "sum", out=summed)


@check("rows", dtype=REALS, groups=(1, 3))
def grouped_products(backend: Backend, sizes: Sizes, dtype: str, groups: int) -> None:
    """Products of groups of columns with their own matrices, added or not, and both gradients; matrices side by side."""
    for rows, size in sizes.matrices:
        for wide in (1, 4):
            x, dy = normal(dtype, (rows, groups * size), "x"), normal(dtype, (rows, groups * wide), "dy")
            weight = normal(dtype, (groups * size, wide), "weight") / np.asarray(np.sqrt(size), dtype)
            split = _wide(x).reshape(rows, groups, size), _wide(dy).reshape(rows, groups, wide)
            own = _wide(weight).reshape(groups, size, wide)
            product = np.einsum("bgm,gmw->bgw", split[0], own).reshape(dy.shape)
            summed = np.einsum("bgm,bgw->gmw", *split).reshape(weight.shape)
            for accumulate in (False, True):
                before, out = (dy, weight) if accumulate else (_blank(dtype, *dy.shape), _blank(dtype, *weight.shape))
                added = (_wide(dy), _wide(weight)) if accumulate else (0.0, 0.0)
                _gives(backend, "grouped_matmul", (x, weight, before, accumulate), "sum", out=added[0] + product)
                _gives(backend, "grouped_matmul_weight", (x, dy, out, accumulate), "sum", dweight=added[1] + summed)
            wanted = np.einsum("bgw,gmw->bgm", split[1], own).reshape(x.shape)
            _gives(backend, "grouped_matmul_input", (dy, weight, _blank(dtype, *x.shape)), "sum", dx=wanted)
            table = np.array([groups * size - 1, 0], np.int32)
            joined = np.concatenate([x[:, table], dy], axis=1)
            _gives(backend, "beside", (x, table, dy, _blank(dtype, *joined.shape)), "bits", out=joined)


@check("rows", dtype=REALS)
def largest(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """The first largest element of overlapping windows; its gradient; and the same elements of another matrix."""
    for rows, units in sizes.matrices:
        width, size = 2 * units + 1, 3
        table = (2 * np.arange(units)[:, None] + np.arange(size)).astype(np.int32)
        codes = MOST_IN_WINDOW * np.arange(units)[:, None] + np.arange(size)
        transposed = inverse(table.reshape(-1), codes.reshape(-1), width)
        for x in (normal(dtype, (rows, width), "x"), np.round(normal(dtype, (rows, width), "equal")) + 0):
            windows, blank = x[:, table], _blank(dtype, rows, units)
            wanted = windows.argmax(axis=2)
            given = (x, table, blank, _blank("uint8", rows, units))
            winner = _gives(backend, "largest_columns", given, "bits", out=windows.max(axis=2), winner=wanted)["winner"]

            dy, other = normal(dtype, (rows, units), "dy"), normal(dtype, x.shape, "other")
            spread = np.zeros(x.shape)
            for i, u in np.ndindex(rows, units):
                spread[i, table[u, wanted[i, u]]] += dy[i, u]
            _gives(backend, "largest_columns_spread", (dy, winner, transposed, _blank(dtype, *x.shape)), "sum", dx=spread)
            chosen = np.take_along_axis(other[:, table], wanted[:, :, None], axis=2)[:, :, 0]
            _gives(backend, "largest_columns_pick", (other, table, winner, blank), "bits", out=chosen)


@check("rows", dtype=REALS)
def argmax(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """The column of the largest value, the first one if several are equal, as an integer."""
    for shape in sizes.matrices:
        for x in (normal(dtype, shape), np.round(normal(dtype, shape, "equal"))):
            found = backend.to_numpy(backend.argmax(backend.asarray(x)))
            close(found.astype(np.int64), x.argmax(axis=1), "float64", "exact", f"{shape}, whose dtype is {found.dtype}")


@check("rows", dtype=REALS)
def read_only_arguments(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """Inputs from read-only memory, and some rows of larger arrays."""
    x, y, gain = normal(dtype, (6, 5)), labels(6, 5), normal(dtype, (5,), "gain")
    for values in (x, y, gain):
        values.flags.writeable = False
    own, own_labels, own_gain = (backend.asarray(values) for values in (x, y, gain))
    part, part_labels, rows = own[1:5, ...], own_labels[1:5], x[1:5]
    out, losses, mean, scale = backend.empty((4, 5), dtype), *(backend.empty((4,), dtype) for _ in range(3))
    backend.rows("softmax", part, out)
    close(backend.to_numpy(out), plain_softmax(rows), dtype, "row", "softmax")
    backend.rows("softmax_cross_entropy", part, part_labels, own_gain, 1.0, 0.0, 1.0, losses, out)
    wanted = -gain[y[1:5]] * plain_log_softmax(rows)[np.arange(4), y[1:5]]
    close(backend.to_numpy(losses), wanted, dtype, "row", "softmax_cross_entropy")
    backend.rows("multi_class_hinge", part, part_labels, 1.0, losses, out)
    close(backend.to_numpy(losses), plain_hinge(rows, y[1:5], 1.0)[0], dtype, "row", "multi_class_hinge")
    backend.rows("layer_norm", part, own_gain, own_gain, 1e-3, out, mean, scale)
    close(backend.to_numpy(mean), _wide(rows).mean(axis=1), dtype, "row", "layer_norm")
    sums = backend.zeros((5,), dtype)
    backend.rows("column_sum", part, sums)
    close(backend.to_numpy(sums), _wide(rows).sum(axis=0), dtype, "sum", "column_sum")
    exactly(backend.to_numpy(backend.argmax(part)).astype(np.int64), rows.argmax(axis=1), "argmax")
    exactly(backend.to_numpy(own), x, "the input")
