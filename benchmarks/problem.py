"""The problem that all contenders solve: a network, its initial weights, its minibatches, loss and optimiser.

Here the workload is a single step; workloads.py has the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np

from .gemms import GemmCase, products
from .networks import Network

Array = Any

VARIANTS = ("plain", "full")

LEARNING_RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
WEIGHT_DECAY, CLIP_NORM, DROPOUT = 0.01, 1.0, 0.1
LAYER_NORM_EPSILON = 1e-5

REDUCED = ("tf32", "bfloat16", "float16")
"""Precisions of matrix products while the parameters stay in float32; on a GPU only."""

MOST_BATCHES, MOST_BYTES = 8, 64 * 2**20
"""Minibatches that are used in turn. With a single one, the network would memorise it and gradients would vanish."""


@dataclass(frozen=True)
class Problem:
    """Network, data and initial weights; the same for every contender.

    plain – ReLU, softmax-cross-entropy from logits, Adam(1e-3).
    full – Linear, LayerNorm, GELU (exact form), Dropout(0.1) in each hidden layer; softmax-cross-entropy; gradient clipped
        to norm 1; AdamW(1e-3) with weight decay 0.01 on weights, not on biases, gains and offsets.

    Args: network; variant; precision – "float32" or "float64", or one of REDUCED; threads; dropout – None for that of the
        variant; learning_rate – smaller for wide networks, whose first steps would otherwise be too large; launch – 0: each
        step receives its minibatch; otherwise all data are on the device, each step gathers its minibatch there, and that many
        steps may run in one launch.
    """

    workload: ClassVar[str] = "step"
    ranked: ClassVar[bool] = False
    shared: ClassVar[tuple[str, ...]] = ("start", "minibatches")

    network: Network
    variant: str = "plain"
    precision: str = "float32"
    threads: int = 1
    dropout: float | None = None
    seed: int = field(default=0, repr=False)
    learning_rate: float = LEARNING_RATE
    launch: int = 0

    @property
    def resident(self) -> bool:
        """Whether steps gather their minibatches from device-resident data."""
        return self.launch > 0

    @property
    def dtype(self) -> str:
        """Of parameters, states and data."""
        return "float32" if self.precision in REDUCED else self.precision

    @property
    def full(self) -> bool:
        """Whether this is the variant "full"."""
        return self.variant == "full"

    @property
    def dropped(self) -> float:
        """The fraction of hidden units that is dropped."""
        return (DROPOUT if self.full else 0.0) if self.dropout is None else self.dropout

    def but(self, **changes: Any) -> Self:
        """The same problem with other settings, and the same arrays."""
        other = replace(self, **changes)
        other.__dict__.update({name: getattr(self, name) for name in self.shared})
        return other

    def without_dropout(self) -> Self:
        """The same problem without dropout, so that losses can be compared; itself if it has none."""
        return self if self.dropped == 0.0 else self.but(dropout=0.0)

    @property
    def rows(self) -> int:
        """Rows that the timed unit of the workload processes."""
        return self.network.batch

    @property
    def products(self) -> list[tuple[int, list[GemmCase]]]:
        """(how many times, which) of the matrix products of that unit."""
        return [(1, products(self.network))]

    @property
    def flop(self) -> int:
        """Floating-point operations of these products."""
        return sum(count * each.flop for count, found in self.products for each in found)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(columns in, columns out) of each linear layer."""
        return list(pairwise(self.network.widths))

    @cached_property
    def start(self) -> list[tuple[Array, Array]]:
        """Weights [in, out], He-normal, and biases [out], normal with deviation 0.01, of each linear layer."""
        rng = np.random.default_rng([self.seed, 1])
        return [
            (
                (rng.standard_normal((n, m)) * np.sqrt(2.0 / n)).astype(self.dtype),
                (rng.standard_normal(m) * 0.01).astype(self.dtype),
            )
            for n, m in self.sizes
        ]

    @cached_property
    def minibatches(self) -> list[tuple[Array, Array]]:
        """x [B, d], standard normal, and labels [B] int64, uniform; several, to be taken in turn."""
        rng = np.random.default_rng([self.seed, 2])
        widths, rows = self.network.widths, self.network.batch
        size = rows * widths[0] * np.dtype(self.dtype).itemsize
        return [
            (rng.standard_normal((rows, widths[0])).astype(self.dtype), rng.integers(0, widths[-1], rows))
            for _ in range(max(1, min(MOST_BATCHES, MOST_BYTES // size)))
        ]

    @cached_property
    def data(self) -> tuple[Array, Array]:
        """All rows of the minibatches as one data set, x [N, d] and labels [N]."""
        x, y = ([batch[k] for batch in self.minibatches] for k in (0, 1))
        return (x[0], y[0]) if len(x) == 1 else (np.concatenate(x), np.concatenate(y))

    @cached_property
    def indices(self) -> Array:
        """[minibatches, B] int64: which rows of `data` each of them has, in random order, as shuffling leaves them."""
        rng, rows = np.random.default_rng([self.seed, 3]), self.network.batch
        return np.stack([k * rows + rng.permutation(rows) for k in range(len(self.minibatches))])
