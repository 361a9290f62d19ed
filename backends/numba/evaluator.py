"""Evaluation on the CPU: a pass is captured once, and replayed for any number of rows; see evaluation_plan.py."""

from __future__ import annotations

from typing import Any, Literal

from ...kernels.targets.gemm_choices import generation
from ..bounded_cache import BoundedCache
from ..defaults.evaluator import Array, EvaluationWork, Evaluator
from ..executors.base import NotCapturable
from .evaluation_plan import EvaluationPlan


class CapturedEvaluator(Evaluator):
    """Replays a captured pass; one that cannot be captured runs on the layers' own code."""

    def __init__(self, backend: Any, work: EvaluationWork) -> None:
        super().__init__(backend, work)
        self._plans = BoundedCache()
        self._generation = generation()

    def run(self, inputs: tuple[Array, ...], out: Array | None = None) -> tuple[Array, Any]:
        """See Evaluator.run; several threads may call it at the same time.

        The bits do not depend on the number of threads. They may depend on the number of rows, where the BLAS library rounds
        products of other shapes differently.
        """
        if self.work.changed() or self._generation != generation():
            self._plans.clear()
            self._generation = generation()
        kinds = tuple([(a.shape[1:], a.dtype) for a in inputs])
        plan: EvaluationPlan | Literal[False] | None = self._plans.get(kinds)
        if plan is None:
            plan = self._plans[kinds] = self._captured(inputs)
        if plan is False or (out is not None and not out.flags.c_contiguous):
            return super().run(inputs, out)
        return plan.run(inputs, out)

    def _captured(self, inputs: tuple[Array, ...]) -> EvaluationPlan | Literal[False]:
        if self.work.recordable:
            try:
                plan = EvaluationPlan(self.backend, self.work, inputs)
            except NotCapturable:
                return False
            self.work.remember()
            return plan
        return False
