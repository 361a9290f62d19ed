"""Colours and marks of the contenders; the rest is that of all figures, framework/diagnostics/plots/style.py."""

from __future__ import annotations

from ...framework.diagnostics.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, YELLOW, settings

__all__ = ["BLUE", "GREEN", "GREY", "LOOKS", "ORANGE", "PURPLE", "SKY", "VERMILION", "YELLOW", "look", "settings"]

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
}
"""Name -> colour and mark, the same in every figure."""


def look(name: str) -> tuple[str, str]:
    """Colour and marker of a contender; grey for those without an entry."""
    return LOOKS.get(name, (GREY, "."))
