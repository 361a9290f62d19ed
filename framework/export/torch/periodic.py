"""A module of PyTorch that computes what `fs.PeriodicEmbedding` does; only conversion.py imports it, because it needs torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...optional import require

torch: Any = require("torch", "torch", "PeriodicEmbedding as a module")


class PeriodicModule(torch.nn.Module):  # type: ignore[misc]
    """See fs.PeriodicEmbedding, whose parameters it has, in the same layout.

    Args: as there; the deviation is kept for the way back.
    """

    def __init__(self, inputs: int, width: int, frequencies: int, deviation: float, columns: Sequence[int]) -> None:
        super().__init__()
        self.inputs, self.width, self.frequencies, self.columns = inputs, width, frequencies, tuple(columns)
        self.deviation = deviation
        self.others = [column for column in range(inputs) if column not in self.columns]
        size = len(self.columns) * frequencies
        shapes = {"weight": (2 * size, width), "bias": (len(self.columns) * width,), "frequency": (size,)}
        for name, shape in shapes.items():
            setattr(self, name, torch.nn.Parameter(torch.zeros(shape)))

    def forward(self, x: Any) -> Any:
        """x [B, inputs] -> (the other columns, ReLU(sines and cosines times the weights + bias))."""
        count = len(self.columns)
        turns = x[:, list(self.columns), None] * self.frequency.view(count, self.frequencies)
        weight = self.weight.view(2, count, self.frequencies, self.width)
        parts = [torch.sin(2.0 * math.pi * turns), torch.cos(2.0 * math.pi * turns)]
        y = sum(torch.einsum("bck,ckw->bcw", part, of) for part, of in zip(parts, weight, strict=True))
        y = torch.relu(y.reshape(len(x), -1) + self.bias)
        return torch.cat([x[:, self.others], y], dim=1)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"inputs={self.inputs}, width={self.width}, frequencies={self.frequencies}, columns={self.columns}"
