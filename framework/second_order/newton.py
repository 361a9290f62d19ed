"""Newton's method with the exact Hessian, damped or not, for small networks."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

from ...backends import Array
from ..optimizers.full_batch import FullBatchMethod
from ..settings import not_negative, whole
from ..suggestions import suggests_arguments
from .line_search import Backtracking, LineSearch, search_or
from .objective import EPSILON, MATRIX_LIMIT
from .walk import Walk

MARGIN = 1e-3
"""If the lowest eigenvalue is negative, damping raises it to this fraction of the largest one."""


@suggests_arguments
class Newton(FullBatchMethod):
    """theta -= a (H + alpha I)^-1 g, with the exact Hessian H.

    H is decomposed into eigenvalues and eigenvectors in every iteration: O(N^2) numbers, O(N^3) operations. Directions in which
    H + alpha I is 0 (up to rounding) are ignored. Rows of the history add damping (the alpha used) and negative (the number of
    negative eigenvalues of H).

    Args: damping – alpha >= 0, default 0; for large alpha the step approaches gradient descent with rate 1 / alpha; convexify –
        whether to raise alpha if H + alpha I has negative eigenvalues, along which a step would increase f (default True);
        line_search – default Backtracking() from a = 1; FixedStep() is the textbook method, which may increase f;
        max_parameters – the largest number of parameters accepted, default 5000.
    Raises: TooLarge, from minimize, for a network with more parameters.
    Source: notes 000, which print the second-order term of the Taylor expansion without its 1/2.
    """

    needs_curvature = True

    def __init__(
        self,
        damping: float = 0.0,
        convexify: bool = True,
        line_search: LineSearch | None = None,
        max_parameters: int = MATRIX_LIMIT,
    ) -> None:
        self.damping = not_negative(damping, "damping")
        self.convexify = bool(convexify)
        self.line_search = search_or(line_search, Backtracking())
        self.max_parameters = whole(max_parameters, "max_parameters")

    def iterations(self, walk: Walk) -> Generator[dict[str, float], None, str]:
        """See FullBatchMethod. An iteration is a Hessian, its eigendecomposition and a line search."""
        f, backend = walk.objective, walk.objective.backend
        direction = walk.vectors.new()
        # Eigenvalues below this fraction of the largest one are rounding errors; their directions are ignored.
        flat_fraction = 8.0 * EPSILON[f.arena.dtype] * max(f.count, 100)
        column = backend.zeros((f.count, 1), f.arena.dtype)
        rotated, flat = (backend.empty((f.count, 1), f.arena.dtype) for _ in range(2))
        while True:
            hessian = f.hessian(self.max_parameters)
            if not math.isfinite(backend.item(backend.sum_of_squares(backend.xp.reshape(hessian, (-1,))))):
                return "the Hessian holds NaN or infinity; scale the data"
            values, vectors = backend.xp.linalg.eigh(hessian)
            lowest, highest = (backend.item(values[k]) for k in (0, f.count - 1))
            size = max(abs(lowest), abs(highest))
            if size == 0.0 and self.damping == 0.0:
                return "the Hessian is 0, so that there is no Newton step; use a loss with curvature, or damping"
            damping = self.damping
            if self.convexify and lowest < -flat_fraction * size:
                damping = max(damping, MARGIN * size - lowest)
            f.packing.pack(walk.gradient, column[:, 0])
            backend.matmul(vectors, column, rotated, transpose_a=True)
            backend.copy(_divided(backend.xp, rotated, values + damping, flat_fraction * (size + damping)), rotated)
            backend.matmul(vectors, rotated, flat)
            f.packing.unpack(flat[:, 0], direction)
            step = walk.advance(self.line_search, direction)
            if not step:
                uphill = walk.derivative(direction) >= 0.0 and walk.norm > 0.0
                return UPHILL if uphill else NO_LOWER
            negative = backend.item(backend.xp.sum(backend.xp.astype(values < -flat_fraction * size, backend.dtype("float64"))))
            yield {"step": step, "damping": damping, "negative": negative}


UPHILL = "the Newton step points uphill, because H + damping I has negative eigenvalues; raise damping, or use convexify=True"
NO_LOWER = "no step along the Newton direction lowers the loss: it is at a minimum, or at the limit of the precision"


def _divided(xp: Any, x: Array, by: Array, smallest: float) -> Array:
    """-x / by, and 0 where |by| <= smallest."""
    by = xp.reshape(by, (-1, 1))
    usable = xp.abs(by) > smallest
    return xp.where(usable, -x / xp.where(usable, by, xp.ones_like(by)), xp.zeros_like(x))
