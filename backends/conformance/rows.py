"""What works on whole rows and columns: softmax and its losses, layer normalisation, column sums, maxout, columns by number."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels.rows.patches import MOST_IN_WINDOW, inverse
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
    """Its logarithm."""
    shifted = _wide(x) - _wide(x).max(axis=1, keepdims=True)
    result: Host = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _logits(dtype: str, shape: tuple[int, int], size: float) -> Host:
    if size == 1.0:
        return normal(dtype, shape, "logits")
    far: Host = np.sign(normal(dtype, shape, "logits")) * np.asarray(size, dtype)
    return far


SIZES_OF_LOGITS = (1.0, 1e4)


@check("rows", dtype=REALS, size=SIZES_OF_LOGITS)
def softmax(backend: Backend, sizes: Sizes, dtype: str, size: float) -> None:
    """Also for logits of 1e4, and in place."""
    for shape in sizes.matrices:
        x = _logits(dtype, shape, size)
        given, out = backend.asarray(x), backend.empty(shape, dtype)
        backend.rows("softmax", given, out)
        close(host(backend, out, shape, dtype, f"{shape}"), plain_softmax(x), dtype, "row", f"{shape}")
        exactly(backend.to_numpy(given), x, f"the input at {shape}")
        replaced = backend.asarray(x.copy())
        backend.rows("softmax", replaced, replaced)
        exactly(backend.to_numpy(replaced), backend.to_numpy(out), f"{shape}, in place")


@check("rows", dtype=REALS, size=SIZES_OF_LOGITS, weighted=(False, True), smoothing=(0.0, 0.125))
def softmax_cross_entropy(backend: Backend, sizes: Sizes, dtype: str, size: float, weighted: bool, smoothing: float) -> None:
    """Losses and gradient for labels, with class weights and label smoothing; twice the same bits."""
    for shape in sizes.matrices:
        rows, classes = shape
        x, y = _logits(dtype, shape, size), labels(rows, classes)
        weights = between(dtype, (classes,), 0.0, 2.0, "weights") if weighted else None
        on, off = 1.0 - smoothing, smoothing / 2.0
        q = np.full(shape, off)
        q[np.arange(rows), y] = on
        w = np.ones(rows) if weights is None else _wide(weights)[y]
        wanted_losses = -w * (q * plain_log_softmax(x)).sum(axis=1)
        wanted_gradient = 0.25 * w[:, None] * (plain_softmax(x) * q.sum(axis=1, keepdims=True) - q)
        results = []
        for _ in range(2):
            losses, gradient = backend.empty((rows,), dtype), backend.empty(shape, dtype)
            given = None if weights is None else backend.asarray(weights)
            own, own_labels = backend.asarray(x), backend.asarray(y)
            backend.rows("softmax_cross_entropy", own, own_labels, given, on, off, 0.25, losses, gradient)
            results.append((host(backend, losses, (rows,), dtype, "losses"), host(backend, gradient, shape, dtype, "gradient")))
        close(results[0][0], wanted_losses, dtype, "row", f"losses {shape}")
        close(results[0][1], wanted_gradient, dtype, "row", f"gradient {shape}")
        exactly(results[1][0], results[0][0], f"losses {shape}, a second time")
        exactly(results[1][1], results[0][1], f"gradient {shape}, a second time")


@check("rows", dtype=REALS, size=SIZES_OF_LOGITS)
def softmax_cross_entropy_soft(backend: Backend, sizes: Sizes, dtype: str, size: float) -> None:
    """Losses and gradient for target distributions, zeros among them."""
    for shape in sizes.matrices:
        x, q = _logits(dtype, shape, size), between(dtype, shape, 0.0, 1.0, "targets")
        q = np.where(q < 0.2, np.asarray(0.0, dtype), q)
        losses, gradient = backend.empty(shape[:1], dtype), backend.empty(shape, dtype)
        backend.rows("softmax_cross_entropy_soft", backend.asarray(x), backend.asarray(q), 0.5, losses, gradient)
        wide = _wide(q)
        mass = wide.sum(axis=1, keepdims=True)
        close(
            host(backend, losses, shape[:1], dtype, "losses"),
            -(wide * plain_log_softmax(x)).sum(axis=1),
            dtype,
            "row",
            f"losses {shape}",
        )
        close(
            host(backend, gradient, shape, dtype, "gradient"),
            0.5 * (plain_softmax(x) * mass - wide),
            dtype,
            "row",
            f"gradient {shape}",
        )


@check("rows", dtype=REALS, soft=(False, True))
def cross_entropy_with_sums(backend: Backend, sizes: Sizes, dtype: str, soft: bool) -> None:
    """The gradient times a scale, and the sum of its rows where the backend says that it wrote that; else nothing is there."""
    for shape in sizes.matrices:
        rows, classes = shape
        x, before = normal(dtype, shape, "logits"), normal(dtype, shape[1:], "before")
        q = between(dtype, shape, 0.0, 1.0, "targets") if soft else np.eye(classes, dtype=dtype)[labels(rows, classes)]
        wanted = 0.5 * 8.0 * (plain_softmax(x) * _wide(q).sum(axis=1, keepdims=True) - _wide(q))
        for accumulate in (False, True):
            losses, gradient, sums = backend.empty((rows,), dtype), backend.empty(shape, dtype), backend.asarray(before.copy())
            further = (0.5, losses, gradient, sums, accumulate, backend.asarray(np.array([8.0], dtype)))
            if soft:
                written = backend.rows("softmax_cross_entropy_soft", backend.asarray(x), backend.asarray(q), *further)
            else:
                y = backend.asarray(labels(rows, classes))
                written = backend.rows("softmax_cross_entropy", backend.asarray(x), y, None, 1.0, 0.0, *further)
            close(host(backend, gradient, shape, dtype, "gradient"), wanted, dtype, "sum", f"gradient {shape}")
            added = before if accumulate or not written else np.zeros_like(before)
            total = added + (wanted.sum(axis=0) if written else 0.0)
            close(host(backend, sums, shape[1:], dtype, "sums"), total, dtype, "sum", f"sums {shape}")


def plain_hinge(x: Host, y: Host, factor: float) -> tuple[Host, Host]:
    """Row by row: the loss of Crammer and Singer and its subgradient."""
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
    """Losses and subgradient; among equal rivals the first."""
    for shape in sizes.matrices:
        if shape[1] < 2:
            continue
        for x in (normal(dtype, shape, "scores"), np.round(normal(dtype, shape, "equal scores")) + 0):
            y = labels(*shape)
            losses, gradient = backend.empty(shape[:1], dtype), backend.empty(shape, dtype)
            backend.rows("multi_class_hinge", backend.asarray(x), backend.asarray(y), 0.5, losses, gradient)
            wanted = plain_hinge(x, y, 0.5)
            close(host(backend, losses, shape[:1], dtype, "losses"), wanted[0], dtype, "row", f"losses {shape}")
            close(host(backend, gradient, shape, dtype, "gradient"), wanted[1], dtype, "row", f"gradient {shape}")


def _normalised(backend: Backend, dtype: str, x: Host, gain: Host, offset: Host) -> Any:
    out, mean, scale = backend.empty(x.shape, dtype), *(backend.empty(x.shape[:1], dtype) for _ in range(2))
    backend.rows("layer_norm", backend.asarray(x), backend.asarray(gain), backend.asarray(offset), 1e-3, out, mean, scale)
    return out, mean, scale


@check("rows", dtype=REALS)
def layer_norm(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """Rows, means and 1 / deviations; also for rows that lie far from 0, and for constant rows."""
    for shape in sizes.matrices:
        for shift in (0.0, 30.0):
            x = normal(dtype, shape, "x") + np.asarray(shift, dtype)
            if shape[0] > 2:
                x[1] = 2.0
            gain, offset = normal(dtype, shape[1:], "gain"), normal(dtype, shape[1:], "offset")
            wide = _wide(x)
            average = wide.mean(axis=1)
            inverse = 1.0 / np.sqrt(wide.var(axis=1) + 1e-3)
            wanted = (wide - average[:, None]) * inverse[:, None] * gain + offset
            out, mean, scale = _normalised(backend, dtype, x, gain, offset)
            kind = "row" if shift == 0.0 else "sum"
            what = f"{shape} around {shift:g}"
            close(host(backend, mean, shape[:1], dtype, "mean"), average, dtype, kind, f"mean {what}")
            close(host(backend, scale, shape[:1], dtype, "scale"), inverse, dtype, kind, f"scale {what}")
            close(host(backend, out, shape, dtype, "out"), wanted, dtype, kind, f"out {what}")


@check("rows", dtype=REALS, accumulate=(True, False))
def layer_norm_backward(backend: Backend, sizes: Sizes, dtype: str, accumulate: bool) -> None:
    """Dx, and the gradients of gain and offset on top of what was there or in place of it; twice the same bits."""
    for shape in sizes.matrices:
        if shape[1] < 2:
            continue  # A single column is always 0 after centring; its gradient is rounding.
        x, dy = normal(dtype, shape, "x"), normal(dtype, shape, "dy")
        gain, before = normal(dtype, shape[1:], "gain"), normal(dtype, (2, shape[1]), "before")
        _, mean, scale = _normalised(backend, dtype, x, gain, gain)
        centre, inverse = _wide(backend.to_numpy(mean))[:, None], _wide(backend.to_numpy(scale))[:, None]
        n = (_wide(x) - centre) * inverse
        g = _wide(dy) * gain
        wanted = inverse * (g - g.mean(axis=1, keepdims=True) - n * (g * n).mean(axis=1, keepdims=True))
        results = []
        for _ in range(2):
            dx, dgain, doffset = backend.empty(shape, dtype), *(backend.asarray(row.copy()) for row in before)
            own = [backend.asarray(values) for values in (dy, x, gain)]
            backend.rows("layer_norm_backward", *own, mean, scale, dx, dgain, doffset, accumulate)
            results.append([
                host(backend, dx, shape, dtype, "dx"),
                host(backend, dgain, shape[1:], dtype, "dgain"), host(backend, doffset, shape[1:], dtype, "doffset"),
            ])  # fmt: skip
        close(results[0][0], wanted, dtype, "sum", f"dx {shape}")
        before = before if accumulate else np.zeros_like(before)
        close(results[0][1], before[0] + (_wide(dy) * n).sum(axis=0), dtype, "sum", f"dgain {shape}")
        close(results[0][2], before[1] + _wide(dy).sum(axis=0), dtype, "sum", f"doffset {shape}")
        for second, first in zip(results[1], results[0], strict=True):
            exactly(second, first, f"{shape}, a second time")


@check("rows", dtype=REALS, accumulate=(True, False))
def column_sum(backend: Backend, sizes: Sizes, dtype: str, accumulate: bool) -> None:
    """Added to what was there, or in place of it; twice the same bits."""
    for shape in sizes.matrices:
        x, before = normal(dtype, shape, "x"), normal(dtype, shape[1:], "before")
        results = []
        for _ in range(2):
            out = backend.asarray(before.copy())
            backend.rows("column_sum", backend.asarray(x), out, accumulate)
            results.append(host(backend, out, shape[1:], dtype, f"{shape}"))
        close(results[0], (before if accumulate else 0.0) + _wide(x).sum(axis=0), dtype, "sum", f"{shape}")
        exactly(results[1], results[0], f"{shape}, a second time")


@check("rows", dtype=REALS, pieces=(2, 3))
def maxout(backend: Backend, sizes: Sizes, dtype: str, pieces: int) -> None:
    """The largest piece, the first among equals; its gradient; and the piece that was chosen, of another matrix."""
    for rows, units in sizes.matrices:
        for z in (normal(dtype, (rows, pieces * units), "z"), np.round(normal(dtype, (rows, pieces * units), "equal")) + 0):
            split = z.reshape(rows, pieces, units)
            wanted = split.argmax(axis=1)
            out, winner = backend.empty((rows, units), dtype), backend.empty((rows, units), "uint8")
            backend.rows("maxout", backend.asarray(z), out, winner)
            what = f"{(rows, units)}"
            exactly(host(backend, out, (rows, units), dtype, "out"), split.max(axis=1), what)
            exactly(host(backend, winner, (rows, units), "uint8", "winner"), wanted.astype(np.uint8), f"winner {what}")

            dy, other = normal(dtype, (rows, units), "dy"), normal(dtype, z.shape, "other")
            dz, picked = backend.empty(z.shape, dtype), backend.empty((rows, units), dtype)
            backend.rows("maxout_spread", backend.asarray(dy), winner, dz)
            spread = np.where(wanted[:, None, :] == np.arange(pieces)[None, :, None], dy[:, None, :], 0.0)
            close(host(backend, dz, z.shape, dtype, "dz"), spread.reshape(z.shape), dtype, "exact", f"dz {what}")
            backend.rows("maxout_pick", backend.asarray(other), winner, picked)
            chosen = np.take_along_axis(other.reshape(split.shape), wanted[:, None, :], axis=1)[:, 0, :]
            close(host(backend, picked, (rows, units), dtype, "picked"), chosen, dtype, "exact", f"picked {what}")


@check("rows", dtype=REALS)
def columns(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """Columns by number, negative ones giving 0, and the transpose of that, columns that nobody names among them."""
    for rows, width in sizes.matrices:
        x = normal(dtype, (rows, width), "x")
        table = generator((rows, width)).integers(-1, width, 2 * width + 1).astype(np.int32)
        out = backend.empty((rows, table.size), dtype)
        backend.rows("take_columns", backend.asarray(x), backend.asarray(table), out)
        chosen = np.where(table >= 0, x[:, table], 0.0)
        exactly(host(backend, out, chosen.shape, dtype, "out"), chosen.astype(dtype), f"take_columns of {(rows, width)}")

        dy, places = normal(dtype, chosen.shape, "dy"), [np.flatnonzero(table == j) for j in range(width)]
        transposed = inverse(table, np.arange(table.size), width)
        dx = backend.empty((rows, width), dtype)
        backend.rows("sum_columns", backend.asarray(dy), backend.asarray(transposed), dx)
        wanted = np.stack([_wide(dy)[:, found].sum(axis=1) for found in places], axis=1)
        close(host(backend, dx, (rows, width), dtype, "dx"), wanted, dtype, "sum", f"sum_columns to {(rows, width)}")


@check("rows", dtype=REALS)
def largest(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """The largest of windows that overlap, the first among equals; its gradient, and the winners of another matrix."""
    for rows, units in sizes.matrices:
        width, size = 2 * units + 1, 3
        table = (2 * np.arange(units)[:, None] + np.arange(size)).astype(np.int32)
        codes = MOST_IN_WINDOW * np.arange(units)[:, None] + np.arange(size)
        transposed = inverse(table.reshape(-1), codes.reshape(-1), width)
        for x in (normal(dtype, (rows, width), "x"), np.round(normal(dtype, (rows, width), "equal")) + 0):
            windows = x[:, table]
            wanted = windows.argmax(axis=2)
            out, winner = backend.empty((rows, units), dtype), backend.empty((rows, units), "uint8")
            own = backend.asarray(table)
            backend.rows("largest_columns", backend.asarray(x), own, out, winner)
            what = f"{(rows, units)}"
            exactly(host(backend, out, (rows, units), dtype, "out"), windows.max(axis=2), what)
            exactly(host(backend, winner, (rows, units), "uint8", "winner"), wanted.astype(np.uint8), f"winner {what}")

            dy, other = normal(dtype, (rows, units), "dy"), normal(dtype, x.shape, "other")
            dx, picked = backend.empty(x.shape, dtype), backend.empty((rows, units), dtype)
            backend.rows("largest_columns_spread", backend.asarray(dy), winner, backend.asarray(transposed), dx)
            spread = np.zeros(x.shape)
            for i, u in np.ndindex(rows, units):
                spread[i, table[u, wanted[i, u]]] += dy[i, u]
            close(host(backend, dx, x.shape, dtype, "dx"), spread, dtype, "sum", f"dx {what}")
            backend.rows("largest_columns_pick", backend.asarray(other), own, winner, picked)
            chosen = np.take_along_axis(other[:, table], wanted[:, :, None], axis=2)[:, :, 0]
            exactly(host(backend, picked, (rows, units), dtype, "picked"), chosen, f"picked {what}")


@check("rows", dtype=REALS)
def argmax(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """The column of the largest value, the first among equals, as whole numbers."""
    for shape in sizes.matrices:
        for x in (normal(dtype, shape), np.round(normal(dtype, shape, "equal"))):
            found = backend.to_numpy(backend.argmax(backend.asarray(x)))
            close(found.astype(np.int64), x.argmax(axis=1), "float64", "exact", f"{shape}, whose dtype is {found.dtype}")


@check("rows", dtype=REALS)
def read_only_arguments(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """Inputs from read-only memory, rows of larger arrays among them."""
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
