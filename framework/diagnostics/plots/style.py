"""Colours and markers of the figures, settings of matplotlib, and saving of figures.

Figures are readable in print and by the colour-blind: the palette is that of Okabe and Ito (2008), and no two lines differ only
in colour.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from ....errors import MissingDependency, OutputPathError
from ....extras import install_line
from ...export.output_paths import PathLike, replacing

Figure = Any
"""A matplotlib Figure, created without pyplot: no window is opened, and pyplot does not keep a reference."""

BLUE, SKY, ORANGE, GREEN, VERMILION, PURPLE, YELLOW, GREY = (
    "#0072B2", "#56B4E9", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#F0E442", "#7F7F7F",
)  # fmt: skip
DARK = "#333333"

LOOKS = (
    (BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (ORANGE, "D"), (PURPLE, "v"), (SKY, "P"), (DARK, "X"),
)  # fmt: skip
"""(colour, marker) of the first, second, … of several lines of one kind."""

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
    "svg.hashsalt": "fusedstep",
}

FORMATS: dict[str, dict[str, None]] = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""Suffix of a file name -> metadata to leave out, so that the same figure gives the same bytes."""

DOTS = 200
"""Resolution of PNG files, in dots per inch."""


def look(position: int) -> tuple[str, str]:
    """(colour, marker) number `position`; when colours repeat, they get other markers."""
    colour, mark = LOOKS[position % len(LOOKS)][0], LOOKS[(position + position // len(LOOKS)) % len(LOOKS)][1]
    return colour, mark


def shades(count: int) -> list[Any]:
    """Colours from dark to light for ordered lines, such as layers by depth; distinguishable in greyscale as well."""
    import matplotlib as mpl

    colours = mpl.colormaps["viridis"]
    return [colours(0.88 * k / max(count - 1, 1)) for k in range(count)]


def settings() -> AbstractContextManager[Any]:
    """The context in which figures are drawn; raises MissingDependency without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingDependency(f"expected matplotlib for figures; it is not installed; {install_line('plot')}") from error
    context: AbstractContextManager[Any] = mpl.rc_context(SETTINGS)
    return context


@contextmanager
def canvas(path: PathLike | None, width: float, height: float) -> Iterator[Figure]:
    """A context with an empty figure, which is saved at the end if a path is given.

    Args: path – ends in .png, .svg or .pdf, or None; width, height – in inches.
    Raises: MissingDependency, OutputPathError also for another ending.
    """
    ending = "" if path is None else require_format(path)
    with settings():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        if path is not None:
            with replacing(path, "a figure") as part:
                figure.savefig(part, format=ending[1:], dpi=DOTS, metadata=FORMATS[ending])


def require_format(path: PathLike) -> str:
    """The suffix of a figure's file name, in lower case; raises OutputPathError if it is not in FORMATS."""
    ending = Path(path).suffix.lower() if isinstance(path, str | os.PathLike) else ""
    if ending not in FORMATS:
        raise OutputPathError(
            f"expected a figure's file name to end in {', '.join(FORMATS)}; got {str(path)!r}; rename it, such as figure.png"
        )
    return ending


def legend_below(figure: Figure, panels: Iterable[Any], columns: int, **looks: Any) -> None:
    """One legend for all panels, below them."""
    handles = {label: h for axes in panels for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, **looks)


def whole_ticks(axis: Any) -> None:
    """Ticks at integers, for epochs and iterations."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def plain_logarithm(axis: Any) -> None:
    """Makes an axis logarithmic, with ticks at 0.1, 0.2, 0.5, 1, … for a small range, and at powers of ten for a large one."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.axes.set_yscale("log")
    low, high = axis.get_view_interval()
    if low > 0.0 and high / low < 300.0:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axis.set_minor_locator(NullLocator())
