"""Steepest descent with a line search: the simplest full-batch method."""

from __future__ import annotations

from collections.abc import Generator

from ..optimizers.full_batch import FullBatchMethod
from ..settings import positive
from ..suggestions import suggests_arguments
from .line_search import Backtracking, LineSearch, search_or
from .walk import Walk

NO_STEP = "no step along the direction lowers the loss: it is at a minimum, or at the limit of the precision"


@suggests_arguments
class SteepestDescent(FullBatchMethod):
    """theta -= a g, with a from a line search in every iteration.

    Args: line_search – default Backtracking(), which starts at twice the previous step; BestOf(rates) is the form in the notes;
        first_step – initial step of the first iteration, default 1.
    Source: Cauchy (1847); notes 002.
    """

    def __init__(self, line_search: LineSearch | None = None, first_step: float = 1.0) -> None:
        self.line_search = search_or(line_search, Backtracking())
        self.first_step = positive(first_step, "first_step")

    def iterations(self, walk: Walk) -> Generator[dict[str, float], None, str]:
        """See FullBatchMethod. An iteration is a line search along -g."""
        vectors = walk.vectors
        direction = vectors.new()
        first = self.first_step
        while True:
            vectors.combine(direction, -1.0, walk.gradient, 0.0, walk.gradient)
            step = walk.advance(self.line_search, direction, first)
            if not step:
                return NO_STEP
            yield {"step": step}
            first = 2.0 * step
