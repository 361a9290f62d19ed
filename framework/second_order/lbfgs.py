"""L-BFGS: BFGS with the last few pairs (s, y) instead of a matrix."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import NamedTuple

from ...backends import Array
from ..optimizers.full_batch import FullBatchMethod
from ..settings import whole
from ..suggestions import suggests_arguments
from .bfgs import CURVED, first_step
from .descent import NO_STEP
from .line_search import LineSearch, StrongWolfe, search_or
from .vectors import Vectors
from .walk import Walk


class _Pair(NamedTuple):
    """A step s and the change y of the gradient in it; curvature – <s, y>; squares – <y, y>."""

    s: Array
    y: Array
    curvature: float
    squares: float


@suggests_arguments
class LBFGS(FullBatchMethod):
    """p = -B g with the B of BFGS, applied by the two-loop recursion over the last m pairs (s, y), from <s, y> / <y, y> I.

    Needs 2 m + 2 flat arrays and O(m N) operations in addition to the gradient.

    Args: memory – m >= 1, default 10; line_search – default StrongWolfe().
    Differs from: torch.optim.LBFGS, whose default is a fixed step without a line search.
    Source: Liu and Nocedal (1989); Nocedal and Wright (2006), algorithms 7.4 and 7.5.
    """

    def __init__(self, memory: int = 10, line_search: LineSearch | None = None) -> None:
        self.memory = whole(memory, "memory")
        self.line_search = search_or(line_search, StrongWolfe())

    def iterations(self, walk: Walk) -> Generator[dict[str, float], None, str]:
        """See FullBatchMethod. An iteration is a two-loop recursion and a line search."""
        vectors = walk.vectors
        pairs: deque[_Pair] = deque(maxlen=self.memory)
        direction = vectors.new()
        while True:
            vectors.combine(direction, -1.0, walk.gradient, 0.0, walk.gradient)
            _multiply(direction, pairs, vectors)
            step = walk.advance(self.line_search, direction, first_step(walk, not pairs))
            if not step:
                if not pairs:
                    return NO_STEP
                pairs.clear()
                continue
            yield {"step": step}
            s, y = pairs[0][:2] if len(pairs) == self.memory else (vectors.new(), vectors.new())
            vectors.combine(s, step, direction, 0.0, direction)
            vectors.combine(y, 1.0, walk.gradient, -1.0, walk.before)
            curvature, squares = vectors.dot(s, y), vectors.dot(y, y)
            if curvature > CURVED * vectors.norm(s) * squares**0.5:
                pairs.append(_Pair(s, y, curvature, squares))
            elif len(pairs) == self.memory:
                pairs.popleft()  # its arrays were overwritten


def _multiply(x: Array, pairs: deque[_Pair], vectors: Vectors) -> None:
    """x = B x, in place, by the two-loop recursion."""
    weights = []
    for pair in reversed(pairs):
        weight = vectors.dot(pair.s, x) / pair.curvature
        vectors.combine(x, 1.0, x, -weight, pair.y)
        weights.append(weight)
    if pairs:
        scale = pairs[-1].curvature / pairs[-1].squares
        vectors.combine(x, scale, x, 0.0, x)
    for pair, weight in zip(pairs, reversed(weights), strict=True):
        vectors.combine(x, 1.0, x, weight - vectors.dot(pair.y, x) / pair.curvature, pair.s)
