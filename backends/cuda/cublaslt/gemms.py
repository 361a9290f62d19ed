"""The product plans of one device: a plan is created, and algorithms are timed, when a product first occurs.

Afterwards a product is a single library call without allocation, timing or synchronisation.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Hashable
from dataclasses import replace

from ....errors import DeviceError, HyperparameterError, ShapeError, StateError
from ...arrays import Array
from ...bounded_cache import BoundedCache
from ..streams import own_stream
from .choices import Choice, Choices
from .codes import Epilogue
from .device import WORKSPACE_BYTES, CupyDevice
from .library import CublasLt, ProductAlgorithm
from .plan import ProductPlan
from .problem import ProductProblem, Unsuited, alignment_of, data_type

CANDIDATES = "FUSEDSTEP_GEMM_CANDIDATES"
"""Environment variable: number of algorithms that are timed for each product; 1 uses the library's first without timing."""
MOST_PLANS = 8192
"""Largest number of cached plans; the oldest are dropped, and created again when needed."""
VECTOR_BYTES = 16
"""Addresses of biases, masks and saved inputs must be multiples of this."""


def candidate_count() -> int:
    """The value of CANDIDATES, 16 by default.

    Raises: HyperparameterError unless it is a whole number from 1 to 64.
    """
    given = os.environ.get(CANDIDATES) or "16"
    if not given.isdigit() or not 1 <= int(given) <= 64:
        raise HyperparameterError(f"expected a whole number from 1 to 64 in {CANDIDATES}; got {given!r}; unset it for 16")
    return int(given)


class _Refused(Exception):
    """The library rejected an algorithm that it had offered."""


