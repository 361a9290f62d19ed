"""Colours and marks of the contenders; the rest is that of all figures, framework/diagnostics/plots/style.py."""

from __future__ import annotations

from ...framework.diagnostics.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, YELLOW, settings

__all__ = ["BLUE", "GREEN", "GREY", "LOOKS", "ORANGE", "PURPLE", "SKY", "VERMILION", "YELLOW", "hatch", "look", "settings"]

LOOKS = {
    "numba": (BLUE, "o"),
    "numpy": (SKY, "s"),
    "cuda": (BLUE, "D"),
    "cupy": (SKY, "X"),
    "torch": (VERMILION, "^"),
    "torch-compile": (ORANGE, "v"),
    "jax": (GREEN, "P"),
    "sklearn": (PURPLE, "X"),
    "handwritten": (YELLOW, "d"),
    "jax-scan": (GREEN, "P"),
    "onnxruntime": (ORANGE, "v"),
    "import torch": (VERMILION, "^"),
    "empty cache": (BLUE, "o"),
    "full cache": (SKY, "s"),
    "train iris": (GREEN, "P"),
    "predict iris": (PURPLE, "X"),
}
"""Name -> colour and mark, the same in every figure."""


def look(name: str) -> tuple[str, str]:
    """Colour and marker of a contender, of what follows the name of its backend, or of that name; otherwise grey."""
    backend, _, rest = name.partition(", ")
    return LOOKS.get(name) or LOOKS.get(rest) or LOOKS.get(backend, (GREY, "."))


def hatch(name: str) -> str | None:
    """The pattern of the bars of a contender: none for a single process."""
    return "///" if name.endswith(" ranks") else None
