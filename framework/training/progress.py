"""Where a progress bar is drawn: on the terminal by rich, in a notebook as one element of HTML that is updated.

rich needs ipywidgets in a notebook and draws nothing without it. What is shown, and when, is in callbacks.py.
"""

from __future__ import annotations

from html import escape
from typing import Any, Protocol


class Bar(Protocol):
    """A bar from 0 to a total, with text beside it."""

    def show(self, completed: float, text: str) -> None:
        """Draws the bar."""

    def remove(self) -> None:
        """Removes it."""


class TerminalBar:
    """A bar of rich."""

    def __init__(self, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn(),
            transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=total)
        self._progress.start()

    def show(self, completed: float, text: str) -> None:
        """See Bar."""
        self._progress.update(self._task, completed=completed, description=text)

    def remove(self) -> None:
        """See Bar."""
        self._progress.stop()


class NotebookBar:
    """An element <progress> in the output of the cell."""

    def __init__(self, total: int) -> None:
        from IPython.display import HTML, display

        self._html, self._total = HTML, total
        self._handle: Any = display(HTML(self._drawn(0.0, "")), display_id=True)

    def _drawn(self, completed: float, text: str) -> str:
        return (
            f'<div><progress max="{self._total}" value="{completed:.3f}" style="vertical-align: middle"></progress> '
            f"epoch {int(completed)}/{self._total} {escape(text)}</div>"
        )

    def show(self, completed: float, text: str) -> None:
        """See Bar."""
        self._handle.update(self._html(self._drawn(completed, text)))

    def remove(self) -> None:
        """See Bar."""
        self._handle.update(self._html(""))


def new_bar(total: int) -> Bar:
    """The bar for where this process prints to."""
    from rich.console import Console

    return NotebookBar(total) if Console().is_jupyter else TerminalBar(total)