class Gemms:
    """Products of row-major arrays on one device.

    Args: library – cuBLASLt or a fake; device – of the arrays; candidates – see CANDIDATES; deterministic – whether the bits
        must not depend on timing: each product then uses the library's first algorithm that adds in a fixed order, and
        epilogues are used wherever they are supported.
    Attributes: calls – number of products that were run; deterministic.
    """

    def __init__(
        self, library: CublasLt, device: CupyDevice, candidates: int | None = None, deterministic: bool = False
    ) -> None:
        self.library = library
        self.device = device
        self.calls = 0
        self.deterministic = deterministic
        self._measures = device.measures and not deterministic
        self._count = candidate_count() if candidates is None else candidates
        identity = f"{device.identity}, cuBLASLt {library.version}, {self._count} candidates"
        self._choices = Choices(identity, keep=self._measures)
        self._plans = BoundedCache(MOST_PLANS)
        self._workspaces: dict[Hashable, tuple[Array, int]] = {}
        self._handing_out = threading.Lock()
        self._disappointed = False

    def _workspace(self, stream: int) -> int:
        """The address of the workspace of a stream. Each stream has its own, because its kernels run in order."""
        key = own_stream(stream)
        found = self._workspaces.get(key)
        if found is None:
            if self.device.recording():
                raise StateError(
                    "expected a stream on which a product had run before its work was captured; got a new one; run the "
                    "step once on it first"
                )
            buffer = self.device.bytes(WORKSPACE_BYTES)
            found = self._workspaces[key] = buffer, self.device.address(buffer)
        return found[1]

    def _run(self, plan: ProductPlan, a: int, b: int, out: int) -> None:
        stream = self.device.stream()
        # A product may consist of several kernels that use the workspace; those of other threads must not come between them.
        with self._handing_out:
            self.calls += 1
            plan.run(a, b, out, self._workspace(stream), WORKSPACE_BYTES, stream)

    def matmul(self, a: Array, b: Array, out: Array, accumulate: bool = False, tf32: bool = False) -> None:
        """out = a b, or out += a b with `accumulate`, for non-empty arrays [m, k], [k, n] and [m, n], or stacks of them.

        Raises: Unsuited for types and strides that cuBLASLt does not support, or if it has no algorithm.
        """
        where = self.device.address
        first, second, target = where(a), where(b), where(out)
        between = (x.strides[0] for x in (a, b, out) if len(x.shape) == 3)
        alignment = alignment_of(first, second, target, *between)
        key = (
            a.shape, a.strides, b.shape, b.strides, out.shape, out.strides, a.dtype, b.dtype, out.dtype, accumulate, tf32,
            alignment,
        )  # fmt: skip
        plan = self._plans.get(key)
        if plan is None:
            with self.device.lock:
                self._refuse_recording()
                problem = ProductProblem.of(a, b, out, accumulate, alignment, tf32)
                plan, choice = self._planned(problem, 0, 0, a, b, out)
                if choice is None:
                    raise Unsuited(f"no algorithm for the product {problem.name}")
                self._remember(problem.name, choice)
                self._plans[key] = plan
        self._run(plan, first, second, target)

    def fused(
        self, a: Array, b: Array, out: Array, epilogue: Epilogue, unfused: Callable[[], object] | None,
        vector: Array | None = None, aux: Array | None = None, aux_leading: int = 0,
        accumulate: bool = False, tf32: bool = False,
    ) -> bool:  # fmt: skip
        """Computes out = a b with an epilogue, if that is supported and was measured to be faster than `unfused`.

        Args: unfused – computes the same in another way, and writes nothing else; None skips the comparison; vector – the bias,
            or the output for its gradient; aux – the mask or the saved input of the epilogue; aux_leading – its leading
            dimension.
        Returns: whether the result was computed; if not, the output arrays may contain arbitrary values from timing.
        """
        where = self.device.address
        first, second, target = where(a), where(b), where(out)
        side = 0 if vector is None else where(vector)
        saved = 0 if aux is None else where(aux)
        alignment = alignment_of(first, second, target)
        key = (
            a.shape, a.strides, b.shape, b.strides, out.shape, out.strides, a.dtype, b.dtype, out.dtype, accumulate, tf32,
            alignment, int(epilogue), side, saved, aux_leading, None if vector is None else (vector.shape, vector.dtype),
            None if aux is None else aux.shape,
        )  # fmt: skip
        if key in self._plans:
            plan = self._plans[key]
        else:
            with self.device.lock:
                self._refuse_recording()
                _require_sides(out, epilogue, vector, aux, aux_leading)
                plan = None
                if not (side | saved) % VECTOR_BYTES:
                    plan = self._better(
                        a, b, out, epilogue, unfused, vector, side, saved, aux_leading, accumulate, tf32, alignment
                    )
                self._plans[key] = plan
        if plan is None:
            return False
        self._run(plan, first, second, target)
        return True

    def _better(
        self, a: Array, b: Array, out: Array, epilogue: Epilogue, unfused: Callable[[], object] | None, vector: Array | None,
        side: int, saved: int, aux_leading: int, accumulate: bool, tf32: bool, alignment: int,
    ) -> ProductPlan | None:  # fmt: skip
        """The plan with the epilogue; None if it is not supported or `unfused` is faster."""
        try:
            kind = data_type(out if vector is None else vector)
            problem = ProductProblem.of(a, b, out, accumulate, alignment, tf32, epilogue, kind, aux_leading)
        except Unsuited:
            return None
        known = self._choices.get(problem.name)
        try:
            plan, choice = self._planned(problem, side, saved, a, b, out)
        except DeviceError as error:
            self._say_unfused(error)
            return None
        if choice is None:
            self._remember(problem.name, Choice(b"", 0, 0.0, fused=False))
            return None
        if known is not choice and self._measures and unfused is not None:
            before = self.device.copy(out) if accumulate else None
            other = self.device.seconds(unfused)
            if before is not None:
                out[...] = before
            choice = replace(choice, fused=choice.seconds <= other)
        self._remember(problem.name, choice)
        return plan if choice.fused else None

    def _say_unfused(self, error: DeviceError) -> None:
        """Warns once that the library raised an error for a product with an epilogue, instead of offering no algorithm."""
        if not self._disappointed:
            self._disappointed = True
            warnings.warn(
                f"cuBLASLt rejected a product with its epilogue, which therefore runs in separate kernels ({error})",
                RuntimeWarning,
                stacklevel=2,
            )

    def _refuse_recording(self) -> None:
        if self.device.recording():
            raise StateError(
                "expected only products that had run once before their work was captured; got a new one; run the step once "
                "with these shapes first"
            )

    # Choosing

    def _planned(
        self, problem: ProductProblem, side: int, saved: int, a: Array, b: Array, out: Array
    ) -> tuple[ProductPlan, Choice | None]:
        """(plan, choice): the fastest algorithm by an earlier measurement or a new one; the choice is None if there is none."""
        plan = ProductPlan(self.library, problem, side, saved)
        choice = self._choices.get(problem.name)
        if choice is not None and not choice.algorithm:
            return plan, None
        if choice is None or not self.library.accepts(plan.descriptor, plan.layouts, choice.algorithm, WORKSPACE_BYTES):
            choice = self._fastest(plan, a, b, out)
        if choice is not None:
            plan.use(choice.algorithm)
        return plan, choice

    def _remember(self, name: str, choice: Choice) -> None:
        if self._choices.get(name) != choice:
            self._choices.put(name, choice)

    def _fastest(self, plan: ProductPlan, a: Array, b: Array, out: Array) -> Choice | None:
        problem, device = plan.problem, self.device
        where = (device.address(a), device.address(b), device.address(out))
        before = device.copy(out) if problem.accumulate else None

        def run() -> None:
            stream = device.stream()
            if plan.try_run(*where, self._workspace(stream), WORKSPACE_BYTES, stream):
                raise _Refused

        best: tuple[float, ProductAlgorithm] | None = None
        offered = self.library.candidates(
            plan.descriptor, plan.layouts, WORKSPACE_BYTES, problem.alignment, self._count, not self.deterministic
        )
        measures = self._measures and len(offered) > 1
        for candidate in offered:
            plan.use(candidate.algorithm)
            try:
                run()
                seconds = device.seconds(run) if self._measures else 0.0
            except _Refused:
                continue  # the library may reject an algorithm that it offered, even only during the capture for timing
            if best is None or seconds < best[0]:
                best = seconds, candidate
            if not measures:
                break
        if before is not None:
            out[...] = before
        return None if best is None else Choice(best[1].algorithm, best[1].workspace, best[0])


def _require_sides(out: Array, epilogue: Epilogue, vector: Array | None, aux: Array | None, aux_leading: int) -> None:
    """Raises ShapeError unless bias and mask have the shapes that the epilogue assumes; cuBLASLt does not check them."""
    length = out.shape[0] if epilogue & Epilogue.BGRADB else out.shape[1]
    if vector is not None and tuple(vector.shape) != (length,):
        raise ShapeError(f"expected a bias or bias gradient of shape ({length},); got {tuple(vector.shape)}; check the widths")
    columns = aux_leading // 8 if epilogue.takes_mask else aux_leading
    if aux is not None and (tuple(aux.shape) != (out.shape[0], columns) or not aux.flags.c_contiguous):
        raise ShapeError(
            f"expected a mask or saved input of shape ({out.shape[0]}, {columns}), row by row; got {tuple(aux.shape)}; make it "
            "with mask_bytes"
        )
