"""Memory-bound kernels: bytes per second, compared with the copy rate of the machine.

Row kernels are distributed over the cores as in a step: each core processes a part of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..framework.engine.model import Sequential
from ..framework.layers.dense import Linear
from ..framework.optimizers.adaptive import Adam
from ..kernels.formulas.activations import ACTIVATIONS, dense_forward
from .contenders.ours import Threads
from .copying import COPY_ELEMENTS, copies, device_copy
from .results import KernelCase, LeftOut, Timing
from .team import cuts, team
from .timing import Prepared, Sampling, interleave

Array = Any

ADAM_PARAMETERS = (1_000_000, 10_000_000, 50_000_000)
ROWS, COLUMNS = 4096, 1024


def adam(backend: Any, parameters: int, threads: int) -> Prepared:
    """The update of all parameters in one kernel call, as in a step: reads theta, g, m, v, writes theta, m, v."""
    model = Sequential(Linear(1000, parameters // 1000 - 1))
    model.place(backend, "float32")
    rng = np.random.default_rng(0)
    backend.copy(rng.standard_normal(model.arena.size, np.float32), model.arena.values)
    gradient = model.arena.new()
    backend.copy(backend.asarray(rng.standard_normal(model.arena.size, np.float32)), gradient)
    state = Adam(1e-3).bind(model.arena)
    squares = backend.sum_of_squares(gradient)

    def update() -> None:
        state.begin()
        state.apply(gradient, squares)

    return _prepared(backend, update, threads)


def bias_relu(backend: Any, threads: int, rows: int = ROWS, columns: int = COLUMNS) -> Prepared:
    """y = max(0, x + bias): reads x, writes y."""
    formula = dense_forward(ACTIVATIONS["relu"], bias=True, dropout=False)
    x, out = _matrices(backend, rows, columns)
    bias = backend.asarray(np.random.default_rng(1).standard_normal(columns).astype("float32"))
    return _rows(backend, lambda here: backend.map(formula, out[here], x[here], bias), threads, rows)


def layer_norm(backend: Any, threads: int, rows: int = ROWS, columns: int = COLUMNS) -> Prepared:
    """(x - mean) / deviation gain + offset of each row: reads x, writes y, mean and 1 / deviation."""
    x, out = _matrices(backend, rows, columns)
    gain, offset = _vectors(backend, columns)
    mean, scale = _vectors(backend, rows)
    return _rows(
        backend,
        lambda here: backend.rows("layer_norm", x[here], gain, offset, 1e-5, out[here], mean[here], scale[here]),
        threads,
        rows,
    )


def softmax_cross_entropy(backend: Any, threads: int, rows: int = ROWS, columns: int = COLUMNS) -> Prepared:
    """Loss and gradient of each row of logits in one pass: reads logits, writes the gradient."""
    logits, gradient = _matrices(backend, rows, columns)
    labels = backend.asarray(np.random.default_rng(2).integers(0, columns, rows).astype("int32"))
    losses, _ = _vectors(backend, rows)
    return _rows(
        backend,
        lambda here: backend.rows(
            "softmax_cross_entropy", logits[here], labels[here], None, 1.0, 0.0, 1.0 / rows, losses[here], gradient[here]
        ),
        threads,
        rows,
    )


def summed_cross_entropy(backend: Any, threads: int, rows: int, columns: int) -> Prepared:
    """As `softmax_cross_entropy`, with the column sums of the gradient: from the same pass, or from another one."""
    logits, gradient = _matrices(backend, rows, columns)
    labels = backend.asarray(np.random.default_rng(2).integers(0, columns, rows).astype("int32"))
    (losses, _), (sums, _) = _vectors(backend, rows), _vectors(backend, columns)

    def step() -> None:
        if not backend.rows("softmax_cross_entropy", logits, labels, None, 1.0, 0.0, 1.0 / rows, losses, gradient, sums):
            backend.fill(sums, 0.0)
            backend.rows("column_sum", gradient, sums)

    return _prepared(backend, step, threads)


def global_norm(backend: Any, elements: int, threads: int) -> Prepared:
    """The sum of the squares of a flat gradient: reads it once."""
    gradient = backend.asarray(np.random.default_rng(5).standard_normal(elements, np.float32))
    return _prepared(backend, lambda: backend.sum_of_squares(gradient), threads)


def _matrices(backend: Any, rows: int, columns: int) -> list[Array]:
    """Standard normal values, and buffers for the results."""
    values = np.random.default_rng(3).standard_normal((rows, columns), np.float32)
    return [backend.asarray(values), backend.empty((rows, columns))]


def _vectors(backend: Any, size: int) -> list[Array]:
    rng = np.random.default_rng(4)
    return [backend.asarray(rng.standard_normal(size).astype("float32")) for _ in range(2)]


def _prepared(backend: Any, step: Callable[[], Any], threads: int) -> Prepared:
    def finish(handle: Any) -> None:
        del handle
        backend.synchronize()

    return Prepared(step, finish, around=lambda: Threads(threads))


def _rows(backend: Any, kernel: Callable[[slice], Any], threads: int, rows: int) -> Prepared:
    """A row kernel: as one call if the device divides the work itself, otherwise with a part of the rows per core."""
    if not backend.splits_rows:
        return _prepared(backend, lambda: kernel(slice(0, rows)), threads)
    parts = [slice(low, high) for low, high in cuts(rows, threads)]
    pool = team(threads)
    return _prepared(backend, lambda: pool.run(lambda number: kernel(parts[number])), threads)


def torch_adam(parameters: int, threads: int, device: str = "cpu") -> Prepared:
    """`torch.optim.Adam(fused=True)` on one flat tensor."""
    import torch

    from .contenders.torch_eager import threads as torch_threads

    generator = torch.Generator(device).manual_seed(0)
    theta = torch.randn(parameters, generator=generator, device=device).requires_grad_()
    theta.grad = torch.randn(parameters, generator=generator, device=device)
    return Prepared(torch.optim.Adam([theta], lr=1e-3, fused=True).step, around=lambda: torch_threads(threads))


def kernel_cases(
    backends: Sequence[Any], sampling: Sampling, threads: int, torch: bool, progress: Callable[[str], None],
    adam_parameters: Sequence[int] = ADAM_PARAMETERS, copied: int = COPY_ELEMENTS,
) -> list[KernelCase]:
    """Times all kernels on all backends.

    Args: backends – that work here; sampling; threads; torch – whether to time torch's fused Adam as well; progress – receives
        status messages; adam_parameters – sizes; copied – elements of the copied array.
    """
    matrix = f"{ROWS} x {COLUMNS}"
    plans: list[tuple[KernelCase, Callable[[Any], Prepared]]] = [
        (
            KernelCase("Adam update", f"{count / 1e6:g} M parameters", 28 * count),
            lambda backend, count=count: adam(backend, count, threads),  # type: ignore[misc]
        )
        for count in adam_parameters
    ]
    for name, make in (
        ("softmax-cross-entropy", softmax_cross_entropy), ("bias and ReLU", bias_relu), ("LayerNorm forward", layer_norm),
    ):  # fmt: skip
        plans.append(
            (KernelCase(name, matrix, 8 * ROWS * COLUMNS), lambda backend, make=make: make(backend, threads))  # type: ignore[misc]
        )
    beside = copies(threads, copied)
    devices = dict.fromkeys(beside, "cpu")
    for backend in backends:
        if not backend.on_host:
            beside[f"copy, {backend.name}"] = device_copy(backend, copied)
            devices[f"copy, {backend.name}"] = backend.device
    for case, make_ready in plans:
        ready = dict(beside)
        for backend in backends:
            progress(f"{case.kernel}: {backend.name}")
            ready[backend.name] = make_ready(backend)
            case.timings.append(Timing(backend.name, "ours", 0, [], backend.device))
        if torch and case.kernel == "Adam update":
            ready["torch"] = torch_adam(case.moved // 28, threads)
            case.timings.append(Timing("torch", "peer", 0, []))
        elif torch:
            case.left_out.append(LeftOut("torch", "only its fused Adam is timed"))
        turns = interleave(ready, sampling, lambda what, case=case: progress(f"{case.kernel}, {what}"))  # type: ignore[misc]
        for timing in case.timings:
            timing.calls, timing.seconds = turns[timing.name]
        case.timings += [Timing(name, "copy", *turns[name], device, memory=8 * copied) for name, device in devices.items()]
    return [case for case, _ in plans]
