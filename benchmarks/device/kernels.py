"""Single kernels on a GPU with a cold cache, compared with the copy rate of the same run; and plain products."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from .. import kernels
from ..cases import failed
from ..contenders.base import Where
from ..copying import device_copy
from ..results import KernelCase, LeftOut, Timing
from ..timing import Prepared, Sampling, interleave
from .allowance import Allowance
from .floor import normal_values, own_products
from .place import Place
from .plan import PRECISIONS, DeviceSizes

Progress = Callable[[str], None]


class Bench:
    """Times the kernels of a place; the arrays that are copied and overwritten are allocated once.

    Args: place; sizes; sampling; progress – receives status messages.
    """

    def __init__(self, place: Place, sizes: DeviceSizes, sampling: Sampling, progress: Progress) -> None:
        self.place, self.sizes, self.sampling, self.progress = place, sizes, sampling, progress

    def copy(self, allowance: Allowance) -> list[KernelCase]:
        """The rate at which the device copies an array that fits in no cache."""
        moved = 8 * self.sizes.copied
        case = KernelCase("copy", f"{moved / 1e9:.3g} GB read and written", moved)
        return [self._timed(case, {}, {}, allowance)]

    def adam(self, allowance: Allowance) -> list[KernelCase]:
        """The update of all parameters as in a step, compared with torch's fused Adam."""
        count = self.sizes.adam
        case = KernelCase("Adam update", f"{count / 1e6:g} M parameters", 28 * count)
        peers = self._torch(case, lambda where: kernels.torch_adam(count, 1, where.device))
        ours = self._ours(case, lambda: kernels.adam(self.place.backend, count, 1))
        return [self._timed(case, ours, peers, allowance)]

    def softmax(self, allowance: Allowance) -> list[KernelCase]:
        """Loss and gradient of each row of logits in one pass, compared with torch's cross_entropy forward and backward.

        Then the same with the gradient of the bias that the logits came from.
        """
        rows, classes = self.sizes.rows, self.sizes.classes
        size, moved = f"{rows:,} x {classes:,}", 8 * rows * classes
        case = KernelCase("softmax-cross-entropy", size, moved)
        ours = self._ours(case, lambda: kernels.softmax_cross_entropy(self.place.backend, 1, rows, classes))
        peers = self._torch(case, lambda where: torch_cross_entropy(where, rows, classes))
        found = [self._timed(case, ours, peers, Allowance(allowance.left / 2))]
        case = KernelCase("softmax-cross-entropy with bias gradient", size, moved)
        case.left_out.append(LeftOut("torch", "its bias gradient belongs to the layer, not to the loss"))
        ours = self._ours(case, lambda: kernels.summed_cross_entropy(self.place.backend, 1, rows, classes))
        return [*found, self._timed(case, ours, {}, allowance)]

    def rows(self, allowance: Allowance) -> list[KernelCase]:
        """Bias and ReLU, LayerNorm, and the sum of squares of a gradient."""
        rows, width = self.sizes.rows // 4, self.sizes.width
        found = []
        for name, make in (("bias and ReLU", kernels.bias_relu), ("LayerNorm forward", kernels.layer_norm)):
            case = KernelCase(name, f"{rows:,} x {width:,}", 8 * rows * width)
            case.left_out.append(LeftOut("torch", "only its Adam and its cross-entropy are timed"))
            ours = self._ours(case, lambda make=make: make(self.place.backend, 1, rows, width))  # type: ignore[misc]
            found.append(self._timed(case, ours, {}, allowance))
        count = self.sizes.adam
        case = KernelCase("global norm", f"{count / 1e6:g} M elements", 4 * count)
        case.left_out.append(LeftOut("torch", "only its Adam and its cross-entropy are timed"))
        ours = self._ours(case, lambda: kernels.global_norm(self.place.backend, count, 1))
        return [*found, self._timed(case, ours, {}, allowance)]

    def products(self, allowance: Allowance) -> list[KernelCase]:
        """Square matrices, in each precision: the measured rate of products."""
        size = self.sizes.product
        found = []
        for number, precision in enumerate(PRECISIONS):
            case = KernelCase("matrix product", f"{size} x {size} x {size}", 0, precision, flop=2 * size**3)
            case.moved = 3 * size * size * (2 if precision == "bfloat16" else 4)
            peers = self._torch(case, lambda where, precision=precision: torch_product(where, size, precision))  # type: ignore[misc]
            ours: dict[str, Prepared] = {}
            if precision in self.place.backend.precisions:
                ours = self._ours(case, lambda precision=precision: self._product(size, precision))  # type: ignore[misc]
            fraction = Allowance(allowance.left / (len(PRECISIONS) - number))
            if ours or peers:
                found.append(self._interleaved(case, ours, peers, {}, fraction))
        return found

    @property
    def _name(self) -> str:
        return str(self.place.backend.name)

    def _ours(self, case: KernelCase, make: Callable[[], Prepared]) -> dict[str, Prepared]:
        """The prepared call, or None with a reason in the case: other kernels and the copies are still timed."""
        try:
            return {self._name: make()}
        except Exception as error:
            case.left_out.append(LeftOut(self._name, failed(error)))
            return {}

    def _torch(self, case: KernelCase, make: Callable[[Where], Prepared]) -> dict[str, Prepared]:
        where = self.place.torch
        if where is None:
            reason = next((left.reason for left in self.place.left_out if left.name == "torch"), "is not here")
            case.left_out.append(LeftOut("torch", reason))
            return {}
        try:
            made = make(where)
        except Exception as error:  # in any case, fusedstep is still measured
            case.left_out.append(LeftOut("torch", failed(error)))
            return {}
        made.clock = where.clock
        made.finish = _torch_finish(where)
        return {"torch": made}

    def _timed(
        self, case: KernelCase, ours: dict[str, Prepared], peers: dict[str, Prepared], allowance: Allowance
    ) -> KernelCase:
        """All of them, and the copies, each call alone and with a cold cache."""
        beside = {f"copy, {self._name}": self._copy}
        for prepared in (*ours.values(), *beside.values()):
            prepared.before = self._flush
        if self._torch_copy is not None:
            beside["copy, torch"] = self._torch_copy
            for prepared in (*peers.values(), self._torch_copy):
                prepared.before = self._torch_flush
        return self._interleaved(case, ours, peers, beside, allowance)

    def _interleaved(
        self, case: KernelCase, ours: dict[str, Prepared], peers: dict[str, Prepared], beside: dict[str, Prepared],
        allowance: Allowance,
    ) -> KernelCase:  # fmt: skip
        for name, prepared in {**ours, **beside}.items():
            if not name.endswith("torch"):
                prepared.clock = self.place.ours.clock
        counts: dict[str, int | None] = {}
        for name in list(ours):
            try:
                counts[name] = self._launches(ours[name])
            except Exception as error:
                case.left_out.append(LeftOut(name, failed(error)))
                del ours[name]
        sampling = self.sampling._replace(most=0.8 * allowance.left)
        lost: dict[str, Exception] = {}
        turns = interleave({**ours, **peers, **beside}, sampling, lambda what: self.progress(f"{case.kernel}: {what}"), lost)
        case.left_out += [LeftOut(name, failed(error)) for name, error in lost.items()]
        device = self.place.device
        for kind, group in (("ours", ours), ("peer", peers), ("copy", beside)):
            for name in (name for name in group if name in turns):
                memory = 8 * self.sizes.copied if kind == "copy" else None
                case.timings.append(Timing(name, kind, *turns[name], device, memory=memory, launches=counts.get(name)))
        return case

    def _launches(self, prepared: Prepared) -> int | None:
        """How many kernels of ours one call launches; None where the backend does not count."""
        before = getattr(self.place.backend, "launches", None)
        with prepared.around():
            prepared.finish(prepared.step())
        return None if before is None else int(self.place.backend.launches - before)

    @cached_property
    def _copy(self) -> Prepared:
        return device_copy(self.place.backend, self.sizes.copied)

    @cached_property
    def _torch_copy(self) -> Prepared | None:
        return None if self.place.torch is None else torch_copy(self.place.torch, self.sizes.copied)

    @cached_property
    def _flush(self) -> Callable[[], None]:
        """Overwrites more than a cache holds."""
        backend = self.place.backend
        buffer = backend.zeros((self.sizes.flushed,))
        return lambda: backend.fill(buffer, 1.0)

    @cached_property
    def _torch_flush(self) -> Callable[[], None]:
        import torch

        buffer = torch.zeros(self.sizes.flushed, device="cpu" if self.place.torch is None else self.place.torch.device)
        return lambda: buffer.fill_(1.0)

    def _product(self, size: int, precision: str) -> Prepared:
        """The backend's own product."""
        backend = self.place.backend
        normal = normal_values(backend, precision)
        a, b, out = (normal(size, size) for _ in range(3))
        return Prepared(
            lambda: backend.matmul(a, b, out), lambda handle: backend.synchronize(),  # noqa: ARG005
            around=lambda: own_products(backend, precision),
        )  # fmt: skip


def _torch_finish(where: Where) -> Callable[[Any], None]:
    from ..contenders.torch_eager import finisher

    return finisher(where)


def torch_copy(where: Where, elements: int) -> Prepared:
    """`copy_` of one large tensor to another."""
    import torch

    source = torch.randn(elements, device=where.device)
    target = torch.zeros_like(source)
    return Prepared(lambda: target.copy_(source), _torch_finish(where), clock=where.clock)


def torch_cross_entropy(where: Where, rows: int, classes: int) -> Prepared:
    """`cross_entropy` of logits and labels, and its gradient."""
    import torch

    logits = torch.randn(rows, classes, device=where.device, requires_grad=True)
    labels = torch.randint(0, classes, (rows,), device=where.device)

    def step() -> Any:
        logits.grad = None
        loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()
        return loss

    return Prepared(step)


def torch_product(where: Where, size: int, precision: str) -> Prepared:
    """`mm` of two square matrices of standard normal values."""
    import torch

    from ..contenders.torch_eager import products

    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.randn(size, size, device=where.device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return Prepared(lambda: torch.mm(a, b, out=out), around=lambda: products(precision))
