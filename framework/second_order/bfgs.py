"""BFGS: an approximation of the inverse Hessian, built from the changes of the gradient."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ...backends import Array
from ...kernels.formulas.vectors import inverse_update
from ..optimizers.full_batch import FullBatchMethod
from ..settings import whole
from ..suggestions import suggests_arguments
from .descent import NO_STEP
from .limits import require_room
from .line_search import LineSearch, StrongWolfe, search_or
from .objective import MATRIX_LIMIT
from .walk import Walk

CURVED = 1e-10
"""A pair (s, y) is skipped if <s, y> is at most this fraction of ||s|| ||y||, because it contains no reliable curvature."""


@suggests_arguments
class BFGS(FullBatchMethod):
    """p = -B g with B = (I - rho s y^T) B (I - rho y s^T) + rho s s^T, rho = 1 / <s, y>, s = step, y = change of g.

    B [N, N] starts as <s, y> / <y, y> I after the first step, and is reset if p is no longer a descent direction.

    Args: line_search – default StrongWolfe(), which makes <s, y> > 0; max_parameters – the largest number of parameters
        accepted, default 5000.
    Raises: TooLarge, from minimize, for a network with more parameters; use LBFGS for those.
    Source: Nocedal and Wright (2006), algorithm 6.1; notes 000.
    """

    def __init__(self, line_search: LineSearch | None = None, max_parameters: int = MATRIX_LIMIT) -> None:
        self.line_search = search_or(line_search, StrongWolfe())
        self.max_parameters = whole(max_parameters, "max_parameters")

    def iterations(self, walk: Walk) -> Generator[dict[str, float], None, str]:
        """See FullBatchMethod. An iteration is a product with B, a line search, and an update of B."""
        f, backend, vectors = walk.objective, walk.objective.backend, walk.vectors
        dtype, count = f.arena.dtype, f.count
        require_room(count, self.max_parameters, dtype, "the matrix of BFGS", solved=False)
        inverse: Array | None = None
        direction, change = vectors.new(), vectors.new()
        s, y, product = (backend.zeros((count, 1), dtype) for _ in range(3))
        while True:
            if inverse is None:
                vectors.combine(direction, -1.0, walk.gradient, 0.0, walk.gradient)
            else:
                f.packing.pack(walk.gradient, y[:, 0])
                backend.matmul(inverse, y, product)
                backend.copy(-1.0 * product, product)
                f.packing.unpack(product[:, 0], direction)
            step = walk.advance(self.line_search, direction, first_step(walk, inverse is None))
            if not step:
                if inverse is None:
                    return NO_STEP
                inverse = None
                continue
            yield {"step": step}
            vectors.combine(change, 1.0, walk.gradient, -1.0, walk.before)
            curvature, squares = step * vectors.dot(direction, change), vectors.dot(change, change)
            if curvature <= CURVED * step * vectors.norm(direction) * squares**0.5:
                continue
            if inverse is None:
                inverse = _scaled_identity(backend, count, dtype, curvature / squares)
            f.packing.pack(direction, s[:, 0])
            f.packing.pack(change, y[:, 0])
            backend.copy(step * s, s)
            backend.matmul(inverse, y, product)
            bent = backend.item(backend.xp.sum(y * product))
            a, b = backend.xp.reshape(s, (-1,)), backend.xp.reshape(product, (-1,))
            factor = (1.0 + bent / curvature) / curvature
            backend.map(inverse_update, inverse, inverse, a, b, a, b, 1.0 / curvature, factor)


def first_step(walk: Walk, steepest: bool) -> float:
    """The first step to try: 1, or if the direction is -g at most 1 / ||g||, a step of length 1."""
    return min(1.0, 1.0 / walk.norm) if steepest and walk.norm > 0.0 else 1.0


def _scaled_identity(backend: Any, count: int, dtype: str, scale: float) -> Array:
    matrix = backend.zeros((count, count), dtype)
    backend.xp.reshape(matrix, (-1,))[:: count + 1] = scale
    return matrix
