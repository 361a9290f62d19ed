"""The parts of a measurement on a GPU: names, sizes and time limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...backends.cuda.several import STEPS as LAUNCH
from ...errors import HyperparameterError
from .. import gemms
from ..networks import Network, nearest
from ..timing import Sampling


class DeviceSizes(NamedTuple):
    """Of the kernels.

    Args: copied – elements of the array that is copied, float32; product – of the square matrices that are multiplied; adam –
        parameters; rows, classes – of the logits; width – columns of the other matrices; flushed – elements of the array that
        is overwritten before each cold call: far more than a cache holds, so that the host is ahead of the device meanwhile.
    """

    copied: int
    product: int
    adam: int
    rows: int
    classes: int
    width: int
    flushed: int


class Steps(NamedTuple):
    """A network whose steps are timed.

    Args: network; precision; limit – of its time over that of the products alone, None where there is no such target.
    """

    network: Network
    precision: str
    limit: float | None = None


STEPS = {
    "8192x4-bfloat16": Steps(Network((8192,) * 5, 32_768), "bfloat16", 1.05),
    "4096x3-tf32": Steps(Network((4096,) * 4, 65_536), "tf32", 1.06),
    "4096x3-bfloat16": Steps(Network((4096,) * 4, 65_536), "bfloat16", 1.06),
    "1024x3-tf32": Steps(Network((1024,) * 4, 8192), "tf32"),
    "784-tf32": Steps(Network((784, 512, 512, 10), 256), "tf32"),
    "256x4-tf32": Steps(Network((256,) * 5, 65_536), "tf32"),
}
"""Part -> what it times. Where it says 4 layers, there are four square linear layers, the last of which gives the logits."""

CPU = Network((4096,) * 4, 8192)
"""The network on which the processor and the GPU are compared."""

SECONDS = {
    "adam": 16.0,
    "products": 14.0,
    "copy": 8.0,
    "softmax": 12.0,
    "rows": 12.0,
    "784-tf32": 40.0,
    "256x4-tf32": 42.0,
    "1024x3-tf32": 42.0,
    "4096x3-tf32": 60.0,
    "4096x3-bfloat16": 50.0,
    "8192x4-bfloat16": 80.0,
    "cpu": 50.0,
    "profile": 24.0,
}
"""Part -> its share of the time, in the order in which they come; together 450 seconds.

Networks that are drawn and checked in float64 once, for two parts in a row, are cheaper in the second.
"""

LONG = 4e13
"""Operations of a launch that lasts as long as a burst or longer. Nothing is gained from more steps in it."""

TOTAL = sum(SECONDS.values())
PRECISIONS = ("float32", "tf32", "bfloat16")
"""In which plain products are timed, and the processor is compared."""


@dataclass(frozen=True)
class DevicePlan:
    """The settings of a run; checked on creation.

    Args: parts – names joined by commas, or "" for all; budget – seconds for these parts together, out of which each gets its
        share, or None for what SECONDS gives them; dry – whether everything is walked through at tiny sizes, and nothing
        measured.
    Raises: HyperparameterError.
    """

    parts: str = ""
    budget: float | None = None
    dry: bool = False

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in SECONDS:
                known = tuple(SECONDS)
                raise HyperparameterError(f"expected parts out of {', '.join(known)}; got {name!r}; {nearest(name, known)}")
        if not 1.0 <= self.total <= 86_400.0:
            raise HyperparameterError(f"expected --budget between 1 and 86400 seconds; got {self.total:g}; use {TOTAL:g}")

    @property
    def names(self) -> list[str]:
        """The parts that are wanted, in their order."""
        wanted = {name.strip() for name in self.parts.split(",") if name.strip()}
        return [name for name in SECONDS if name in wanted] + sorted(wanted - set(SECONDS)) if wanted else list(SECONDS)

    @property
    def total(self) -> float:
        """Seconds for all parts that are wanted."""
        return sum(SECONDS[name] for name in self.names) if self.budget is None else self.budget

    @property
    def sizes(self) -> DeviceSizes:
        """Of the kernels."""
        if self.dry:
            return DeviceSizes(copied=256, product=8, adam=2000, rows=4, classes=8, width=8, flushed=256)
        return DeviceSizes(
            copied=2**27, product=8192, adam=60_000_000, rows=65_536, classes=1000, width=8192, flushed=2**28
        )  # fmt: skip

    @property
    def sampling(self) -> Sampling:
        """For steps and kernels: at least 50 calls of each contender."""
        return Sampling(1, 1e-3, 0.0) if self.dry else Sampling(rounds=10, seconds=0.05, pause=0.0, least_calls=5)

    @property
    def processor_sampling(self) -> Sampling:
        """For the processor, which takes seconds for a step, and for the device beside it."""
        return self.sampling if self.dry else Sampling(rounds=3, seconds=0.1, pause=0.05)

    def network(self, network: Network) -> Network:
        """The network itself; in a dry run a tiny one of two layers."""
        if not self.dry:
            return network
        widths = (*network.widths[:2], network.widths[-1])
        return Network(tuple(min(width, 6) for width in widths), min(network.batch, 8))

    def launch(self, network: Network) -> int:
        """Steps that may be taken in one launch: as many as a Trainer takes; of large networks as many as a burst needs."""
        if self.dry:
            return 2
        return LAUNCH if self.short(network) else self.sampling.least_calls

    def short(self, network: Network) -> bool:
        """Whether the steps of a network are so short that launches are worth a look: with those of single steps beside."""
        return LAUNCH * gemms.flop(network) <= LONG

    def fractions(self, due: Sequence[str] | None = None) -> dict[str, float]:
        """Seconds for each part; a dry run has all the time.

        Args: due – the parts that are still to be done, which have the budget for themselves; None for all that are wanted.
        """
        names = self.names if due is None else due
        usual = {name: SECONDS[name] for name in names}
        scale = math.inf if self.dry else 1.0 if self.budget is None else self.budget / (sum(usual.values()) or 1.0)
        return {name: scale * seconds for name, seconds in usual.items()}


LEARNING_RATE, AT_WIDTH = 1e-3, 512


def learning_rate(network: Network) -> float:
    """1e-3 up to 512 columns, then smaller as the network is wider: Adam moves each weight by about the rate."""
    return LEARNING_RATE * min(1.0, AT_WIDTH / max(network.widths))
