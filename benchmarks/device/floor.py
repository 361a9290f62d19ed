"""The floor on a GPU: the products of a step and nothing else, in the types of the step, replayed as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..contenders.base import Where
from ..contenders.torch_eager import finisher, products
from ..floor import device_floor
from ..gemms import products as products_of
from ..problem import Problem
from ..timing import Prepared
from .place import Place

Array = Any


def floors(problem: Problem, place: Place) -> dict[str, Prepared]:
    """The ways in which the products are taken here; the fastest of them is the floor."""
    made: dict[str, Prepared] = {}
    if place.torch is not None:
        made["GEMMs (torch)"] = torch_floor(problem, place.torch)
    if problem.precision == "float32":
        own = device_floor(problem, place.backend)
        own.clock = place.ours.clock
        made[f"GEMMs ({place.backend.name})"] = own
    return made


def torch_floor(problem: Problem, where: Where) -> Prepared:
    """Each product by `mm` into its place, on standard normal values."""
    import torch

    dtype = torch.bfloat16 if problem.precision == "bfloat16" else torch.float32
    widths, rows = problem.network.widths, problem.network.batch

    def normal(*shape: int) -> Array:
        return torch.randn(shape, device=where.device, dtype=dtype)

    inputs = [normal(rows, n) for n in widths[:-1]]
    slopes = [normal(rows, m) for m in widths[1:]]
    weights = [normal(n, m) for n, m in problem.sizes]
    outputs, weight_slopes, input_slopes = ([torch.empty_like(a) for a in group] for group in (slopes, weights, inputs))
    order = products_of(problem.network)

    def step() -> None:
        for product in order:
            k = product.layer
            if product.kind == "forward":
                torch.mm(inputs[k], weights[k], out=outputs[k])
            elif product.kind == "weights":
                torch.mm(inputs[k].T, slopes[k], out=weight_slopes[k])
            else:
                torch.mm(slopes[k], weights[k].T, out=input_slopes[k])

    with products(problem.precision):
        call = captured(step) if where.cuda else step
    return Prepared(call, finisher(where), around=lambda: products(problem.precision), clock=where.clock)


def captured(step: Callable[[], None]) -> Callable[[], Any]:
    """The replay of a CUDA graph of a step, so that no launch from the host is in its time."""
    import torch

    beside: Any = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph: Any = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Callable[[], Any] = graph.replay
    return replay
