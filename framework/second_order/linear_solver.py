"""Preconditioned conjugate gradients for A x = b, with the stopping rule of Hessian-free optimisation; needs only A v."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...backends import Array
from .vectors import Vectors


class Iterate(NamedTuple):
    """An approximate solution: number – of iterations; x; model – phi(x) = x^T A x / 2 - b^T x."""

    number: int
    x: Array
    model: float


def conjugate_gradients(
    product: Callable[[Array, Array], None],
    b: Array,
    x: Array,
    precondition: Callable[[Array, Array], None],
    vectors: Vectors,
    *,
    iterations: int,
    tolerance: float = 5e-4,
    spread: float = 1.3,
) -> list[Iterate]:
    """Runs conjugate gradients from x; returns the iterates at iterations ceil(spread^j), j = 0, 1, …, and the last one.

    Stops in iteration i if phi has decreased by less than k tolerance |phi| over the last k = max(10, i / 10) iterations. The
    criterion uses phi instead of the residual, because x is used as an optimisation step.

    Args: product – (v, out) -> out = A v, with A positive definite; b; x – starting point, overwritten; precondition – (r, out)
        -> out = M^-1 r; vectors – arithmetic; iterations – largest number, >= 1; tolerance, spread – see above.
    Source: Martens (2010), sections 4.4 and 4.6.
    """
    residual, z, direction, bent = (vectors.new() for _ in range(4))
    product(x, bent)
    vectors.combine(residual, 1.0, b, -1.0, bent)
    precondition(residual, z)
    vectors.combine(direction, 1.0, z, 0.0, z)
    energy = vectors.dot(residual, z)
    models = [_model(x, b, residual, vectors)]
    iterates: list[Iterate] = []
    due = 1.0
    for i in range(1, iterations + 1):
        product(direction, bent)
        curvature = vectors.dot(direction, bent)
        if not curvature > 0.0 or not energy > 0.0:
            break
        step = energy / curvature
        vectors.combine(x, 1.0, x, step, direction)
        vectors.combine(residual, 1.0, residual, -step, bent)
        models.append(_model(x, b, residual, vectors))
        k = max(10, i // 10)
        last = i == iterations or (
            i > k and models[-1] < 0.0 and models[-1] - models[-1 - k] > k * tolerance * models[-1]
        )
        if i >= due or last:
            iterates.append(Iterate(i, vectors.copy(x), models[-1]))
            while due <= i:
                due *= spread
        if last:
            break
        precondition(residual, z)
        before, energy = energy, vectors.dot(residual, z)
        vectors.combine(direction, 1.0, z, energy / before, direction)
    if not iterates or iterates[-1].number < len(models) - 1:
        iterates.append(Iterate(len(models) - 1, vectors.copy(x), models[-1]))
    return iterates


def _model(x: Array, b: Array, residual: Array, vectors: Vectors) -> float:
    """phi(x) = -x^T (b + r) / 2, with r = b - A x."""
    return -0.5 * (vectors.dot(x, b) + vectors.dot(x, residual))
