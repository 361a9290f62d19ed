"""The floor on a GPU: only the matrix products of a step, in the types of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from ..cases import failed
from ..clocks import HOST, Clock
from ..contenders.base import Where
from ..contenders.torch_eager import captured, finisher, products
from ..gemms import products as products_of
from ..problem import Problem
from ..results import Case, LeftOut
from ..timing import Prepared
from .place import Place

Array = Any

BLOCK = 2**22
"""Standard normal values that are drawn on the host; an array on the device repeats them."""
LARGE = 2**27
"""Elements from which on arrays of a chain are the same ones for several products: what is there of them is in no cache."""


def floors(problem: Problem, place: Place, case: Case) -> dict[str, Prepared]:
    """The available variants of the products; the fastest one is the floor. Failing variants are recorded in the case."""
    ways: dict[str, Callable[[], Prepared]] = {}
    if place.torch is not None:
        ways["GEMMs (torch)"] = partial(torch_floor, problem, place.torch)
    if problem.precision in place.backend.precisions:
        ways[f"GEMMs ({place.backend.name})"] = partial(own_floor, problem, place.backend, place.ours.clock)
    made: dict[str, Prepared] = {}
    for name, way in ways.items():
        try:
            made[name] = way()
        except Exception as error:  # out of memory, for instance; the steps are measured all the same
            case.left_out.append(LeftOut(name, failed(error), "", case.network))
    return made


def chain(
    problem: Problem, normal: Callable[..., Array], empty: Callable[[Array], Array],
    multiply: Callable[[Array, Array, Array, bool, bool], Any],
) -> Callable[[], None]:  # fmt: skip
    """One call for all products of a step.

    Args: problem; normal – makes an array of a shape with standard normal values; empty – one like another; multiply – (a, b,
        out, whether a is transposed, whether b is).
    """
    widths, rows = problem.network.widths, problem.network.batch
    inputs, gradients, weights = (
        each(shapes, lambda shape: normal(*shape), math.prod)
        for shapes in ([(rows, n) for n in widths[:-1]], [(rows, m) for m in widths[1:]], problem.sizes)
    )
    outputs, weight_gradients, input_gradients = (
        each(group, empty, lambda a: math.prod(a.shape), id) for group in (gradients, weights, inputs)
    )
    operands = {
        "forward": (inputs, weights, outputs, False, False),
        "weights": (inputs, gradients, weight_gradients, True, False),
        "inputs": (gradients, weights, input_gradients, False, True),
    }
    calls = []
    for product in products_of(problem.network):
        a, b, out, transpose_a, transpose_b = operands[product.kind]
        calls.append((a[product.layer], b[product.layer], out[product.layer], transpose_a, transpose_b))

    def step() -> None:
        for call in calls:
            multiply(*call)

    return step


def each(
    things: Sequence[Any], make: Callable[[Any], Array], size: Callable[[Any], int], key: Callable[[Any], Any] = lambda it: it
) -> list[Array]:
    """An array for each of these; where it is too large for any cache, the same one for those with the same key."""
    made: dict[Any, Array] = {}
    found = []
    for thing in things:
        if size(thing) < LARGE:
            found.append(make(thing))
            continue
        if key(thing) not in made:
            made[key(thing)] = make(thing)
        found.append(made[key(thing)])
    return found


def torch_floor(problem: Problem, where: Where) -> Prepared:
    """With torch's `mm`, replayed as one CUDA graph, so that the time contains no launches from the host."""
    import torch

    dtype = torch.bfloat16 if problem.precision == "bfloat16" else torch.float32

    def normal(*shape: int) -> Array:
        return torch.randn(shape, device=where.device, dtype=dtype)

    def multiply(a: Array, b: Array, out: Array, transpose_a: bool, transpose_b: bool) -> None:
        torch.mm(a.T if transpose_a else a, b.T if transpose_b else b, out=out)

    step = chain(problem, normal, torch.empty_like, multiply)
    with products(problem.precision):
        call = captured(step) if where.cuda else step
    return Prepared(call, finisher(where), around=lambda: products(problem.precision), clock=where.clock)


def own_floor(problem: Problem, backend: Any, clock: Clock = HOST) -> Prepared:
    """With the backend's `matmul`, one call after the other."""
    normal = normal_values(backend, problem.precision)

    def multiply(a: Array, b: Array, out: Array, transpose_a: bool, transpose_b: bool) -> None:
        backend.matmul(a, b, out, transpose_a=transpose_a, transpose_b=transpose_b)

    step = chain(problem, normal, lambda a: backend.empty(a.shape, backend.dtype_name(a)), multiply)
    around = lambda: own_products(backend, problem.precision)  # noqa: E731
    return Prepared(step, lambda handle: backend.synchronize(), around=around, clock=clock)  # noqa: ARG005


def own_products(backend: Any, precision: str) -> AbstractContextManager[Any]:
    """Within it the backend takes products of float32 in TF32 for "tf32"."""
    context: AbstractContextManager[Any] = backend.products(precision) if precision == "tf32" else nullcontext()
    return context


def normal_values(backend: Any, precision: str) -> Callable[..., Array]:
    """Makes arrays of the backend with standard normal values, in the type in which a precision stores them."""
    dtype = "float32" if precision == "tf32" else precision
    block = backend.asarray(backend.asarray(np.random.default_rng(5).standard_normal(BLOCK, np.float32)), dtype)

    def make(*shape: int) -> Array:
        made = backend.empty(shape, dtype)
        flat = backend.xp.reshape(made, (-1,))
        for start in range(0, flat.shape[0], BLOCK):
            part = flat[start : start + BLOCK]
            backend.copy(block[: part.shape[0]], part)
        return made

    return make
