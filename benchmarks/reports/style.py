"""Colours and marks of the figures, and how matplotlib is set up; readable in print and by the colour-blind.

The palette is the one of Okabe and Ito (2008).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from ...errors import MissingDependency

BLUE, SKY, ORANGE, GREEN, VERMILION, PURPLE, YELLOW, GREY = (
    "#0072B2", "#56B4E9", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#F0E442", "#7F7F7F",
)  # fmt: skip

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

SETTINGS: dict[str, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "path",
}


def look(name: str) -> tuple[str, str]:
    """Colour and mark of a contender; grey for those without a look of their own."""
    return LOOKS.get(name, (GREY, "."))


def settings() -> AbstractContextManager[Any]:
    """The context in which figures are drawn; raises MissingDependency without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingDependency(
            'expected matplotlib for figures; it is not installed; run: pip install "fusedstep[plot]"'
        ) from error
    context: AbstractContextManager[Any] = mpl.rc_context(SETTINGS)
    return context
