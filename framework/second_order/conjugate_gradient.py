"""Nonlinear conjugate gradients."""

from __future__ import annotations

from collections.abc import Generator

from ..optimizers.full_batch import FullBatchMethod
from ..settings import choice, positive, whole
from ..suggestions import suggests_arguments
from .bfgs import first_step
from .descent import NO_STEP
from .line_search import LineSearch, StrongWolfe, search_or
from .walk import Walk


@suggests_arguments
class ConjugateGradient(FullBatchMethod):
    """p = -g + beta p, followed by a line search along p; on a quadratic the directions are conjugate, <p, H p'> = 0.

    beta "polak_ribiere": max(0, <g, g - g'> / <g', g'>) with the previous gradient g'; "fletcher_reeves": <g, g> / <g', g'>.
    The first step tried is -<g, p> / <p, G p> with one Gauss-Newton product, which is exact on a quadratic, so N iterations
    find its minimum.

    Args: beta – default "polak_ribiere"; restart_after – iterations until p is set to -g again, None for the number of
        parameters; overlap – also restarts if |<g, g'>| >= overlap ||g||^2 (Powell's test, default 0.2), or if p is not a
        descent direction; line_search – default StrongWolfe(c2=0.1). Rows of the history add restart, 1 if p was set to -g.
    Source: Nocedal and Wright (2006), section 5.2; notes 000, which print g for p in <p, H p'> = 0.
    """

    BETAS = ("polak_ribiere", "fletcher_reeves")

    def __init__(
        self,
        beta: str = "polak_ribiere",
        restart_after: int | None = None,
        overlap: float = 0.2,
        line_search: LineSearch | None = None,
    ) -> None:
        self.beta = choice(beta, "beta", self.BETAS)
        self.restart_after = None if restart_after is None else whole(restart_after, "restart_after")
        self.overlap = positive(overlap, "overlap")
        self.line_search = search_or(line_search, StrongWolfe(c2=0.1))

    def iterations(self, walk: Walk) -> Generator[dict[str, float], None, str]:
        """See FullBatchMethod. An iteration is a curvature product and a line search."""
        f, vectors = walk.objective, walk.vectors
        longest = self.restart_after or f.count
        direction, bent = vectors.new(), vectors.new()
        since, squares = 0, 0.0
        while True:
            own = walk.norm**2
            beta = 0.0
            if 0 < since < longest and squares > 0.0:
                across = vectors.dot(walk.gradient, walk.before)
                if abs(across) < self.overlap * own:
                    beta = own / squares if self.beta == "fletcher_reeves" else max(0.0, (own - across) / squares)
            vectors.combine(direction, -1.0, walk.gradient, beta, direction)
            if beta and walk.derivative(direction) >= 0.0:
                beta = 0.0
                vectors.combine(direction, -1.0, walk.gradient, 0.0, direction)
            since = since + 1 if beta else 1
            curvature = vectors.dot(direction, f.gauss_newton_product(direction, bent))
            first = -walk.derivative(direction) / curvature if curvature > 0.0 else first_step(walk, True)
            step = walk.advance(self.line_search, direction, first)
            if not step:
                if not beta:
                    return NO_STEP
                since = 0
                continue
            squares = own
            yield {"step": step, "restart": float(beta == 0.0)}
