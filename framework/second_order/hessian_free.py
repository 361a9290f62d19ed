"""Hessian-free optimisation: Newton steps by conjugate gradients with Gauss-Newton products, without a matrix."""

from __future__ import annotations

from collections.abc import Generator

from ...backends import Array, Random
from ...kernels.formulas.random import normal
from ...kernels.formulas.vectors import add_square, precondition
from ..optimizers.full_batch import FullBatchMethod
from ..settings import fraction, positive, real, whole
from ..streams import CHECK
from ..suggestions import suggests_arguments
from .line_search import Backtracking
from .linear_solver import Iterate, conjugate_gradients
from .objective import Objective
from .walk import Walk


@suggests_arguments
class HessianFree(FullBatchMethod):
    """theta += a p, where p minimises q(p) = <g, p> + p^T (G + lambda I) p / 2 by preconditioned conjugate gradients (CG).

    In each iteration, CG starts from decay times the previous p and stops when q decreases too slowly; later CG iterates are
    discarded for earlier ones as long as this lowers f; lambda *= 3/2 if the ratio rho = (f(theta + p) - f) / q(p) is below
    1/4, and *= 2/3 if it is above 3/4 (Levenberg-Marquardt); a is found by backtracking from 1. Differences of f that are
    hidden by rounding are computed from the gradients, as in the line searches. The preconditioner is (D + lambda)^exponent,
    where D is the sum over the rows of the squared gradients, estimated by `probes` backward passes with random signs for the
    rows.

    Args: damping – initial lambda, > 0, default 0.01; cg_iterations – largest number, default 250; cg_tolerance – default 5e-4;
        decay – in [0, 1), default 0.95; exponent – default 0.75, 0 for no preconditioner; probes – default 8. Rows of the
        history add damping (lambda afterwards), cg (iterations), rho.
    Differs from: Martens (2010) in D, which is summed exactly there, and in decay, which is 1 there and 0.95 in Martens and
        Sutskever (2012); curvature is computed over the full batch.
    Source: Martens (2010), "Deep learning via Hessian-free optimization".
    """

    needs_curvature = True

    def __init__(
        self,
        damping: float = 0.01,
        cg_iterations: int = 250,
        cg_tolerance: float = 5e-4,
        decay: float = 0.95,
        exponent: float = 0.75,
        probes: int = 8,
    ) -> None:
        self.damping = positive(damping, "damping")
        self.cg_iterations = whole(cg_iterations, "cg_iterations")
        self.cg_tolerance = positive(cg_tolerance, "cg_tolerance")
        self.decay = fraction(decay, "decay")
        self.exponent = real(exponent, "exponent", 0.0, 1.0)
        self.probes = whole(probes, "probes")

    def iterations(self, walk: Walk) -> Generator[dict[str, float], None, str]:
        """See FullBatchMethod. An iteration is a run of conjugate gradients and a line search; never returns by itself."""
        f, vectors, backend = walk.objective, walk.vectors, walk.objective.backend
        search = Backtracking(c1=1e-2, shrink=0.8, probes=60)
        damping = self.damping
        start, downhill, squares = vectors.new(), vectors.new(), vectors.new()
        number = 0
        while True:
            number += 1
            if self.exponent:
                _row_squares(f, squares, self.probes, number)
            vectors.combine(downhill, -1.0, walk.gradient, 0.0, walk.gradient)
            strength, exponent = damping, self.exponent

            def damped(v: Array, out: Array, strength: float = strength) -> None:
                f.gauss_newton_product(v, out)
                vectors.combine(out, 1.0, out, strength, v)

            def preconditioned(r: Array, out: Array, strength: float = strength, exponent: float = exponent) -> None:
                backend.map(precondition, out, r, squares, strength, exponent)

            found = conjugate_gradients(
                damped, downhill, start, preconditioned, vectors,
                iterations=self.cg_iterations, tolerance=self.cg_tolerance,
            )  # fmt: skip
            last = found[-1]
            full = walk.change(last.x)
            chosen, fall = _best(walk, found, full)
            rho = full / last.model if last.model < 0.0 else 0.0
            if not rho >= 0.25:
                damping *= 1.5
            elif rho > 0.75:
                damping /= 1.5
            step = walk.advance(search, chosen.x) if fall < float("inf") else 0.0
            if not step:
                walk.restore()  # after the trials of `_best`; with more damping the next step will be shorter
            # The next run starts from where this one ended, even if an earlier iterate was taken as the step.
            vectors.combine(start, self.decay if step else 0.0, last.x, 0.0, last.x)
            yield {"step": step, "damping": damping, "cg": float(last.number), "rho": rho}


def _best(walk: Walk, found: list[Iterate], change: float) -> tuple[Iterate, float]:
    """(iterate, change of f at it): goes back from the last iterate as long as f decreases; change – of f at the last iterate.

    Source: Martens (2010), section 4.6.
    """
    best = found[-1]
    for earlier in reversed(found[:-1]):
        here = walk.change(earlier.x)
        if here > change:
            break
        best, change = earlier, here
    return best, change


def _row_squares(f: Objective, out: Array, probes: int, number: int) -> None:
    """out = estimated diagonal of the sum over rows of g_i g_i^T / factor, plus l2; it has the scale of the diagonal of G."""
    backend = f.backend
    drawn = backend.empty((f.rows, 1), f.arena.dtype)
    total = f.vectors.new()
    scale = 1.0 / (probes * f.loss.factor(f.rows))
    backend.fill(out, 0.0)
    for k in range(probes):
        random = Random(backend.random_state(f.seed, number * probes + k), CHECK + 2)
        backend.map(normal, drawn, 0.0, 1.0, random=random)
        f.signed_gradient(drawn[:, 0], total)
        backend.map(add_square, out, out, total, scale)
    end, l2 = f.l2_factors
    if l2 and end:
        out[:end] = out[:end] + l2
