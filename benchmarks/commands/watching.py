"""A line that says what happens while something is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


def watch(console: Console, work: Callable[[Callable[[str], None]], T]) -> T:
    """Runs `work(tell)` under a line that says what happens, where somebody is there to read it."""
    if not console.is_terminal:
        return work(lambda _: None)
    from rich.markup import escape

    # Drawn once a second: more often would be work on the cores that are being measured.
    with console.status("getting ready", refresh_per_second=1.0) as status:
        return work(lambda what: status.update(escape(what)))
