"""The floor: the time of only the matrix products (GEMMs) of a workload, as fast as the libraries can compute them.

Measured in several ways: whole products as on the NumPy backend, rows split over threads as in compiled passes, and, for
trainings and predictions whose products are too small for several threads, all of them on one. In the last two, each product
is that of the library which was selected for it (see kernels/targets/gemm_choices.py). The smallest time is a lower limit for
the workload with the same libraries.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..backends.threads import limit_this_thread, single_threaded_blas
from ..kernels.targets.gemm_choices import planning
from ..kernels.targets.products import multiply
from .gemms import GemmCase, blocks, products
from .problem import Problem
from .team import Team, blas_threads, cuts, team
from .timing import Prepared

Array = Any

BLAS_FLOOR, ROWS_FLOOR, ONE_FLOOR = "GEMMs (BLAS)", "GEMMs (rows)", "GEMMs (1 thread)"

SMALL = 1e8
"""Operations of a pass, from which on several threads are always faster: about a millisecond of one."""


class _Operands:
    """Inputs, weights and gradients of each layer for some rows, with standard normal values, and buffers for the results."""

    def __init__(self, problem: Problem, rows: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 3])
        widths, dtype = problem.network.widths, np.dtype(problem.dtype)
        self.inputs = [rng.standard_normal((rows, n)).astype(dtype) for n in widths[:-1]]
        self.gradients = [rng.standard_normal((rows, m)).astype(dtype) for m in widths[1:]]
        self.weights = [weights for weights, _ in problem.start]
        self.outputs = [np.empty_like(s) for s in self.gradients]
        self.weight_gradients = [np.empty_like(w) for w in self.weights]
        self.input_gradients = [np.empty_like(x) for x in self.inputs]

    def factors(self, wanted: Sequence[GemmCase]) -> list[tuple[Array, Array, Array]]:
        """(a, b, a b) of each product."""
        made = []
        for product in wanted:
            k = product.layer
            x, w, d = self.inputs[k], self.weights[k], self.gradients[k]
            given = {
                "forward": (x, w, self.outputs[k]),
                "weights": (x.T, d, self.weight_gradients[k]),
                "inputs": (d, w.T, self.input_gradients[k]),
            }
            made.append(given[product.kind])
        return made


def _whole(given: Sequence[tuple[Array, Array, Array]]) -> list[Callable[[], Any]]:
    """The products as steps of the NumPy backend compute them."""
    return [partial(multiply, *each) for each in given]


def _as_compiled(a: Array, b: Array, out: Array) -> Callable[[], Any]:
    """The product as compiled passes compute it, without the interpreter's lock."""
    from ..kernels.targets.native import Address, address_of, gemm_entry, gemm_words

    def side(array: Array) -> tuple[Address, int, bool]:
        transposed = not array.flags.c_contiguous
        stored = array.T if transposed else array
        return address_of(stored), int(stored.shape[1]), transposed

    extents = (int(out.shape[0]), int(out.shape[1]), int(a.shape[1]))
    words = np.array(gemm_words(out.dtype, side(a), side(b), (address_of(out), extents[1]), extents, False), np.int64)
    entry, place = ctypes.CFUNCTYPE(None, ctypes.c_size_t)(gemm_entry().address), int(address_of(words))

    def call(holds: tuple[Array, ...] = (words, a, b, out)) -> None:
        del holds  # held, because the words are their addresses
        entry(place)

    return call


def blas_floor(problem: Problem) -> Prepared:
    """Each product whole, spread over the cores by the BLAS library."""
    parts = [(count, _whole(_Operands(problem, _rows(wanted), 0).factors(wanted))) for count, wanted in problem.products]

    def step() -> None:
        for count, calls in parts:
            for _ in range(count):
                for call in calls:
                    call()

    return Prepared(step, around=lambda: blas_threads(problem.threads))


def rows_floor(problem: Problem) -> Prepared:
    """The rows of each minibatch split over one Python thread per core, each with single-threaded BLAS.

    The weight gradients of the threads are not added: their sum is not a matrix product. In a pass without a step, threads do
    not wait for each other after each block.
    """
    threads = max(1, min(problem.threads, problem.network.batch))

    def calls(rows: int, wanted: Sequence[GemmCase], number: int) -> list[Callable[[], Any]]:
        return [_as_compiled(*each) for each in _Operands(problem, rows, number).factors(wanted)]

    def pass_of(rows: int, number: int) -> list[Callable[[], Any]]:
        found = [count * calls(_rows(wanted), wanted, number) for count, wanted in blocks(problem.network, rows)]
        return [call for part in found for call in part]

    parts = []
    for count, wanted in problem.products:
        evaluation = all(each.kind == "forward" for each in wanted)
        with single_threaded_blas, planning():
            if evaluation:
                given = cuts(count * _rows(wanted), threads)
                parts.append((1, [pass_of(b - a, number) for number, (a, b) in enumerate(given)]))
            else:
                given = cuts(_rows(wanted), threads)
                parts.append((count, [calls(b - a, wanted, number) for number, (a, b) in enumerate(given)]))
    pool: Team = team(threads)
    pool.run(lambda number: limit_this_thread() if number else None)

    def step() -> None:
        for count, of_threads in parts:
            for _ in range(count):
                pool.run(partial(_all_of, of_threads))

    return Prepared(step, around=lambda: blas_threads(1))


def small(problem: Problem) -> bool:
    """Whether one thread may be faster than several, judged by the first pass: a step, or a prediction."""
    return sum(each.flop for each in problem.products[0][1]) < SMALL


def one_floor(problem: Problem) -> Prepared:
    """Each product whole, on the calling thread."""
    return rows_floor(problem.but(threads=1))


def _all_of(calls: Sequence[Sequence[Callable[[], Any]]], number: int) -> None:
    for call in calls[number]:
        call()


def _rows(wanted: Sequence[GemmCase]) -> int:
    """Of the minibatch that goes through these products, the first of which is a forward one."""
    return wanted[0].rows


def device_floor(problem: Problem, backend: Any) -> Prepared:
    """The products of a step by a backend's own `matmul`, on arrays on its device."""
    host = _Operands(problem, problem.network.batch, 0)
    inputs, gradients, weights = ([backend.asarray(a) for a in group] for group in (host.inputs, host.gradients, host.weights))
    outputs, weight_gradients, input_gradients = (
        [backend.empty(a.shape, problem.dtype) for a in group] for group in (gradients, weights, inputs)
    )
    order = products(problem.network)

    def step() -> None:
        for product in order:
            k = product.layer
            if product.kind == "forward":
                backend.matmul(inputs[k], weights[k], outputs[k])
            elif product.kind == "weights":
                backend.matmul(inputs[k], gradients[k], weight_gradients[k], transpose_a=True)
            else:
                backend.matmul(gradients[k], weights[k], input_gradients[k], transpose_b=True)

    def finish(handle: object) -> None:
        del handle
        backend.synchronize()

    return Prepared(step, finish)
