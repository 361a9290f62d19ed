"""A status line during a measurement."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


def watch(console: Console, work: Callable[[Callable[[str], None]], T], log: bool = False) -> T:
    """Runs `work(progress)` with a status line, if the output is a terminal.

    Args: log – whether to print the messages with the elapsed seconds if the output is not a terminal: everything that may take
        long, except the rounds of a measurement, so that a log shows where time was spent and where a run ended.
    """
    if not console.is_terminal:
        begun = time.monotonic()

        def note(what: str) -> None:
            if log and ": round " not in what:
                console.print(f"{time.monotonic() - begun:6.1f} s  {what}", markup=False, highlight=False, soft_wrap=True)

        return work(note)
    from rich.markup import escape

    # Refreshed once per second, because drawing uses the cores that are being measured.
    with console.status("getting ready", refresh_per_second=1.0) as status:
        return work(lambda what: status.update(escape(what)))
